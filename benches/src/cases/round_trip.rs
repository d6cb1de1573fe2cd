//! Requests and their answers: how long each takes, and how many a second.

use std::any::Any;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use weir_host::peer::PeerId as Peer;
use weir_host::transport::ControlStream;
use weir_plugin_load::{AskArgs, Asked};
use weir_sdk::abi::PeerId;

use super::share;
use crate::case::{Case, Ends, Round, Row, Unit, Way};
use crate::ends::{Far, Kind, LOAD, NativeNode, PluginNode, RawNode};
use crate::measure::quantile;

/// What one in flight shows.
pub const RTT: [Row; 3] = [
    Row { name: "rtt_256", unit: Unit::Microseconds },
    Row { name: "rtt_256_p99", unit: Unit::Microseconds },
    Row { name: "rtt_256_p999", unit: Unit::Microseconds },
];

/// What many in flight show.
pub const IN_FLIGHT: [Row; 3] = [
    Row { name: "inflight_64", unit: Unit::RequestsPerSecond },
    Row { name: "inflight_64_p50", unit: Unit::Microseconds },
    Row { name: "inflight_64_p99", unit: Unit::Microseconds },
];

/// The same with two processes.
pub const RTT_APART: [Row; 3] = [
    Row { name: "rtt_256_apart", unit: Unit::Microseconds },
    Row { name: "rtt_256_apart_p99", unit: Unit::Microseconds },
    Row { name: "rtt_256_apart_p999", unit: Unit::Microseconds },
];

/// The same with two processes.
pub const IN_FLIGHT_APART: [Row; 3] = [
    Row { name: "inflight_64_apart", unit: Unit::RequestsPerSecond },
    Row { name: "inflight_64_apart_p50", unit: Unit::Microseconds },
    Row { name: "inflight_64_apart_p99", unit: Unit::Microseconds },
];

/// Whatever has to stay for the other end to be there.
type Open = Box<dyn Any + Send>;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct RoundTrip {
    /// Requests in a round.
    pub requests: u64,
    /// Bytes of each, and of its answer.
    pub size: usize,
    /// Open at once.
    pub in_flight: usize,
    /// Whether who answers is in a process of its own.
    pub apart: bool,
    /// What is told of them.
    pub rows: [Row; 3],
}

impl RoundTrip {
    pub(super) fn scaled(self, scale: f64) -> Self {
        Self { requests: share(self.requests, scale), ..self }
    }

    pub(super) async fn case(self) -> Result<Case> {
        let ways: Vec<(Way, Box<dyn Ends>)> = vec![
            (Way::Raw, Box::new(RawTrips::start(self).await?)),
            (Way::Native, Box::new(NativeTrips::start(self).await?)),
            (Way::Plugin, Box::new(PluginTrips::start(self).await?)),
        ];
        Ok(Case { rows: self.rows.to_vec(), ways })
    }

    /// The values of the rows.
    fn values(&self, mut took_us: Vec<f64>, elapsed: Duration) -> Result<Vec<f64>> {
        let come = took_us.len() as u64;
        ensure!(come == self.requests, "{come} answers to {} requests", self.requests);
        took_us.sort_unstable_by(f64::total_cmp);
        let first = match self.rows[0].unit {
            Unit::RequestsPerSecond => vec![come as f64 / elapsed.as_secs_f64()],
            _ => Vec::new(),
        };
        let shares = [0.5, 0.99, 0.999].into_iter().map(|share| quantile(&took_us, share));
        Ok(first.into_iter().chain(shares).take(self.rows.len()).collect())
    }
}

/// A stream in both directions, on which everything comes back.
struct RawTrips {
    work: RoundTrip,
    stream: ControlStream,
    _open: Open,
}

