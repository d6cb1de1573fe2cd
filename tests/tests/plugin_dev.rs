//! The real binary for whoever writes a plugin or looks after one: its log, and the loop from a save to the running node.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::node::{PATIENCE, guest_path};
use weir_tests::weir::Weir;

/// A first build makes the standard library, too.
const BUILD: Duration = Duration::from_secs(600);

fn load_everything(weir: &Weir) -> Result<()> {
    let file = weir.folder().join("everything.wasm");
    fs::copy(guest_path("everything")?, &file)?;
    let grants = "grants = [\"sign\", \"call:ping\", \"call:everything\", \"call:nobody\", \"protocol:/room\"]\n";
    fs::write(file.with_extension("toml"), grants)?;
    weir.json(&["plugin", "load", file.to_str().context("UTF-8")?])?;
    Ok(())
}

fn log(weir: &Weir, text: &str) -> Result<()> {
    weir.json(&["call", "everything", "log", &json!({"text": text}).to_string()])?;
    Ok(())
}

fn messages(document: &Value) -> Vec<&str> {
    let lines = document["lines"].as_array().map_or(&[][..], Vec::as_slice);
    lines.iter().filter_map(|line| line["message"].as_str()).collect()
}

#[test]
fn the_log_of_a_plugin_is_read_followed_and_outlives_it() -> Result<()> {
    let weir = Weir::start()?;
    let logs = ["plugin", "logs", "everything"];
    assert_eq!(weir.failure(&logs)?.code, "unknown-plugin");
    load_everything(&weir)?;
    log(&weir, "the first")?;
    log(&weir, "two\nlines")?;
    let document = weir.json(&logs)?;
    assert_eq!(messages(&document), ["version 0.1.0 is loaded", "the first", "two\nlines"], "{document}");
    let line = &document["lines"][1];
    let about = ["level", "target", "event", "replay", "peer"].map(|key| line[key].clone());
    assert_eq!(about, [json!("info"), json!("everything"), json!("command"), json!(false), Value::Null], "{line}");
    assert!(line["unix_ms"].as_u64().is_some_and(|ms| ms > 1_600_000_000_000), "{line}");
    assert_eq!((&line["revision"], &line["number"], &document["next"]), (&json!(1), &json!(2), &json!(3)));
    let text = weir.text(&logs)?;
    ensure!(text.contains("Z INFO  r1 everything: two\n    lines (command)\n"), "{text}");

    // A crash stands among its lines, with the place of the panic.
    assert_eq!(weir.failure(&["call", "everything", "panic"])?.code, "plugin-crashed");
    let errors = weir.json(&["plugin", "logs", "everything", "--level", "error"])?;
    let crash = messages(&errors).first().copied().context("a crash")?.to_owned();
    ensure!(crash.contains("a command said so") && crash.contains("everything.rs:"), "{crash}");
    assert_eq!((&errors["lines"][0]["target"], &errors["lines"][0]["event"]), (&json!("weir"), &json!("command")));
    assert_eq!(messages(&weir.json(&["plugin", "logs", "everything", "--since", "1ms", "--level", "error"])?), [""; 0]);
    assert_eq!(messages(&weir.json(&["plugin", "logs", "everything", "--since", "1h", "--lines", "1"])?).len(), 1);
    for wrong in [["--level", "loud"], ["--since", "yesterday"], ["--lines", "0"]] {
        assert_eq!(weir.failure(&[&logs[..], &wrong].concat())?.code, "bad-request", "{wrong:?}");
    }

    let going = weir.going(&["plugin", "logs", "everything", "--follow", "--lines", "1"], &[])?;
    log(&weir, "the third")?;
    let third = going.until("the third line", PATIENCE, |line| line["message"] == "the third")?;
    ensure!(third["number"].as_u64() > Some(3), "{third}");
    weir.json(&["plugin", "unload", "everything"])?;
    going.until("its end", PATIENCE, |line| line["message"] == "version 0.1.0 has ended")?;
    let document = weir.json(&logs)?;
    assert_eq!(messages(&document).last(), Some(&"version 0.1.0 has ended"), "{document}");
    Ok(())
}

#[test]
fn a_node_ends_in_time_while_somebody_follows_a_log() -> Result<()> {
    let mut weir = Weir::start()?;
    load_everything(&weir)?;
    let going = weir.going(&["plugin", "logs", "everything", "--follow"], &[])?;
    going.until("it follows", PATIENCE, |line| line["number"] == 1)?;
    let took = weir.terminate()?;
    // It is told to end, and not cut off at the end of the second that answers are given.
    ensure!(took < Duration::from_secs(1), "{took:?}");
    going.until("the node has ended", PATIENCE, |line| line["error"]["code"].is_string())?;
    Ok(())
}

/// A package of a plugin outside of this workspace, as its author has it.
struct Package(tempfile::TempDir);

