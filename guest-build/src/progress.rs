//! How long work is shown to whoever waits for it, and how they stop it.

use std::time::Duration;

/// Hears what is going on while a toolchain is looked for or a plugin is built, and may end it.
///
/// All methods are called on the thread that asked for the work.
pub trait Progress {
    /// A new piece of work begins; `what` completes "now …".
    fn step(&self, what: &str);

    /// A line that the command under way printed. Worth showing on a terminal, ignored by default.
    fn line(&self, _line: &str) {}

    /// The command under way has been silent for a while; `elapsed` counts from its start.
    fn heartbeat(&self, _what: &str, _elapsed: Duration) {}

    /// Whether the work should stop. Asked several times a second; the command under way is then killed with all it
    /// started, because it runs in a process group of its own that a Ctrl-C on the terminal does not reach.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Shows steps, output and heartbeats as plain lines on stderr.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines;

impl Progress for Lines {
    fn step(&self, what: &str) {
        eprintln!("==> {what}");
    }

    fn line(&self, line: &str) {
        eprintln!("    {line}");
    }

    fn heartbeat(&self, what: &str, elapsed: Duration) {
        eprintln!("    … {what}: {} s so far", elapsed.as_secs());
    }
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _what: &str) {}
}
