//! Runs a foreign program with a time limit, in a process group of its own, and shows that it is alive.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::progress::Progress;

/// How often a silent command is reported as still running.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often cancellation is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long the pipes may stay open after the command ended: a daemon it left behind can hold them for ever. On a machine with
/// much to do half a second was too short for the threads that read them, and what the command had said was lost.
const LINGER: Duration = Duration::from_secs(5);
/// Lines in flight between the reading threads and the waiting one: enough for a burst of compiler output.
const LINES_IN_FLIGHT: usize = 256;
/// Lines of output kept for an error message.
const TAIL: usize = 40;

/// Why a supervised command gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started at all.
    #[error("start `{program}`")]
    Start {
        /// The program as it was named.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was killed because it ran longer than it may.
    #[error("`{program}` did not end within {} s and was stopped{}", limit.as_secs(), shown(tail))]
    TimedOut {
        /// The program as it was named.
        program: String,
        /// The limit it broke.
        limit: Duration,
        /// The last lines it printed.
        tail: String,
    },
    /// It ended with a status other than 0.
    #[error("`{program}` ended with {status}{}", shown(tail))]
    Failed {
        /// The program as it was named.
        program: String,
        /// What it ended with.
        status: ExitStatus,
        /// The last lines it printed.
        tail: String,
    },
    /// [`Progress::cancelled`] said so.
    #[error("`{program}` was interrupted")]
    Cancelled {
        /// The program as it was named.
        program: String,
    },
}

fn shown(tail: &str) -> String {
    if tail.is_empty() { String::new() } else { format!("; it said last:\n{tail}") }
}

/// What a command that ended well printed on stdout, line by line.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The lines of stdout without their ends.
    pub stdout: Vec<String>,
}

/// A command, how it is called in messages, and how long it may take.
pub struct Supervised<'a> {
    /// What is run. Its stdio and process group are set here.
    pub command: Command,
    /// How it is called in progress and errors, such as `rustup target add`.
    pub name: &'a str,
    /// It is killed, with everything it started, when it runs longer.
    pub limit: Duration,
    /// Whether lines of stdout are shown, and kept for the error, as those of stderr are.
    pub show_stdout: bool,
}

enum Event {
    Stdout(String),
    Stderr(String),
    Closed,
    Exited(std::io::Result<ExitStatus>),
}

impl Supervised<'_> {
    /// Runs the command to its end. Blocks for at most the limit and five seconds.
    pub fn run(mut self, progress: &dyn Progress) -> Result<Output, CommandError> {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        own_group(&mut self.command);
        let program = self.name.to_owned();
        let mut child = self.command.spawn().map_err(|source| CommandError::Start { program, source })?;
        let pid = child.id();
        let (sender, events) = sync_channel(LINES_IN_FLIGHT);
        read(child.stdout.take(), Event::Stdout, &sender);
        read(child.stderr.take(), Event::Stderr, &sender);
        wait(child, sender);
        Watch::new(&self, pid, progress).until_end(&events)
    }
}

/// The loop that listens to one running command.
struct Watch<'a> {
    run: &'a Supervised<'a>,
    pid: u32,
    progress: &'a dyn Progress,
    started: Instant,
    heard: Instant,
    stdout: Vec<String>,
    tail: VecDeque<String>,
    open_pipes: usize,
}

impl<'a> Watch<'a> {
    fn new(run: &'a Supervised<'a>, pid: u32, progress: &'a dyn Progress) -> Self {
        let now = Instant::now();
        Self { run, pid, progress, started: now, heard: now, stdout: Vec::new(), tail: VecDeque::new(), open_pipes: 2 }
    }

    fn until_end(mut self, events: &Receiver<Event>) -> Result<Output, CommandError> {
        let program = || self.run.name.to_owned();
        loop {
            match events.recv_timeout(LOOK) {
                Ok(Event::Exited(status)) => {
                    let status = status.map_err(|source| CommandError::Start { program: program(), source })?;
                    return self.finish(status, events);
                }
                Ok(event) => self.note(event),
                Err(RecvTimeoutError::Timeout) => self.beat(),
                Err(RecvTimeoutError::Disconnected) => {}
            }
            if self.progress.cancelled() {
                kill_group(self.pid);
                return Err(CommandError::Cancelled { program: program() });
            }
            if self.started.elapsed() > self.run.limit {
                kill_group(self.pid);
                return Err(CommandError::TimedOut { program: program(), limit: self.run.limit, tail: self.tail() });
            }
        }
    }

