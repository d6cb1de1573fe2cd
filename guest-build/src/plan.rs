//! Decides, from facts alone, in which order ways to a wasm toolchain are tried.

use crate::facts::{Facts, Privilege};

/// The oldest Rust that compiles our plugins, as (major, minor): what the workspace says in `rust-version`.
pub const MINIMUM_RUST: (u32, u32) = (1, 95);

/// One way to a toolchain. They are tried in the order of the plan until one works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The active toolchain has the target.
    UseActive,
    /// `rustup target add`, with a time limit.
    AddTarget,
    /// The distribution's compiler is installed with its sources: build the standard library from them.
    UseDistribution,
    /// Install the distribution's compiler with its sources, then use it.
    InstallDistribution(Privilege),
}

/// Whether packages of the distribution may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageInstall {
    /// As root, or through a `sudo` that asks nothing.
    Allowed,
    /// Never: only say what would have to be installed.
    Forbidden,
}

/// The ways worth trying, best first. An empty plan means that a person has to install something.
pub fn plan(facts: &Facts, packages: PackageInstall) -> Vec<Attempt> {
    if facts.active.as_ref().is_some_and(|active| active.has_target) {
        return vec![Attempt::UseActive];
    }
    let mut attempts = Vec::new();
    if facts.rustup && facts.active.is_some() && facts.rustup_failed.is_none() {
        attempts.push(Attempt::AddTarget);
    }
    if facts.distribution_ready() {
        attempts.push(Attempt::UseDistribution);
    } else if let (Some(privilege), PackageInstall::Allowed) = (facts.apt, packages) {
        attempts.push(Attempt::InstallDistribution(privilege));
    }
    attempts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Compiler;
    use std::path::PathBuf;

    fn compiler(has_target: bool) -> Compiler {
        Compiler { version: (1, 95), sysroot: PathBuf::from("/rust"), has_target, has_sources: false }
    }

    fn debian() -> Compiler {
        Compiler { version: (1, 96), sysroot: PathBuf::from("/usr"), has_target: false, has_sources: true }
    }

    fn machine() -> Facts {
        Facts {
            active: Some(compiler(false)),
            rustup: true,
            rustup_failed: None,
            distribution: None,
            distribution_cargo: None,
            linker: Some(PathBuf::from("/rust/rust-lld")),
            apt: None,
        }
    }

    #[test]
    fn an_installed_target_is_used_and_nothing_else_is_touched() {
        let facts = Facts { active: Some(compiler(true)), apt: Some(Privilege::Root), ..machine() };
        assert_eq!(plan(&facts, PackageInstall::Allowed), [Attempt::UseActive]);
    }

    #[test]
    fn rustup_comes_before_packages() {
        let facts = Facts { apt: Some(Privilege::Sudo), ..machine() };
        let attempts = [Attempt::AddTarget, Attempt::InstallDistribution(Privilege::Sudo)];
        assert_eq!(plan(&facts, PackageInstall::Allowed), attempts);
        assert_eq!(plan(&facts, PackageInstall::Forbidden), [Attempt::AddTarget]);
    }

    #[test]
    fn a_rustup_that_failed_today_is_not_asked_again() {
        let facts = Facts {
            rustup_failed: Some("no route to host".into()),
            distribution: Some(debian()),
            distribution_cargo: Some((1, 96)),
            ..machine()
        };
        assert_eq!(plan(&facts, PackageInstall::Forbidden), [Attempt::UseDistribution]);
    }

    #[test]
    fn an_incomplete_or_old_distribution_is_not_used() {
        let ready = Facts { distribution: Some(debian()), distribution_cargo: Some((1, 96)), ..machine() };
        assert!(ready.distribution_ready());
        let without_sources = Compiler { has_sources: false, ..debian() };
        let old = Compiler { version: (1, 63), ..debian() };
        for facts in [
            Facts { distribution: Some(without_sources), ..ready.clone() },
            Facts { distribution: Some(old), distribution_cargo: Some((1, 63)), ..ready.clone() },
            Facts { distribution_cargo: None, ..ready.clone() },
            Facts { distribution_cargo: Some((1, 63)), ..ready.clone() },
            Facts { linker: None, ..ready.clone() },
        ] {
            assert!(!facts.distribution_ready(), "{facts:?}");
        }
    }

    #[test]
    fn without_any_way_the_plan_is_empty() {
        let facts = Facts { rustup: false, ..machine() };
        assert_eq!(plan(&facts, PackageInstall::Allowed), []);
    }
}
