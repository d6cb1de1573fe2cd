//! `cargo xtask sim`: builds the simulator and the plugins it loads, and runs seeds.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::guests;
use crate::interrupt;
use crate::test::NATIVE;
use crate::workspace::Workspace;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// Passed on to `weir-sim`: `--seeds 1000`, `--from 7`, `--scenario mixed`; `--help` shows all.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<OsString>,
}

/// Runs the simulator. Its status is 1 when a rule was broken.
///
/// It has a cargo call of its own, so that `weir` is never built with the simulated network in a release.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let asks_only = arguments.passed_on.iter().any(|argument| argument == "--help" || argument == "list");
    if !asks_only {
        guests::all(workspace)?;
    }
    // Among all packages, so that what the tests have built is used again.
    let mut build = workspace.cargo();
    workspace.run(build.arg("build").args(NATIVE).args(["--bin", "weir-sim"]), "cargo build --bin weir-sim")?;
    let mut simulator = Command::new(workspace.binary("debug", "weir-sim"));
    simulator.args(&arguments.passed_on).env("WEIR_TEST_GUESTS", workspace.guests_out());
    let status = simulator.status().context("start weir-sim")?;
    interrupt::check()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
