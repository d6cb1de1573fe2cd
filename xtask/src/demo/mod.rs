//! `cargo xtask demo`: the whole of Weir once, with two real nodes.

mod checksum;
mod client;
mod http;
mod node;
mod ping;
mod scenario;
mod source;
mod summary;
mod text;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use tempfile::TempDir;

use crate::guests;
use crate::interrupt;
use crate::workspace::Workspace;
use scenario::Scenario;
use summary::Summary;

#[derive(clap::Args)]
pub struct Arguments {
    /// Print one JSON document on stdout in place of the table; progress stays on stderr.
    #[arg(long)]
    json: bool,
    /// Leave the nodes running at the end and print the commands to play with.
    #[arg(long)]
    hold: bool,
    /// Messages in the flood, at least; it goes on while the upgrade does.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    messages: u64,
}

/// Plays the demo. Status 1 if a message was lost, came twice or came out of order.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let outcome = play(workspace, arguments);
    if arguments.json {
        print(&match &outcome {
            Ok(summary) => format!("{:#}", summary.json()),
            Err(error) => format!("{:#}", json!({"error": {"message": format!("{error:#}")}})),
        });
    }
    let summary = outcome?;
    if !arguments.json {
        print(&format!("\n{}", summary.table()));
    }
    for failure in summary.failures() {
        eprintln!("FAILED: {failure}");
    }
    Ok(if summary.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "the result is what the command is for")]
fn print(text: &str) {
    println!("{text}");
}

fn play(workspace: &Workspace, arguments: &Arguments) -> Result<Summary> {
    let started = Instant::now();
    let weir = build(workspace)?;
    let plugins = guests::ping(workspace)?;
    let folder = tempfile::Builder::new().prefix("weir-demo-").tempdir().context("make a temporary folder")?;
    let outcome = Scenario::start(&weir, plugins, folder.path(), arguments.messages).and_then(|mut scenario| {
        let summary = scenario.play()?;
        if arguments.hold {
            scenario.hold()?;
        }
        Ok(summary)
    });
    if outcome.as_ref().map_or(!interrupt::requested(), |_| arguments.hold) {
        keep(folder);
    }
    Ok(Summary { elapsed: started.elapsed(), ..outcome? })
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--package", "weir-host", "--bin", "weir"]);
    workspace.run(&mut cargo, "cargo build --release --bin weir (the first time takes some minutes)")?;
    Ok(workspace.binary("release", "weir"))
}

fn keep(folder: TempDir) {
    eprintln!("folders and logs of the nodes: {}", folder.keep().display());
}
