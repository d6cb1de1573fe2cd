//! `cargo xtask test`: everything that is tested, on a machine that has only Rust and a C compiler.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::guests;
use crate::workspace::Workspace;

/// The guests that misbehave export what only a wasm host can call; natively they do not link.
pub const NATIVE: [&str; 3] = ["--workspace", "--exclude", "weir-test-guests"];

#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Passed on to `cargo test`: a filter, or `-- --nocapture`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<OsString>,
}

/// Builds guests and `weir`, then runs the tests of the workspace, which find both by `WEIR_TEST_GUESTS` and `WEIR_BIN`.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let out = guests::all(workspace)?;
    let with = |command: &mut Command| {
        command.env("WEIR_TEST_GUESTS", &out).env("WEIR_BIN", workspace.binary("debug", "weir"));
        command.env("WEIR_BENCH_PLUGIN", guests::load_file(workspace));
    };
    // Binaries and tests in one build: cargo then unifies the features once, and nothing is compiled twice.
    let mut build = workspace.cargo();
    build.arg("build").args(NATIVE).args(["--bins", "--tests"]);
    with(&mut build);
    workspace.run(&mut build, "cargo build --bins --tests")?;
    let mut test = workspace.cargo();
    test.arg("test").args(NATIVE).args(&arguments.passed_on);
    with(&mut test);
    workspace.run(&mut test, "cargo test")
}
