//! The real `weir` binary, as an operator uses it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::node::PATIENCE;

/// How long a node may take from the signal to its end.
pub const END: Duration = Duration::from_secs(5);

/// An error as programs and people get it.
#[derive(Debug)]
pub struct Failed {
    /// For programs.
    pub code: String,
    /// One paragraph for people.
    pub message: String,
}

/// A data folder, and the node that runs in it while it runs.
pub struct Weir {
    folder: TempDir,
    running: Option<Child>,
    /// `PEER_ID`, from `weir init`.
    pub peer_id: String,
    /// `PEER_ID@IP:PORT`, of the node that was started last.
    pub address: String,
}

impl Weir {
    /// Makes a folder with `weir init`, on a port that the system chooses.
    pub fn init() -> Result<Self> {
        let mut weir =
            Self { folder: tempfile::tempdir()?, running: None, peer_id: String::new(), address: String::new() };
        let document = weir.json(&["init", "--listen", "127.0.0.1:0"])?;
        weir.peer_id = document["peer_id"].as_str().context("a peer id")?.to_owned();
        Ok(weir)
    }

    /// Makes a folder and starts the node in it.
    pub fn start() -> Result<Self> {
        let mut weir = Self::init()?;
        weir.run()?;
        Ok(weir)
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the node and waits for its ready line.
    pub fn run(&mut self) -> Result<()> {
        self.run_with(&[])
    }

    /// The same with more arguments.
    pub fn run_with(&mut self, arguments: &[&str]) -> Result<()> {
        let mut child =
            self.command(&[&["run"], arguments].concat())?.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().context("piped")?).read_line(&mut ready)?;
        self.running = Some(child);
        let address = ready.trim_end().strip_prefix("ready ").with_context(|| format!("`{ready}` is no ready line"))?;
        address.clone_into(&mut self.address);
        Ok(())
    }

    /// Starts the node and waits for nothing.
    pub fn begin(&mut self) -> Result<()> {
        self.running = Some(self.command(&["run"])?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        Ok(())
    }

    /// Ends the node's process as a loss of power would: it has no say in it.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.running.take().context("it runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The node's process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.running.as_ref().map(Child::id)
    }

    /// Writes keys into a section of `weir.toml`; those that the template shows are set there.
    pub fn configure(&self, section: &str, keys: &[(&str, &str)]) -> Result<()> {
        let file = self.folder().join("weir.toml");
        let text = std::fs::read_to_string(&file)?;
        let head = format!("[{section}]\n");
        ensure!(text.contains(&head), "the template has no [{section}]");
        let lines: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        Ok(std::fs::write(&file, text.replacen(&head, &format!("{head}{lines}"), 1))?)
    }

    /// Sends SIGTERM, and returns how long the node took to end well.
    pub fn terminate(&mut self) -> Result<Duration> {
        let mut child = self.running.take().context("it runs")?;
        let (status, took) = end(&mut child, "-TERM")?;
        let mut rest = String::new();
        child.stdout.take().context("piped")?.read_to_string(&mut rest)?;
        ensure!(status.success() && rest.is_empty(), "{status}, and after the ready line: `{rest}`");
        Ok(took)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let binary = std::env::var_os("WEIR_BIN");
        let binary = binary.context("WEIR_BIN is not set: run the tests with `cargo xtask test`")?;
        let mut command = Command::new(PathBuf::from(binary));
        command.arg("--dir").arg(self.folder()).args(arguments).env_remove("WEIR_DIR").env_remove("RUST_LOG");
        Ok(command)
    }

