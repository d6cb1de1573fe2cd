//! One cargo run that turns a package into `.wasm` files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::TARGET;
use crate::command::Supervised;
use crate::error::BuildError;
use crate::progress::Progress;
use crate::toolchain::{Toolchain, has_manifest};

/// A first build with the standard library takes under a minute; this is for slow machines and first downloads.
const BUILD: Duration = Duration::from_secs(30 * 60);

/// How plugins are optimised, where the caller wants it: they are small, so whole-program optimisation costs seconds
/// and saves the node time at every load and call. Function names stay, for backtraces.
const PLUGIN_PROFILE: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_LTO", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
];

/// What to build.
#[derive(Clone, Debug)]
pub struct GuestBuild {
    /// The folder of the package or of its workspace; holds a `Cargo.toml`.
    pub manifest_dir: PathBuf,
    /// The package's name.
    pub package: String,
    /// Its features to turn on.
    pub features: Vec<String>,
    /// Build the package's examples, one plugin each, instead of its library.
    pub examples: bool,
    /// Use the settings for plugins in place of the manifest's `[profile.release]`.
    pub plugin_profile: bool,
    /// Cargo's target folder for guests. Not the one of the host's build, whose lock would make them wait for each other.
    pub target_dir: PathBuf,
}

impl GuestBuild {
    /// The library of one package, without features, with the settings for plugins.
    pub fn package(name: &str, manifest_dir: impl Into<PathBuf>, target_dir: impl Into<PathBuf>) -> Self {
        Self {
            manifest_dir: manifest_dir.into(),
            package: name.to_owned(),
            features: Vec::new(),
            examples: false,
            plugin_profile: true,
            target_dir: target_dir.into(),
        }
    }

    /// The same with a feature turned on.
    pub fn feature(mut self, feature: &str) -> Self {
        self.features.push(feature.to_owned());
        self
    }

    /// The same, but the package's examples.
    pub fn examples(mut self) -> Self {
        self.examples = true;
        self
    }

    fn arguments(&self, command: &mut Command) {
        command.args(["--release", "--message-format=json-render-diagnostics", "--package", &self.package]);
        command.arg(if self.examples { "--examples" } else { "--lib" });
        // Cargo runs in the package's folder, so a relative path has to be made absolute first.
        let target_dir = std::path::absolute(&self.target_dir).unwrap_or_else(|_| self.target_dir.clone());
        command.arg("--target-dir").arg(target_dir).current_dir(&self.manifest_dir);
        if !self.features.is_empty() {
            command.args(["--features", &self.features.join(",")]);
        }
        if self.plugin_profile {
            command.envs(PLUGIN_PROFILE);
        }
    }
}

impl Toolchain {
    /// Builds the package in release mode and returns the `.wasm` files cargo made, sorted. They lie in the target folder,
    /// where the next build of the same package replaces them. Blocks for at most 30 minutes.
    pub fn build(&self, guest: &GuestBuild, progress: &dyn Progress) -> Result<Vec<PathBuf>, BuildError> {
        let package = guest.package.clone();
        if !has_manifest(&guest.manifest_dir) {
            return Err(BuildError::NoManifest { package, directory: guest.manifest_dir.clone() });
        }
        let mut command = self.cargo("build");
        guest.arguments(&mut command);
        let name = format!("cargo build of {package} for {TARGET}");
        progress.step(&format!("building {}", describe(guest)));
        let output = Supervised { command, name: &name, limit: BUILD, show_stdout: false }
            .run(progress)
            .map_err(|source| BuildError::Cargo { package: package.clone(), source })?;
        let files = artifacts(&output.stdout, &package);
        if files.is_empty() { Err(BuildError::NoArtifact { package }) } else { Ok(files) }
    }
}

fn describe(guest: &GuestBuild) -> String {
    let what = if guest.examples { "the examples of " } else { "" };
    let features =
        if guest.features.is_empty() { String::new() } else { format!(" with {}", guest.features.join(", ")) };
    format!("{what}{}{features} for {TARGET}", guest.package)
}

/// The `.wasm` files of one package among cargo's messages. A dependency may be a `cdylib` as well.
fn artifacts(messages: &[String], package: &str) -> Vec<PathBuf> {
    let files: BTreeSet<PathBuf> = messages
        .iter()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && is_of(&message["package_id"], package))
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .filter(|file| file.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    files.into_iter().collect()
}

/// Package ids are `path+file:///folder#name@1.0.0`, or `…/name#1.0.0` where the folder has the package's name.
fn is_of(id: &serde_json::Value, package: &str) -> bool {
    let Some((source, fragment)) = id.as_str().and_then(|id| id.rsplit_once('#')) else { return false };
    match fragment.split_once('@') {
        Some((name, _)) => name == package,
        None => Path::new(source).file_name().is_some_and(|folder| folder == package),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_those_of_the_package() {
        let messages = [
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/dep#1.0.0","filenames":["/t/dep.wasm"]}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/plugins/ping#weir-plugin-ping@0.1.0","filenames":["/t/b.wasm","/t/b.rlib"]}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/weir-plugin-ping#0.1.0","filenames":["/t/a.wasm"]}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "not json",
        ]
        .map(str::to_owned);
        assert_eq!(artifacts(&messages, "weir-plugin-ping"), [PathBuf::from("/t/a.wasm"), PathBuf::from("/t/b.wasm")]);
    }

    #[test]
    fn a_folder_without_a_manifest_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let guest = GuestBuild::package("ping", folder.path(), folder.path());
        let error = Toolchain::Active.build(&guest, &crate::Silent).expect_err("there is nothing to build");
        assert!(error.to_string().contains("no Cargo.toml"), "{error}");
    }

    #[test]
    fn features_and_examples_reach_cargo() {
        let guest = GuestBuild::package("ping", ".", "out").feature("v0-2").examples();
        let mut command = Command::new("cargo");
        guest.arguments(&mut command);
        let arguments: Vec<_> = command.get_args().filter_map(|argument| argument.to_str()).collect();
        assert!(arguments.contains(&"--examples") && arguments.contains(&"v0-2"), "{arguments:?}");
    }
}