impl RawTrips {
    async fn start(work: RoundTrip) -> Result<Self> {
        let near = RawNode::start()?;
        if work.apart {
            let far = Far::start(Kind::Echo).await?;
            let mut link = near.dial(far.address).await?;
            let mut stream = link.handle.open_control_stream().await?;
            stream.send.write(&mut [Bytes::from_static(b"0")]).await?;
            stream.receive.read().await?.context("an answer")?;
            return Ok(Self { work, stream, _open: Box::new((near, far, link)) });
        }
        let mut far = RawNode::start()?;
        let mut raw = near.connect(&mut far).await?;
        let stream = raw.echo().await?;
        Ok(Self { work, stream, _open: Box::new((near, far, raw)) })
    }

    async fn ask(&mut self) -> Result<Vec<f64>> {
        let RoundTrip { requests, size, in_flight, .. } = self.work;
        let body = Bytes::from(vec![7; size]);
        let (began, mut asked, mut came, mut took) = (Instant::now(), Vec::new(), 0, Vec::new());
        while (took.len() as u64) < requests {
            while asked.len() < took.len() + in_flight && (asked.len() as u64) < requests {
                asked.push(Instant::now());
                self.stream.send.write(&mut [body.clone()]).await?;
            }
            came += self.stream.receive.read().await?.context("an answer")?.len();
            while took.len() < came / size {
                took.push(micros(asked[took.len()].elapsed()));
            }
        }
        self.work.values(took, began.elapsed())
    }
}

impl Ends for RawTrips {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.ask())
    }
}

struct NativeTrips {
    work: RoundTrip,
    near: NativeNode,
    to: Peer,
    _open: Open,
}

impl NativeTrips {
    async fn start(work: RoundTrip) -> Result<Self> {
        let near = NativeNode::start(1).await?;
        if work.apart {
            let far = Far::start(Kind::Native).await?;
            near.node.reach(far.address, &NativeNode::protocol(0)?).await?;
            return Ok(Self { work, near, to: far.address.peer, _open: Box::new(far) });
        }
        let far = NativeNode::start(1).await?;
        near.connect(&far).await?;
        Ok(Self { work, near, to: far.id(), _open: Box::new(far) })
    }

    async fn ask(&mut self) -> Result<Vec<f64>> {
        let RoundTrip { requests, size, in_flight, .. } = self.work;
        let body = Bytes::from(vec![7; size]);
        let (took, elapsed) = self.near.ask(self.to, requests as usize, in_flight, &body).await?;
        self.work.values(took.into_iter().map(micros).collect(), elapsed)
    }
}

impl Ends for NativeTrips {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.ask())
    }
}

struct PluginTrips {
    work: RoundTrip,
    near: PluginNode,
    to: Peer,
    _open: Open,
}

impl PluginTrips {
    async fn start(work: RoundTrip) -> Result<Self> {
        let names = [LOAD.to_owned()];
        let near = PluginNode::start(&names).await?;
        if work.apart {
            let far = Far::start(Kind::Plugin).await?;
            near.node.reach(far.address, &PluginNode::protocol(LOAD)?).await?;
            return Ok(Self { work, near, to: far.address.peer, _open: Box::new(far) });
        }
        let far = PluginNode::start(&names).await?;
        near.connect(&far).await?;
        Ok(Self { work, near, to: far.id(), _open: Box::new(far) })
    }

    async fn ask(&mut self) -> Result<Vec<f64>> {
        let RoundTrip { requests, size, in_flight, .. } = self.work;
        let peer = PeerId::from_bytes(*self.to.as_bytes());
        let args = AskArgs { peer, count: requests, size: size as u32, concurrency: in_flight as u32 };
        let asked: Asked = self.near.call(LOAD, "ask", &args).await?;
        let took = asked.took_us.into_iter().map(f64::from).collect();
        self.work.values(took, Duration::from_micros(asked.elapsed_us))
    }
}

impl Ends for PluginTrips {
    fn round(&mut self) -> Round<'_> {
        Box::pin(self.ask())
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
