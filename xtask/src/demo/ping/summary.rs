//! What the demo found out, as a table for people and as one JSON document for programs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::demo::number::grouped;

/// The figures the demo ends with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub messages: Messages,
    pub requests: Requests,
    pub upgrade: Upgrade,
    /// The error that sending gave after the receiver's plugin was unloaded.
    pub after_unload: String,
    pub file: String,
    pub elapsed: Duration,
}

/// The flood, as counted inside the two plugins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Messages {
    pub size: u64,
    pub sent: u64,
    pub received: u64,
    pub reordered: u64,
    pub duplicated: u64,
    /// What the receiver counted as missing between messages that came.
    pub gaps: u64,
    /// Whether file, sender and receiver have the same checksum over all payloads in their order.
    pub same_content: bool,
    pub took: Duration,
}

/// The requests before the flood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requests {
    pub asked: u64,
    pub answered: u64,
    /// As the plugin measured it, over many requests one after the other.
    pub mean: Duration,
    pub p50: Duration,
    pub p99: Duration,
    /// p50 and p99 as an app sees them that calls the plugin's command for one request: the way over the admin API
    /// included.
    pub app: [Duration; 2],
}

/// The upgrade in the middle of the flood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Upgrade {
    pub from: String,
    pub to: String,
    /// Messages the receiver had counted shortly before.
    pub at: u64,
    /// How long the plugin's events were held, as the node measured it.
    pub pause: Option<Duration>,
}

impl Messages {
    /// What did not come, by our counting or by the receiver's, whichever is worse.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received.saturating_sub(self.duplicated)).max(self.gaps)
    }

    fn rate(&self) -> f64 {
        self.received as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

impl Summary {
    /// What must not have happened, in words. Empty if all went well.
    pub fn failures(&self) -> Vec<String> {
        let messages = &self.messages;
        let mut failures = Vec::new();
        let mut fail = |bad: bool, text: String| {
            if bad {
                failures.push(text);
            }
        };
        fail(messages.lost() > 0, format!("{} messages were lost", messages.lost()));
        fail(messages.reordered > 0, format!("{} messages came out of order", messages.reordered));
        fail(messages.duplicated > 0, format!("{} messages came twice", messages.duplicated));
        fail(
            messages.received > messages.sent,
            format!("{} messages came, {} were sent", messages.received, messages.sent),
        );
        fail(!messages.same_content, "what came is not what was sent: the checksums differ".into());
        let unanswered = self.requests.asked.saturating_sub(self.requests.answered);
        fail(unanswered > 0, format!("{unanswered} requests were not answered"));
        let inside = (1..messages.sent).contains(&self.upgrade.at);
        fail(
            !inside,
            format!("the upgrade was not in the middle of the flood, but after {} messages", self.upgrade.at),
        );
        failures
    }

    /// The table the demo ends with.
    pub fn table(&self) -> String {
        let pause = self.upgrade.pause.map_or("not told by the node".to_owned(), micros);
        let messages = &self.messages;
        let [app_p50, app_p99] = self.requests.app;
        let rows = [
            ("messages sent", format!("{} of {} bytes, from {}", grouped(messages.sent), messages.size, self.file)),
            ("received", grouped(messages.received)),
            ("lost", grouped(messages.lost())),
            ("reordered", grouped(messages.reordered)),
            ("duplicated", grouped(messages.duplicated)),
            ("content", if messages.same_content { "the same on both sides".into() } else { "DIFFERS".to_owned() }),
            (
                "rate",
                format!("{} messages/s over {:.2} s", grouped(messages.rate() as u64), messages.took.as_secs_f64()),
            ),
            ("requests", format!("{} of {} answered", self.requests.answered, self.requests.asked)),
            ("round trip p50", round_trip(self.requests.p50, app_p50)),
            ("round trip p99", round_trip(self.requests.p99, app_p99)),
            ("round trip mean", format!("{} between the plugins", micros(self.requests.mean))),
            (
                "upgrade",
                format!("{} → {} after {} messages", self.upgrade.from, self.upgrade.to, grouped(self.upgrade.at)),
            ),
            ("pause of the upgrade", pause),
            ("send after unload", self.after_unload.clone()),
            ("whole demo", format!("{:.1} s", self.elapsed.as_secs_f64())),
        ];
        rows.iter().map(|(name, value)| format!("  {name:<22}{value}\n")).collect()
    }

    /// The same for programs. Durations are whole microseconds.
    pub fn json(&self) -> Value {
        let messages = &self.messages;
        let [app_p50, app_p99] = self.requests.app;
        json!({
            "ok": self.failures().is_empty(),
            "failures": self.failures(),
            "messages": {
                "size": messages.size,
                "sent": messages.sent,
                "received": messages.received,
                "lost": messages.lost(),
                "reordered": messages.reordered,
                "duplicated": messages.duplicated,
                "same_content": messages.same_content,
                "took_us": whole_micros(messages.took),
                "per_second": messages.rate().round(),
                "file": self.file,
            },
            "requests": {
                "asked": self.requests.asked,
                "answered": self.requests.answered,
                "mean_us": whole_micros(self.requests.mean),
                "p50_us": whole_micros(self.requests.p50),
                "p99_us": whole_micros(self.requests.p99),
                "app_p50_us": whole_micros(app_p50),
                "app_p99_us": whole_micros(app_p99),
            },
            "upgrade": {
                "from": self.upgrade.from,
                "to": self.upgrade.to,
                "at_message": self.upgrade.at,
                "pause_us": self.upgrade.pause.map(whole_micros),
            },
            "after_unload": self.after_unload,
            "elapsed_us": whole_micros(self.elapsed),
        })
    }
}

/// The value that `percent` of the samples do not exceed (nearest rank); zero of none.
pub fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let rank = (samples.len() * percent).div_ceil(100).max(1);
    samples.get(rank - 1).copied().unwrap_or_default()
}

