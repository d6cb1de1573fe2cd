//! Every part of the ABI, through real wasm on two real nodes: what the plugin does, and what the other side sees.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use weir_host::peer::PeerId;
use weir_host::plugin::{Caller, PluginInfo, PluginSettings};
use weir_ledger::{from_hex, to_hex};
use weir_tests::node::{PATIENCE, TestNode, source, until};

const GRANTS: [&str; 5] = ["sign", "call:ping", "call:everything", "call:nobody", "protocol:/room"];
/// The key of the protocol in the guest's manifest.
const MAIN: u32 = 1;

fn settings() -> PluginSettings {
    PluginSettings { grants: GRANTS.map(str::to_owned).to_vec(), ..PluginSettings::default() }
}

/// One node with the plugin.
struct Node(TestNode);

impl Node {
    async fn start() -> Result<Self> {
        let node = TestNode::start().await?;
        node.load_with("everything", settings()).await?;
        Ok(Self(node))
    }

    fn id(&self) -> PeerId {
        self.0.host.peer_id()
    }

    async fn call(&self, command: &str, args: Value) -> Value {
        self.0.call("everything", command, args).await.expect(command)
    }

    /// The code of a command that must fail.
    async fn refused(&self, command: &str, args: Value) -> String {
        self.refused_within(command, args, PATIENCE).await
    }

    async fn refused_within(&self, command: &str, args: Value, limit: Duration) -> String {
        let (body, caller) = (args.to_string().into_bytes().into(), Caller::Operator("test".into()));
        let answer = self.0.host.plugins().call("everything", command, body, caller, limit).await;
        answer.expect_err(command).code().to_owned()
    }

    async fn events(&self) -> Vec<String> {
        serde_json::from_value(self.call("events", json!({})).await).expect("a list of texts")
    }

    async fn keys(&self) -> Vec<String> {
        serde_json::from_value(self.call("keys", json!({})).await).expect("a list of texts")
    }

    async fn count(&self, event: &str) -> usize {
        self.events().await.iter().filter(|heard| *heard == event).count()
    }

    /// Waits until the plugin heard an event so often.
    async fn hears(&self, event: &str, times: usize) -> Result<()> {
        until(&format!("{times} times `{event}`"), async || self.count(event).await >= times).await?;
        assert_eq!(self.count(event).await, times, "{event}");
        Ok(())
    }

    async fn send(&self, to: &Self, text: &str) {
        self.call("send", json!({"peer": to.id(), "key": MAIN, "text": text})).await;
    }

    async fn ask(&self, of: &Self, text: &str) -> Value {
        self.call("ask", json!({"peer": of.id(), "text": text, "timeout_ms": 30_000})).await
    }

    async fn upgrade(&self) -> Result<()> {
        let report = self.0.host.plugins().upgrade("everything", source("everything", settings())?).await?;
        assert!(report.snapshot_bytes.is_some(), "{:?}", report.snapshot_skipped);
        Ok(())
    }

    fn info(&self) -> PluginInfo {
        let all = self.0.host.plugins().list();
        all.into_iter().find(|info| info.name == "everything").expect("it is loaded")
    }
}

