//! The cases that other libraries can do, with the numbers that `weir-bench` has for them.

/// What a case asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Messages that nobody answers, on one stream between each two.
    OneWay(OneWay),
    /// A stream for each message.
    StreamEach(OneWay),
    /// Requests and their answers.
    RoundTrip(RoundTrip),
    /// Handshakes, one after the other.
    Connect(u64),
    /// Messages from one to all others of a mesh.
    Broadcast(Broadcast),
}

/// Every sender to every receiver.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneWay {
    pub senders: usize,
    pub receivers: usize,
    /// Of one sender to one receiver in a round.
    pub messages: u64,
    pub size: usize,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoundTrip {
    pub requests: u64,
    pub size: usize,
    /// Open at once.
    pub in_flight: usize,
    pub rows: [&'static str; 3],
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Broadcast {
    pub nodes: usize,
    pub messages: u64,
    pub size: usize,
}

const ONE: OneWay = OneWay { senders: 1, receivers: 1, messages: 500_000, size: 256 };
const RTT: [&str; 3] = ["rtt_256", "rtt_256_p99", "rtt_256_p999"];
const IN_FLIGHT: [&str; 3] = ["inflight_64", "inflight_64_p50", "inflight_64_p99"];

/// The work of the case of this name. `scale` is the share of it that a round does.
pub fn of(case: &str, scale: f64) -> Option<Work> {
    let share = |of: u64| ((of as f64 * scale) as u64).max(1);
    let one_way = |work: OneWay| OneWay { messages: share(work.messages), ..work };
    let trips = |requests, in_flight, rows| RoundTrip { requests: share(requests), size: 256, in_flight, rows };
    let broadcast = |nodes, messages| Work::Broadcast(Broadcast { nodes, messages: share(messages), size: 256 });
    Some(match case {
        "one_way_256" => Work::OneWay(one_way(ONE)),
        "one_way_64k" => Work::OneWay(one_way(OneWay { messages: 6_000, size: 64 << 10, ..ONE })),
        "fan_in_8" => Work::OneWay(one_way(OneWay { senders: 8, messages: 60_000, ..ONE })),
        "fan_out_8" => Work::OneWay(one_way(OneWay { receivers: 8, messages: 60_000, ..ONE })),
        "stream_per_message" => Work::StreamEach(one_way(OneWay { messages: 100_000, ..ONE })),
        "rtt_256" => Work::RoundTrip(trips(4_000, 1, RTT)),
        "inflight_64" => Work::RoundTrip(trips(40_000, 64, IN_FLIGHT)),
        "connect" => Work::Connect(share(400)),
        "broadcast_2" => broadcast(2, 20_000),
        "broadcast_16" => broadcast(16, 300),
        _ => return None,
    })
}

impl Work {
    /// The names of the values that a round of the case gives.
    pub fn rows(&self, case: &str) -> Vec<String> {
        match self {
            Self::RoundTrip(work) => work.rows.map(str::to_owned).to_vec(),
            _ => vec![case.to_owned()],
        }
    }
}

impl RoundTrip {
    /// The values of its rows: the rate first where many are in flight, then how long answers took.
    pub fn values(&self, mut took_us: Vec<f64>, seconds: f64) -> Vec<f64> {
        took_us.sort_unstable_by(f64::total_cmp);
        let quantile = |share: f64| {
            let place = share * took_us.len().saturating_sub(1) as f64;
            let at = |place: f64| took_us.get(place as usize).copied().unwrap_or_default();
            at(place.floor()) + (at(place.ceil()) - at(place.floor())) * place.fract()
        };
        let rate = (self.rows == IN_FLIGHT).then(|| took_us.len() as f64 / seconds);
        rate.into_iter().chain([0.5, 0.99, 0.999].map(quantile)).take(self.rows.len()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_has_a_value_for_each_row() {
        let Some(Work::RoundTrip(one)) = of("rtt_256", 0.001) else { panic!("no such case") };
        assert_eq!(one.requests, 4);
        assert_eq!(one.values(vec![3.0, 1.0, 2.0], 1.0)[0], 2.0);
        let Some(Work::RoundTrip(many)) = of("inflight_64", 1.0) else { panic!("no such case") };
        assert_eq!(many.values(vec![3.0, 1.0, 2.0], 2.0)[..2], [1.5, 2.0]);
        assert_eq!(of("store_put", 1.0), None);
    }
}
