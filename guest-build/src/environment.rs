//! Which environment variables of an outer cargo a guest's build may see.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// What a user sets for every cargo on the machine, as opposed to what cargo sets for the programs it runs.
const KEPT_CARGO: [&str; 9] = [
    "CARGO_HOME",
    "CARGO_BUILD_JOBS",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "CARGO_RESOLVER_",
];

/// Flags, wrappers and job servers meant for the host's build. Flags such as `-C instrument-coverage` do not even
/// compile for wasm.
const DROPPED: [&str; 8] =
    ["RUSTC", "RUSTFLAGS", "RUSTDOC", "RUSTDOCFLAGS", "RUST_RECURSION_COUNT", "MAKEFLAGS", "MFLAGS", "CLIPPY_ARGS"];

/// Removes from `command` what an outer `cargo run` put into the environment.
///
/// `RUSTUP_TOOLCHAIN` stays for rustup's own programs: it names the toolchain the user runs, by `+name`, by the
/// variable or by the pin, and a pin that is not installed would otherwise be downloaded. A distribution's compiler
/// does not read it.
pub fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_dropped) {
            command.env_remove(&name);
        }
    }
    if let Some(paths) = std::env::var_os("LD_LIBRARY_PATH") {
        match without_rust_libraries(&paths) {
            Some(kept) => command.env("LD_LIBRARY_PATH", kept),
            None => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
}

fn is_dropped(name: &str) -> bool {
    let cargo = name == "CARGO" || name.starts_with("CARGO_");
    let kept = KEPT_CARGO.iter().any(|kept| name == *kept || (kept.ends_with('_') && name.starts_with(kept)));
    let dropped = DROPPED.contains(&name) || name.starts_with("RUSTC_");
    (cargo && !kept) || dropped
}

/// Cargo leads a program it runs to the libraries of its own toolchain; another rustc would load the wrong ones.
fn without_rust_libraries(paths: &OsStr) -> Option<std::ffi::OsString> {
    let kept: Vec<_> = std::env::split_paths(paths).filter(|path| !is_rust_library(path)).collect();
    if kept.is_empty() { None } else { std::env::join_paths(kept).ok() }
}

fn is_rust_library(path: &Path) -> bool {
    let part = |name: &str| path.components().any(|part| part.as_os_str() == name);
    let last = |name: &str| path.ends_with(name);
    part("toolchains") || part("rustlib") || last("deps") || last("debug") || last("release")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_sets_for_its_programs_is_dropped() {
        for name in [
            "CARGO",
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_NAME",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_MAKEFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
            "MAKEFLAGS",
        ] {
            assert!(is_dropped(name), "{name}");
        }
    }

    #[test]
    fn what_a_user_sets_for_the_machine_is_kept() {
        for name in ["CARGO_HOME", "CARGO_HTTP_PROXY", "CARGO_NET_OFFLINE", "CARGO_TERM_COLOR", "RUSTUP_HOME", "PATH"] {
            assert!(!is_dropped(name), "{name}");
        }
    }

    #[test]
    fn the_users_own_libraries_are_kept() {
        let paths = "/w/target/debug/deps:/opt/lib:/home/u/.rustup/toolchains/1.95.0/lib/rustlib/x/lib";
        assert_eq!(without_rust_libraries(OsStr::new(paths)).as_deref(), Some(OsStr::new("/opt/lib")));
        assert_eq!(without_rust_libraries(OsStr::new("/w/target/debug/deps")), None);
    }
}
