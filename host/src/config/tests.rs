//! What is accepted, what is refused, and in which words.

use std::path::Path;

use super::*;
use crate::plugin::{Digest, SignaturePolicy};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("weir.toml"))
}

fn refusal(text: &str) -> String {
    parse(text).expect_err("must be refused").to_string()
}

#[test]
fn an_empty_file_and_the_template_are_the_defaults() {
    assert_eq!(parse("").expect("empty"), Config::default());
    assert_eq!(parse(TEMPLATE).expect("template"), Config::default());
}

#[test]
fn the_template_uncommented_is_the_defaults_too() {
    let uncomment = |line: &str| {
        let key = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        key.unwrap_or(line).to_owned()
    };
    let text = TEMPLATE.lines().map(uncomment).collect::<Vec<_>>().join("\n").replace("PEER_ID", &"0a".repeat(32));
    let config = parse(&text).expect("every commented key is right");
    let PluginOverrides { grants, durability, config: own, budgets } = &config.plugin_settings["NAME"];
    assert_eq!((grants, own), (&Some(vec!["sign".into()]), &Some(serde_json::json!({"key": "value"}))));
    assert_eq!(*durability, Some(crate::plugin::store::Durability::Relaxed));
    let node = Config::default().plugin_policy();
    assert_eq!(budgets.read().expect("good").apply(&node), node, "the template shows the defaults");
    assert!(config.peers[0].necessary);
    assert_eq!(config.plugin_trust.pins["NAME"], Digest::of(b""));
    let plugin_trust = Trust::default();
    let rest = Config { peers: vec![], plugin_settings: BTreeMap::new(), plugin_trust, ..config };
    assert_eq!(rest, Config::default());
}

#[test]
fn every_key_is_in_the_template_and_in_the_documentation() {
    let documentation = include_str!("../../../docs/configuration.md");
    for key in keys::all_keys() {
        assert!(documentation.contains(&format!("`{key}`")), "docs/configuration.md lacks {key}");
        let name = key.rsplit('.').next().expect("has a name");
        assert!(TEMPLATE.contains(name), "the template lacks {key}");
    }
}

#[test]
fn an_own_listen_address_is_written() {
    let listen = "127.0.0.1:7000".parse().expect("address");
    assert_eq!(parse(&render_template(Some(listen))).expect("template").listen, listen);
}

#[test]
fn unknown_keys_suggest_the_right_one() {
    let cases = [
        ("\n\n[limits]\nmax_peer = 3", "weir.toml line 4: unknown key limits.max_peer; did you mean limits.max_peers?"),
        ("max_peers = 3", "weir.toml line 1: unknown key max_peers; did you mean limits.max_peers?"),
        ("listn = 3", "weir.toml line 1: unknown key listn; did you mean listen?"),
        ("[limit]\nmax_peers = 3", "weir.toml line 1: unknown key limit; did you mean limits?"),
        (
            "[plugins]\nmax_memry = 3",
            "weir.toml line 2: unknown key plugins.max_memry; did you mean plugins.max_memory?",
        ),
        (
            "[plugins.ping]\ngrant = []",
            "weir.toml line 2: unknown key plugins.ping.grant; did you mean plugins.ping.grants?",
        ),
        ("[[peers]]\nadress = 1", "weir.toml line 2: unknown key peers.adress; did you mean peers.address?"),
        ("[colour]\nx = 1", "weir.toml line 1: unknown key colour"),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected);
    }
}

#[test]
fn the_first_unknown_key_is_named_and_what_a_plugin_reads_is_its_own() {
    assert!(refusal("[timeouts]\nx = 1\n[limits]\ny = 1").contains("line 2: unknown key timeouts.x"));
    let config = parse("[plugins.a.config]\nanything = 1\n[plugins.a.config.deep]\nmax_peer = 2").expect("free form");
    let expected = serde_json::json!({"anything": 1, "deep": {"max_peer": 2}});
    assert_eq!(config.plugin_settings["a"].config, Some(expected));
}

