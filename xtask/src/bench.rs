//! `cargo xtask bench`: builds the benchmarks and the plugin that they load, and runs them.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::guests;
use crate::interrupt;
use crate::workspace::Workspace;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// Passed on to `weir-bench`: names of cases, `--rounds 3`, `--json`; `--help` and `--list` tell more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<OsString>,
}

/// Runs the benchmarks. The status is 1 when `--check` found a loss.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let plugin = guests::load(workspace)?;
    let mut build = workspace.cargo();
    // A cargo call of its own: the benchmarks are of a node without the simulated network.
    build.args(["build", "--release", "--package", "weir-bench"]);
    workspace.run(&mut build, "cargo build --release --package weir-bench (the first time takes some minutes)")?;
    let mut bench = Command::new(workspace.binary("release", "weir-bench"));
    let status =
        bench.args(&arguments.passed_on).env("WEIR_BENCH_PLUGIN", plugin).status().context("start weir-bench")?;
    interrupt::check()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
