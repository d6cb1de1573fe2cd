//! Who is connected, with the real binary: limits read with their values, places, ranks, and access lists that are
//! changed while the node runs and kept across restarts.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::weir::Weir;

/// A node whose `weir.toml` has these lines in a section.
fn with(section: &str, lines: &str) -> Result<Weir> {
    let mut weir = Weir::init()?;
    let file = weir.folder().join("weir.toml");
    let head = format!("[{section}]\n");
    let text = fs::read_to_string(&file)?;
    ensure!(text.contains(&head), "no {head} in the template");
    fs::write(&file, text.replacen(&head, &format!("{head}{lines}\n"), 1))?;
    weir.run()?;
    Ok(weir)
}

fn peer<'a>(peers: &'a Value, id: &str) -> Option<&'a Value> {
    peers["peers"].as_array()?.iter().find(|peer| peer["peer_id"] == id)
}

fn connected(id: &str) -> impl Fn(&Value) -> bool {
    move |peers| peer(peers, id).is_some_and(|peer| peer["connected"] == true)
}

fn limit<'a>(limits: &'a Value, scope: &str, name: &str) -> Result<&'a Value> {
    let mut all = limits["limits"].as_array().into_iter().flatten();
    all.find(|limit| limit["scope"] == scope && limit["name"] == name).with_context(|| format!("no {scope} {name}"))
}

#[test]
fn limits_are_read_with_the_values_in_force() -> Result<()> {
    let node = with("limits", "max_peers = 5\nreserved_outbound = 2\neviction = \"fifo\"\nconnections_per_peer = 2")?;
    let other = Weir::start()?;
    other.json(&["peers", "add", &node.address, "--necessary"])?;
    node.until("connected", &["peers"], connected(&other.peer_id))?;
    let limits = node.json(&["limits"])?;
    let peers = limit(&limits, "node", "peers")?;
    assert_eq!((&peers["value"], &peers["in_use"]), (&json!(5), &json!(1)), "{peers}");
    assert_eq!((&peers["key"], &peers["unit"]), (&json!("limits.max_peers"), &json!("count")), "{peers}");
    let inbound = limit(&limits, "node", "ordinary peers that dialed this node")?;
    assert_eq!((&inbound["value"], &inbound["in_use"]), (&json!(3), &json!(1)), "{inbound}");
    assert_eq!(limit(&limits, "node", "eviction")?["value"], "fifo");
    let connections = limit(&limits, "peer", "connections")?;
    assert_eq!((&connections["value"], &connections["in_use"]), (&json!(2), &json!(1)), "{connections}");
    assert_eq!(limit(&limits, "source", "pending handshakes")?["value"], 16);
    let text = node.text(&["limits"])?;
    for part in ["LIMIT", "IN USE", "limits.max_connections_per_source", "4 GiB", "2000 ms"] {
        ensure!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    Ok(())
}

#[test]
fn a_necessary_peer_gets_the_place_of_an_ordinary_one_and_a_full_node_says_so() -> Result<()> {
    let full = with("limits", "max_peers = 1")?;
    let (ordinary, necessary) = (Weir::start()?, Weir::start()?);
    ordinary.json(&["peers", "add", &full.address, "--necessary"])?;
    full.until("connected", &["peers"], connected(&ordinary.peer_id))?;
    // For `full` nobody is necessary yet.
    necessary.json(&["peers", "add", &full.address, "--necessary"])?;
    necessary.until("told why not", &["peers"], |peers| {
        let error = peer(peers, &full.peer_id).and_then(|peer| peer["last_error"].as_str());
        error.is_some_and(|error| error.contains("node has 1 of 1 peers; raise `limits.max_peers`"))
    })?;
    full.json(&["peers", "add", &necessary.address, "--necessary"])?;
    full.until("connected", &["peers"], connected(&necessary.peer_id))?;
    full.until("evicted", &["peers"], |peers| !connected(&ordinary.peer_id)(peers))?;
    Ok(())
}

#[test]
fn a_block_closes_what_is_open_and_lasts_until_it_is_lifted() -> Result<()> {
    let (a, mut b) = (Weir::start()?, Weir::start()?);
    a.json(&["peers", "add", &b.address, "--necessary"])?;
    b.until("connected", &["peers"], connected(&a.peer_id))?;
    assert_eq!(b.json(&["access"])?, json!({"allow": [], "block": []}));
    let changed = b.json(&["access", "block", &a.peer_id])?;
    assert_eq!(changed, json!({"list": "block", "entry": a.peer_id, "closed": 1}));
    a.until("told why", &["peers"], |peers| {
        let peer = peer(peers, &b.peer_id);
        peer.is_some_and(|peer| {
            peer["connected"] == false
                && peer["last_error"].as_str().is_some_and(|e| e.contains("blocked by the operator"))
        })
    })?;
    assert_eq!(limit(&b.json(&["limits"])?, "node", "access entries")?["in_use"], 1);
    b.terminate()?;
    b.run()?;
    let kept = json!({"allow": [], "block": [{"entry": a.peer_id, "configured": false}]});
    assert_eq!(b.json(&["access", "list"])?, kept);
    a.json(&["peers", "add", &b.address, "--necessary"])?;
    let dialed = b.json(&["peers", "add", &a.address, "--necessary"]).is_ok();
    ensure!(dialed, "a blocked peer may be known");
    b.until("not dialed", &["peers"], |peers| {
        let error = peer(peers, &a.peer_id).and_then(|peer| peer["last_error"].as_str());
        error.is_some_and(|error| error.contains("block list has") && error.contains("weir access unblock"))
    })?;
    b.json(&["access", "unblock", &a.peer_id])?;
    b.until("connected again", &["peers"], connected(&a.peer_id))?;
    assert_eq!(b.failure(&["access", "unblock", &a.peer_id])?.code, "unknown-entry");
    Ok(())
}

#[test]
fn entries_of_the_configuration_are_in_force_and_removed_only_there() -> Result<()> {
    let node = with("access", "allow = [\"10.0.0.0/8\"]\nblock = [\"[2001:db8::1]:4433\"]")?;
    let listed = node.json(&["access"])?;
    assert_eq!(listed["allow"], json!([{"entry": "10.0.0.0/8", "configured": true}]));
    node.json(&["access", "block", "203.0.113.0/24"])?;
    let text = node.text(&["access"])?;
    for part in ["weir.toml", "access.json", "203.0.113.0/24", "[2001:db8::1]:4433"] {
        ensure!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    let failed = node.failure(&["access", "unblock", "[2001:db8::1]:4433"])?;
    assert_eq!(failed.code, "configured-entry");
    assert_eq!(node.json(&["access", "unblock", "203.0.113.0/24"])?["closed"], 0);
    // Nobody on this machine is on the allow list.
    let other = Weir::start()?;
    other.json(&["peers", "add", &node.address, "--necessary"])?;
    node.json(&["access", "allow", &other.peer_id])?;
    node.until("connected", &["peers"], connected(&other.peer_id))?;
    let changed = node.json(&["access", "disallow", &other.peer_id])?;
    assert_eq!(changed["closed"], 1, "{changed}");
    Ok(())
}
