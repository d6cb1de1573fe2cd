//! What happens in the demo, act by act: meet, ask, flood and upgrade, unload.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use weir_guest_build::Progress;

use super::checksum::Checksum;
use super::commands::{self as ping, Flood, Received};
use super::source::Source;
use super::summary::{Messages, Requests, Summary, Upgrade, percentile};
use crate::demo::held::Held;
use crate::demo::node::Node;
use crate::demo::number::grouped;
use crate::guests::Versions;
use crate::interrupt;
use crate::progress::Shown;

/// Bytes in a message, as in the figures the project holds itself to.
const SIZE: usize = 256;
/// Bytes of the file in a message.
const PAYLOAD: usize = SIZE - ping::HEADER;
/// Messages in one call of the command that sends: 120 KB of the file, so that the calls cost little beside the messages,
/// and well below what the admin API takes at once.
const AT_ONCE: u64 = 512;
/// Requests, one after the other: so many in one command, and as many with a command each.
const REQUESTS: u64 = 1_000;
/// Connecting and telling each other about protocols takes milliseconds on one machine.
const SOON: Duration = Duration::from_secs(20);
/// A flood that stands still for so long will not go on.
const STANDSTILL: Duration = Duration::from_secs(15);
/// The sender's side of the flood.
struct Sending {
    /// None before the first message.
    flood: Option<Flood>,
    /// Over what was read from the file.
    expected: Checksum,
}

impl Sending {
    fn flood(&self) -> Result<&Flood> {
        self.flood.as_ref().context("the flood has no message")
    }
}

/// Two nodes and what they play with. `a` sends, `b` receives and is upgraded.
pub struct Scenario {
    a: Node,
    b: Node,
    weir: PathBuf,
    plugins: Versions,
    source: Source,
    messages: u64,
    shown: Shown,
}

impl Scenario {
    pub fn start(weir: &Path, plugins: Versions, folder: &Path, messages: u64) -> Result<Self> {
        let shown = Shown::new();
        shown.step("starting two nodes");
        // The node's own binary is a real file of some size that is always there.
        let source = Source::open(weir, PAYLOAD)?;
        let start = |name| {
            let node = Node::start(weir, folder, name)?;
            shown.fact(&format!("node {name}: {} (pid {})", node.peer_address(), node.pid().unwrap_or_default()));
            anyhow::Ok(node)
        };
        Ok(Self { a: start("a")?, b: start("b")?, weir: weir.to_owned(), plugins, source, messages, shown })
    }

    pub fn play(&mut self) -> Result<Summary> {
        self.meet()?;
        let requests = self.ask()?;
        let (messages, upgrade) = self.flood()?;
        let after_unload = self.unload()?;
        self.shown.settle();
        let file = self.weir.display().to_string();
        Ok(Summary { messages, requests, upgrade, after_unload, file, elapsed: Duration::ZERO })
    }

    /// `a` has the plugin before they connect and tells so in its hello; `b` loads it afterwards and pushes the change.
    fn meet(&self) -> Result<()> {
        self.shown.step("loading ping 0.1, connecting, exchanging protocols");
        load(&self.a, &self.plugins.old)?;
        self.b.weir(&["peers", "add", &self.a.peer_address(), "--necessary"])?;
        let told = self.b.until("node a's protocols", SOON, || self.sees(&self.b, &self.a, |seen| !seen.is_empty()))?;
        self.shown.fact(&format!("hello: b knows that a speaks {}", told.join(", ")));
        let before = self.a.until("node b to connect", SOON, || self.sees(&self.a, &self.b, |_| true))?;
        self.shown.fact(&format!("a knows that b speaks {}", list(&before)));
        load(&self.b, &self.plugins.old)?;
        let started = Instant::now();
        let pushed =
            self.a.until("node b's protocols", SOON, || self.sees(&self.a, &self.b, |seen| !seen.is_empty()))?;
        let took = started.elapsed().as_millis();
        self.shown.fact(&format!("b loaded ping; {took} ms later a knows that b speaks {}", pushed.join(", ")));
        Ok(())
    }

    fn ask(&self) -> Result<Requests> {
        self.shown.step(&format!("{} requests from a to b, one after the other", grouped(2 * REQUESTS)));
        let failed = || self.a.with_log("the requests failed");
        let (client, peer) = (&self.a.client, &self.b.peer_id);
        let between = ping::ping(client, peer, REQUESTS, SIZE).with_context(failed)?;
        let mut took = Vec::new();
        for _ in 0..REQUESTS {
            interrupt::check()?;
            took.extend(ping::timed_ping(client, peer, SIZE).with_context(failed)?);
        }
        let answered = between.answered + took.len() as u64;
        let app = [percentile(&mut took, 50), percentile(&mut took, 99)];
        let p50 = between.p50.as_micros();
        self.shown.fact(&format!("{} answered, half within {p50} µs between the plugins", grouped(answered)));
        let ping::Pinged { mean, p50, p99, .. } = between;
        Ok(Requests { asked: 2 * REQUESTS, answered, mean, p50, p99, app })
    }

