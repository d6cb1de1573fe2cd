//! A toolchain that compiles plugins, and the way to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::TARGET;
use crate::command::{CommandError, Supervised};
use crate::environment::clean;
use crate::error::ToolchainError;
use crate::facts::{DISTRIBUTION_CARGO, DISTRIBUTION_RUSTC, Facts, Privilege};
use crate::memory::RustupMemory;
use crate::plan::{Attempt, MINIMUM_RUST, PackageInstall, plan};
use crate::progress::Progress;

/// A download of 20 MB. Without a network, rustup has been seen to hang for ever instead of failing.
const TARGET_ADD: Duration = Duration::from_secs(60);
/// About 200 MB from a mirror, and another apt may have to end first.
const APT: Duration = Duration::from_secs(15 * 60);
/// Debian's Rust for web browsers: newer than its `rustc`, and with the sources of the same version.
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Where to look, and what is allowed on the way.
#[derive(Clone, Debug)]
pub struct Search {
    /// The folder of the plugin or workspace: a `rust-toolchain.toml` there chooses the active toolchain.
    pub directory: PathBuf,
    /// A folder for what is remembered between runs, such as `<target>/guests`. Made when needed.
    pub scratch: PathBuf,
    /// Whether packages of the distribution may be installed.
    pub packages: PackageInstall,
}

/// A toolchain that was found to compile for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The active toolchain, which has the target.
    Active,
    /// The distribution's compiler, which builds the standard library from its sources.
    Distribution {
        /// The linker it has to be told about.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// Finds a toolchain or makes one: see [`plan`] for the order. Blocks; the longest way, a `rustup` that hangs and
    /// then an installation of packages, is limited to about 31 minutes, and usually takes one.
    pub fn find(search: &Search, progress: &dyn Progress) -> Result<Self, ToolchainError> {
        let memory = RustupMemory::new(&search.scratch);
        let mut facts = Facts::gather(&search.directory, &memory);
        let mut report = first_lines(&facts, &memory);
        for attempt in plan(&facts, search.packages) {
            match attempt.run(search, &mut facts, &memory, progress) {
                Ok(toolchain) => return Ok(toolchain),
                Err(Setback::Cancelled) => return Err(ToolchainError::Cancelled),
                Err(Setback::Failed(line)) => report.push(line),
            }
        }
        let report = report.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n");
        Err(ToolchainError::NoWay { report, advice: advice() })
    }

    /// What is said to a person who asks which toolchain it is.
    pub fn describe(&self) -> String {
        match self {
            Self::Active => format!("the active Rust toolchain with {TARGET}"),
            Self::Distribution { linker } => {
                format!("{DISTRIBUTION_RUSTC} with its library sources, linker {}", linker.display())
            }
        }
    }

    /// A cargo command line up to the subcommand's own arguments, in a cleaned environment.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self {
            Self::Active => Command::new("cargo"),
            Self::Distribution { .. } => Command::new(DISTRIBUTION_CARGO),
        };
        clean(&mut command);
        command.args([subcommand, "--target", TARGET]);
        if let Self::Distribution { linker } = self {
            // Building the standard library is an unstable option, which this variable unlocks in a stable compiler.
            command.args(["-Zbuild-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1");
            command.env("RUSTC", DISTRIBUTION_RUSTC).env(linker_variable(), linker);
        }
        command
    }
}

enum Setback {
    Failed(String),
    Cancelled,
}

