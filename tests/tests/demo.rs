//! `cargo xtask demo` as a stranger runs it: the story with fewer accounts, a table that adds up, and nothing that is left
//! running.

#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_tests::node::guest_path;

/// The whole story on a machine that has other things to do: fifteen plugins are compiled in it.
const STORY: Duration = Duration::from_secs(400);
/// What is asked of a terminal.
const CTRL_C: Duration = Duration::from_secs(40);

/// The demo, with its nodes' folders in one of the test.
fn demo(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let weir = std::env::var_os("WEIR_BIN").map(PathBuf::from);
    let weir = weir.context("WEIR_BIN is not set: run the tests with `cargo xtask test`")?;
    let own = std::env::var_os("CARGO_MANIFEST_DIR").context("run by cargo")?;
    // Built by the same command, so it lies beside it.
    let mut command = Command::new(weir.with_file_name("xtask"));
    command.env("CARGO_MANIFEST_DIR", Path::new(&own).with_file_name("xtask")).env("TMPDIR", folder);
    let plugins = guest_path("any")?;
    command.arg("demo").arg("--weir").arg(&weir).arg("--plugins").arg(plugins.parent().context("a folder")?);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Processes that name this folder.
fn running(folder: &Path) -> Result<usize> {
    let folder = folder.to_str().context("UTF-8")?;
    let names = |entry: &std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(folder)
    };
    Ok(std::fs::read_dir("/proc")?.filter_map(Result::ok).filter(names).count())
}

fn number(document: &Value, path: &str) -> Result<u128> {
    let value = document.pointer(path).with_context(|| format!("no {path} in {document}"))?;
    Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse()?)
}

/// Reads a document that ends with the line `}`: what comes behind it has not been said yet.
fn document(demo: &mut Child) -> Result<Value> {
    let (mut text, stdout) = (String::new(), demo.stdout.as_mut().context("piped")?);
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        text.push_str(&line);
        if line == "}" {
            break;
        }
    }
    serde_json::from_str(&text).with_context(|| format!("no JSON: `{text}`"))
}

fn wait(demo: &mut Child, limit: Duration) -> Result<i32> {
    let since = Instant::now();
    loop {
        if let Some(status) = demo.try_wait()? {
            return status.code().context("ended by a signal");
        }
        if since.elapsed() > limit {
            demo.kill()?;
            demo.wait()?;
            anyhow::bail!("it did not end within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is said for people, gathered so that nobody waits for a reader.
fn gather(demo: &mut Child) -> Result<std::thread::JoinHandle<String>> {
    let mut stderr = demo.stderr.take().context("piped")?;
    Ok(std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).ok();
        String::from_utf8_lossy(&text).into_owned()
    }))
}

#[test]
fn the_story_adds_up_and_its_nodes_run_until_ctrl_c() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let started = Instant::now();
    let mut demo = demo(folder.path(), &["--accounts", "30", "--hold", "--json"])?.spawn()?;
    let said = gather(&mut demo)?;
    let told = document(&mut demo);
    let held = running(folder.path())?;
    // SAFETY: `kill` takes two numbers and touches no memory of ours; the child was not waited for.
    unsafe { libc::kill(i32::try_from(demo.id())?, libc::SIGINT) };
    let (status, left) = (wait(&mut demo, CTRL_C)?, running(folder.path())?);
    let said = said.join().unwrap_or_default();
    let told = told.with_context(|| said.clone())?;
    ensure!(started.elapsed() < STORY, "it took {:?}", started.elapsed());

    ensure!(told["ok"] == true && told["failures"] == serde_json::json!([]), "{told}\n{said}");
    ensure!(told["accounts"] == 30 && told["nodes"].as_array().is_some_and(|nodes| nodes.len() == 5), "{told}");
    let operations = |key: &str| number(&told, &format!("/operations/{key}"));
    ensure!(operations("lost")? == 0 && operations("submitted")? == operations("included")?, "{told}");
    ensure!(operations("submitted")? > 90 && number(&told, "/upgrade/operations")? > 0, "{told}");
    let dividend = |key: &str| number(&told, &format!("/dividend/{key}"));
    let sum = dividend("claimed")? + dividend("claimable")? + dividend("dust")?;
    ensure!(dividend("declared")? == sum && dividend("claimed")? > 0 && dividend("dust")? < 30, "{told}");
    for key in ["root", "dividend_root", "included", "claimed", "claimable", "staking"] {
        let nodes = told["nodes"].as_array().into_iter().flatten();
        let all: std::collections::BTreeSet<_> = nodes.map(|node| node[key].to_string()).collect();
        ensure!(all.len() == 1, "{key} differs: {told}");
    }

    ensure!(held == 5, "{held} nodes were held\n{said}");
    ensure!(status == 0 && left == 0, "after Ctrl-C its status is {status} and {left} nodes are left\n{said}");
    ensure!(said.contains("issuer.key mint ACCOUNT 100") && said.contains("Ctrl-C here ends them all"), "{said}");
    let named = said.lines().find_map(|line| line.split_once("folders and logs are in ")).context("a folder")?.1;
    ensure!(Path::new(named).join("a.log").is_file(), "{named} has no logs");
    Ok(())
}

#[test]
fn a_demo_that_is_over_leaves_nothing_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut demo = demo(folder.path(), &["--ping", "--messages", "1000"])?.spawn()?;
    let said = gather(&mut demo)?;
    let status = wait(&mut demo, STORY)?;
    let mut table = String::new();
    demo.stdout.take().context("piped")?.read_to_string(&mut table)?;
    let said = said.join().unwrap_or_default();
    ensure!(status == 0 && table.contains("lost"), "status {status}\n{table}\n{said}");
    ensure!(running(folder.path())? == 0 && std::fs::read_dir(folder.path())?.next().is_none(), "{said}");
    Ok(())
}
