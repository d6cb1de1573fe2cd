//! What a developer runs: set-up, tests, the demo.

mod bench;
mod ci;
mod demo;
mod faults;
mod guests;
mod interrupt;
mod netns;
mod passed_on;
mod progress;
mod sim;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::passed_on::PassedOn;
use crate::workspace::Workspace;

/// What a developer of Weir runs. The wasm toolchain is found or made where a command needs it.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Five real nodes on this machine with staking and dividend, a cut, an upgrade, and a table that adds up.
    Demo(demo::Arguments),
    /// Everything that is tested: builds the guests and `weir`, then runs the tests of the workspace.
    Test(test::Arguments),
    /// Whole nodes in a deterministic simulation: runs seeds, and says which broke a rule and how to see it again.
    Sim(PassedOn),
    /// Real nodes in network namespaces, with packets lost and paths cut. Needs root, and says so where it is skipped.
    Netns,
    /// Puts known faults into a copy of the sources, one at a time, and expects the tests to find each.
    Faults(faults::Arguments),
    /// What Weir costs beside raw QUIC: the same work in several ways, in turns within one run, and a table.
    Bench(PassedOn),
    /// Builds the plugins and the tests' guests for wasm and prints where they lie.
    Guests,
    /// What has to pass before a merge: formatting, lints, tests and, where it is installed, `cargo deny`.
    Ci,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    interrupt::listen()?;
    let workspace = Workspace::locate()?;
    match arguments.command {
        Command::Demo(arguments) => return demo::run(&workspace, &arguments),
        Command::Bench(arguments) => return bench::run(&workspace, &arguments),
        Command::Sim(arguments) => return sim::run(&workspace, &arguments),
        Command::Test(arguments) => test::run(&workspace, &arguments)?,
        Command::Netns => netns::run(&workspace)?,
        Command::Faults(arguments) => faults::run(&workspace, &arguments)?,
        Command::Guests => guests::print(&workspace)?,
        Command::Ci => ci::run(&workspace)?,
    }
    Ok(ExitCode::SUCCESS)
}
