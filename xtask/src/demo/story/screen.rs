//! The live table of the demo: what happens as lines, and below them what the nodes say of themselves, drawn anew.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Columns that every terminal has.
const WIDTH: usize = 100;

/// What one node says of itself. What it does not say is a dash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub node: &'static str,
    pub peers: String,
    pub staking: String,
    pub epoch: String,
    pub root: String,
    pub pending: String,
    pub dividend: String,
    pub claims: String,
    pub state: String,
}

/// Where the demo shows what it does. Plain lines, and a table after each act, where stderr is no terminal.
pub struct Screen {
    terminal: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    rows: Vec<Row>,
    state: String,
    /// Lines below the last one that stays.
    drawn: usize,
}

impl Screen {
    pub fn new() -> Self {
        Self { terminal: stderr().is_terminal(), inner: Mutex::default() }
    }

    /// A new act.
    pub fn step(&self, what: &str) {
        self.line(&format!("==> {what}"));
    }

    /// Something that is worth keeping on the screen.
    pub fn fact(&self, text: &str) {
        self.line(&format!("    {text}"));
    }

    /// How far long work is; only on a terminal.
    pub fn state(&self, text: &str) {
        if self.terminal {
            let mut inner = self.lock();
            text.clone_into(&mut inner.state);
            inner.draw();
        }
    }

    /// What the nodes say now.
    pub fn show(&self, rows: Vec<Row>) {
        let mut inner = self.lock();
        inner.rows = rows;
        if self.terminal {
            inner.draw();
        }
    }

    /// The table as it is at the end of an act. On a terminal it is there all the time.
    pub fn end_of_act(&self) {
        let mut inner = self.lock();
        inner.state.clear();
        if self.terminal {
            inner.draw();
        } else {
            say(&inner.table().iter().map(|line| format!("    {line}\n")).collect::<String>());
        }
    }

    /// Leaves the last table where it is, before something else writes.
    pub fn settle(&self) {
        let mut inner = self.lock();
        inner.state.clear();
        if self.terminal {
            inner.draw();
        }
        inner.drawn = 0;
        inner.rows.clear();
    }

    fn line(&self, text: &str) {
        let mut inner = self.lock();
        inner.state.clear();
        inner.erase();
        say(&format!("{text}\n"));
        if self.terminal {
            inner.draw();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked while drawing left at worst a line too many.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn erase(&mut self) {
        if self.drawn > 0 {
            say(&format!("\x1b[{}A\r\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }

    fn draw(&mut self) {
        self.erase();
        let mut lines = self.table();
        if !self.state.is_empty() {
            lines.push(format!("… {}", self.state));
        }
        let short = |line: &String| format!("    {}\n", line.chars().take(WIDTH - 4).collect::<String>());
        self.drawn = lines.len();
        say(&lines.iter().map(short).collect::<String>());
    }

    fn table(&self) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let line = |cells: [&str; 9]| {
            let [node, peers, staking, epoch, root, pending, dividend, claims, state] = cells;
            format!("{node:<5}{peers:<6}{staking:<9}{epoch:<6}{root:<12}{pending:<9}{dividend:<12}{claims:<9}{state}")
        };
        let head = line(["node", "peers", "staking", "epoch", "root", "pending", "dividend", "declared", "state"]);
        let rows = self.rows.iter().map(|row| {
            line([
                row.node,
                &row.peers,
                &row.staking,
                &row.epoch,
                &row.root,
                &row.pending,
                &row.dividend,
                &row.claims,
                &row.state,
            ])
        });
        std::iter::once(head).chain(rows).collect()
    }
}

/// A terminal that was closed must not keep anybody from ending the nodes, as the panic of `eprintln!` would.
fn say(text: &str) {
    let mut stderr = stderr().lock();
    let _closed = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_node() {
        let row = Row { node: "a", root: "0123456789".to_owned(), ..Row::default() };
        let inner = Inner { rows: vec![row.clone(), Row { node: "b", ..row }], ..Inner::default() };
        let table = inner.table();
        assert_eq!(table.len(), 3);
        assert_eq!(table[0].find("root"), table[1].find("0123"));
        assert!(Inner::default().table().is_empty());
    }
}