async fn two() -> Result<(Node, Node)> {
    let (a, b) = (Node::start().await?, Node::start().await?);
    a.0.connect(&b.0).await?;
    for node in [&a, &b] {
        node.hears("supported 1", 1).await?;
    }
    Ok((a, b))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ask_is_answered_refused_or_times_out() -> Result<()> {
    let (a, b) = two().await?;
    assert_eq!(a.ask(&b, "abc").await, "cba");
    let ask = |text: &str, timeout: u32| json!({"peer": b.id(), "text": text, "timeout_ms": timeout});
    assert_eq!(a.refused("ask", ask("refuse", 30_000)).await, "no-way");
    assert_eq!(a.refused("ask", ask("large", 30_000)).await, "answer-too-large");
    assert_eq!(a.refused("ask", ask("panic", 30_000)).await, "plugin-crashed");
    assert_eq!(a.refused("ask", ask("hold", 300)).await, "timed-out");
    // Whoever was asked hears that nobody waits any more, and an answer that comes too late goes nowhere.
    b.hears("withdrawn", 1).await?;
    assert_eq!(b.call("release", json!({"text": "late"})).await, 0);
    let stranger = json!({"peer": PeerId::from_bytes([5; 32]), "text": "abc", "timeout_ms": 30_000});
    assert_eq!(a.refused("ask", stranger).await, "not-connected");
    assert_eq!(a.ask(&b, "still there").await, "ereht llits");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ask_that_is_cancelled_is_withdrawn_at_the_other_side() -> Result<()> {
    let (a, b) = two().await?;
    let ask = a.call("ask-and-forget", json!({"peer": b.id(), "text": "hold", "timeout_ms": 60_000})).await;
    b.hears("hold", 1).await?;
    assert_eq!(b.count("withdrawn").await, 0);
    a.call("cancel", json!({"number": ask})).await;
    b.hears("withdrawn", 1).await?;
    assert_eq!(b.call("release", json!({"text": "x"})).await, 0);
    // No outcome comes for a cancelled ask: one would be noted as unknown.
    assert!(a.events().await.iter().all(|event| !event.starts_with("outcome")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_ask_survives_upgrades_of_both_sides() -> Result<()> {
    let (a, b) = two().await?;
    let answer = async { a.ask(&b, "hold").await };
    let meanwhile = async {
        b.hears("hold", 1).await?;
        b.upgrade().await?;
        a.upgrade().await?;
        assert_eq!(b.call("release", json!({"text": "at last"})).await, 1);
        anyhow::Ok(())
    };
    let (answer, done) = tokio::join!(answer, meanwhile);
    done?;
    assert_eq!(answer, "at last");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_lacks_the_protocol_or_loses_it_ends_asks_and_sends_as_unsupported() -> Result<()> {
    let (a, b) = two().await?;
    let to_b = json!({"peer": b.id(), "key": MAIN, "text": "note x"});
    let open = a.refused("ask", json!({"peer": b.id(), "text": "hold", "timeout_ms": 60_000}));
    let unload = async {
        b.hears("hold", 1).await?;
        b.0.host.plugins().unload("everything").await?;
        anyhow::Ok(())
    };
    let (open, unloaded) = tokio::join!(open, unload);
    unloaded?;
    assert_eq!(open, "unsupported");
    a.hears("unsupported 1", 1).await?;
    assert_eq!(a.refused("send", to_b.clone()).await, "unsupported");
    b.0.load_with("everything", settings()).await?;
    a.hears("supported 1", 2).await?;
    a.call("send", to_b).await;
    b.hears("note x", 1).await?;
    assert!(b.keys().await.contains(&"stopped".to_owned()), "the last turn of the instance before was committed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_last_turn_of_a_plugin_sends_arrives() -> Result<()> {
    let (a, b) = two().await?;
    b.0.host.plugins().unload("everything").await?;
    a.hears("unsupported 1", 1).await?;
    a.hears("note farewell", 1).await?;
    b.0.load_with("everything", settings()).await?;
    a.hears("supported 1", 2).await?;
    b.hears("supported 1", 1).await?;
    b.0.host.shutdown().await;
    a.hears("unsupported 1", 2).await?;
    a.hears("note farewell", 2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_fire_once_can_be_moved_and_cancelled_and_survive_upgrade_and_crash() -> Result<()> {
    let node = Node::start().await?;
    let timer = |number: u32, timeout_ms: u32| json!({"number": number, "timeout_ms": timeout_ms});
    node.call("timer", timer(1, 0)).await;
    node.hears("timer 1", 1).await?;
    node.call("timer", timer(2, 1)).await;
    node.call("timer", timer(3, 600_000)).await;
    node.call("timer", timer(3, 0)).await;
    node.call("timer", timer(4, 400)).await;
    node.call("cancel-timer", timer(4, 0)).await;
    node.call("timer", timer(5, 500)).await;
    node.upgrade().await?;
    node.hears("timer 5", 1).await?;
    node.hears("timer 2", 1).await?;
    node.hears("timer 3", 1).await?;
    assert_eq!(node.count("timer 4").await, 0);
    node.call("timer", timer(6, 500)).await;
    assert_eq!(node.refused("panic", json!({})).await, "plugin-crashed");
    assert_eq!(node.events().await, ["started after a crash"], "memory is gone with the instance");
    node.hears("timer 6", 1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stopwatch_goes_on_within_a_turn_and_across_upgrades() -> Result<()> {
    let node = Node::start().await?;
    let mut all = Vec::new();
    for _ in 0..2 {
        all.extend(serde_json::from_value::<Vec<u64>>(node.call("clock", json!({})).await)?);
        node.upgrade().await?;
    }
    assert!(all.len() == 6 && all.is_sorted_by(|a, b| a < b), "{all:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugins_call_each_other_by_grant_only() -> Result<()> {
    let node = Node::start().await?;
    let call = |plugin: &str, command: &str, timeout_ms: u32, args: Value| json!({"plugin": plugin, "text": command, "timeout_ms": timeout_ms, "args": args});
    let stats = call("ping", "stats", 30_000, json!({}));
    assert_eq!(node.refused("call", stats.clone()).await, "unknown-plugin");
    node.0.load("ping-0.1").await?;
    assert_eq!(node.call("call", stats).await["messages"], 0);
    assert_eq!(node.refused("call", call("bank", "stats", 30_000, json!({}))).await, "not-granted");
    assert_eq!(node.refused("call", call("nobody", "stats", 30_000, json!({}))).await, "unknown-plugin");
    assert_eq!(node.refused("call", call("ping", "nonsense", 30_000, json!({}))).await, "unknown-command");
    assert_eq!(node.refused("call", call("ping", "ping", 30_000, json!({}))).await, "bad-arguments");
    // A plugin may call itself; it hears the call in a later turn.
    let caller = node.call("call", call("everything", "caller", 30_000, json!({}))).await;
    assert!(caller.as_str().is_some_and(|caller| caller.contains("Plugin") && caller.contains("everything")));
    assert_eq!(node.refused("call", call("everything", "never", 200, json!({}))).await, "timed-out");
    node.hears("withdrawn", 1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_as_gone_when_the_other_plugin_is_unloaded() -> Result<()> {
    let (a, b) = two().await?;
    a.0.load("ping-0.1").await?;
    b.0.load("ping-0.1").await?;
    let network = a.0.host.network();
    let (to, ping) = (b.id(), "/ping/1.0.0".parse()?);
    until("ping can be reached", async || network.lane(&to, &ping).is_ok()).await?;
    // A flood without an end in sight, so that the call is open when ping goes.
    let flood = json!({"peer": b.id(), "count": 50_000_000, "size": 256});
    let call = a.refused("call", json!({"plugin": "ping", "text": "flood", "timeout_ms": 60_000, "args": flood}));
    let unload = async {
        let ping = || b.0.host.plugins().list().into_iter().find(|info| info.name == "ping");
        until("the flood runs", async || ping().is_some_and(|info| info.counters.messages > 1_000)).await?;
        a.0.host.plugins().unload("ping").await?;
        anyhow::Ok(())
    };
    let (call, unloaded) = tokio::join!(call, unload);
    unloaded?;
    assert_eq!(call, "gone");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_gives_up_is_told_to_the_plugin() -> Result<()> {
    let node = Node::start().await?;
    let limit = Duration::from_millis(200);
    assert_eq!(node.refused_within("never", json!({}), limit).await, "timed-out");
    node.hears("withdrawn", 1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_drops_the_effects_of_its_event_and_of_no_other() -> Result<()> {
    let (a, b) = two().await?;
    for text in ["put first", "fail 1", "put second", "fail 2", "put third"] {
        a.send(&b, text).await;
    }
    until("the last message was handled", async || b.keys().await.contains(&"third".to_owned())).await?;
    assert_eq!(b.keys().await, ["first", "second", "third"]);
    // Neither timer, message, protocol nor pause of the failed events came to be.
    a.send(&b, "put fourth").await;
    until("messages still come", async || b.keys().await.contains(&"fourth".to_owned())).await?;
    assert_eq!(b.count("timer 666").await, 0);
    assert_eq!(a.count("note of a failed event").await, 0);
    assert_eq!(b.info().protocols.len(), 1);
    assert_eq!(b.info().counters.crashes, 0);
    assert_eq!(b.count("missed 1").await, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sdk_and_host_count_the_same_effects() -> Result<()> {
    for what in ["send-all", "unregister", "pause", "report", "cancel", "remove", "respond"] {
        let node = Node::start().await?;
        let body = json!({"text": what}).to_string().into_bytes().into();
        let caller = Caller::Operator("test".into());
        let answer = node.0.host.plugins().call("everything", "miscount", body, caller, Duration::from_secs(5)).await;
        answer.unwrap_or_else(|error| panic!("the answer beside {what} was taken back: {error}"));
        assert_eq!(node.keys().await, ["kept"], "beside {what}");
        node.0.host.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protocols_come_and_go_at_run_time() -> Result<()> {
    let (a, b) = two().await?;
    let room = |key: u32, id: &str| json!({"key": key, "id": id});
    assert_eq!(a.refused("register", room(2, "/other/1")).await, "not-granted");
    assert_eq!(a.refused("register", room(2, "nonsense")).await, "bad-id");
    assert_eq!(a.refused("register", room(MAIN, "/room/1")).await, "key-in-use");
    a.call("register", room(2, "/room/1")).await;
    assert_eq!(a.refused("register", room(3, "/room/1")).await, "taken");
    let to_b = json!({"peer": b.id(), "key": 2, "text": "note in the room"});
    assert_eq!(a.refused("send", to_b.clone()).await, "unsupported");
    b.call("register", room(7, "/room/1")).await;
    a.hears("supported 2", 1).await?;
    b.hears("supported 7", 1).await?;
    a.call("send", to_b.clone()).await;
    b.hears("note in the room", 1).await?;
    assert_eq!(a.info().protocols.len(), 2);

    // It stays over an upgrade and a crash, which the peer does not notice.
    b.upgrade().await?;
    a.call("send", to_b.clone()).await;
    b.hears("note in the room", 2).await?;
    assert_eq!(a.count("unsupported 2").await, 0);

    b.call("unregister", room(7, "")).await;
    a.hears("unsupported 2", 1).await?;
    assert_eq!(a.refused("send", to_b.clone()).await, "unsupported");
    assert_eq!(b.refused("send", json!({"peer": a.id(), "key": 7, "text": "x"})).await, "unknown-protocol");
    assert_eq!(b.info().protocols.len(), 1);

    b.call("register", room(8, "/room/1")).await;
    a.hears("supported 2", 2).await?;
    a.call("send", to_b).await;
    b.hears("note in the room", 3).await?;
    a.hears("unsupported 2", 1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_instance_hears_of_no_peer_that_went_while_a_protocol_was_gone() -> Result<()> {
    let (a, b) = two().await?;
    let room = json!({"key": 2, "id": "/room/1"});
    for node in [&a, &b] {
        node.call("register", room.clone()).await;
    }
    a.hears("supported 2", 1).await?;
    a.call("unregister", room.clone()).await;
    b.hears("unsupported 2", 1).await?;
    b.0.host.shutdown().await;
    a.hears("unsupported 1", 1).await?;
    a.call("register", room).await;
    a.upgrade().await?;
    a.hears("started by an upgrade", 1).await?;
    a.hears("supported 2", 1).await?;
    a.hears("supported 1", 1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_protocol_fills_the_lane_of_its_sender_until_it_goes_on() -> Result<()> {
    let (a, b) = two().await?;
    b.call("pause", json!({"on": true})).await;
    // The mailbox takes nothing, so windows and the lane fill up; what is on its way is bounded.
    let mut taken = 0;
    let fill = json!({"peer": b.id()});
    until("the lane is congested for good", async || {
        let filled = a.call("fill", fill.clone()).await;
        assert!(["busy", "over-budget"].contains(&filled["refused"].as_str().expect("a name")), "{filled}");
        taken += filled["taken"].as_u64().expect("a number");
        filled["taken"] == 0 && a.count("congested").await > a.count("relieved").await
    })
    .await?;
    assert!(taken > 0);
    let relieved = a.count("relieved").await;
    // Other protocols and commands go on meanwhile.
    b.call("register", json!({"key": 2, "id": "/room/1"})).await;
    assert_eq!(b.count("supported 1").await, 1);
    b.call("pause", json!({"on": false})).await;
    until("the lane is relieved", async || a.count("relieved").await > relieved).await?;
    until("everything arrived", async || b.info().counters.messages >= taken).await?;
    assert_eq!(b.info().counters.messages, taken);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_ends_by_itself_and_with_the_instance_that_asked_for_it() -> Result<()> {
    let (a, b) = two().await?;
    b.call("pause", json!({"on": true})).await;
    a.send(&b, "put one").await;
    assert_eq!(b.refused("panic", json!({})).await, "plugin-crashed");
    let since = std::time::Instant::now();
    until("the message came", async || b.keys().await.contains(&"one".to_owned())).await?;
    assert!(since.elapsed() < Duration::from_secs(8), "the crash lifted the pause");
    b.call("pause", json!({"on": true})).await;
    a.send(&b, "put two").await;
    until("the host lifted the pause", async || b.keys().await.contains(&"two".to_owned())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_nobody_waits_for_any_more_is_not_delivered() -> Result<()> {
    let (a, b) = two().await?;
    b.call("pause", json!({"on": true})).await;
    let ask = json!({"peer": b.id(), "text": "hold", "timeout_ms": 300});
    assert_eq!(a.refused("ask", ask).await, "timed-out");
    a.send(&b, "put after").await;
    b.call("pause", json!({"on": false})).await;
    until("the message behind it came", async || b.keys().await.contains(&"after".to_owned())).await?;
    assert_eq!(b.count("hold").await, 0, "it timed out before the plugin could hear it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_signs_with_the_key_of_its_node() -> Result<()> {
    let node = Node::start().await?;
    let signature = node.call("sign", json!({"text": "hello"})).await;
    let signature = signature.as_str().expect("digits");
    let signature = ed25519_dalek::Signature::from_slice(&from_hex(signature, 64)?)?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(node.id().as_bytes())?;
    key.verify_strict(b"weir-plugin-v1everything\0hello", &signature)?;
    Ok(())
}

/// What the host hashes for a plugin and what is hashed inside come to the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_hashes_as_everybody_does() -> Result<()> {
    let node = Node::start().await?;
    let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(node.call("hash", json!({"text": "abc"})).await, known, "FIPS 180-4");
    for bytes in [0, 32 << 10, (32 << 10) + 1, 200_000] {
        let text = "x".repeat(bytes);
        let expected = to_hex(&weir_sdk::sha256(text.as_bytes()));
        assert_eq!(node.call("hash", json!({"text": text})).await, expected, "{bytes} bytes");
    }
    Ok(())
}

/// Keys one after the other, and back, and bytes that are no key: each check is of its own key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_checks_signatures_of_one_key_after_the_other() -> Result<()> {
    use ed25519_dalek::{Signer as _, SigningKey};
    let node = Node::start().await?;
    let keys = [1, 2].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let check = async |key: &[u8], message: &[u8], signature: &[u8]| {
        let text = [key, message, signature].map(to_hex).join(" ");
        node.call("verify", json!({"text": text})).await
    };
    for (at, other) in [(0, 1), (0, 1), (1, 0), (0, 1)] {
        let signature = keys[at].sign(b"signed").to_bytes();
        let (key, another) = (keys[at].verifying_key(), keys[other].verifying_key());
        assert_eq!(check(key.as_bytes(), b"signed", &signature).await, true);
        assert_eq!(check(key.as_bytes(), b"forged", &signature).await, false);
        assert_eq!(check(another.as_bytes(), b"signed", &signature).await, false, "somebody else's key");
        assert_eq!(check(&[2; 32], b"signed", &signature).await, false, "nobody's key");
        assert_eq!(check(&another.as_bytes()[1..], b"signed", &signature).await, false, "no key's length");
        assert_eq!(check(another.as_bytes(), b"signed", &keys[other].sign(b"signed").to_bytes()).await, true);
    }
    Ok(())
}
