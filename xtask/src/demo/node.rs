//! One real `weir run` process in a folder of its own, driven by the `weir` command line.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use weir_guest_build::{Progress, Supervised};

use super::client::Client;
use super::wait;
use crate::interrupt;

/// A node starts in well under a second; the first one may have to compile a plugin.
const READY: Duration = Duration::from_secs(30);
/// `weir run` promises to end within 5 s of SIGTERM.
const END: Duration = Duration::from_secs(6);
/// One command of the command line.
const COMMAND: Duration = Duration::from_secs(60);
/// Lines of the log shown with an error.
const LOG_TAIL: usize = 25;

/// A running node. Dropping it stops the process.
pub struct Node {
    pub name: &'static str,
    pub directory: PathBuf,
    pub peer_id: String,
    /// Where it listens, `IP:PORT`.
    pub address: String,
    pub client: Client,
    binary: PathBuf,
    child: Option<Child>,
}

/// Only Ctrl-C matters to the short commands; what they print is for the program.
struct Quiet;

impl Progress for Quiet {
    fn step(&self, _what: &str) {}

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}

impl Node {
    /// `weir init` and `weir run` in a new folder `folder/name`.
    pub fn start(binary: &Path, folder: &Path, name: &'static str) -> Result<Self> {
        Self::start_with(binary, folder, name, |_| Ok(()))
    }

    /// The same, with something done to the folder between the two.
    pub fn start_with(
        binary: &Path,
        folder: &Path,
        name: &'static str,
        prepare: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let directory = folder.join(name);
        let mut node = Self {
            client: Client::new(&directory),
            binary: binary.to_owned(),
            peer_id: String::new(),
            address: String::new(),
            child: None,
            name,
            directory,
        };
        node.weir(&["init"])?;
        prepare(&node.directory)?;
        let ready = node.run()?;
        let (peer_id, address) =
            parse_ready(&ready).with_context(|| node.with_log(&format!("it printed `{ready}`")))?;
        (node.peer_id, node.address) = (peer_id.to_owned(), address.to_owned());
        Ok(node)
    }

    /// `PEER_ID@IP:PORT`.
    pub fn peer_address(&self) -> String {
        format!("{}@{}", self.peer_id, self.address)
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn log(&self) -> PathBuf {
        self.directory.with_extension("log")
    }

    /// Runs `weir --dir D --json ARGUMENTS` and returns its document.
    pub fn weir(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.command();
        command.arg("--json").args(arguments);
        let name = format!("weir {}", arguments.join(" "));
        let run = Supervised { command, name: &name, limit: COMMAND, show_stdout: true };
        let output = run.run(&Quiet).with_context(|| self.with_log("a command failed"))?;
        let text = output.stdout.join("\n");
        serde_json::from_str(&text).with_context(|| format!("`{name}` printed no JSON, but `{text}`"))
    }

    /// Adds whose failure it is and what it logged last to an error.
    pub fn with_log(&self, what: &str) -> String {
        format!("node {}: {what}\nits log {} ends with:\n{}", self.name, self.log().display(), self.log_tail())
    }

    /// Waits for something in this node, for at most `limit`, and shows its log if it does not come.
    pub fn until<T>(&self, what: &str, limit: Duration, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let found = wait::until(what, limit, look);
        // Who pressed Ctrl-C does not ask what the node was doing.
        if interrupt::requested() { found } else { found.with_context(|| self.with_log("it did not come to this")) }
    }

    /// Whether the process has ended, which nobody asked it for.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        // The user's own node and its settings have nothing to do with the demo.
        command.env_remove("WEIR_DIR").arg("--dir").arg(&self.directory);
        command
    }

    fn run(&mut self) -> Result<String> {
        let log = File::create(self.log()).with_context(|| format!("make {}", self.log().display()))?;
        let mut command = self.command();
        command.args(["run", "--listen", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        own_group(&mut command);
        let mut child = command.spawn().with_context(|| format!("start {}", self.binary.display()))?;
        let stdout = child.stdout.take();
        self.child = Some(child);
        let (sender, lines) = sync_channel(1);
        thread::spawn(move || {
            let mut line = String::new();
            if let Some(stdout) = stdout {
                // An end without a line arrives as an empty one.
                let _ended = BufReader::new(stdout).read_line(&mut line);
            }
            let _gave_up = sender.send(line.trim().to_owned());
        });
        let line = self.until("the line `ready …`", READY, || Ok(lines.try_recv().ok()))?;
        if line.is_empty() {
            bail!(self.with_log("`weir run` ended before it was ready"));
        }
        Ok(line)
    }

    fn log_tail(&self) -> String {
        let text = fs::read(self.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        tail(&text, LOG_TAIL)
    }

    /// Asks the process to end, and kills it if it does not. Says whether it ended by itself.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        terminate(&child);
        let started = std::time::Instant::now();
        // Not `wait::until`: after Ctrl-C, too, the node gets its time.
        while started.elapsed() < END {
            if child.try_wait().is_ok_and(|status| status.is_some()) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _gone = child.kill();
        let _gone = child.wait();
        Err(anyhow!(self.with_log(&format!("it did not end within {} s of SIGTERM and was killed", END.as_secs()))))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
    }
}

/// In a group of its own, Ctrl-C on the terminal reaches only us, and we stop the nodes in order, or leave them.
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

fn terminate(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // SAFETY: `kill` takes two numbers and touches no memory of ours. The child was not waited for, so the number
        // is still its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}

/// `ready PEER_ID@IP:PORT` → (`PEER_ID`, `IP:PORT`).
fn parse_ready(line: &str) -> Result<(&str, &str)> {
    line.strip_prefix("ready ")
        .and_then(|address| address.trim().split_once('@'))
        .filter(|(peer, address)| !peer.is_empty() && address.parse::<std::net::SocketAddr>().is_ok())
        .context("expected `ready PEER_ID@IP:PORT` on stdout")
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| format!("  | {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_read() {
        assert_eq!(parse_ready("ready abc@127.0.0.1:4001").expect("it is one"), ("abc", "127.0.0.1:4001"));
        assert_eq!(parse_ready("ready abc@[::1]:4001").expect("it is one"), ("abc", "[::1]:4001"));
        for line in ["", "ready", "ready abc", "ready @127.0.0.1:1", "ready abc@localhost", "listening on 1"] {
            assert!(parse_ready(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "  | b\n  | c\n");
        assert_eq!(tail("", 2), "");
    }

    #[test]
    fn a_node_that_dies_at_once_is_reported_with_its_log() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let binary = folder.path().join("weir");
        let script = "#!/bin/sh\ncase \"$*\" in *init*) echo '{}';; *) echo 'no such key' >&2; exit 1;; esac\n";
        fs::write(&binary, script).expect("it can be written");
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let error = Node::start(&binary, folder.path(), "a").err().expect("it dies");
        assert!(format!("{error:#}").contains("no such key"), "{error:#}");
    }
}
