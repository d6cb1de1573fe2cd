//! `cargo xtask faults`: puts faults into a copy of the sources, one at a time, and expects the tests to find each.
//!
//! A fault is a patch in `tests/faults`. Lines above its first `diff` say what it breaks and, after `Test:`, with which
//! arguments `cargo test` runs the test that must fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::guests;
use crate::interrupt;
use crate::test::NATIVE;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub struct Arguments {
    /// Only faults with this in their name.
    name: Option<String>,
}

struct Fault {
    name: String,
    patch: PathBuf,
    /// Arguments of `cargo test`.
    test: Vec<String>,
}

/// Runs every fault's test without any, which must pass, and then with it, which must fail.
#[expect(clippy::print_stdout, reason = "the table is what the command is for")]
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let wanted = |fault: &Fault| arguments.name.as_ref().is_none_or(|name| fault.name.contains(name.as_str()));
    let faults: Vec<_> = read_all(&workspace.root.join("tests/faults"))?.into_iter().filter(wanted).collect();
    ensure!(!faults.is_empty(), "no fault in tests/faults has that name");
    let guests = guests::all(workspace)?;
    let copy = Copy::new(workspace, &guests)?;
    let mut missed = Vec::new();
    let mut tried = BTreeSet::new();
    for fault in faults.iter().filter(|fault| tried.insert(&fault.test)) {
        interrupt::check()?;
        eprintln!("==> {}: without it", fault.name);
        let sound = copy.test(fault)?;
        ensure!(sound.status.success(), "{}: its test fails without it:\n{}", fault.name, tail(&sound));
        ensure!(!ran_nothing(&sound), "{}: its line `Test: …` names no test", fault.name);
    }
    for fault in &faults {
        interrupt::check()?;
        eprintln!("==> {}: with it", fault.name);
        copy.git(&["apply", &fault.patch.to_string_lossy()])?;
        let broken = copy.test(fault);
        copy.git(&["checkout", "--quiet", "--", "."])?;
        let broken = broken?;
        // A fault that does not compile proves nothing.
        let ran = String::from_utf8_lossy(&broken.stdout).contains("running ");
        ensure!(ran, "{}: the test did not run:\n{}", fault.name, tail(&broken));
        let found = !broken.status.success();
        println!("{:<40} {}", fault.name, if found { "found" } else { "NOT FOUND" });
        missed.extend((!found).then_some(fault.name.as_str()));
    }
    if missed.is_empty() { Ok(()) } else { bail!("not found: {}", missed.join(", ")) }
}

fn read_all(folder: &Path) -> Result<Vec<Fault>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "patch"));
    files.sort();
    files.into_iter().map(read).collect()
}

fn read(patch: PathBuf) -> Result<Fault> {
    let text = fs::read_to_string(&patch)?;
    let head = text.lines().take_while(|line| !line.starts_with("diff "));
    let test = head.filter_map(|line| line.strip_prefix("Test: ")).last();
    let test = test.with_context(|| format!("{} has no line `Test: …`", patch.display()))?;
    let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Fault { name, test: test.split_whitespace().map(str::to_owned).collect(), patch })
}

/// What is committed, in a folder of its own; built into the same target folder, so that dependencies are shared.
struct Copy<'a> {
    workspace: &'a Workspace,
    guests: &'a Path,
    root: PathBuf,
}

impl<'a> Copy<'a> {
    fn new(workspace: &'a Workspace, guests: &'a Path) -> Result<Self> {
        let copy = Self { workspace, guests, root: workspace.target.join("faults") };
        if copy.root.exists() {
            fs::remove_dir_all(&copy.root).with_context(|| format!("remove {}", copy.root.display()))?;
        }
        let clone = Command::new("git")
            .args(["clone", "--quiet", "--shared"])
            .args([&workspace.root, &copy.root])
            .status()
            .context("run git")?;
        ensure!(clone.success(), "`git clone` into {} failed", copy.root.display());
        Ok(copy)
    }

    fn git(&self, arguments: &[&str]) -> Result<()> {
        let status = Command::new("git").current_dir(&self.root).args(arguments).status().context("run git")?;
        ensure!(status.success(), "`git {}` failed in {}", arguments.join(" "), self.root.display());
        Ok(())
    }

    fn test(&self, fault: &Fault) -> Result<Output> {
        let mut cargo = self.workspace.cargo();
        // Among all packages, so that cargo unifies the features as elsewhere, and dependencies are not built again.
        cargo.current_dir(&self.root).arg("test").args(NATIVE).args(&fault.test);
        cargo.env("CARGO_TARGET_DIR", &self.workspace.target).env("WEIR_TEST_GUESTS", self.guests);
        cargo.stdin(Stdio::null()).output().context("run cargo")
    }
}

fn ran_nothing(output: &Output) -> bool {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter(|line| line.starts_with("test result")).all(|line| line.contains(" 0 passed"))
}

/// The end of what a command said.
fn tail(output: &Output) -> String {
    let text = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
