//! The binary `weir-wallet` beside real nodes: a whole life, retries, and the errors that people meet.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::guests::guest;
use weir_tests::weir::Weir;

/// Wallets and their key files, which belong to no node.
struct Wallets {
    folder: TempDir,
    binary: PathBuf,
}

impl Wallets {
    fn new() -> Result<Self> {
        let weir = std::env::var_os("WEIR_BIN").map(PathBuf::from);
        let weir = weir.context("WEIR_BIN is not set: run the tests with `cargo xtask test`")?;
        // Built by the same command, so it lies beside it.
        let binary = weir.with_file_name("weir-wallet");
        ensure!(binary.is_file(), "{} is not there: run the tests with `cargo xtask test`", binary.display());
        Ok(Self { folder: tempfile::tempdir()?, binary })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, node: &Path, key: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command.env_remove("WEIR_DIR").env_remove("WEIR_KEY").current_dir(self.folder.path());
        command.arg("--dir").arg(node).arg("--key").arg(self.path(key)).args(arguments);
        Ok(command.output()?)
    }

    /// The document that a command prints; it must succeed.
    fn json(&self, node: &Weir, key: &str, arguments: &[&str]) -> Result<Value> {
        let output = self.run(node.folder(), key, &[arguments, &["--json"]].concat())?;
        let document: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{arguments:?}"))?;
        ensure!(output.status.success(), "{arguments:?}: {document}");
        Ok(document)
    }

    /// The code of a command that must fail, the same for people and programs.
    fn failure(&self, node: &Path, key: &str, arguments: &[&str]) -> Result<String> {
        let output = self.run(node, key, &[arguments, &["--json"]].concat())?;
        let document: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{arguments:?}"))?;
        ensure!(!output.status.success(), "{arguments:?} succeeded: {document}");
        let message = document["error"]["message"].as_str().context("a message")?;
        let people = self.run(node, key, arguments)?;
        let stderr = String::from_utf8(people.stderr)?;
        ensure!(!people.status.success() && people.stdout.is_empty() && stderr.contains(message), "{stderr}");
        Ok(document["error"]["code"].as_str().context("a code")?.to_owned())
    }

    fn account(&self, node: &Weir, key: &str) -> Result<String> {
        let made = self.json(node, key, &["new"])?;
        let shown = self.json(node, key, &["show", "--offline"])?;
        ensure!(shown == json!({"account": made["account"]}), "{shown}");
        Ok(made["account"].as_str().context("an account")?.to_owned())
    }
}

/// Puts both plugins and their settings into a node's plugin folder.
fn drop_in(node: &Weir, settings: &Path) -> Result<()> {
    for (name, file) in [("staking", "staking-1.0"), ("dividend", "dividend-1.0")] {
        let folder = node.folder().join("plugins");
        std::fs::copy(settings, folder.join(format!("{name}.toml")))?;
        std::fs::write(folder.join(format!("{name}.wasm")), guest(file))?;
    }
    node.until("both plugins", &["plugin", "list"], |listed| {
        listed["plugins"]
            .as_array()
            .is_some_and(|plugins| plugins.len() == 2 && plugins.iter().all(|plugin| plugin["state"] == "active"))
    })?;
    Ok(())
}

fn epoch_of(node: &Weir) -> Result<Value> {
    node.json(&["call", "staking", "root"])
}

#[test]
fn from_the_genesis_to_the_claim_on_two_nodes() -> Result<()> {
    let wallets = Wallets::new()?;
    let (a, b) = (Weir::start()?, Weir::start()?);
    wallets.account(&a, "issuer")?;
    let alice = wallets.account(&a, "alice")?;
    let mode = std::fs::metadata(wallets.path("alice"))?.permissions().mode();
    ensure!(mode & 0o7777 == 0o600, "{mode:o}");
    let genesis = wallets.json(&a, "issuer", &["genesis", "staking.toml", "--unbonding-epochs", "0"])?;
    let settings = wallets.path("staking.toml");
    for node in [&a, &b] {
        drop_in(node, &settings)?;
    }
    let hash = a.json(&["call", "staking", "status"])?["genesis"].clone();
    ensure!(hash == genesis["genesis"], "the node has the genesis {hash}, the wallet wrote {genesis}");
    b.json(&["peers", "add", &a.address, "--necessary"])?;

    wallets.json(&a, "issuer", &["mint", &alice, "1000"])?;
    b.until("the mint", &["call", "staking", "status"], |status| status["issuer"]["next_seq"] == 1)?;
    let staked = wallets.json(&b, "alice", &["stake", "400"])?;
    ensure!(staked["number"] == 0 && staked["retried"] == false, "{staked}");
    a.until("the operation", &["call", "staking", "status"], |status| status["pending"] == 1)?;
    let epoch = wallets.json(&a, "issuer", &["epoch"])?;
    ensure!(epoch["epoch"] == 1 && epoch["operations"] == 1, "{epoch}");
    b.until("the same root", &["call", "staking", "root"], |root| root["root"] == epoch["root"])?;

    wallets.json(&b, "issuer", &["declare", "77"])?;
    a.until("the declaration", &["call", "dividend", "list"], |list| {
        list["open"].as_array().is_some_and(|open| open.len() == 1)
    })?;
    let epoch = wallets.json(&a, "issuer", &["epoch"])?;
    ensure!(epoch["epoch"] == 2 && epoch["anchors"] == 1, "{epoch}");
    b.until("the dividend", &["call", "dividend", "root"], |root| root["epoch"] == 2)?;
    let claimed = wallets.json(&b, "alice", &["claim"])?;
    ensure!(claimed["claimed"] == "77" && claimed["up_to_epoch"] == 2, "{claimed}");
    let again = wallets.json(&b, "alice", &["claim"])?;
    ensure!(again["claimed"] == "0" && again["id"].is_null(), "{again}");

    wallets.json(&b, "alice", &["unstake", "100"])?;
    wallets.json(&b, "alice", &["withdraw"])?;
    a.until("the operations", &["call", "staking", "status"], |status| status["pending"] == 2)?;
    // The issuer's key is lost, and the recovery key names another one.
    let rotated = wallets.json(&a, "issuer.recovery", &["rotate"])?;
    ensure!(rotated["reign"] == 1, "{rotated}");
    let code = wallets.failure(a.folder(), "issuer", &["epoch"])?;
    ensure!(code == "wrong-role", "{code}");
    let epoch = wallets.json(&a, "issuer.recovery.issuer-1", &["epoch"])?;
    ensure!(epoch["epoch"] == 3 && epoch["operations"] == 2, "{epoch}");
    b.until("the same root", &["call", "staking", "root"], |root| root["root"] == epoch["root"])?;
    let shown = wallets.json(&b, "alice", &["show"])?;
    ensure!(shown["balance"] == "700" && shown["staked"] == "300" && shown["pending"] == 0, "{shown}");
    let people = wallets.run(b.folder(), "alice", &["show"])?;
    ensure!(String::from_utf8(people.stdout)?.contains("700 EXM"));
    ensure!(epoch_of(&a)? == epoch_of(&b)?);
    Ok(())
}

