//! The real binary with real plugins: the life of a plugin, the errors an operator meets, and the end of a node.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::node::guest_path;
use weir_tests::weir::{END, Weir};

fn guest(name: &str) -> Result<String> {
    Ok(guest_path(name)?.to_str().context("UTF-8")?.to_owned())
}

fn put(weir: &Weir, name: &str, bytes: &[u8]) -> Result<(PathBuf, String)> {
    let path = weir.folder().join(name);
    fs::write(&path, bytes)?;
    let text = path.to_str().context("UTF-8")?.to_owned();
    Ok((path, text))
}

/// A valid component of another world: it exports an empty instance `wasi:cli/run@0.2.0`.
fn component_of_another_world() -> Vec<u8> {
    let name = b"wasi:cli/run@0.2.0";
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    // Section 5, instances: one, made of no exports.
    component.extend([5, 3, 1, 1, 0]);
    // Section 11, exports: one name, of sort instance (5), index 0, without a type.
    component.extend([11, name.len() as u8 + 6, 1, 0, name.len() as u8]);
    component.extend(name);
    component.extend([5, 0, 0]);
    component
}

fn first<'a>(document: &'a Value, list: &str) -> &'a Value {
    &document[list][0]
}

fn says(message: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(message.contains(part), "`{part}` is not in: {message}");
    }
    Ok(())
}

/// Two nodes that know each other and have ping.
fn two_with_ping() -> Result<(Weir, Weir)> {
    let (a, b) = (Weir::start()?, Weir::start()?);
    a.json(&["peers", "add", &b.address, "--necessary"])?;
    let connected = |document: &Value| first(document, "peers")["connected"] == true;
    for node in [&a, &b] {
        node.until("connected", &["peers"], connected)?;
        node.json(&["plugin", "load", &guest("ping-0.1")?])?;
    }
    let protocols = |document: &Value| first(document, "peers")["protocols"] == json!(["/ping/1.0.0"]);
    for node in [&a, &b] {
        node.until("the other's protocols", &["peers"], protocols)?;
    }
    Ok((a, b))
}

#[test]
fn two_nodes_from_the_first_line_to_the_last() -> Result<()> {
    let (mut a, mut b) = two_with_ping()?;
    let peers = a.json(&["peers"])?;
    let peer = first(&peers, "peers");
    assert_eq!((&peer["peer_id"], &peer["necessary"]), (&json!(b.peer_id), &json!(true)), "{peers}");
    assert!(peer["connections"].as_u64().is_some_and(|connections| connections >= 1), "{peers}");
    let protocols = a.json(&["protocols"])?;
    assert_eq!(protocols["protocols"], json!([{"id": "/ping/1.0.0", "network": "", "handler": "ping", "peers": 1}]));
    let list = b.json(&["plugin", "list"])?;
    let plugin = first(&list, "plugins");
    assert_eq!((&plugin["name"], &plugin["version"]), (&json!("ping"), &json!("0.1.0")), "{list}");
    assert_eq!((&plugin["state"], &plugin["protocols"]), (&json!("active"), &json!(["/ping/1.0.0"])), "{list}");
    let revision = plugin["revision"].as_u64().context("a revision")?;

    let ping = json!({"peer": b.peer_id, "count": 20}).to_string();
    assert_eq!(a.json(&["call", "ping", "ping", &ping])?["answered"], 20);
    let flood = json!({"peer": b.peer_id, "count": 20_000}).to_string();
    assert_eq!(a.json(&["call", "ping", "flood", &flood])?["messages"], 20_000);

    let report = b.json(&["plugin", "upgrade", "ping", &guest("ping-0.2")?])?;
    assert_eq!((&report["from_version"], &report["plugin"]["version"]), (&json!("0.1.0"), &json!("0.2.0")), "{report}");
    assert!(report["pause_us"].is_u64(), "{report}");
    assert!(report["plugin"]["revision"].as_u64() > Some(revision), "{report}");
    let stats = b.until("all messages", &["call", "ping", "stats"], |stats| stats["messages"] == 20_000)?;
    assert_eq!((&stats["version"], &stats["lost"], &stats["requests"]), (&json!("0.2.0"), &json!(0), &json!(20)));
    assert!(b.text(&["plugin", "list"])?.contains("0.2.0"));
    assert_eq!(a.json(&["call", "ping", "ping", &ping])?["answered"], 20);

    b.json(&["plugin", "unload", "ping"])?;
    a.until("ping is gone", &["peers"], |document| first(document, "peers")["protocols"] == json!([]))?;
    for command in ["ping", "flood"] {
        let arguments = if command == "ping" { &ping } else { &flood };
        let failed = a.failure(&["call", "ping", command, arguments])?;
        assert_eq!(failed.code, "unsupported", "{command}: {}", failed.message);
    }
    assert_eq!(b.failure(&["call", "ping", "stats"])?.code, "unknown-plugin");
    assert_eq!(first(&a.json(&["protocols"])?, "protocols")["peers"], 0);
    assert!(b.terminate()? < END);
    a.until("the peer is gone", &["peers"], |document| first(document, "peers")["connected"] == false)?;
    assert_eq!(a.failure(&["call", "ping", "ping", &ping])?.code, "not-connected");
    assert!(a.terminate()? < END);
    Ok(())
}

