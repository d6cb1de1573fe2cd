//! The plugin against a test host: counts, floods, pings, upgrade and crash.

use serde_json::{Value, json};
use weir_plugin_ping::{Checksum, First, HEADER, PROTOCOL, Ping, Second};
use weir_sdk::abi::AskError;
use weir_sdk::testing::TestHost;

fn flooded(flood: u64, index: u64, payload: &[u8]) -> Vec<u8> {
    [&flood.to_le_bytes(), &index.to_le_bytes(), payload].concat()
}

fn stats(host: &mut TestHost) -> Value {
    host.command("stats", json!({})).expect("stats")
}

#[test]
fn answers_with_what_it_got() {
    let mut host = TestHost::new::<Ping<First>>(());
    let peer = host.peer(1);
    let request = host.request(peer, PROTOCOL, b"echo");
    assert_eq!(host.outcome(request), Some(Ok(b"echo".to_vec())));
    assert_eq!(stats(&mut host)["requests"], 1);
}

#[test]
fn a_flood_arrives_whole_at_the_other_side() {
    let (mut from, mut to) = (TestHost::new::<Ping<First>>(()), TestHost::new::<Ping<Second>>(()));
    let (there, here) = (from.peer(2), to.peer(1));
    let done = from.command("flood", json!({"peer": there, "count": 5_000, "size": 100})).expect("flood");
    let sent = from.sent();
    assert_eq!(sent.len(), 5_000);
    assert!(sent.iter().all(|message| message.body.len() == 100));
    sent.chunks(256).for_each(|batch| to.messages(here, PROTOCOL, batch.iter().map(|message| &message.body)));
    let stats = stats(&mut to);
    assert_eq!((&stats["messages"], &stats["bytes"]), (&json!(5_000), &json!(500_000)));
    assert_eq!((&stats["lost"], &stats["reordered"], &stats["duplicated"]), (&json!(0), &json!(0), &json!(0)));
    let flood = &stats["per_peer"][0]["floods"][0];
    assert_eq!((&flood["flood"], &flood["checksum"]), (&done["flood"], &done["checksum"]));
    assert_eq!((&stats["largest_message"], &stats["mean_message"]), (&json!(100), &json!(100.0)));
}

#[test]
fn a_flood_waits_for_room_and_ends_with_its_peer() {
    let mut host = TestHost::new::<Ping<First>>(());
    let peer = host.peer(1);
    host.limit(peer, PROTOCOL, 10);
    let command = host.command_later("flood", json!({"peer": peer, "count": 30}));
    host.advance(1_000);
    assert_eq!((host.sent().len(), host.answer(command)), (10, None));
    host.relieve(peer, PROTOCOL, 15);
    assert_eq!((host.sent().len(), host.answer(command)), (15, None));
    host.disconnect(peer);
    let failure = host.answer(command).expect("answered").expect_err("failed");
    assert_eq!(failure.code, "not-connected");
    assert!(failure.message.contains("25 messages were taken, 5 were not"), "{}", failure.message);
}

#[test]
fn a_file_goes_out_in_pieces_of_one_flood() {
    let mut host = TestHost::new::<Ping<First>>(());
    let peer = host.peer(1);
    let first = host.command("send", json!({"peer": peer, "data": "aGVsbG8gd29ybGQ=", "size": HEADER + 4}));
    let first = first.expect("first piece");
    let more = json!({"peer": peer, "data": "more", "encoding": "text", "size": 20, "flood": first["flood"]});
    let second = host.command("send", more).expect("second piece");
    assert_eq!((&first["messages"], &second["messages"], &second["total"]), (&json!(3), &json!(1), &json!(4)));
    let sent = host.sent();
    let payload: Vec<u8> = sent.iter().flat_map(|message| message.body[HEADER..].to_vec()).collect();
    assert_eq!(payload, b"hello worldmore");
    let mut checksum = Checksum::default();
    sent.iter().for_each(|message| checksum.update(&message.body[HEADER..]));
    assert_eq!(second["checksum"], checksum.hex());
    let unknown = json!({"peer": peer, "data": "", "flood": "12"});
    assert_eq!(host.command("send", unknown).expect_err("unknown").code, "unknown-flood");
}

