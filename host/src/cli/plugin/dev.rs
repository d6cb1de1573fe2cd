//! `weir plugin dev`: a plugin as it is being written. Every save is built, checked and put into the running node; what
//! does not compile or start leaves the last good revision alone.
//!
//! It works on a node that runs, never on one of its own: what is tried is tried where the author looks at it, with its
//! peers and its store, and it stays there when this command ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use weir_guest_build::{GuestBuild, PackageInstall, Progress, Search, Toolchain};

use super::super::client::{ask, segment};
use super::super::failure::Failure;
use super::super::output::{Output, cell, printable};
use super::logs::{Begin, Follower, print};
use super::sources::Sources;
use super::upload_as;
use crate::admin::AdminRequest;
use crate::folder::Folder;

/// Between two looks at the sources. Two looks that agree make a save: editors and formatters write in bursts.
const LOOK: Duration = Duration::from_millis(200);
/// How long a build that was told to stop may take until it has.
const LAST_BUILD: Duration = Duration::from_secs(5);
/// Before a node that cannot be reached is asked for its log again; also how long a first question for it may be under way.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Dev {
    /// The folder of the plugin's package; `plugin.toml` in it may hold its grants and configuration
    #[arg(value_name = "DIR")]
    source: PathBuf,
    /// Where it is built [default: target/weir in that folder]
    #[arg(long, value_name = "D")]
    target_dir: Option<PathBuf>,
}

impl Dev {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        // Before anything is built: there must be a node to put it into.
        ask(folder, AdminRequest::get("/v1/status")).await?;
        let dir = std::path::absolute(&self.source).unwrap_or(self.source);
        let target = self.target_dir.unwrap_or_else(|| dir.join("target").join("weir"));
        let target = std::path::absolute(&target).unwrap_or(target);
        let package = package(&dir)?;
        let bench =
            Arc::new(Bench { dir, target, package, toolchain: Default::default(), over: AtomicBool::new(false) });
        let mut session = Session { folder, output: *output, bench, build: None, running: None, follower: None };
        let ended = tokio::select! {
            biased;
            ended = super::super::run::end_signal() => ended,
            never = session.work() => match never {},
        };
        session.end().await;
        ended
    }
}

/// The package's name in its `Cargo.toml`.
fn package(dir: &Path) -> Result<String, Failure> {
    let file = dir.join("Cargo.toml");
    let refuse = |why: String| Failure::new("no-package", format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(&file)
        .map_err(|e| refuse(format!("{e}; name the folder of a plugin's package, which holds its Cargo.toml")))?;
    let manifest: toml::Table = text.parse().map_err(|e: toml::de::Error| refuse(e.message().to_owned()))?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    name.map(str::to_owned).ok_or_else(|| refuse("it names no package: name the folder of one package".to_owned()))
}

/// Where the plugin is built. Shared with the thread that does it.
struct Bench {
    dir: PathBuf,
    target: PathBuf,
    package: String,
    toolchain: std::sync::OnceLock<Toolchain>,
    /// The build that runs is to end.
    over: AtomicBool,
}

/// What the compiler says as it says it, on stderr; nothing of it for programs, which get it with the failure.
struct Shown<'a> {
    over: &'a AtomicBool,
    lines: bool,
}