#[test]
fn what_a_node_counts_is_there_for_people_and_for_prometheus() -> Result<()> {
    let (a, b) = two_with_ping()?;
    let ping = json!({"peer": b.peer_id, "count": 20}).to_string();
    a.json(&["call", "ping", "ping", &ping])?;
    let metrics = a.json(&["metrics"])?;
    let value = |name: &str| {
        let all = metrics["metrics"].as_array()?.iter();
        all.filter(|metric| metric["name"] == name).find_map(|metric| metric["value"].as_u64())
    };
    for (name, least) in [
        ("weir_peers", 1),
        ("weir_connections_admitted_total", 1),
        ("weir_supervisor_attempts_total", 1),
        ("weir_borrows_total", 1),
        ("weir_receive_streams_accepted_total", 1),
        ("weir_exchange_connections", 1),
        ("weir_plugin_turns_total", 20),
    ] {
        assert!(value(name) >= Some(least), "{name} of {metrics}");
    }
    assert!(a.text(&["metrics"])?.contains("weir_peers"));
    let mut socket = std::os::unix::net::UnixStream::connect(a.folder().join("weir.sock"))?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").context("a head and a body")?;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(text.contains("# TYPE weir_peers gauge\nweir_peers 1\n"), "{text}");
    assert!(text.contains("weir_plugin_turns_total{plugin=\"ping\"} "), "{text}");
    Ok(())
}

#[test]
fn a_node_ends_in_time_in_the_middle_of_a_flood() -> Result<()> {
    let (mut a, mut b) = two_with_ping()?;
    let flood = json!({"peer": b.peer_id, "count": 100_000_000}).to_string();
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let mut call = std::process::Command::new(std::env::var_os("WEIR_BIN").context("WEIR_BIN")?);
            call.arg("--dir").arg(a.folder()).args(["call", "ping", "flood", &flood, "--timeout", "1m"]);
            anyhow::Ok(call.output()?.status)
        });
        let flows = |stats: &Value| stats["messages"].as_u64() > Some(10_000);
        b.until("the flood runs", &["call", "ping", "stats"], flows)?;
        let took = b.terminate()?;
        ensure!(took < END, "the receiver took {took:?}");
        let status = flooding.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
        ensure!(!status.success(), "a flood to a node that is gone fails");
        anyhow::Ok(())
    })?;
    b.run()?;
    let took = a.terminate()?;
    ensure!(took < END, "the sender took {took:?}");
    assert!(b.terminate()? < END);
    Ok(())
}

/// How many threads the node's runtime has: those that run tasks, and a few for what blocks, which have the same name.
#[cfg(target_os = "linux")]
fn workers(process: u32) -> Result<usize> {
    let threads = fs::read_dir(format!("/proc/{process}/task"))?;
    let names = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    Ok(names.filter(|name| name.trim_end() == "tokio-rt-worker").count())
}

#[cfg(target_os = "linux")]
#[test]
fn a_node_has_as_many_threads_as_it_is_told() -> Result<()> {
    let mut weir = Weir::init()?;
    weir.run_with(&["--threads", "24"])?;
    let many = workers(weir.process().context("it runs")?)?;
    assert!(many >= 24, "{many}");
    weir.terminate()?;
    weir.run_with(&["--threads", "1"])?;
    let few = workers(weir.process().context("it runs")?)?;
    assert!((1..12).contains(&few), "{few}");
    let loaded = weir.json(&["plugin", "load", &guest("ping-0.1")?])?;
    assert_eq!(loaded["plugin"]["name"], "ping", "it does all its work on that one");
    Ok(())
}

