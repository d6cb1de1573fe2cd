//! The real binary, as an operator uses it. Holds for a node without peers and without real plugins.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// No step of these tests takes nearly as long.
const DEADLINE: Duration = Duration::from_secs(60);

fn weir(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("--dir").arg(folder).args(arguments).env_remove("WEIR_DIR").env_remove("RUST_LOG");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    weir(folder, arguments).output().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Exactly one JSON document on stdout.
fn json(folder: &Path, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    let output = run(folder, &arguments);
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(output.status.success(), document.get("error").is_none(), "{document}");
    document
}

/// The code and the message of a command that must fail, the same for people and for programs.
fn failure(folder: &Path, arguments: &[&str]) -> (String, String) {
    let document = json(folder, arguments);
    let text = |key: &str| document["error"][key].as_str().expect("an error").to_owned();
    let output = run(folder, arguments);
    assert!(!output.status.success());
    assert_eq!(stdout(&output), "", "errors for people go to stderr");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains(&text("message")), "{stderr}");
    (text("code"), text("message"))
}

fn initialised() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("folder");
    let document = json(folder.path(), &["init", "--listen", "127.0.0.1:0"]);
    (folder, document["peer_id"].as_str().expect("a peer id").to_owned())
}

/// A node that is killed when the test ends early.
struct Node {
    child: Child,
    ready: String,
}

impl Node {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let arguments = [&["run"], arguments].concat();
        let mut child = weir(folder, &arguments).stdout(Stdio::piped()).spawn().expect("starts");
        let mut ready = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut ready).expect("a line");
        Self { child, ready: ready.trim_end().to_owned() }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill runs").success());
    }

    /// Asks it to end and returns how long that took.
    fn end(mut self, signal: &str) -> Duration {
        let since = Instant::now();
        self.signal(signal);
        let mut rest = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut rest).expect("read");
        assert_eq!(rest, "", "one line on stdout and nothing else");
        assert!(self.child.wait().expect("ended").success());
        since.elapsed()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What `curl --unix-socket` would do.
fn http(folder: &Path, request: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(folder.join("weir.sock")).expect("connects");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    (status, serde_json::from_str(body).expect("JSON"))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n")
}

#[test]
fn init_makes_a_private_folder_and_overwrites_nothing() {
    let (folder, peer) = initialised();
    assert_eq!(peer.len(), 64);
    let mode = |name: &str| fs::metadata(folder.path().join(name)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode("node.key"), mode("plugins")), (0o600, 0o700));
    let key = fs::read(folder.path().join("node.key")).expect("a key");
    let (code, message) = failure(folder.path(), &["init"]);
    assert_eq!(code, "already-initialised");
    assert!(message.contains("weir.toml exists already"), "{message}");
    fs::remove_file(folder.path().join("weir.toml")).expect("removed");
    assert_eq!(failure(folder.path(), &["init"]).0, "already-initialised", "the key counts too");
    assert_eq!(fs::read(folder.path().join("node.key")).expect("a key"), key);
}

#[test]
fn a_folder_without_a_node_says_init_and_a_node_that_is_down_says_run() {
    let empty = tempfile::tempdir().expect("folder");
    for arguments in [&["run"][..], &["status"], &["peers"], &["plugin", "list"], &["call", "ping", "stats"]] {
        let (code, message) = failure(empty.path(), arguments);
        assert_eq!(code, "not-initialised");
        assert!(message.contains("weir init"), "{message}");
    }
    let (folder, _) = initialised();
    let (code, message) = failure(folder.path(), &["status"]);
    assert_eq!(code, "not-running");
    assert!(message.contains("weir run --dir"), "{message}");
}

#[test]
fn wrong_arguments_are_json_too() {
    let folder = tempfile::tempdir().expect("folder");
    for arguments in [&["nonsense"][..], &["peers", "add", "abc"], &["run", "--listen", "here"]] {
        assert_eq!(failure(folder.path(), arguments).0, "usage");
    }
}

#[test]
fn a_wrong_configuration_keeps_the_node_from_starting() {
    let (folder, _) = initialised();
    let cases = [
        (
            "\n[limits]\nmax_peer = 3\n",
            "config-unknown-key",
            "line 3: unknown key limits.max_peer; did you mean limits.max_peers?",
        ),
        ("[limits]\nmemory_limit = \"lots\"\n", "config-value", "limits.memory_limit: `lots` is no size"),
        ("[limits]\nmemory_limit = \"64 MiB\"\n", "config-memory", "raise limits.memory_limit to at least"),
        ("[limits\n", "config-syntax", "line 1"),
    ];
    for (text, code, part) in cases {
        fs::write(folder.path().join("weir.toml"), text).expect("written");
        let failed = failure(folder.path(), &["run"]);
        assert_eq!(failed.0, code);
        assert!(failed.1.contains(part), "{}", failed.1);
        assert!(!failed.1.contains('\n'), "one paragraph: {}", failed.1);
    }
}