#[test]
fn what_a_dead_node_did_not_confirm_is_sent_again() -> Result<()> {
    let wallets = Wallets::new()?;
    let mut node = Weir::start()?;
    wallets.account(&node, "issuer")?;
    let alice = wallets.account(&node, "alice")?;
    wallets.json(&node, "issuer", &["genesis", "staking.toml"])?;
    drop_in(&node, &wallets.path("staking.toml"))?;
    wallets.json(&node, "issuer", &["mint", &alice, "1000"])?;
    wallets.json(&node, "alice", &["stake", "10"])?;
    // A wallet that ended between the disk and the node: its book says that nobody has confirmed the operation.
    let book = wallets.path("alice.book");
    let text = std::fs::read_to_string(&book)?;
    ensure!(text.contains("\"settled\": true"), "{text}");
    std::fs::write(&book, text.replace("\"settled\": true", "\"settled\": false"))?;
    node.kill()?;
    let code = wallets.failure(node.folder(), "alice", &["stake", "10"])?;
    ensure!(code == "not-running", "{code}");
    node.run()?;
    node.until("staking", &["plugin", "list"], |listed| {
        listed["plugins"].as_array().is_some_and(|plugins| plugins.iter().any(|plugin| plugin["name"] == "staking"))
    })?;
    let done = wallets.json(&node, "alice", &["stake", "10"])?;
    ensure!(done["retried"] == true && done["number"] == 0, "{done}");
    let done = wallets.json(&node, "alice", &["stake", "10"])?;
    ensure!(done["retried"] == false && done["number"] == 1, "{done}");
    let epoch = wallets.json(&node, "issuer", &["epoch"])?;
    ensure!(epoch["operations"] == 2, "{epoch}");
    ensure!(wallets.json(&node, "alice", &["show"])?["staked"] == "20");
    Ok(())
}

#[test]
fn errors_name_the_thing_and_the_fix() -> Result<()> {
    let wallets = Wallets::new()?;
    let node = Weir::start()?;
    let empty = tempfile::tempdir()?;
    wallets.account(&node, "alice")?;
    let before = std::fs::read(wallets.path("alice"))?;
    for (key, arguments, code) in [
        ("alice", &["new"][..], "key-exists"),
        ("nobody", &["show"], "key-missing"),
        ("alice", &["show"], "unknown-plugin"),
        ("alice", &["stake", "0"], "usage"),
        ("alice", &["stake", "-5"], "usage"),
        ("alice", &["mint", "me", "5"], "usage"),
        ("alice", &["genesis", "--symbol", "lower"], "usage"),
    ] {
        let output = wallets.run(node.folder(), key, &[arguments, &["--json"]].concat())?;
        let document: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{arguments:?}"))?;
        ensure!(!output.status.success() && document["error"]["code"] == code, "{arguments:?}: {document}");
    }
    ensure!(std::fs::read(wallets.path("alice"))? == before, "a key file was overwritten");
    let code = wallets.failure(empty.path(), "alice", &["show"])?;
    ensure!(code == "not-running", "{code}");
    std::fs::set_permissions(wallets.path("alice"), PermissionsExt::from_mode(0o644))?;
    let code = wallets.failure(node.folder(), "alice", &["show"])?;
    ensure!(code == "key-permissions", "{code}");
    std::fs::set_permissions(wallets.path("alice"), PermissionsExt::from_mode(0o600))?;
    std::fs::write(wallets.path("alice.book"), "{")?;
    match wallets.failure(node.folder(), "alice", &["show"])?.as_str() {
        "book-damaged" => Ok(()),
        other => bail!("a damaged book is `{other}`"),
    }
}