#[test]
fn what_is_no_plugin_is_refused_with_what_to_do() -> Result<()> {
    let weir = Weir::start()?;
    let (_, text) = put(&weir, "notes.wasm", b"dear diary\n")?;
    let failed = weir.failure(&["plugin", "load", &text])?;
    assert_eq!(failed.code, "not-wasm");
    says(&failed.message, &["notes.wasm", "text file that begins with `dear diary`", "give that file instead"])?;

    let (_, other) = put(&weir, "other.wasm", &component_of_another_world())?;
    let failed = weir.failure(&["plugin", "load", &other])?;
    assert_eq!(failed.code, "other-world");
    says(&failed.message, &["other.wasm", "wasi:cli/run@0.2.0", "not a Weir plugin", "weir_sdk::export!"])?;

    let mut cut = fs::read(guest_path("ping-0.1")?)?;
    cut.truncate(cut.len() / 2);
    let (_, cut) = put(&weir, "cut.wasm", &cut)?;
    let failed = weir.failure(&["plugin", "load", &cut])?;
    assert_eq!(failed.code, "malformed");
    says(&failed.message, &["cut.wasm", "Copy or build it again"])?;

    let (_, empty) = put(&weir, "empty.wasm", b"")?;
    assert_eq!(weir.failure(&["plugin", "load", &empty])?.code, "not-wasm");
    assert_eq!(weir.json(&["plugin", "list"])?["plugins"], json!([]));
    Ok(())
}

#[test]
fn a_missing_grant_is_named_and_its_advice_works() -> Result<()> {
    let mut weir = Weir::start()?;
    let file = guest_path("asks_for_grant")?;
    let (path, file) = put(&weir, "my bank.wasm", &fs::read(file)?)?;
    let failed = weir.failure(&["plugin", "load", &file])?;
    assert_eq!(failed.code, "missing-grant");
    let advice =
        ["asks for \"call:bank\"", "[plugins.\"my bank\"] grants = [\"call:bank\"] in weir.toml", "my bank.toml"];
    says(&failed.message, &advice)?;

    fs::write(path.with_extension("toml"), "grants = [\"call:bank\"]\n")?;
    let loaded = weir.json(&["plugin", "load", &file])?;
    assert_eq!(loaded["plugin"]["grants"], json!(["call:bank"]), "{loaded}");
    let again = weir.failure(&["plugin", "load", &file])?;
    assert_eq!(again.code, "name-taken");
    says(&again.message, &["weir plugin upgrade asks-for-grant", "weir plugin unload asks-for-grant"])?;
    weir.json(&["plugin", "unload", "asks-for-grant"])?;
    fs::remove_file(path.with_extension("toml"))?;
    assert_eq!(weir.failure(&["plugin", "load", &file])?.code, "missing-grant");

    let toml = weir.folder().join("weir.toml");
    let configured = fs::read_to_string(&toml)? + "\n[plugins.\"my bank\"]\ngrants = [\"call:bank\"]\n";
    fs::write(toml, configured)?;
    weir.terminate()?;
    weir.run()?;
    assert_eq!(weir.json(&["plugin", "load", &file])?["plugin"]["name"], "asks-for-grant");
    // The same advice holds for an upgrade, whose file is often called otherwise than the plugin.
    weir.json(&["plugin", "upgrade", "asks-for-grant", &file])?;
    Ok(())
}