#[test]
fn a_broken_key_is_named() {
    let (folder, _) = initialised();
    fs::write(folder.path().join("node.key"), "nonsense").expect("written");
    let (code, message) = failure(folder.path(), &["run"]);
    assert_eq!(code, "key-unusable");
    assert!(message.contains("node.key"), "{message}");
}

#[test]
fn a_node_runs_once_answers_and_ends() {
    let (folder, peer) = initialised();
    let node = Node::start(folder.path(), &[]);
    let address = node.ready.strip_prefix(&format!("ready {peer}@127.0.0.1:")).expect("the ready line");
    assert_ne!(address.parse::<u16>().expect("a port"), 0);

    let socket = folder.path().join("weir.sock");
    assert_eq!(fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    let (code, message) = failure(folder.path(), &["run"]);
    assert_eq!(code, "already-running");
    assert!(message.contains(&format!("(process {})", node.child.id())), "{message}");

    let status = json(folder.path(), &["status"]);
    assert_eq!(
        (&status["peer_id"], &status["address"]),
        (&peer.as_str().into(), &format!("127.0.0.1:{address}").into())
    );
    assert!(status["memory"]["bound"].as_u64() <= status["memory"]["limit"].as_u64());
    for key in ["peers", "protocols"] {
        assert!(json(folder.path(), &[key])[key].is_array(), "{key}");
    }
    assert_eq!(json(folder.path(), &["plugin", "list"])["plugins"], Value::Array(vec![]));
    assert!(stdout(&run(folder.path(), &["status"])).contains(&peer));

    assert!(node.end("-TERM") < Duration::from_secs(5));
    assert!(!socket.exists(), "the socket is removed");
}

#[test]
fn a_killed_node_leaves_nothing_in_the_way_and_sigint_ends_one() {
    let (folder, peer) = initialised();
    drop(Node::start(folder.path(), &[]));
    assert!(folder.path().join("weir.sock").exists(), "what a crash leaves");
    assert_eq!(failure(folder.path(), &["status"]).0, "not-running");
    let node = Node::start(folder.path(), &["--json"]);
    let ready: Value = serde_json::from_str(&node.ready).expect("one JSON document");
    assert_eq!(ready["peer_id"], peer.as_str());
    assert!(ready["address"].as_str().is_some_and(|a| a.starts_with("127.0.0.1:")));
    assert!(node.end("-INT") < Duration::from_secs(5));
}

#[test]
fn added_peers_survive_a_restart_until_they_are_removed() {
    let (folder, own) = initialised();
    let (_other, peer) = initialised();
    // Port 9 (discard): nobody answers there.
    let address = format!("{peer}@127.0.0.1:9");
    let node = Node::start(folder.path(), &[]);
    assert_eq!(failure(folder.path(), &["peers", "add", &format!("{own}@127.0.0.1:9")]).0, "own-id");
    json(folder.path(), &["peers", "add", &address, "--necessary"]);
    json(folder.path(), &["peers", "add", &format!("{peer}@127.0.0.1:10"), "--necessary"]);
    node.end("-TERM");

    let node = Node::start(folder.path(), &[]);
    let peers = json(folder.path(), &["peers"]);
    assert_eq!(peers["peers"][0]["peer_id"], peer.as_str());
    assert_eq!(peers["peers"][0]["connected"], false);
    assert_eq!(peers["peers"][0]["addresses"], serde_json::json!(["127.0.0.1:10", "127.0.0.1:9"]));
    let table = stdout(&run(folder.path(), &["peers"]));
    assert!(table.contains(&peer) && table.contains("127.0.0.1:10 (operator), 127.0.0.1:9 (operator)"), "{table}");
    json(folder.path(), &["peers", "remove", &peer]);
    assert_eq!(failure(folder.path(), &["peers", "remove", &peer]).0, "unknown-peer");
    node.end("-TERM");

    let _node = Node::start(folder.path(), &[]);
    assert_eq!(json(folder.path(), &["peers"])["peers"], Value::Array(vec![]));
}

#[test]
fn groups_are_made_shown_sent_to_and_removed() {
    let (folder, _) = initialised();
    let peers = ["0a".repeat(32), "0b".repeat(32)];
    let _node = Node::start(folder.path(), &[]);
    assert!(stdout(&run(folder.path(), &["groups"])).contains("weir groups set"));
    let set = json(folder.path(), &["groups", "set", "validators", &peers[1], &peers[0], &peers[0]]);
    assert_eq!(set, serde_json::json!({"name": "validators", "peers": peers}));
    assert_eq!(json(folder.path(), &["groups"])["groups"], serde_json::json!([set]));
    let send = ["groups", "send", "validators", "/votes/1.0.0", "aye"];
    let sent = json(folder.path(), &send);
    assert_eq!((&sent["sent"], &sent["outcomes"][0]["outcome"]), (&0.into(), &"closed".into()), "nobody handles it");
    assert_eq!(json(folder.path(), &[&send[..], &["--no-wait"]].concat()), serde_json::json!({"sent": 0}));
    assert!(stdout(&run(folder.path(), &send)).contains("closed"));
    assert_eq!(json(folder.path(), &["groups", "remove", "validators"])["name"], "validators");
    assert_eq!(failure(folder.path(), &["groups", "remove", "validators"]).0, "unknown-group");
    assert_eq!(failure(folder.path(), &["groups", "set", "a/b"]).0, "usage");
    assert_eq!(failure(folder.path(), &send).0, "unknown-group");
}

#[test]
fn a_text_file_as_plugin_is_refused_and_in_the_folder_it_is_reported() {
    let (folder, _) = initialised();
    fs::write(folder.path().join("plugins/bad.wasm"), "just text").expect("written");
    fs::write(folder.path().join("plugins/typo.wasm"), "just text").expect("written");
    fs::write(folder.path().join("plugins/typo.toml"), "grant = []").expect("written");
    let _node = Node::start(folder.path(), &[]);
    let list = json(folder.path(), &["plugin", "list"]);
    assert_eq!(list["plugins"], Value::Array(vec![]));
    let failed = |index: usize, key: &str| list["failed"][index]["error"][key].as_str().expect("a text").to_owned();
    assert!(list["failed"][0]["file"].as_str().is_some_and(|file| file.ends_with("bad.wasm")));
    assert_eq!(failed(1, "code"), "config-unknown-key");
    assert!(failed(1, "message").contains("did you mean grants?"));
    assert!(stdout(&run(folder.path(), &["plugin", "list"])).contains("not loaded: "));

    let file = folder.path().join("plugins/bad.wasm");
    let file = file.to_str().expect("UTF-8");
    assert_eq!(failure(folder.path(), &["plugin", "load", file]).0, failed(0, "code"));
    assert_eq!(failure(folder.path(), &["plugin", "load", "/nowhere.wasm"]).0, "plugin-unreadable");
    assert_eq!(failure(folder.path(), &["plugin", "unload", "ghost"]).0, "unknown-plugin");
    assert_eq!(failure(folder.path(), &["call", "ghost", "stats"]).0, "unknown-plugin");
    assert_eq!(failure(folder.path(), &["call", "ghost", "stats", "{"]).0, "usage");
}

#[test]
fn any_http_client_hears_errors_as_json() {
    let (folder, _) = initialised();
    let _node = Node::start(folder.path(), &[]);
    let post = |path: &str, head: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
        )
    };
    let large = "1".repeat((1 << 20) + 1);
    let cases = [
        (get("/v1/nothing"), 404, "not-found"),
        (get("/v1/call/ping/stats"), 405, "method-not-allowed"),
        (post("/v1/peers", "", "{}"), 400, "bad-request"),
        (post("/v1/peers", "", "{\"address\": \"x\"}"), 400, "bad-request"),
        (post("/v1/call/ghost/stats", "", "{"), 400, "bad-request"),
        (post("/v1/call/ghost/stats?timeout=1h", "", ""), 400, "bad-request"),
        (post("/v1/call/ghost/stats?tmeout=1s", "", ""), 400, "bad-request"),
        (post("/v1/call/ghost/stats", "", ""), 404, "unknown-plugin"),
        (post("/v1/call/ghost/stats", "", &large), 413, "too-large"),
        (post("/v1/plugins", "", ""), 400, "bad-request"),
        (post("/v1/plugins", "weir-settings: {\"grant\":[]}\r\n", "x"), 400, "bad-request"),
    ];
    for (request, status, code) in cases {
        let (got, document) = http(folder.path(), &request);
        assert_eq!((got, document["error"]["code"].as_str()), (status, Some(code)), "{document}");
        assert!(document["error"]["message"].is_string());
    }
    let (status, document) = http(folder.path(), &get("/v1/status"));
    assert_eq!(status, 200);
    assert!(document["peer_id"].is_string());
}