    /// The flood. The upgrade is begun when half is sent, by a thread of its own, so that the flood does not pause for it.
    /// The flood goes on for as long as the upgrade takes and for a quarter after it: what is asked for may be sent faster
    /// than a plugin is compiled, and then the upgrade would not be in the middle.
    fn flood(&self) -> Result<(Messages, Upgrade)> {
        self.shown
            .step(&format!("{} messages of {SIZE} bytes, and an upgrade of b to ping 0.2", grouped(self.messages)));
        let mut sending = Sending { flood: None, expected: Checksum::new() };
        let started = Instant::now();
        self.send(&mut sending, self.messages / 2)?;
        let name = sending.flood()?.name.clone();
        let upgrade = thread::scope(|scope| {
            let upgrade = scope.spawn(|| self.upgrade(&name));
            let mut sent = Ok(());
            while sent.is_ok() && !upgrade.is_finished() {
                sent = self.send(&mut sending, AT_ONCE);
            }
            let upgraded = upgrade.join().map_err(|_| anyhow!("the thread that upgrades panicked"))?;
            sent.and(upgraded)
        })?;
        let left = self.messages.saturating_sub(sending.flood()?.total);
        self.send(&mut sending, left.max(self.messages / 4))?;
        let now = self.arrived(&name, sending.flood()?.total)?;
        let flood = sending.flood()?;
        let messages = Messages {
            size: SIZE as u64,
            sent: flood.total,
            received: now.messages,
            reordered: now.reordered,
            duplicated: now.duplicated,
            gaps: now.lost,
            same_content: now.checksum == flood.checksum && now.checksum == sending.expected.hex(),
            took: started.elapsed(),
        };
        self.shown.settle();
        self.shown.fact(&format!("{} sent, {} received", grouped(messages.sent), grouped(messages.received)));
        Ok((messages, upgrade))
    }

    /// Sends that many messages more. The node answers when its lane has taken them, so that it sets the pace.
    fn send(&self, sending: &mut Sending, count: u64) -> Result<()> {
        let start = sending.flood.as_ref().map_or(0, |flood| flood.total);
        let mut numbers = start..start + count;
        while !numbers.is_empty() {
            interrupt::check()?;
            let data = self.source.messages(numbers.start..numbers.end.min(numbers.start + AT_ONCE));
            let flood = ping::send(&self.a.client, &self.b.peer_id, PAYLOAD, data, sending.flood.as_ref())
                .with_context(|| self.a.with_log(&format!("sending failed at message {}", numbers.start)))?;
            data.chunks(PAYLOAD).for_each(|payload| sending.expected.update(payload));
            numbers.start += (data.len() / PAYLOAD) as u64;
            if flood.total != numbers.start {
                bail!(self.a.with_log(&format!("it took {} messages of {}", flood.total, numbers.start)));
            }
            self.shown.state(&format!("{} of {} messages", grouped(flood.total), grouped(self.messages)));
            sending.flood = Some(flood);
        }
        Ok(())
    }

    fn upgrade(&self, flood: &str) -> Result<Upgrade> {
        let from = version(&self.b)?;
        let at = self.received(flood)?.messages;
        let answer = self.b.weir(&["plugin", "upgrade", ping::PLUGIN, text(&self.plugins.new)?])?;
        let upgrade = Upgrade { from, to: version(&self.b)?, at, pause: pause(&answer) };
        if upgrade.from == upgrade.to {
            bail!(self.b.with_log(&format!("after the upgrade its ping is still {}", upgrade.to)));
        }
        self.shown.fact(&format!("upgraded {} → {} after {} messages", upgrade.from, upgrade.to, grouped(at)));
        Ok(upgrade)
    }

    /// Waits until all have come, or nothing comes any more: then the counts tell what is missing.
    fn arrived(&self, flood: &str, sent: u64) -> Result<Received> {
        let mut last = (0, Instant::now());
        // Each message that comes moves the standstill on, so this limit is only for a node that counts for ever.
        let limit = Duration::from_secs(60) + Duration::from_millis(sent);
        self.b.until("the last message", limit, || {
            let now = self.received(flood)?;
            if now.messages != last.0 {
                last = (now.messages, Instant::now());
            }
            Ok((now.messages >= sent || last.1.elapsed() > STANDSTILL).then_some(now))
        })
    }

