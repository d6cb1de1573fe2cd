//! `cargo xtask ci`: what has to pass before a merge.

use std::process::Stdio;

use anyhow::Result;

use crate::test::{self, NATIVE};
use crate::workspace::Workspace;

/// Formatting and lints first, because they answer fastest.
pub fn run(workspace: &Workspace) -> Result<()> {
    workspace.run(workspace.cargo().args(["fmt", "--all", "--check"]), "cargo fmt --check")?;
    let mut clippy = workspace.cargo();
    clippy.arg("clippy").args(NATIVE).args(["--all-targets", "--", "-D", "warnings"]);
    workspace.run(&mut clippy, "cargo clippy -D warnings")?;
    deny(workspace)?;
    test::run(workspace, &test::Arguments::default())
}

fn deny(workspace: &Workspace) -> Result<()> {
    let installed = workspace
        .cargo()
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !installed {
        eprintln!("==> cargo deny: skipped, because it is not installed (`cargo install cargo-deny`)");
        return Ok(());
    }
    workspace.run(workspace.cargo().args(["deny", "check"]), "cargo deny check")
}