impl From<CommandError> for Setback {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Cancelled { .. } => Self::Cancelled,
            // The report is text, so what caused it has to be said here.
            CommandError::Start { program, source } => Self::Failed(format!("start `{program}`: {source}")),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Attempt {
    fn run(
        self,
        search: &Search,
        facts: &mut Facts,
        memory: &RustupMemory,
        progress: &dyn Progress,
    ) -> Result<Toolchain, Setback> {
        match self {
            Self::UseActive => Ok(Toolchain::Active),
            Self::AddTarget => add_target(search, facts, memory, progress),
            Self::UseDistribution => distribution(facts),
            Self::InstallDistribution(privilege) => {
                install(privilege, facts, progress)?;
                *facts = Facts::gather(&search.directory, memory);
                distribution(facts)
            }
        }
    }
}

fn add_target(
    search: &Search,
    facts: &Facts,
    memory: &RustupMemory,
    progress: &dyn Progress,
) -> Result<Toolchain, Setback> {
    progress.step(&format!("adding the {TARGET} target with rustup (at most {} s)", TARGET_ADD.as_secs()));
    let mut command = Command::new("rustup");
    command.args(["target", "add", TARGET]).current_dir(&search.directory);
    clean(&mut command);
    let added = Supervised { command, name: "rustup target add", limit: TARGET_ADD, show_stdout: true }.run(progress);
    if let (Err(error), Some(active)) = (&added, &facts.active)
        && !matches!(error, CommandError::Cancelled { .. })
    {
        memory.remember(&active.sysroot, &error.to_string());
        progress.step("rustup could not; looking for another way (rustup is asked again tomorrow)");
    }
    added?;
    let now = Facts::gather(&search.directory, memory);
    if now.active.is_some_and(|active| active.has_target) {
        return Ok(Toolchain::Active);
    }
    Err(Setback::Failed("`rustup target add` ended well, but `rustc` still has no standard library for it".into()))
}

fn distribution(facts: &Facts) -> Result<Toolchain, Setback> {
    match &facts.linker {
        Some(linker) if facts.distribution_ready() => Ok(Toolchain::Distribution { linker: linker.clone() }),
        _ => Err(Setback::Failed(format!("the distribution's compiler: {}", missing(facts)))),
    }
}

fn install(privilege: Privilege, facts: &Facts, progress: &dyn Progress) -> Result<(), Setback> {
    let mut packages = PACKAGES.to_vec();
    if facts.linker.is_none() {
        packages.push("lld");
    }
    progress.step(&format!("installing the distribution's Rust with its sources: {}", packages.join(" ")));
    let first = apt(privilege, "install", &packages, progress);
    if let Err(CommandError::Failed { .. }) = first {
        progress.step("that failed; trying again with fresh package lists");
        apt(privilege, "update", &[], progress)?;
        apt(privilege, "install", &packages, progress)?;
        return Ok(());
    }
    Ok(first?)
}

fn apt(privilege: Privilege, action: &str, packages: &[&str], progress: &dyn Progress) -> Result<(), CommandError> {
    let mut command = match privilege {
        Privilege::Root => Command::new("apt-get"),
        Privilege::Sudo => Command::new("sudo"),
    };
    if privilege == Privilege::Sudo {
        command.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    }
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y", "-o", "DPkg::Lock::Timeout=300", action]);
    if action == "install" {
        // What the user installed stays: where the packages conflict with it, apt says so and we go no further.
        command.args(["--no-remove", "--no-install-recommends"]);
    }
    clean(&mut command);
    let name = format!("apt-get {action}");
    Supervised { command: with(command, packages), name: &name, limit: APT, show_stdout: true }.run(progress)?;
    Ok(())
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

fn first_lines(facts: &Facts, memory: &RustupMemory) -> Vec<String> {
    let mut lines = Vec::new();
    match &facts.active {
        None => lines.push("there is no `rustc` on the PATH that runs here".to_owned()),
        Some(active) => lines.push(format!("{} has no {TARGET}", active.sysroot.display())),
    }
    match &facts.rustup_failed {
        _ if !facts.rustup => lines.push("there is no `rustup`".to_owned()),
        None => {}
        Some(error) => lines.push(format!(
            "rustup failed less than a day ago (to ask it again now, delete {}): {error}",
            memory.file().display()
        )),
    }
    if !facts.distribution_ready() {
        lines.push(format!("the distribution's compiler: {}", missing(facts)));
    }
    lines
}

/// What the distribution's compiler lacks, in words.
fn missing(facts: &Facts) -> String {
    let (major, minor) = MINIMUM_RUST;
    match &facts.distribution {
        None => format!("there is no {DISTRIBUTION_RUSTC}"),
        Some(rustc) if rustc.version < MINIMUM_RUST => {
            format!("{DISTRIBUTION_RUSTC} is {}.{}, older than {major}.{minor}", rustc.version.0, rustc.version.1)
        }
        Some(rustc) if !rustc.has_sources => format!("{DISTRIBUTION_RUSTC} lacks the sources of its library"),
        Some(rustc) if facts.distribution_cargo != Some(rustc.version) => {
            format!("{DISTRIBUTION_CARGO} is missing or not of the compiler's version")
        }
        Some(_) => "there is no wasm linker (rust-lld or wasm-ld)".to_owned(),
    }
}

fn advice() -> String {
    format!(
        "Install one of these and run the command again:\n  rustup target add {TARGET}\n  sudo apt-get install {}   (Debian 12)\n\
         or your distribution's package with Rust's standard library for {TARGET}.",
        PACKAGES.join(" ")
    )
}

fn linker_variable() -> String {
    format!("CARGO_TARGET_{}_LINKER", TARGET.to_uppercase().replace('-', "_"))
}

/// Whether `folder` holds a package or workspace.
pub(crate) fn has_manifest(folder: &Path) -> bool {
    folder.join("Cargo.toml").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distributions_cargo_is_told_everything_by_its_environment() {
        let command = Toolchain::Distribution { linker: "/rust/rust-lld".into() }.cargo("build");
        let set = |name: &str| {
            command.get_envs().find(|(key, _)| *key == name).and_then(|(_, value)| value?.to_str()).map(str::to_owned)
        };
        assert_eq!(command.get_program(), DISTRIBUTION_CARGO);
        assert_eq!(set("RUSTC").as_deref(), Some(DISTRIBUTION_RUSTC));
        assert_eq!(set("RUSTC_BOOTSTRAP").as_deref(), Some("1"));
        assert_eq!(set("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER").as_deref(), Some("/rust/rust-lld"));
    }

    #[test]
    fn the_outer_cargo_does_not_leak_into_the_build() {
        let command = Toolchain::Active.cargo("build");
        // The test itself runs inside cargo, which sets this one.
        let removed = command.get_envs().any(|(key, value)| key == "CARGO_MANIFEST_DIR" && value.is_none());
        assert!(removed || std::env::var_os("CARGO_MANIFEST_DIR").is_none());
    }

    #[test]
    fn without_any_way_the_error_says_what_to_install() {
        let facts = Facts {
            active: None,
            rustup: false,
            rustup_failed: None,
            distribution: None,
            distribution_cargo: None,
            linker: None,
            apt: None,
        };
        let folder = RustupMemory::new(Path::new("/nowhere"));
        let text =
            ToolchainError::NoWay { report: first_lines(&facts, &folder).join("\n"), advice: advice() }.to_string();
        for part in ["there is no `rustup`", "there is no /usr/bin/rustc", "rustup target add", "rustc-web"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }
}