#[test]
fn pings_one_after_the_other() {
    let mut host = TestHost::new::<Ping<First>>(());
    let peer = host.peer(1);
    let command = host.command_later("ping", json!({"peer": peer, "count": 10, "size": 64}));
    for round in 0..10 {
        let asks = host.asks();
        assert_eq!(asks.len(), 1);
        host.advance(if round == 9 { 50 } else { 2 });
        host.respond(asks[0].id, if round == 4 { Err(AskError::TimedOut) } else { Ok(&asks[0].body) });
    }
    let done = host.answer(command).expect("answered").expect("ping");
    assert_eq!((&done["sent"], &done["answered"], &done["failed"]), (&json!(10), &json!(9), &json!(1)));
    assert_eq!(done["elapsed_us"], 68_000);
    let near = |key: &str, exact: f64| (0.96..=1.0).contains(&(done[key].as_f64().expect(key) / exact));
    assert!(near("p50_us", 2_000.0) && near("p99_us", 50_000.0), "{done}");
    // Eight answers after 2 ms, one after 50 ms.
    assert!(near("mean_us", 66_000.0 / 9.0), "{done}");
}

#[test]
fn refuses_what_makes_no_sense() {
    let mut host = TestHost::new::<Ping<First>>(());
    let (peer, other) = (host.peer(1), "77".repeat(32));
    let mut code = |name: &str, args: Value| host.command(name, args).expect_err(name).code;
    assert_eq!(code("ping", json!({"peer": other})), "not-connected");
    assert_eq!(code("flood", json!({"peer": other, "count": 1})), "not-connected");
    assert_eq!(code("flood", json!({"peer": peer, "count": 1, "size": 3})), "bad-arguments");
    assert_eq!(code("flood", json!({"peer": "me", "count": 1})), "bad-arguments");
    assert_eq!(code("send", json!({"peer": peer, "data": "!"})), "bad-base64");
    assert_eq!(code("pong", json!({})), "unknown-command");
    assert!(host.sent().is_empty());
}

#[test]
fn counts_and_floods_survive_an_upgrade_and_a_way_back() {
    let mut host = TestHost::new::<Ping<First>>(());
    let peer = host.peer(1);
    host.limit(peer, PROTOCOL, 3);
    let command = host.command_later("flood", json!({"peer": peer, "count": 5}));
    host.messages(peer, PROTOCOL, [flooded(9, 0, b"a"), flooded(9, 1, b"b")]);
    host.upgrade::<Ping<Second>>().expect("upgrade");
    host.message(peer, PROTOCOL, &flooded(9, 2, b"longer"));
    host.relieve(peer, PROTOCOL, 100);
    assert_eq!(host.answer(command).expect("answered").expect("flood")["messages"], 5);
    let after = stats(&mut host);
    assert_eq!((&after["version"], &after["messages"], &after["lost"]), (&json!("0.2.0"), &json!(3), &json!(0)));
    assert_eq!(after["largest_message"], 22);
    host.upgrade::<Ping<First>>().expect("back");
    let back = stats(&mut host);
    assert_eq!((&back["version"], &back["messages"]), (&json!("0.1.0"), &json!(3)));
}

#[test]
fn counts_survive_a_crash() {
    let mut host = TestHost::new::<Ping<Second>>(());
    let peer = host.peer(1);
    host.messages(peer, PROTOCOL, [flooded(9, 0, b"a"), flooded(9, 1, b"b")]);
    host.undelivered(peer, PROTOCOL, 4);
    let before = stats(&mut host);
    host.crash();
    assert_eq!(stats(&mut host), before);
    host.message(peer, PROTOCOL, &flooded(9, 2, b"c"));
    assert_eq!(stats(&mut host)["lost"], 0);
    host.command("reset", json!({})).expect("reset");
    host.crash();
    assert_eq!(stats(&mut host)["messages"], 0);
}