impl Package {
    fn new() -> Result<Self> {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").context("run the tests with `cargo xtask test`")?;
        let workspace = Path::new(&own).parent().context("a workspace")?.to_owned();
        let package = Self(tempfile::tempdir()?);
        let manifest = format!(
            "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
             [dependencies]\nserde_json = \"1\"\nweir-sdk = {{ path = {:?} }}\n\n[workspace]\n",
            workspace.join("guest-sdk")
        );
        fs::create_dir(package.path("src"))?;
        fs::write(package.path("Cargo.toml"), manifest)?;
        // The versions that the workspace has: nothing is looked up then.
        fs::copy(workspace.join("Cargo.lock"), package.path("Cargo.lock"))?;
        Ok(package)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Saves the plugin: what it does when it starts, and what it answers to `version`.
    fn save(&self, start: &str, version: &str) -> Result<()> {
        let source = format!(
            "use weir_sdk::prelude::*;\n\nstruct Hello;\n\nimpl Plugin for Hello {{\n    fn manifest() -> Manifest {{\n        \
             Manifest::new(\"hello\", \"0.1.0\")\n    }}\n\n    fn start(_: Init, _: &Context) -> Result<Self> {{\n        \
             {start}\n    }}\n\n    fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {{\n        \
             if command.name == \"panic\" {{\n            panic!(\"as asked\");\n        }}\n        \
             command.answer(ctx, &{version})\n    }}\n}}\n\nweir_sdk::export!(Hello);\n"
        );
        Ok(fs::write(self.path("src/lib.rs"), source)?)
    }
}

#[test]
fn every_save_of_a_plugin_comes_into_the_node_and_the_last_good_one_stays() -> Result<()> {
    let (weir, package) = (Weir::start()?, Package::new()?);
    // The standard library that the guests were built with is used again.
    let target = guest_path("x")?.ancestors().nth(2).context("the guests' folder")?.join("target");
    let (dir, target) = (package.0.path().to_str().context("UTF-8")?, target.to_str().context("UTF-8")?.to_owned());
    let happened = |what: &'static str| move |said: &Value| said["happened"] == what;
    let version = || anyhow::Ok(weir.json(&["call", "hello", "version"])?);

    package.save("weir_sdk::info!(\"hello, one\");\n        Ok(Hello)", "1")?;
    let mut dev = weir.going(&["plugin", "dev", dir, "--target-dir", &target], &[("CARGO_NET_OFFLINE", "true")])?;
    let loaded = dev.until("the first build is loaded", BUILD, |said| {
        assert!(said["code"].is_null(), "{said}");
        said["happened"] == "loaded"
    })?;
    assert_eq!((&loaded["plugin"]["name"], version()?), (&json!("hello"), json!(1)), "{loaded}");
    dev.until("what it logs", PATIENCE, |said| said["message"] == "hello, one" && said["target"] == "hello")?;

    package.save("Ok(Hello", "2")?;
    let failed = dev.until("it does not compile", BUILD, happened("not-built"))?;
    let why = failed["message"].as_str().context("why")?;
    ensure!(failed["code"] == "build-failed" && why.contains("error") && why.contains("src/lib.rs"), "{failed}");
    assert_eq!((&failed["plugin"]["revision"], version()?), (&loaded["plugin"]["revision"], json!(1)));

    package.save("Ok(Hello)", "2")?;
    let changed = dev.until("the save is seen", PATIENCE, happened("changed"))?;
    assert_eq!(changed["file"], "src/lib.rs");
    let upgraded = dev.until("the next build is there", BUILD, happened("upgraded"))?;
    ensure!(upgraded["pause_us"].is_u64(), "{upgraded}");
    assert_eq!(version()?, json!(2));

    package.save("Err(Error::new(\"not-today\", \"it rains\"))", "3")?;
    let failed = dev.until("it does not start", BUILD, happened("not-loaded"))?;
    ensure!(
        failed["code"] == "start-failed" && failed["message"].as_str().context("why")?.contains("it rains"),
        "{failed}"
    );
    assert_eq!(version()?, json!(2));

    assert_eq!(weir.failure(&["call", "hello", "panic"])?.code, "plugin-crashed");
    dev.until("the crash is shown", PATIENCE, |said| {
        said["level"] == "error" && said["message"].as_str().is_some_and(|text| text.contains("as asked"))
    })?;
    dev.interrupt()?;
    let ended = dev.until("its last words", PATIENCE, happened("ended"))?;
    assert_eq!((&ended["plugin"]["name"], version()?), (&json!("hello"), json!(2)), "{ended}");
    Ok(())
}

#[test]
fn without_a_node_or_a_package_it_says_what_is_missing() -> Result<()> {
    let (weir, folder) = (Weir::init()?, tempfile::tempdir()?);
    let dir = folder.path().to_str().context("UTF-8")?;
    assert_eq!(weir.failure(&["plugin", "dev", dir])?.code, "not-running");
    let weir = Weir::start()?;
    let failed = weir.failure(&["plugin", "dev", dir])?;
    assert_eq!(failed.code, "no-package");
    ensure!(failed.message.contains("name the folder of a plugin's package"), "{}", failed.message);
    Ok(())
}
