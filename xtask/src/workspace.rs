//! Where the workspace and its target folder lie, and how cargo is run in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::interrupt;

/// The workspace this program was built from.
pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
}

impl Workspace {
    /// Asks cargo, because the target folder can be chosen in four places.
    pub fn locate() -> Result<Self> {
        // Asked when it runs: where two checkouts share a target folder, this program may have been built in the other.
        let own = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
        let root = Path::new(&own).parent().context("xtask lies in the workspace")?.to_owned();
        let output = cargo(&root)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .context("run `cargo metadata`")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("read `cargo metadata`")?;
        let target = metadata["target_directory"].as_str().context("`cargo metadata` names no target folder")?;
        Ok(Self { target: PathBuf::from(target), root })
    }

    /// Everything about guests lies here: their own cargo target folder, and what was learnt about the toolchain.
    pub fn guests(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// Where finished guests are gathered under the names the tests and the demo know.
    pub fn guests_out(&self) -> PathBuf {
        self.guests().join("out")
    }

    /// A binary of the workspace that was built with the profile of this folder (`debug`, `release`).
    pub fn binary(&self, folder: &str, name: &str) -> PathBuf {
        self.target.join(folder).join(name).with_extension(std::env::consts::EXE_EXTENSION)
    }

    /// A cargo command in this workspace.
    pub fn cargo(&self) -> Command {
        cargo(&self.root)
    }

    /// Runs a command whose output the user sees, and fails if it does. `name` is how it is called in the error.
    pub fn run(&self, command: &mut Command, name: &str) -> Result<()> {
        eprintln!("==> {name}");
        let status = command.status().with_context(|| format!("start `{name}`"))?;
        interrupt::check()?;
        if !status.success() {
            bail!("`{name}` ended with {status}");
        }
        Ok(())
    }
}

/// The cargo that runs us, so that `cargo +toolchain xtask` means what it says.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // What describes xtask's own package would only confuse build scripts.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}
