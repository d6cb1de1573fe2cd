//! `cargo xtask netns`: real nodes on hosts of their own, with packets lost and paths cut.

use anyhow::Result;

use crate::guests;
use crate::workspace::Workspace;

/// Builds what the script needs and runs it. It says why where it cannot run, which is no failure.
pub fn run(workspace: &Workspace) -> Result<()> {
    let out = guests::all(workspace)?;
    workspace.run(workspace.cargo().args(["build", "--package", "weir-host", "--bin", "weir"]), "cargo build weir")?;
    let mut script = std::process::Command::new("bash");
    script.arg(workspace.root.join("tests/netns/run.sh"));
    script.env("WEIR_TEST_GUESTS", out).env("WEIR_BIN", workspace.binary("debug", "weir"));
    workspace.run(&mut script, "tests/netns/run.sh")
}
