//! `cargo xtask bench`: builds the benchmarks and what they load or start, and runs them.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::guests;
use crate::passed_on::PassedOn;
use crate::workspace::Workspace;

/// Runs the benchmarks. The status is 1 when `--check` found a loss.
pub fn run(workspace: &Workspace, arguments: &PassedOn) -> Result<ExitCode> {
    let measures = !arguments.asks_for(&["--help", "--list"]);
    if measures {
        guests::load(workspace)?;
    }
    let mut build = workspace.cargo();
    // A cargo call of its own: the benchmarks are of a node without the simulated network.
    build.args(["build", "--release", "--package", "weir-bench"]);
    workspace.run(&mut build, "cargo build --release --package weir-bench (the first time takes some minutes)")?;
    let mut bench = Command::new(workspace.binary("release", "weir-bench"));
    if measures && arguments.asks_for(&["--peers"]) {
        bench.env("WEIR_BENCH_PEERS", peers(workspace)?);
    }
    arguments.run(bench.env("WEIR_BENCH_PLUGIN", guests::load_file(workspace)), "weir-bench")
}

/// Builds the other libraries' program, in a workspace and a target folder of its own, and says where it lies.
fn peers(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target.join("peers");
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--locked", "--manifest-path", "benches/peers/Cargo.toml", "--target-dir"]);
    workspace.run(build.arg(&target), "cargo build --release in benches/peers (the first time takes some minutes)")?;
    Ok(target.join("release/weir-bench-peers").with_extension(std::env::consts::EXE_EXTENSION))
}
