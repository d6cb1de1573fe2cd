//! `cargo xtask bench`: builds the benchmarks and the plugin that they load, and runs them.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::guests;
use crate::passed_on::PassedOn;
use crate::workspace::Workspace;

/// Runs the benchmarks. The status is 1 when `--check` found a loss.
pub fn run(workspace: &Workspace, arguments: &PassedOn) -> Result<ExitCode> {
    if !arguments.asks_for(&["--help", "--list"]) {
        guests::load(workspace)?;
    }
    let mut build = workspace.cargo();
    // A cargo call of its own: the benchmarks are of a node without the simulated network.
    build.args(["build", "--release", "--package", "weir-bench"]);
    workspace.run(&mut build, "cargo build --release --package weir-bench (the first time takes some minutes)")?;
    let mut bench = Command::new(workspace.binary("release", "weir-bench"));
    arguments.run(bench.env("WEIR_BENCH_PLUGIN", guests::load_file(workspace)), "weir-bench")
}
