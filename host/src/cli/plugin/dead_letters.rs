//! `weir plugin dead-letters`: events that a plugin failed on.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::admin::AdminRequest;
use crate::cli::client::{ask, segment};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, cell, printable, rows, table};
use crate::folder::Folder;

#[derive(Debug, Args)]
pub(super) struct DeadLetters {
    /// The plugin
    name: String,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show one with its body and the whole report
    Show {
        /// Which
        id: u64,
    },
    /// Hand one to the running plugin again, and remove it when that goes well
    Retry {
        /// Which
        id: u64,
    },
    /// Remove one
    Drop {
        /// Which
        id: u64,
    },
}

impl DeadLetters {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let all = format!("/v1/plugins/{}/dead-letters", segment(&self.name));
        match self.command {
            None => {
                let document = ask(folder, AdminRequest::get(all)).await?;
                output.show(&document, render);
            }
            Some(Command::Show { id }) => {
                let document = ask(folder, AdminRequest::get(format!("{all}/{id}"))).await?;
                output.show(&document, render_one);
            }
            Some(Command::Retry { id }) => {
                let document = ask(folder, AdminRequest::post(format!("{all}/{id}/retry"), "")).await?;
                output.show(&document, |_| format!("{} handled dead letter {id}; it is removed", self.name));
            }
            Some(Command::Drop { id }) => {
                let document = ask(folder, AdminRequest::delete(format!("{all}/{id}"))).await?;
                output.show(&document, |_| format!("dead letter {id} is removed"));
            }
        }
        Ok(())
    }
}

fn render(document: &Value) -> String {
    let letters = rows(document, "dead_letters");
    if letters.is_empty() {
        return "there are no dead letters".to_owned();
    }
    let titles = ["ID", "AT (UNIX MS)", "EVENT", "FROM", "BYTES", "SHA-256", "REVISION", "REASON"];
    let row = |letter: &Value| {
        let reason = cell(&letter["report"], "reason");
        let panic = &letter["report"]["panic"];
        let reason = match panic["message"].as_str() {
            Some(message) => format!("{}: {message}", cell(panic, "location")),
            None => reason,
        };
        let sha256: String = cell(letter, "sha256").chars().take(12).collect();
        let keys = ["id", "at_unix_ms", "event"].map(|key| cell(letter, key));
        let [id, at, event] = keys;
        [id, at, event, from(letter), cell(letter, "bytes"), sha256, cell(&letter["report"], "revision"), reason]
    };
    table(titles, letters.iter().map(row))
}

/// Who is behind it: a peer, a caller and the command, or the timer.
fn from(letter: &Value) -> String {
    match letter["event"].as_str() {
        Some("command") => {
            let caller = letter["caller"].as_object().and_then(|caller| caller.iter().next());
            let caller =
                caller.map_or(String::new(), |(kind, name)| format!("{kind} {}", name.as_str().unwrap_or("-")));
            format!("{caller}: {}", cell(letter, "command"))
        }
        Some("timer") => cell(letter, "timer"),
        _ => cell(letter, "peer"),
    }
}

fn render_one(letter: &Value) -> String {
    let report = &letter["report"];
    let mut lines = vec![render(&serde_json::json!({"dead_letters": [letter]}))];
    let failed = [
        ("plugin", format!("{} {}", cell(report, "plugin"), cell(report, "version"))),
        ("protocol", cell(letter, "protocol")),
        ("sha-256", cell(letter, "sha256")),
        ("reason", cell(report, "reason")),
        ("panic", cell(&report["panic"], "message")),
        ("at", cell(&report["panic"], "location")),
        ("backtrace", rows(report, "backtrace").iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n  < ")),
        ("retries", cell(letter, "retries")),
        ("next", cell(report, "next_step")),
        ("body", cell(letter, "body_hex")),
    ];
    let shown = failed.iter().filter(|(_, text)| !text.is_empty() && text != "-");
    lines.extend(
        shown.map(|(name, text)| format!("{name}: {}", text.lines().map(printable).collect::<Vec<_>>().join("\n"))),
    );
    lines.join("\n")
}