    fn unload(&self) -> Result<String> {
        self.shown.step("unloading ping on b");
        self.b.weir(&["plugin", "unload", ping::PLUGIN])?;
        let error = self
            .a
            .until("a send to b to fail with `Unsupported`", SOON, || ping::refused(&self.a.client, &self.b.peer_id))?;
        let seen = self
            .a
            .until("b to be listed without the protocol", SOON, || self.sees(&self.a, &self.b, <[String]>::is_empty))?;
        self.shown.fact(&format!("a is told that b speaks {}; sending says: {error}", list(&seen)));
        Ok(error)
    }

    /// Both nodes as they are left running, with ping on both.
    pub fn hold(self, folder: &Path) -> Result<Held> {
        load(&self.b, &self.plugins.new)?;
        let (a, b) = (&self.a, &self.b);
        let on = |node: &Node| format!("{} --dir {}", self.weir.display(), node.directory.display());
        let peer = &b.peer_id;
        let commands = vec![
            format!("{} status", on(a)),
            format!("{} peers", on(a)),
            format!("{} call ping ping '{{\"peer\": \"{peer}\", \"count\": 100, \"size\": 256}}'", on(a)),
            format!("{} call ping stats", on(b)),
            format!("{} plugin upgrade ping {}", on(a), self.plugins.new.display()),
        ];
        Ok(Held { nodes: vec![self.a, self.b], folder: folder.to_owned(), commands })
    }

    fn received(&self, flood: &str) -> Result<Received> {
        let counted = ping::received(&self.b.client, &self.a.peer_id, flood);
        counted.with_context(|| self.b.with_log("it did not tell its counts"))
    }

    /// The protocols `node` knows of its connected peer `other`, if they are as `wanted`.
    fn sees(&self, node: &Node, other: &Node, wanted: impl Fn(&[String]) -> bool) -> Result<Option<Vec<String>>> {
        Ok(protocols_of(&node.weir(&["peers"])?, &other.peer_id).filter(|seen| wanted(seen)))
    }
}

fn load(node: &Node, file: &Path) -> Result<()> {
    node.weir(&["plugin", "load", text(file)?]).map(drop)
}

fn version(node: &Node) -> Result<String> {
    let listed = node.weir(&["plugin", "list"])?;
    let plugins = listed["plugins"].as_array().into_iter().flatten();
    plugins
        .filter(|plugin| plugin["name"] == ping::PLUGIN)
        .find_map(|plugin| plugin["version"].as_str().map(str::to_owned))
        .with_context(|| format!("node {} lists no version of ping: {listed}", node.name))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

fn list(protocols: &[String]) -> String {
    if protocols.is_empty() { "nothing".to_owned() } else { protocols.join(", ") }
}

/// The protocols of a peer in what `weir peers --json` prints; none while it is not connected.
fn protocols_of(peers: &Value, peer_id: &str) -> Option<Vec<String>> {
    let peer = peers["peers"].as_array()?.iter().find(|peer| peer["peer_id"] == peer_id)?;
    if peer["connected"] != true {
        return None;
    }
    let protocols = peer["protocols"].as_array().into_iter().flatten();
    Some(protocols.filter_map(|protocol| protocol.as_str().map(str::to_owned)).collect())
}

/// How long events were held, where the answer to an upgrade tells it.
fn pause(answer: &Value) -> Option<Duration> {
    let object = answer.as_object()?;
    let micros = object.get("pause_us").and_then(Value::as_f64);
    let micros = micros.or_else(|| object.get("pause_ms").and_then(Value::as_f64).map(|millis| millis * 1_000.0));
    match micros {
        Some(micros) if micros.is_finite() && micros >= 0.0 => Some(Duration::from_secs_f64(micros / 1e6)),
        _ => object.values().find_map(pause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn protocols_are_those_of_the_connected_peer() {
        let peers = json!({"peers": [
            {"peer_id": "b", "connected": true, "protocols": ["/ping/1"]},
            {"peer_id": "c", "connected": false, "protocols": ["/old/1"]},
            {"peer_id": "d", "connected": true, "protocols": []},
        ]});
        assert_eq!(protocols_of(&peers, "b"), Some(vec!["/ping/1".to_owned()]));
        assert_eq!(protocols_of(&peers, "c"), None);
        assert_eq!(protocols_of(&peers, "d"), Some(Vec::new()));
        assert_eq!(protocols_of(&peers, "e"), None);
        assert_eq!(protocols_of(&json!({}), "b"), None);
    }

    #[test]
    fn a_pause_is_found_in_either_unit() {
        assert_eq!(pause(&json!({"plugin": {"pause_us": 1500}})), Some(Duration::from_micros(1500)));
        assert_eq!(pause(&json!({"pause_ms": 1.5})), Some(Duration::from_micros(1500)));
        assert_eq!(pause(&json!({"name": "ping"})), None);
    }
}