impl Progress for Shown<'_> {
    fn step(&self, what: &str) {
        self.line(what);
    }

    fn line(&self, line: &str) {
        if self.lines {
            eprintln!("{line}");
        }
    }

    fn heartbeat(&self, what: &str, elapsed: Duration) {
        self.line(&format!("… {what}: {} s so far", elapsed.as_secs()));
    }

    fn cancelled(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Bench {
    /// Builds the package; the plugin's file. Blocks.
    fn build(&self, lines: bool) -> Result<PathBuf, String> {
        let progress = Shown { over: &self.over, lines };
        let toolchain = match self.toolchain.get() {
            Some(toolchain) => toolchain,
            None => {
                let (directory, scratch) = (self.dir.clone(), self.target.clone());
                // An author's machine is not ours to install packages on.
                let search = Search { directory, scratch, packages: PackageInstall::Forbidden };
                let found = Toolchain::find(&search, &progress).map_err(|error| error.to_string())?;
                self.toolchain.get_or_init(|| found)
            }
        };
        let guest = GuestBuild::package(&self.package, &self.dir, &self.target);
        let files = toolchain.build(&guest, &progress).map_err(|error| words(&error, lines))?;
        match files.as_slice() {
            [file] => Ok(file.clone()),
            files => Err(format!("{} made {} files instead of one plugin", self.package, files.len())),
        }
    }
}

/// A failure with its causes, unless a person has just read them.
fn words(error: &dyn std::error::Error, read_already: bool) -> String {
    let mut text = error.to_string();
    let mut source = error.source().filter(|_| !read_already);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// The author's session, from the first build to Ctrl-C.
struct Session<'a> {
    folder: &'a Folder,
    output: Output,
    bench: Arc<Bench>,
    /// The build that is under way.
    build: Option<JoinHandle<Result<PathBuf, String>>>,
    /// The plugin as it runs, as the node last told.
    running: Option<Value>,
    follower: Option<AbortOnDropHandle<()>>,
}

enum Never {}

impl Session<'_> {
    /// Builds, and builds again after every save. Cancel safe in that the node has either the old revision or the new.
    async fn work(&mut self) -> Never {
        loop {
            let seen = self.look();
            self.turn().await;
            let changed = self.saved(seen).await;
            self.say("changed", json!({"file": changed}), |said| format!("{} changed", cell(said, "file")));
        }
    }

    fn look(&self) -> Sources {
        Sources::look(&self.bench.dir, &self.bench.target)
    }

    /// Waits until the sources are others than these, and no longer change. One file that does.
    async fn saved(&self, seen: Sources) -> String {
        let mut last = seen.clone();
        loop {
            sleep(LOOK).await;
            let now = self.look();
            if now == last
                && let Some(changed) = now.first_change(&seen)
            {
                return changed.strip_prefix(&self.bench.dir).unwrap_or(changed).display().to_string();
            }
            last = now;
        }
    }

    /// One build, and what it made into the node.
    async fn turn(&mut self) {
        let began = Instant::now();
        let (bench, lines) = (Arc::clone(&self.bench), !self.output.is_json());
        let built = self.build.insert(tokio::task::spawn_blocking(move || bench.build(lines))).await;
        self.build = None;
        let file = match built.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(file) => file,
            Err(why) => return self.failed("not-built", "build-failed", &why),
        };
        let took = began.elapsed().as_millis() as u64;
        self.say("built", json!({"file": file, "took_ms": took}), |_| format!("built in {:.1} s", took as f64 / 1e3));
        let began = Instant::now();
        match self.put(&file).await {
            Ok(document) => self.put_in(&document, began),
            Err(failure) => self.failed("not-loaded", &failure.code, &failure.message),
        }
    }

    /// Loads the file, or upgrades what it made before.
    async fn put(&self, file: &Path) -> Result<Value, Failure> {
        // Grants and configuration stand where the author writes them, not where cargo puts the file.
        let settings = self.bench.dir.join("plugin.wasm");
        let request = |path: &str, more: &str| upload_as(path, file, &settings, more);
        if let Some(name) = self.running.as_ref().and_then(|plugin| plugin["name"].as_str()) {
            let path = format!("/v1/plugins/{}/upgrade", segment(name));
            match ask(self.folder, request(&path, "")?).await {
                // Somebody unloaded it, or it calls itself otherwise from now on.
                Err(failure) if ["unknown-plugin", "name-mismatch"].contains(&failure.code.as_str()) => {}
                upgraded => return upgraded,
            }
        }
        ask(self.folder, request("/v1/plugins", "&replace=true")?).await
    }

    fn put_in(&mut self, document: &Value, began: Instant) {
        let plugin = &document["plugin"];
        let held = document["pause_us"].as_u64();
        let what = if held.is_some() { "upgraded" } else { "loaded" };
        self.say(what, document.clone(), |document| {
            let held = held.map_or(String::new(), |us| format!(", held for {us} µs"));
            format!("{what} {}{held}", revision(&document["plugin"]))
        });
        if self.running.as_ref().is_none_or(|before| before["name"] != plugin["name"]) {
            self.follow(plugin["name"].as_str().unwrap_or_default(), began);
        }
        self.running = Some(plugin.clone());
    }

    /// Shows what the plugin logs, and what the node says of it, crashes among it, from the moment on when it was put in.
    fn follow(&mut self, name: &str, began: Instant) {
        let mut follower = Follower::new(name, Begin::Since(began.elapsed() + PAUSE), None);
        let (folder, output) = (self.folder.clone(), self.output);
        self.follower = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                match follower.next(&folder).await {
                    Ok(document) => print(&output, &document),
                    // It may come back; what was put into it is said where that fails.
                    Err(_) => sleep(PAUSE).await,
                }
            }
        })));
    }

    fn failed(&self, what: &str, code: &str, why: &str) {
        let runs = self.runs_on();
        let said = json!({"code": code, "message": why, "plugin": self.running});
        self.say(what, said, |_| format!("{}: {why}\n{runs}", what.replace('-', " ")));
    }

    fn runs_on(&self) -> String {
        match &self.running {
            Some(plugin) => format!("{} runs on", revision(plugin)),
            None => "nothing of it runs in the node yet".to_owned(),
        }
    }

    /// The node keeps what it has.
    async fn end(self) {
        self.bench.over.store(true, Ordering::Relaxed);
        let said = json!({"plugin": self.running});
        let name = self.running.as_ref().map(|plugin| cell(plugin, "name")).unwrap_or_default();
        self.say("ended", said, |_| match &self.running {
            Some(_) => format!(
                "no longer watching; {}, until the node ends: `weir plugin unload {name}` ends it",
                self.runs_on()
            ),
            None => format!("no longer watching; {}", self.runs_on()),
        });
        if let Some(build) = self.build {
            // It hears it within a tenth of a second. What it still made is for nobody.
            let _ = timeout(LAST_BUILD, build).await;
        }
    }

    /// One thing that happened: for programs as an object with its name, a line each.
    fn say(&self, what: &str, mut said: Value, text: impl FnOnce(&Value) -> String) {
        if let Some(keys) = said.as_object_mut() {
            keys.insert("happened".to_owned(), json!(what));
        }
        self.output.show(&said, |said| format!("==> {}", text(said)));
    }
}

fn revision(plugin: &Value) -> String {
    let (name, version) = (cell(plugin, "name"), cell(plugin, "version"));
    printable(&format!("{name} {version} (revision {})", cell(plugin, "revision"))).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_by_its_package_or_refused_in_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = folder.path().join("Cargo.toml");
        let refused = || package(folder.path()).expect_err("refused");
        assert!(refused().message.contains("name the folder of a plugin's package"));
        std::fs::write(&manifest, "[workspace]\n").expect("written");
        assert!(refused().message.contains("names no package"));
        std::fs::write(&manifest, "nonsense").expect("written");
        assert_eq!(refused().code, "no-package");
        std::fs::write(&manifest, "[package]\nname = \"hello\"\n").expect("written");
        assert_eq!(package(folder.path()).expect("named"), "hello");
    }
}