    fn finish(mut self, status: ExitStatus, events: &Receiver<Event>) -> Result<Output, CommandError> {
        let until = Instant::now() + LINGER;
        while self.open_pipes > 0
            && let Ok(event) = events.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.note(event);
        }
        if status.success() {
            return Ok(Output { stdout: self.stdout });
        }
        Err(CommandError::Failed { program: self.run.name.to_owned(), status, tail: self.tail() })
    }

    fn note(&mut self, event: Event) {
        self.heard = Instant::now();
        match event {
            Event::Stdout(line) => {
                if self.run.show_stdout {
                    self.show(&line);
                }
                self.stdout.push(line);
            }
            Event::Stderr(line) => self.show(&line),
            Event::Closed => self.open_pipes = self.open_pipes.saturating_sub(1),
            Event::Exited(_) => {}
        }
    }

    fn show(&mut self, line: &str) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        self.progress.line(line);
    }

    fn beat(&mut self) {
        if self.heard.elapsed() >= HEARTBEAT {
            self.heard = Instant::now();
            self.progress.heartbeat(self.run.name, self.started.elapsed());
        }
    }

    fn tail(&self) -> String {
        self.tail.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

fn read(pipe: Option<impl Read + Send + 'static>, event: fn(String) -> Event, sender: &SyncSender<Event>) {
    let sender = sender.clone();
    thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            // Progress bars redraw with carriage returns: only the last state of a line is worth showing.
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end().rsplit('\r').next().unwrap_or_default().to_owned();
            if sender.send(event(text)).is_err() {
                return;
            }
            line.clear();
        }
        let _closed = sender.send(Event::Closed);
    });
}

fn wait(mut child: Child, sender: SyncSender<Event>) {
    thread::spawn(move || {
        let status = child.wait();
        let _nobody_listens = sender.send(Event::Exited(status));
    });
}

#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(not(unix))]
fn own_group(_command: &mut Command) {}

#[cfg(unix)]
fn kill_group(pid: u32) {
    if let Ok(group) = i32::try_from(pid) {
        // SAFETY: `kill` takes two numbers and touches no memory of ours. The group is the child's own: it was made
        // its leader when it was started.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}

#[cfg(not(unix))]
fn kill_group(pid: u32) {
    let _best_effort = Command::new("taskkill").args(["/F", "/T", "/PID", &pid.to_string()]).status();
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn shell(script: &str, limit: Duration) -> Result<Output, CommandError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Supervised { command, name: "a script", limit, show_stdout: true }.run(&Silent)
    }

    #[test]
    fn output_is_collected_line_by_line() {
        let output = shell("echo one; echo two", Duration::from_secs(10)).expect("it ends well");
        assert_eq!(output.stdout, ["one", "two"]);
    }

    #[test]
    fn a_failure_shows_what_was_said_last() {
        let error = shell("echo no such target >&2; exit 3", Duration::from_secs(10)).expect_err("it fails");
        assert!(error.to_string().contains("no such target"), "{error}");
    }

    #[test]
    fn a_hanging_command_is_stopped_with_its_children() {
        let started = Instant::now();
        let error = shell("sleep 300 & echo $!; wait", Duration::from_millis(300)).expect_err("it hangs");
        assert!(started.elapsed() < Duration::from_secs(5));
        let CommandError::TimedOut { tail, .. } = &error else { panic!("{error}") };
        let child: i32 = tail.trim().parse().expect("the script prints its child");
        let deadline = Instant::now() + Duration::from_secs(5);
        // SAFETY: signal 0 only asks whether the process exists.
        while unsafe { libc::kill(child, 0) } == 0 && !is_zombie(child) {
            assert!(Instant::now() < deadline, "the child outlived its group");
            thread::yield_now();
        }
    }

    fn is_zombie(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_does_not_hold_us() {
        let started = Instant::now();
        shell("sleep 40 & exit 0", Duration::from_secs(60)).expect("it ends well");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn what_is_read_late_is_not_lost() {
        let output = shell("(sleep 1; echo late) & exit 0", Duration::from_secs(60)).expect("it ends well");
        assert_eq!(output.stdout, ["late"]);
    }

    #[test]
    fn a_missing_program_is_named() {
        let command = Command::new("/no/such/program");
        let run = Supervised { command, name: "program", limit: Duration::from_secs(1), show_stdout: false };
        assert!(matches!(run.run(&Silent), Err(CommandError::Start { .. })));
    }
}
