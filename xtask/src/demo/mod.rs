//! `cargo xtask demo`: the whole of Weir once, with real nodes.

mod client;
mod held;
mod node;
mod number;
mod outcome;
mod ping;
mod story;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;

use self::outcome::Outcome;
use crate::guests;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub struct Arguments {
    /// Print one JSON document on stdout in place of the table; progress stays on stderr.
    #[arg(long)]
    json: bool,
    /// Keep the nodes running behind the table, until Ctrl-C, and print commands to play with.
    #[arg(long)]
    hold: bool,
    /// Play the short one: two nodes, a flood of messages, a plugin upgraded in the middle of it.
    #[arg(long)]
    ping: bool,
    /// Messages in the flood of --ping, at least; it goes on while the upgrade does.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..), requires = "ping")]
    messages: u64,
    /// Play with so many of the thousand accounts in examples/data/stakes.csv.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(20..), conflicts_with = "ping")]
    accounts: Option<u64>,
    /// Play with this `weir` in place of building one.
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
    /// Play with the plugins in this folder, which `cargo xtask guests` prints, in place of building them.
    #[arg(long, value_name = "FOLDER")]
    plugins: Option<PathBuf>,
}

/// Plays the demo. Status 1 if something was lost, or did not come out as it must.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let outcome = play(workspace, arguments);
    if arguments.json {
        print(&match &outcome {
            Ok(outcome) => format!("{:#}", outcome.json),
            Err(error) => format!("{:#}", json!({"error": {"message": format!("{error:#}")}})),
        });
    }
    let outcome = outcome?;
    if !arguments.json {
        print(&format!("\n{}", outcome.table));
    }
    for failure in &outcome.failures {
        eprintln!("FAILED: {failure}");
    }
    if let Some(held) = outcome.held {
        held.until_interrupted()?;
    }
    Ok(if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "the result is what the command is for")]
fn print(text: &str) {
    println!("{text}");
}

fn play(workspace: &Workspace, arguments: &Arguments) -> Result<Outcome> {
    let weir = match &arguments.weir {
        Some(weir) if !weir.is_file() => bail!("there is no file {}: name a `weir` binary with --weir", weir.display()),
        Some(weir) => std::path::absolute(weir)?,
        None => build(workspace)?,
    };
    let plugins = arguments.plugins.as_deref();
    if arguments.ping {
        let plugins = guests::ping(workspace, plugins)?;
        ping::play(&weir, plugins, arguments.messages, arguments.hold)
    } else {
        let accounts = story::accounts(workspace, arguments.accounts)?;
        let plugins = guests::ledgers(workspace, plugins)?;
        story::play(&weir, plugins, accounts, arguments.hold)
    }
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--package", "weir-host", "--bin", "weir"]);
    workspace.run(&mut cargo, "cargo build --release --bin weir (the first time takes some minutes)")?;
    Ok(workspace.binary("release", "weir"))
}
