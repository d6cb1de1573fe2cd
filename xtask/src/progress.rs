//! Progress on stderr: steps as lines, long work as one line that is drawn anew on a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::interrupt;

/// Steps, and under them what is going on. Plain lines where stderr is no terminal.
pub struct Shown {
    terminal: bool,
    /// Whether the cursor stands behind a line that is drawn anew.
    redrawn: AtomicBool,
}

impl Shown {
    pub fn new() -> Self {
        Self { terminal: stderr().is_terminal(), redrawn: AtomicBool::new(false) }
    }

    /// Something that is worth keeping on the screen.
    pub fn fact(&self, text: &str) {
        self.settle();
        eprintln!("    {text}");
    }

    /// The state of long work. Shown only on a terminal, where the next state replaces it.
    pub fn state(&self, text: &str) {
        if self.terminal {
            let short: String = text.chars().take(100).collect();
            eprint!("\r\x1b[2K    {short}");
            let _no_terminal = stderr().flush();
            self.redrawn.store(true, Ordering::Relaxed);
        }
    }

    /// Clears the line that is drawn anew, before something else writes.
    pub fn settle(&self) {
        if self.redrawn.swap(false, Ordering::Relaxed) {
            eprint!("\r\x1b[2K");
        }
    }
}

impl weir_guest_build::Progress for Shown {
    fn step(&self, what: &str) {
        self.settle();
        eprintln!("==> {what}");
    }

    fn line(&self, line: &str) {
        if self.terminal { self.state(line) } else { eprintln!("    {line}") }
    }

    fn heartbeat(&self, what: &str, elapsed: Duration) {
        let text = format!("… {what}: {} s so far", elapsed.as_secs());
        if self.terminal { self.state(&text) } else { self.fact(&text) }
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}