    fn output(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments)?.output()?)
    }

    /// Starts a command that goes on until it is ended, with `--json`.
    pub fn going(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Going> {
        let mut command = self.command(&[arguments, &["--json"]].concat())?;
        command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("piped")?);
        // More than a test makes a command say before it reads; beyond that the command waits.
        let (sender, lines) = sync_channel(1_024);
        std::thread::spawn(move || {
            let mut lines = stdout.lines();
            while let Some(Ok(line)) = lines.next()
                && sender.send(line).is_ok()
            {}
        });
        Ok(Going { child, lines })
    }

    /// The one JSON document that a command prints with `--json`; it must succeed.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.output(&[arguments, &["--json"]].concat())?;
        let document = document(&output).with_context(|| format!("{arguments:?}"))?;
        ensure!(output.status.success(), "{arguments:?}: {document}");
        ensure!(document.get("error").is_none(), "{arguments:?}: {document}");
        Ok(document)
    }

    /// What a command prints for people; it must succeed.
    pub fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The error of a command that must fail: the same with and without `--json`, and one paragraph.
    pub fn failure(&self, arguments: &[&str]) -> Result<Failed> {
        let output = self.output(&[arguments, &["--json"]].concat())?;
        let document = document(&output).with_context(|| format!("{arguments:?}"))?;
        ensure!(!output.status.success(), "{arguments:?} succeeded: {document}");
        let text = |key: &str| {
            let text = document["error"][key].as_str();
            text.map(str::to_owned).with_context(|| format!("no error.{key} in {document}"))
        };
        let failed = Failed { code: text("code")?, message: text("message")? };
        ensure!(!failed.message.trim().contains('\n'), "more than one paragraph: {}", failed.message);
        let output = self.output(arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && output.stdout.is_empty(), "{arguments:?} for people");
        // Revisions are counted, also those that never ran, so the second time the number is another.
        let uncounted = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let same = uncounted(&stderr).contains(&uncounted(&failed.message));
        ensure!(same, "people read `{stderr}`, programs `{}`", failed.message);
        Ok(failed)
    }

    /// The error of a command that must fail and is not the same when it is asked again.
    pub fn failure_once(&self, arguments: &[&str]) -> Result<Failed> {
        let output = self.output(&[arguments, &["--json"]].concat())?;
        let document = document(&output).with_context(|| format!("{arguments:?}"))?;
        ensure!(!output.status.success(), "{arguments:?} succeeded: {document}");
        let text = |key: &str| document["error"][key].as_str().map(str::to_owned).context("an error with both keys");
        Ok(Failed { code: text("code")?, message: text("message")? })
    }

    /// Waits until what a command prints fits, at most [`PATIENCE`].
    pub fn until(&self, what: &str, arguments: &[&str], fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let since = Instant::now();
        loop {
            let document = self.json(arguments)?;
            if fits(&document) {
                return Ok(document);
            }
            ensure!(since.elapsed() < PATIENCE, "after {PATIENCE:?} still not: {what}; {document}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A command that goes on until it is ended, and what it prints, line by line.
pub struct Going {
    child: Child,
    lines: Receiver<String>,
}

impl Going {
    /// The next JSON document that it prints and that fits; those before it are passed over. Waits for at most so long.
    pub fn until(&self, what: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let (deadline, mut passed) = (Instant::now() + limit, Vec::new());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.with_context(|| format!("after {limit:?} still not: {what}; it said {passed:#?}"))?;
            let document: Value = serde_json::from_str(&line).with_context(|| format!("no JSON: `{line}`"))?;
            if fits(&document) {
                return Ok(document);
            }
            passed.push(line);
        }
    }

    /// Sends SIGINT, as Ctrl-C does, and waits for the end, which must be a good one.
    pub fn interrupt(&mut self) -> Result<()> {
        let (status, _) = end(&mut self.child, "-INT")?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends the signal, and returns how the process ended and how long that took; one that does not end is killed.
fn end(child: &mut Child, signal: &str) -> Result<(ExitStatus, Duration)> {
    let since = Instant::now();
    let asked = Command::new("kill").args([signal, &child.id().to_string()]).status()?;
    ensure!(asked.success(), "kill failed");
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, since.elapsed()));
        }
        if since.elapsed() > PATIENCE {
            child.kill()?;
            bail!("after {signal} it did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn document(output: &Output) -> Result<Value> {
    let text = || format!("no JSON document: `{}`", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).with_context(text)
}

impl Drop for Weir {
    fn drop(&mut self) {
        if let Some(child) = &mut self.running {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
