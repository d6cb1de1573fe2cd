//! What is installed on this machine, gathered once before anything is decided.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::TARGET;
use crate::command::Supervised;
use crate::environment::clean;
use crate::memory::RustupMemory;
use crate::plan::MINIMUM_RUST;
use crate::progress::Silent;

/// A question such as `rustc --version` is answered at once, or the program hangs.
const ANSWER: Duration = Duration::from_secs(10);

/// Where distributions put their compiler.
pub(crate) const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";
/// Where distributions put their cargo.
pub(crate) const DISTRIBUTION_CARGO: &str = "/usr/bin/cargo";

/// A Rust compiler as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Major and minor version.
    pub version: (u32, u32),
    /// Where its libraries lie.
    pub sysroot: PathBuf,
    /// Whether the standard library for wasm is installed.
    pub has_target: bool,
    /// Whether the sources of its standard library are installed.
    pub has_sources: bool,
}

/// How packages of the distribution can be installed without asking anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// We are root.
    Root,
    /// `sudo -n` works.
    Sudo,
}

/// Everything the plan depends on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The compiler that `rustc` means in the folder of the plugin.
    pub active: Option<Compiler>,
    /// Whether `rustup` is there.
    pub rustup: bool,
    /// Why `rustup target add` failed within the last day, if it did.
    pub rustup_failed: Option<String>,
    /// The compiler in `/usr/bin`, where that is not the active one's place of origin.
    pub distribution: Option<Compiler>,
    /// Version of the cargo in `/usr/bin`.
    pub distribution_cargo: Option<(u32, u32)>,
    /// A linker for wasm that the distribution's compiler can use.
    pub linker: Option<PathBuf>,
    /// Whether `apt-get` can be used.
    pub apt: Option<Privilege>,
}

impl Facts {
    /// Looks at the machine as seen from `directory`, where a `rust-toolchain.toml` may choose the toolchain.
    pub(crate) fn gather(directory: &Path, memory: &RustupMemory) -> Self {
        let active = compiler(Path::new("rustc"), directory);
        let distribution = compiler(Path::new(DISTRIBUTION_RUSTC), directory);
        let sysroots = [&active, &distribution].into_iter().flatten().map(|compiler| compiler.sysroot.as_path());
        Self {
            linker: linker(sysroots),
            rustup: answers("rustup", &["--version"], directory),
            rustup_failed: active.as_ref().and_then(|active| memory.failure(&active.sysroot)),
            distribution_cargo: ask(DISTRIBUTION_CARGO, &["--version"], directory)
                .and_then(|lines| version(lines.first()?)),
            apt: apt(directory),
            active,
            distribution,
        }
    }

    /// Whether the distribution's compiler, cargo, sources and a linker are all there, fit together and are new enough.
    /// Compiler and sources are of one version because they lie in one sysroot.
    pub fn distribution_ready(&self) -> bool {
        let Some(rustc) = &self.distribution else { return false };
        rustc.has_sources
            && rustc.version >= MINIMUM_RUST
            && self.distribution_cargo == Some(rustc.version)
            && self.linker.is_some()
    }
}

fn compiler(program: &Path, directory: &Path) -> Option<Compiler> {
    let program = program.to_str()?;
    let version = version(ask(program, &["--version"], directory)?.first()?)?;
    let sysroot = PathBuf::from(ask(program, &["--print", "sysroot"], directory)?.first()?);
    let libraries = sysroot.join("lib/rustlib");
    Some(Compiler {
        version,
        has_target: has_standard_library(&libraries.join(TARGET).join("lib")),
        // The lock file is what cargo looks for when it is told to build the standard library.
        has_sources: libraries.join("src/rust/library/Cargo.lock").is_file(),
        sysroot,
    })
}

fn has_standard_library(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|files| {
        files.flatten().any(|file| file.file_name().to_str().is_some_and(|name| name.starts_with("libstd-")))
    })
}

/// The first of the linkers that come with Rust or LLVM, those of the given toolchains first.
fn linker<'a>(sysroots: impl Iterator<Item = &'a Path>) -> Option<PathBuf> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let of_toolchains = sysroots.map(|sysroot| sysroot.join("lib/rustlib").join(&host).join("bin/rust-lld"));
    let of_system = ["/usr/bin/rust-lld", "/usr/bin/wasm-ld"].map(PathBuf::from);
    of_toolchains.chain(of_system).find(|path| path.is_file())
}

fn apt(directory: &Path) -> Option<Privilege> {
    if !Path::new("/usr/bin/apt-get").is_file() {
        return None;
    }
    let user = ask("id", &["-u"], directory)?;
    if user.first().is_some_and(|user| user == "0") {
        return Some(Privilege::Root);
    }
    answers("sudo", &["-n", "true"], directory).then_some(Privilege::Sudo)
}

fn answers(program: &str, arguments: &[&str], directory: &Path) -> bool {
    ask(program, arguments, directory).is_some()
}

fn ask(program: &str, arguments: &[&str], directory: &Path) -> Option<Vec<String>> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory);
    clean(&mut command);
    let question = Supervised { command, name: program, limit: ANSWER, show_stdout: false };
    question.run(&Silent).ok().map(|output| output.stdout)
}

/// `rustc 1.96.0 (…)` → (1, 96).
fn version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_rustc_and_cargo_say() {
        assert_eq!(version("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"), Some((1, 96)));
        assert_eq!(version("cargo 1.97.0-nightly (f2d3ce0bd 2026-03-21)"), Some((1, 97)));
        assert_eq!(version("error: no such toolchain"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn a_target_folder_without_a_standard_library_does_not_count() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(!has_standard_library(folder.path()));
        std::fs::write(folder.path().join("libstd-0123.rlib"), "").expect("it can be written");
        assert!(has_standard_library(folder.path()));
    }
}