#[test]
fn an_upgrade_with_the_wrong_file_leaves_the_old_revision_running() -> Result<()> {
    let weir = Weir::start()?;
    let failed = weir.failure(&["plugin", "upgrade", "ping", &guest("ping-0.2")?])?;
    assert_eq!(failed.code, "unknown-plugin");
    weir.json(&["plugin", "load", &guest("ping-0.1")?])?;
    let failed = weir.failure(&["plugin", "upgrade", "ping", &guest("counter")?])?;
    assert_eq!(failed.code, "name-mismatch");
    says(&failed.message, &["plugin counter, not ping", "weir plugin load"])?;
    weir.json(&["plugin", "load", &guest("counter")?])?;
    let failed = weir.failure(&["plugin", "upgrade", "counter", &guest("counter_fails_to_start")?])?;
    assert_eq!(failed.code, "start-failed");
    says(&failed.message, &["plugin counter", "not today"])?;
    let list = weir.json(&["plugin", "list"])?;
    assert_eq!((&list["plugins"][0]["version"], &list["plugins"][1]["version"]), (&json!("0.1.0"), &json!("0.1.0")));
    let last = list["plugins"][0]["last_error"].as_str().context("why the upgrade failed")?;
    says(last, &["plugin counter 0.3.0", "not today"])?;
    assert_eq!(weir.json(&["call", "counter", "stats"])?["seen"], 0);
    let failed = weir.failure(&["call", "ping", "nonsense"])?;
    assert_eq!(failed.code, "unknown-command");
    says(&failed.message, &["nonsense", "stats"])?;
    Ok(())
}

#[test]
fn what_lies_in_the_plugin_folder_is_loaded_at_start_with_its_grants() -> Result<()> {
    let mut weir = Weir::init()?;
    let plugins = weir.folder().join("plugins");
    fs::copy(guest_path("ping-0.1")?, plugins.join("ping.wasm"))?;
    fs::write(plugins.join("ping.toml"), "grants = []\n")?;
    fs::copy(guest_path("asks_for_grant")?, plugins.join("bank.wasm"))?;
    fs::write(plugins.join("bank.toml"), "grants = [\"call:bank\"]\n")?;
    // Other bytes (an empty section with a name more), or it would be the same plugin under another name.
    let broke = [fs::read(guest_path("asks_for_grant")?)?.as_slice(), &[0, 2, 1, b'x']].concat();
    fs::write(plugins.join("broke.wasm"), broke)?;
    weir.run()?;
    let list = weir.json(&["plugin", "list"])?;
    let names = ["asks-for-grant", "ping"].map(|name| json!(name));
    assert_eq!([&list["plugins"][0]["name"], &list["plugins"][1]["name"]], [&names[0], &names[1]], "{list}");
    assert_eq!(list["plugins"][0]["grants"], json!(["call:bank"]));
    let failed = first(&list, "failed");
    assert_eq!(failed["error"]["code"], "missing-grant", "{list}");
    says(failed["error"]["message"].as_str().context("a text")?, &["broke.toml beside the file"])?;
    assert_eq!(weir.json(&["call", "ping", "stats"])?["version"], "0.1.0");

    // A saved upgrade is what the next start loads.
    weir.json(&["plugin", "upgrade", "ping", &guest("ping-0.2")?, "--save"])?;
    assert!(weir.terminate()? < END);
    weir.run()?;
    assert_eq!(weir.json(&["call", "ping", "stats"])?["version"], "0.2.0");
    Ok(())
}

#[test]
fn a_second_node_in_the_folder_is_refused_and_the_first_goes_on() -> Result<()> {
    let weir = Weir::start()?;
    weir.json(&["plugin", "load", &guest("ping-0.1")?])?;
    let failed = weir.failure(&["run"])?;
    assert_eq!(failed.code, "already-running");
    assert_eq!(weir.json(&["call", "ping", "stats"])?["messages"], 0);
    Ok(())
}

#[test]
fn a_broken_key_says_how_to_go_on() -> Result<()> {
    let weir = Weir::init()?;
    for broken in [&b"nonsense"[..], b"", &[0; 31]] {
        fs::write(weir.folder().join("node.key"), broken)?;
        let failed = weir.failure(&["run"])?;
        assert_eq!(failed.code, "key-unusable");
        let advice = "restore it from a backup, or move it and weir.toml away and run `weir init` for a new identity";
        says(&failed.message, &["node.key is no key file", advice])?;
    }
    for file in ["node.key", "weir.toml"] {
        fs::rename(weir.folder().join(file), weir.folder().join(format!("{file}.old")))?;
    }
    let made = weir.json(&["init", "--listen", "127.0.0.1:0"])?;
    assert_ne!(made["peer_id"], json!(weir.peer_id));
    fs::remove_file(weir.folder().join("node.key"))?;
    let failed = weir.failure(&["run"])?;
    says(&failed.message, &["there is no key at ", "restore it from a backup"])
}