fn round_trip(between: Duration, app: Duration) -> String {
    format!("{} between the plugins, {} for an app over the admin API", micros(between), micros(app))
}

fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    if micros < 1_000.0 { format!("{micros:.0} µs") } else { format!("{:.2} ms", micros / 1_000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Summary {
        Summary {
            messages: Messages { sent: 1000, received: 1000, same_content: true, ..Messages::default() },
            requests: Requests { asked: 10, answered: 10, ..Requests::default() },
            upgrade: Upgrade { at: 400, pause: Some(Duration::from_micros(1500)), ..Upgrade::default() },
            ..Summary::default()
        }
    }

    fn failures(change: impl FnOnce(&mut Summary)) -> Vec<String> {
        let mut summary = good();
        change(&mut summary);
        summary.failures()
    }

    #[test]
    fn a_good_run_has_no_failures() {
        assert_eq!(good().failures(), Vec::<String>::new());
        assert_eq!(good().json()["ok"], true);
        assert!(good().table().contains("1.50 ms"));
    }

    #[test]
    fn each_harm_is_a_failure() {
        assert_eq!(failures(|summary| summary.messages.received = 990), ["10 messages were lost"]);
        assert_eq!(failures(|summary| summary.messages.reordered = 1), ["1 messages came out of order"]);
        assert_eq!(failures(|summary| summary.messages.same_content = false).len(), 1);
        assert_eq!(failures(|summary| summary.requests.answered = 9), ["1 requests were not answered"]);
        assert_eq!(failures(|summary| summary.upgrade.at = 0).len(), 1);
        assert_eq!(failures(|summary| summary.upgrade.at = 1000).len(), 1);
    }

    #[test]
    fn a_duplicate_does_not_hide_a_loss() {
        let texts = failures(|summary| {
            summary.messages.duplicated = 3;
            summary.messages.received = 1000;
        });
        assert_eq!(texts, ["3 messages were lost", "3 messages came twice"]);
    }

    #[test]
    fn a_gap_the_receiver_saw_is_a_loss() {
        assert_eq!(failures(|summary| summary.messages.gaps = 2), ["2 messages were lost"]);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut samples: Vec<_> = (1..=200).rev().map(Duration::from_micros).collect();
        assert_eq!(percentile(&mut samples, 50), Duration::from_micros(100));
        assert_eq!(percentile(&mut samples, 99), Duration::from_micros(198));
        assert_eq!(percentile(&mut samples, 100), Duration::from_micros(200));
        assert_eq!(percentile(&mut samples[..1], 50), Duration::from_micros(1));
        assert_eq!(percentile(&mut [], 50), Duration::ZERO);
    }
}
