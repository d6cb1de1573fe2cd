//! Builds every guest for wasm and gathers the files under the names that tests and the demo know.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use weir_guest_build::{GuestBuild, PackageInstall, Progress, Search, Toolchain};

use crate::progress::Shown;
use crate::workspace::Workspace;

const PING: &str = "weir-plugin-ping";
/// Turns ping 0.1 into ping 0.2.
const PING_NEXT: &str = "v0-2";
/// Makes its name something that a test can write into the file.
const PING_RENAMABLE: &str = "renamable";
const STAKING: &str = "weir-plugin-staking";
/// Turns staking 1.0 into staking 1.1.
const STAKING_NEXT: &str = "v1-1";
const DIVIDEND: &str = "weir-plugin-dividend";
/// Under which names they are kept, the old version first.
const PING_FILES: [&str; 2] = ["ping-0.1.wasm", "ping-0.2.wasm"];
const STAKING_FILES: [&str; 2] = ["staking-1.0.wasm", "staking-1.1.wasm"];
const DIVIDEND_FILE: &str = "dividend-1.0.wasm";
/// What the benchmarks load.
const LOAD: &str = "weir-plugin-load";
const SPREAD: &str = "weir-plugin-spread";
const TEST_GUESTS: &str = "weir-test-guests";

/// A plugin in two versions.
pub struct Versions {
    pub old: PathBuf,
    pub new: PathBuf,
}

/// The plugins `staking`, in both versions, and `dividend`.
pub struct Ledgers {
    pub staking: Versions,
    pub dividend: PathBuf,
}

/// Builds everything and prints the folder.
#[expect(clippy::print_stdout, reason = "the folder is what the command is for")]
pub fn print(workspace: &Workspace) -> Result<()> {
    println!("{}", all(workspace)?.display());
    Ok(())
}

/// Builds all plugins and the tests' guests. Returns the folder they lie in.
pub fn all(workspace: &Workspace) -> Result<PathBuf> {
    let builder = Builder::new(workspace)?;
    builder.ping()?;
    builder.ledgers()?;
    builder.load()?;
    builder.one(&builder.with(PING, PING_RENAMABLE), &workspace.guests_out().join("ping-renamable.wasm"))?;
    let examples = builder.build(&builder.package(TEST_GUESTS).examples())?;
    for file in &examples {
        let name = file.file_name().context("cargo names files")?;
        builder.keep(file, &workspace.guests_out().join(name))?;
    }
    builder.progress.fact(&format!(
        "{} test guests, ping, staking, dividend, load and spread in {}",
        examples.len(),
        workspace.guests_out().display()
    ));
    Ok(workspace.guests_out())
}

/// Builds ping in both versions, or finds it in a folder.
pub fn ping(workspace: &Workspace, built: Option<&Path>) -> Result<Versions> {
    let Some(folder) = built else { return Builder::new(workspace)?.ping() };
    let [old, new] = PING_FILES.map(|name| in_folder(folder, name));
    Ok(Versions { old: old?, new: new? })
}

/// Builds staking in both versions, and dividend, or finds them in a folder.
pub fn ledgers(workspace: &Workspace, built: Option<&Path>) -> Result<Ledgers> {
    let Some(folder) = built else { return Builder::new(workspace)?.ledgers() };
    let [old, new] = STAKING_FILES.map(|name| in_folder(folder, name));
    Ok(Ledgers { staking: Versions { old: old?, new: new? }, dividend: in_folder(folder, DIVIDEND_FILE)? })
}

fn in_folder(folder: &Path, name: &str) -> Result<PathBuf> {
    let file = std::path::absolute(folder.join(name))?;
    let fix = "name the folder that `cargo xtask guests` prints with --plugins";
    ensure!(file.is_file(), "there is no file {}: {fix}", file.display());
    Ok(file)
}

/// Builds the plugins that the benchmarks load.
pub fn load(workspace: &Workspace) -> Result<()> {
    Builder::new(workspace)?.load()
}

/// Where the first of them is then; the others lie beside it.
pub fn load_file(workspace: &Workspace) -> PathBuf {
    workspace.guests_out().join("load.wasm")
}

struct Builder<'a> {
    workspace: &'a Workspace,
    toolchain: Toolchain,
    progress: Shown,
}

impl<'a> Builder<'a> {
    fn new(workspace: &'a Workspace) -> Result<Self> {
        let progress = Shown::new();
        progress.step("looking for a wasm toolchain");
        let search = Search {
            directory: workspace.root.clone(),
            scratch: workspace.guests(),
            packages: PackageInstall::Allowed,
        };
        let toolchain = Toolchain::find(&search, &progress)?;
        progress.fact(&toolchain.describe());
        Ok(Self { workspace, toolchain, progress })
    }

    fn package(&self, name: &str) -> GuestBuild {
        GuestBuild::package(name, &self.workspace.root, self.workspace.guests().join("target"))
    }

    /// A package with a feature. In a target folder of its own: what is built with a feature and what is built without have one
    /// name in cargo's folder, and each build would throw the other away.
    fn with(&self, name: &str, feature: &str) -> GuestBuild {
        let target = self.workspace.guests().join(format!("target-{feature}"));
        GuestBuild::package(name, &self.workspace.root, target).feature(feature)
    }

    fn build(&self, guest: &GuestBuild) -> Result<Vec<PathBuf>> {
        let files = self.toolchain.build(guest, &self.progress);
        self.progress.settle();
        Ok(files?)
    }

    fn ping(&self) -> Result<Versions> {
        self.versions(PING, PING_NEXT, PING_FILES)
    }

    fn ledgers(&self) -> Result<Ledgers> {
        let staking = self.versions(STAKING, STAKING_NEXT, STAKING_FILES)?;
        let dividend = self.workspace.guests_out().join(DIVIDEND_FILE);
        self.one(&self.package(DIVIDEND), &dividend)?;
        Ok(Ledgers { staking, dividend })
    }

    fn load(&self) -> Result<()> {
        self.one(&self.package(LOAD), &load_file(self.workspace))?;
        self.one(&self.package(SPREAD), &load_file(self.workspace).with_file_name("spread.wasm"))
    }

    fn versions(&self, package: &str, next: &str, names: [&str; 2]) -> Result<Versions> {
        let [old, new] = names.map(|name| self.workspace.guests_out().join(name));
        self.one(&self.package(package), &old)?;
        self.one(&self.with(package, next), &new)?;
        Ok(Versions { old, new })
    }

    fn one(&self, guest: &GuestBuild, kept: &Path) -> Result<()> {
        let files = self.build(guest)?;
        let [file] = files.as_slice() else { bail!("{} made {} files instead of one", guest.package, files.len()) };
        self.keep(file, kept)
    }

    /// Copies a finished file so that a reader sees the old one or the new one whole, and an unchanged one stays as it is.
    fn keep(&self, file: &Path, kept: &Path) -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        if fs::read(kept).is_ok_and(|before| before == bytes) {
            return Ok(());
        }
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(self.workspace.guests_out())?;
            let partial = kept.with_extension("partial");
            fs::write(&partial, bytes)?;
            fs::rename(partial, kept)
        };
        write().with_context(|| format!("write {}", kept.display()))
    }
}