#[test]
fn wrong_values_name_line_key_and_remedy() {
    let cases: [(&str, &[&str]); 18] = [
        ("[limits]\nconnections_per_peer = 5", &["line 2: limits.connections_per_peer: 5 is outside 1 to 4"]),
        ("[limits]\nmax_peers = 8\nreserved_outbound = 8", &["line 3: limits.reserved_outbound: 8 is outside 0 to 7"]),
        ("[limits]\neviction = \"newest\"", &["line 2: limits.eviction:", "`lifo`, `fifo`, `random`"]),
        ("[access]\nblock = [\"10.0.0.1/8\"]", &["line 2: access.block:", "write `10.0.0.0/8` for the network"]),
        ("[access]\nallow = [\"example.org\"]", &["line 2: access.allow:", "PEER_ID, IP, IP/PREFIX"]),
        ("listen = 1", &["line 1: listen:"]),
        ("listen = \"here\"", &["line 1: listen:", "socket address"]),
        ("[limits]\nmax_peers = 0", &["line 2: limits.max_peers: 0 is outside 1 to 4096"]),
        ("[limits]\nmax_peers = \"many\"", &["line 2: limits.max_peers:"]),
        ("[limits]\nmax_peers = -1", &["line 2: limits.max_peers:"]),
        ("[limits]\nmemory_limit = \"4 GX\"", &["line 2: limits.memory_limit:", "`4 GX` is no size", "256 KiB"]),
        ("[limits]\nstream_window = \"1 B\"", &["limits.stream_window: 1 B is outside 16 KiB to 64 MiB"]),
        (
            "[limits]\nmax_streams = 1024\nstream_window = \"64 MiB\"",
            &["line 3: limits.stream_window:", "lower one of the two"],
        ),
        ("[timeouts]\nidle = 30", &["line 2: timeouts.idle:", "`30` is no duration", "30s"]),
        ("[timeouts]\nidle = \"10s\"", &["timeouts.keep_alive: 10s is more than half of timeouts.idle (5s)"]),
        ("[[peers]]\naddress = \"abc\"", &["line 2: peers.address:", "PEER_ID@IP:PORT"]),
        ("[log]\nlevel = \"inof\"", &["line 2: log.level:", "`inof` is no log filter"]),
        ("[plugins.ping]\ngrants = \"sign\"", &["line 1: plugins.ping", "expected a sequence"]),
    ];
    for (text, parts) in cases {
        let message = refusal(text);
        assert!(!message.contains('\n'), "{message}");
        parts.iter().for_each(|part| assert!(message.contains(part), "{part} in {message}"));
    }
    assert!(refusal("[limits\n").starts_with("weir.toml line 1: "));
    assert_eq!(parse("[limits\n").expect_err("syntax").code(), "config-syntax");
}

#[test]
fn reconnecting_and_short_timeouts_are_what_is_written() {
    let text = "advertise = [\"192.0.2.7:4433\", \"[2001:db8::7]:4433\"]\n[timeouts]\nidle = \"2s\"\nkeep_alive = \"1s\"\n\
                [reconnect]\nmax_wait = \"5m\"\nsettled = \"1s\"\nnext_address = \"100ms\"\nremembered_peers = 0";
    let config = parse(text).expect("in range");
    assert_eq!((config.advertise.len(), config.timeouts.idle), (2, Duration::from_secs(2)));
    let reconnect = Reconnect {
        max_wait: Duration::from_secs(300),
        settled: Duration::from_secs(1),
        next_address: Duration::from_millis(100),
        remembered_peers: 0,
    };
    assert_eq!(config.reconnect, reconnect);
    let many = format!("advertise = [{}]", "\"192.0.2.7:1\", ".repeat(17));
    assert!(refusal(&many).contains("advertise: 17 addresses are more than the 16"));
    for nowhere in ["0.0.0.0:1", "192.0.2.7:0", "[ff02::1]:1"] {
        assert!(refusal(&format!("advertise = [\"{nowhere}\"]")).contains("no address that a peer could dial"));
    }
    assert!(refusal("[reconnect]\nnext_address = \"5s\"").contains("reconnect.next_address: 5s is outside 10ms to 2s"));
    assert!(refusal("[reconnect]\nmaxwait = \"5s\"").contains("did you mean reconnect.max_wait?"));
}

#[test]
fn a_peer_twice_is_refused() {
    let peer = format!("[[peers]]\naddress = \"{}@127.0.0.1:1\"\n", "0a".repeat(32));
    assert!(refusal(&peer.repeat(2)).contains("number 1 and 2"));
}

#[test]
fn sizes_are_numbers_or_texts() {
    let config = parse("[limits]\nstream_window = 65536\nmemory_limit = \"8 GiB\"").expect("sizes");
    assert_eq!((config.limits.stream_window, config.limits.memory_limit), (65536, 8 << 30));
}

#[test]
fn the_defaults_fit_their_own_memory_limit() {
    Config::default().check_memory(Path::new("weir.toml")).expect("fits");
}

#[test]
fn a_bound_above_the_limit_names_the_large_term_and_a_limit_that_works() {
    let file = Path::new("weir.toml");
    let mut config = parse("[limits]\nstream_window = \"16 MiB\"").expect("valid by itself");
    let message = config.check_memory(file).expect_err("too much").to_string();
    assert!(message.contains("limits.memory_limit is 4 GiB"), "{message}");
    assert!(message.contains("lower limits.stream_window or limits.send_buffer"), "{message}");
    let raised = message.split("at least \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a size");
    config.limits.memory_limit = parse_size(raised).expect("readable");
    config.check_memory(file).expect("the size it names works");
}

