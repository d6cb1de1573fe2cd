//! `cargo xtask sim`: builds the simulator and the plugins it loads, and runs seeds.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::guests;
use crate::passed_on::PassedOn;
use crate::test::NATIVE;
use crate::workspace::Workspace;

/// Runs the simulator. Its status is 1 when a rule was broken.
///
/// It has a cargo call of its own, so that `weir` is never built with the simulated network in a release.
pub fn run(workspace: &Workspace, arguments: &PassedOn) -> Result<ExitCode> {
    if !arguments.asks_for(&["--help", "list"]) {
        guests::all(workspace)?;
    }
    // Among all packages, so that what the tests have built is used again.
    let mut build = workspace.cargo();
    workspace.run(build.arg("build").args(NATIVE).args(["--bin", "weir-sim"]), "cargo build --bin weir-sim")?;
    let mut simulator = Command::new(workspace.binary("debug", "weir-sim"));
    arguments.run(simulator.env("WEIR_TEST_GUESTS", workspace.guests_out()), "weir-sim")
}