#[test]
fn an_eighth_of_the_places_is_kept_for_outbound_unless_the_file_says_more() {
    let reserved = |text| parse(text).expect("valid").limits.reserved_outbound();
    assert_eq!(["", "[limits]\nmax_peers = 4", "[limits]\nmax_peers = 1000"].map(reserved), [8, 0, 125]);
    assert_eq!(reserved("[limits]\nmax_peers = 4\nreserved_outbound = 3"), 3);
}

#[test]
fn every_connection_of_a_peer_counts_for_the_memory_bound() {
    let connections = |text| {
        let bound = parse(text).expect("valid").memory_bound();
        bound.terms.iter().find(|term| term.name == "connections").map(|term| term.bytes).expect("there")
    };
    assert_eq!(connections("[limits]\nconnections_per_peer = 3"), 3 * connections(""));
    // One of eight may drain beside those that hold a place.
    assert_eq!(connections("[limits]\nmax_peers = 72"), connections("") / 72 * 81);
}

#[test]
fn what_is_kept_of_peers_and_native_handlers_count_for_the_memory_bound() {
    let term = |text: &str, name: &str| {
        let bound = parse(text).expect("valid").memory_bound();
        bound.terms.iter().find(|term| term.name == name).map(|term| term.bytes).expect("there")
    };
    assert_eq!(term("", "asks and requests"), (65_536 + 32_768) * 512);
    // 64 places, an eighth that drains beside them, and 32 that wait to be admitted, of half a MiB each.
    assert_eq!(term("", "protocol sets"), (64 + 8 + 32) * (512 << 10));
    assert_eq!(term("[reconnect]\nremembered_peers = 0", "address book"), 4 << 20);
    let (none, more) = ("[limits]\nnative_handlers = 0", "[limits]\nnative_handlers = 8");
    // A mailbox of 4 MiB, and 16 MiB that were sent and not taken.
    assert_eq!((term(none, "native handlers"), term(more, "native handlers")), (0, 8 * (20 << 20)));
    assert!(parse("").expect("valid").memory_bound().terms.iter().all(|term| term.bytes > 0));
}

#[test]
fn a_budget_of_one_plugin_is_named_with_its_line() {
    let cases = [
        ("[plugins.a]\nmemory = \"1 B\"", "line 2: plugins.a.memory: 1 B is outside 64 KiB to 4 GiB"),
        ("[plugins.a]\n\nturn_time = 5", "line 3: plugins.a.turn_time: `5` is no duration"),
        ("[plugins.a]\nmemmory = 1", "line 2: unknown key plugins.a.memmory; did you mean plugins.a.memory?"),
    ];
    for (text, expected) in cases {
        let message = refusal(text);
        assert!(message.contains(expected), "{expected} in {message}");
    }
}

#[test]
fn what_becomes_of_faults_is_said_for_all_plugins_and_for_one() {
    let text =
        "[plugins]\ncrashes = 9\nmute = \"5s\"\ndead_letters = 7\n[plugins.a]\ncrashes = 2\nquarantine = \"10s\"";
    let config = parse(text).expect("in range");
    let node = config.plugin_policy();
    assert_eq!((node.supervision.crashes, node.mute.first, node.dead_letters), (9, Duration::from_secs(5), 7));
    assert_eq!(config.plugin_settings.len(), 1, "a key for all plugins is no plugin");
    let one = config.plugin_settings["a"].budgets.read().expect("good").apply(&node);
    assert_eq!((one.supervision.crashes, one.supervision.quarantine), (2, Duration::from_secs(10)));
    assert_eq!((one.mute, one.supervision.backoff), (node.mute, Duration::from_millis(100)));
    assert!(refusal("[plugins]\n\ncrashes = 0").contains("line 3: plugins.crashes: 0 is outside 1 to 1000"));
    assert!(refusal("[plugins.a]\nmute = 5").contains("line 2: plugins.a.mute: `5` is no duration"));
    assert!(refusal("[plugins]\ncrash = 5").contains("did you mean plugins.crashes?"));
}

#[test]
fn the_memory_bound_is_of_what_plugins_may_really_take() {
    let term = |config: &Config, loaded: &[(&str, u64)], name: &str| {
        let budgets = |memory| PluginBudgets { memory: Some(memory), ..PluginBudgets::default() };
        let loaded = loaded.iter().map(|(name, memory)| (name.to_string(), budgets(*memory))).collect();
        let bound = config.memory_bound_with(&loaded);
        bound.terms.iter().find(|term| term.name == name).map(|term| term.bytes).expect("there")
    };
    let memory =
        |text: &str, loaded: &[(&str, u64)]| term(&parse(text).expect("valid"), loaded, "memory of plugins") >> 20;
    assert_eq!(memory("", &[]), 9 * 64);
    // The largest twice: an upgrade of it.
    assert_eq!(memory("[plugins.a]\nmemory = \"1 GiB\"", &[]), 2 * 1024 + 7 * 64);
    // A small one frees nothing, because it may be unloaded and another one loaded.
    assert_eq!(memory("[plugins.a]\nmemory = \"1 MiB\"", &[]), 9 * 64);
    assert_eq!(memory("[plugins.a]\nmemory = \"1 GiB\"", &[("a", 2 << 30), ("b", 65 << 20)]), 2 * 2048 + 65 + 6 * 64);
    assert_eq!(memory("[plugins]\nmax_plugins = 0", &[]), 0);
    let mailboxes = |text: &str| term(&parse(text).expect("valid"), &[], "mailboxes") >> 20;
    assert_eq!((mailboxes(""), mailboxes("[plugins.a]\nmailbox = \"5 MiB\"")), (32, 33));
}

#[test]
fn access_lists_are_read() {
    let config = parse("[access]\nallow = [\"10.0.0.0/8\"]\nblock = [\"10.1.2.3\", \"[::1]:5\"]").expect("valid");
    assert_eq!((config.access.allow.len(), config.access.block.len()), (1, 2));
}

#[test]
fn extreme_values_do_not_overflow() {
    let text = "[limits]\nmax_peers = 4096\nmax_pending_handshakes = 1024\nmax_streams = 1024\n\
                stream_window = \"2 MiB\"\nsend_buffer = \"64 MiB\"\n[plugins]\nmax_plugins = 4096\nmax_memory = \"4 GiB\"";
    assert!(parse(text).expect("in range").check_memory(Path::new("weir.toml")).is_err());
}

#[test]
fn settings_beside_a_plugin_are_read_and_checked() {
    let folder = tempfile::tempdir().expect("folder");
    let wasm = folder.path().join("ping.wasm");
    assert_eq!(read_plugin_file(&wasm).expect("none"), None);
    std::fs::write(folder.path().join("ping.toml"), "grants = [\"sign\"]").expect("write");
    let settings = read_plugin_file(&wasm).expect("read").expect("some");
    assert_eq!(settings.grants, Some(vec!["sign".to_owned()]));
    std::fs::write(folder.path().join("ping.toml"), "grant = []").expect("write");
    let message = read_plugin_file(&wasm).expect_err("wrong").to_string();
    assert!(message.contains("ping.toml line 1: unknown key grant; did you mean grants?"), "{message}");
    std::fs::write(folder.path().join("ping.toml"), "grants = []\nmemory = \"1 MB\"").expect("write");
    let budgets = read_plugin_file(&wasm).expect("read").expect("some").budgets.read().expect("good");
    assert_eq!(budgets.memory, Some(1_000_000));
    std::fs::write(folder.path().join("ping.toml"), "grants = []\nmemory = 1").expect("write");
    let message = read_plugin_file(&wasm).expect_err("wrong").to_string();
    assert!(message.contains("ping.toml line 2: memory: 1 B is outside"), "{message}");
}

#[test]
fn what_may_run_is_read_and_checked() {
    let key = "0a".repeat(32);
    let text = format!("[plugins]\nsignatures = \"require\"\ntrusted_keys = [\"{key}\"]\nwatch = false\n");
    let config = parse(&text).expect("right");
    assert_eq!((config.plugin_trust.policy, config.plugin_watch), (SignaturePolicy::Require, false));
    assert!(config.plugin_trust.keys.contains(&key.parse().expect("a key")));
    let refused = refusal("[plugins]\nsignatures = \"require\"");
    assert!(refused.contains("line 2: plugins.signatures") && refused.contains("trusted_keys"), "{refused}");
    let pinned = format!("[plugins]\nsignatures = \"require\"\n[plugins.a]\ndigest = \"{}\"", Digest::of(b"x"));
    assert_eq!(parse(&pinned).expect("right").plugin_trust.pins["a"], Digest::of(b"x"));
    let refused = refusal("[plugins.a]\ndigest = \"sha256:00\"");
    assert!(refused.contains("line 2: plugins.a.digest") && refused.contains("64 hexadecimal digits"), "{refused}");
    assert!(refusal("[plugins]\nsignatures = \"maybe\"").contains("line 2: plugins.signatures"));
    assert!(refusal("[plugins]\ntrusted_keys = [\"me\"]").contains("plugins.trusted_keys"));
}
