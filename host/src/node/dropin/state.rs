//! What follows from what lies in the plugin folder. Pure: fed with listings, told what files hold, and with a time.
//!
//! A file is looked into when nothing about it changed for [`SETTLE`], and waited for longer when it ends in the middle.
//! It is gone when it is missing for [`GONE`], so that whoever moves or replaces it in two steps unloads nothing. What a
//! file holds counts, not what it is called: the same content under another name changes nothing but the path. Whatever
//! cannot be done is kept as a problem of its file, and leaves what runs alone. A plugin that does not start is tried again
//! after pauses that grow, unless an older revision of it runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::plugin::Digest;

/// How long nothing about a file must have changed before it is read.
pub(in crate::node) const SETTLE: Duration = Duration::from_millis(400);
/// How long a file must be missing before its plugin is unloaded.
pub(in crate::node) const GONE: Duration = Duration::from_secs(1);
/// How long a file is waited for that ends in the middle, and how long a missing one is while others are unread.
pub(in crate::node) const PATIENCE: Duration = Duration::from_secs(10);
/// How long after it could not be read a file is tried again.
pub(in crate::node) const RETRY: Duration = Duration::from_secs(2);
/// How long after its plugin did not start a file is tried again, where nothing of it runs. Twice as long each time.
pub(in crate::node) const START_AGAIN: Duration = Duration::from_secs(10);
/// The longest such pause.
pub(in crate::node) const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// The code of a plugin that did not start. What it waits for may come: a disk, a peer, another plugin.
const NOT_STARTED: &str = "start-failed";
/// Problems that may be over when another plugin goes.
const IN_THE_WAY: [&str; 4] = ["name-taken", "too-many-plugins", "protocol-refused", DUPLICATE];
/// The code of a file that holds the same as another one.
const DUPLICATE: &str = "duplicate-file";

/// What a file looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(in crate::node) size: u64,
    /// Nanoseconds since the Unix epoch.
    pub(in crate::node) modified: u128,
    pub(in crate::node) inode: u64,
}

/// A plugin's file, with the settings and the signature beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Seen {
    pub(in crate::node) plugin: Stamp,
    pub(in crate::node) settings: Option<Stamp>,
    pub(in crate::node) signature: Option<Stamp>,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Content {
    pub(in crate::node) digest: Digest,
    /// Of its settings and its signature.
    pub(in crate::node) beside: Digest,
    /// It ends in the middle, as a file does that is still being written.
    pub(in crate::node) cut_off: bool,
}

/// Why a file is not loaded, or not as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A name for programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// What to do about it, in one sentence.
    pub next_step: String,
}

impl Problem {
    pub(in crate::node) fn new(
        code: impl Into<String>,
        message: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self { code: code.into(), message: message.into(), next_step: next_step.into() }
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub(in crate::node) enum Event {
    /// All plugin files of the folder. `settled`: they lie there since before the node started.
    Listed { files: BTreeMap<PathBuf, Seen>, settled: bool },
    /// A file was read, in answer to [`Action::Read`].
    Read(PathBuf, Result<Content, Problem>),
    /// It changed while it was read.
    Unsettled(PathBuf),
    /// What was asked for a file was done, for the plugin of this name, or was not.
    Done(PathBuf, Result<String, Problem>),
    /// The operator had this content of a plugin put into the file.
    Saved { plugin: String, path: PathBuf, digest: Digest },
    /// The operator unloaded a plugin; its file may stay.
    Unloaded { plugin: String },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) enum Action {
    /// Read a file.
    Read(PathBuf),
    /// Load the file that was just read.
    Load(PathBuf),
    /// Put the file that was just read in the place of this plugin.
    Upgrade(PathBuf, String),
    /// The plugin's file is called like this now.
    Moved(PathBuf, String),
    /// End this plugin.
    Unload(PathBuf, String),
}

/// A plugin that runs because of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Runs {
    plugin: String,
    digest: Digest,
    /// None when somebody else put the file there and it is not known yet.
    beside: Option<Digest>,
}

#[derive(Debug, Clone)]
struct Entry {
    seen: Option<Seen>,
    /// When it is to be read, if it was not.
    due: Option<Duration>,
    /// When it began to look like this.
    since: Duration,
    content: Option<Content>,
    runs: Option<Runs>,
    problem: Option<Problem>,
    /// How often in a row its plugin did not start.
    not_started: u32,
    /// The operator unloaded this content, and it stays unloaded until it changes.
    left: Option<Digest>,
    missing: Option<Duration>,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::node) struct FolderState {
    entries: BTreeMap<PathBuf, Entry>,
}

impl FolderState {
    /// What follows from an event at `now`, a time since any fixed moment.
    pub(in crate::node) fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Listed { files, settled } => self.listed(files, settled, now),
            Event::Read(path, outcome) => self.read(&path, outcome, now),
            Event::Unsettled(path) => {
                self.entry(&path, now).changed(now);
                Vec::new()
            }
            Event::Done(path, outcome) => {
                self.entry(&path, now).done(outcome, now);
                Vec::new()
            }
            Event::Saved { plugin, path, digest } => {
                let entry = self.entry(&path, now);
                entry.runs = Some(Runs { plugin, digest, beside: None });
                (entry.problem, entry.left, entry.missing) = (None, None, None);
                Vec::new()
            }
            Event::Unloaded { plugin } => {
                for entry in self.entries.values_mut() {
                    if let Some(runs) = entry.runs.take_if(|runs| runs.plugin == plugin) {
                        entry.left = Some(entry.content.map_or(runs.digest, |content| content.digest));
                    }
                }
                self.make_way(now);
                Vec::new()
            }
        }
    }

    /// When something is to be looked at again, if nothing happens before.
    pub(in crate::node) fn next_look(&self) -> Option<Duration> {
        let of_entry = |entry: &Entry| match entry.missing {
            Some(missing) => Some(missing + GONE),
            None => entry.due,
        };
        self.entries.values().filter_map(of_entry).min()
    }

    /// Files that are not loaded, or not as they are now.
    pub(in crate::node) fn problems(&self) -> impl Iterator<Item = (&Path, &Problem)> {
        self.entries.iter().filter_map(|(path, entry)| Some((path.as_path(), entry.problem.as_ref()?)))
    }

    /// The file that a plugin comes from.
    pub(in crate::node) fn file_of(&self, plugin: &str) -> Option<&Path> {
        let of_plugin = |entry: &Entry| entry.runs.as_ref().is_some_and(|runs| runs.plugin == plugin);
        self.entries.iter().find(|(_, entry)| of_plugin(entry)).map(|(path, _)| path.as_path())
    }

    fn entry(&mut self, path: &Path, now: Duration) -> &mut Entry {
        self.entries.entry(path.to_owned()).or_insert_with(|| Entry::new(None, now))
    }

    fn listed(&mut self, files: BTreeMap<PathBuf, Seen>, settled: bool, now: Duration) -> Vec<Action> {
        for (path, entry) in &mut self.entries {
            if !files.contains_key(path) {
                entry.missing.get_or_insert(now);
            }
        }
        for (path, seen) in files {
            let entry = self.entries.entry(path).or_insert_with(|| Entry::new(None, now));
            entry.missing = None;
            if entry.seen.replace(seen) != Some(seen) {
                entry.changed(now);
            }
            if settled {
                entry.due = entry.due.map(|_| now);
            }
        }
        let mut actions = self.remove(now);
        let due = self.entries.iter().filter(|(_, entry)| entry.is_due(now));
        actions.extend(due.map(|(path, _)| Action::Read(path.clone())));
        actions
    }

    /// Ends what came from files that are gone.
    fn remove(&mut self, now: Duration) -> Vec<Action> {
        // One of the unread may be the missing one under another name.
        let unread = self.entries.values().any(|entry| entry.missing.is_none() && entry.content.is_none());
        let patience = if unread { PATIENCE } else { GONE };
        let gone = |entry: &Entry| entry.missing.is_some_and(|missing| missing + patience <= now);
        let paths: Vec<_> = self.entries.iter().filter(|(_, e)| gone(e)).map(|(path, _)| path.clone()).collect();
        let mut actions = Vec::new();
        for path in paths {
            let Some(runs) = self.entries.remove(&path).and_then(|entry| entry.runs) else { continue };
            match self.heir(&runs.digest) {
                Some(heir) => {
                    let plugin = runs.plugin.clone();
                    self.inherit(&heir, runs);
                    actions.push(Action::Moved(heir, plugin));
                }
                None => actions.push(Action::Unload(path, runs.plugin)),
            }
        }
        actions
    }

    /// A file that is there, runs nothing, and holds this content.
    fn heir(&self, digest: &Digest) -> Option<PathBuf> {
        let holds = |entry: &Entry| entry.content.is_some_and(|content| content.digest == *digest);
        let free = |entry: &Entry| entry.missing.is_none() && entry.runs.is_none() && entry.left.is_none();
        self.entries.iter().find(|(_, entry)| free(entry) && holds(entry)).map(|(path, _)| path.clone())
    }

    fn inherit(&mut self, path: &Path, runs: Runs) {
        if let Some(entry) = self.entries.get_mut(path) {
            (entry.runs, entry.problem) = (Some(runs), None);
        }
    }

    fn read(&mut self, path: &Path, outcome: Result<Content, Problem>, now: Duration) -> Vec<Action> {
        let entry = self.entry(path, now);
        let content = match outcome {
            Ok(content) => content,
            Err(problem) => {
                (entry.problem, entry.due) = (Some(problem), Some(now + RETRY));
                return Vec::new();
            }
        };
        if content.cut_off && now < entry.since + PATIENCE {
            entry.due = Some(entry.since + PATIENCE);
            return Vec::new();
        }
        (entry.content, entry.due) = (Some(content), None);
        self.decide(path, content)
    }

    fn decide(&mut self, path: &Path, content: Content) -> Vec<Action> {
        let Some(entry) = self.entries.get_mut(path) else { return Vec::new() };
        if let Some(runs) = &mut entry.runs {
            let same = *runs.beside.get_or_insert(content.beside) == content.beside;
            if runs.digest == content.digest && same {
                entry.problem = None;
                return Vec::new();
            }
            return vec![Action::Upgrade(path.to_owned(), runs.plugin.clone())];
        }
        if entry.left.is_some_and(|left| left == content.digest) {
            return Vec::new();
        }
        entry.left = None;
        let runs_it = |entry: &Entry| entry.runs.as_ref().is_some_and(|runs| runs.digest == content.digest);
        let Some(other) = self.entries.iter().find(|(_, e)| runs_it(e)).map(|(other, _)| other.clone()) else {
            return vec![Action::Load(path.to_owned())];
        };
        let missing = self.entries.get_mut(&other).filter(|entry| entry.missing.is_some());
        match missing.and_then(|entry| entry.runs.take()) {
            Some(runs) => {
                let plugin = runs.plugin.clone();
                self.entries.remove(&other);
                self.inherit(path, runs);
                let mut actions = vec![Action::Moved(path.to_owned(), plugin)];
                // What lies beside it may be other than what lay beside it under its old name.
                actions.extend(self.decide(path, content));
                actions
            }
            None => {
                let message = format!("it holds the same as {}, which is loaded: remove one of them", other.display());
                let problem = Problem::new(DUPLICATE, message, "remove one of the two files");
                self.entries.get_mut(path).into_iter().for_each(|entry| entry.problem = Some(problem.clone()));
                Vec::new()
            }
        }
    }

    /// A plugin is gone: files that it was in the way of are tried again.
    fn make_way(&mut self, now: Duration) {
        for entry in self.entries.values_mut() {
            if entry.problem.as_ref().is_some_and(|problem| IN_THE_WAY.contains(&problem.code.as_str())) {
                entry.due = Some(now);
            }
        }
    }

    /// The plugin of a file that is gone was ended.
    pub(in crate::node) fn ended(&mut self, now: Duration) {
        self.make_way(now);
    }
}

impl Entry {
    fn new(seen: Option<Seen>, now: Duration) -> Self {
        let (content, runs, problem, left, missing) = (None, None, None, None, None);
        Self { seen, due: Some(now + SETTLE), since: now, content, runs, problem, not_started: 0, left, missing }
    }

    fn changed(&mut self, now: Duration) {
        (self.since, self.due, self.content, self.not_started) = (now, Some(now + SETTLE), None, 0);
    }

    fn is_due(&self, now: Duration) -> bool {
        self.missing.is_none() && self.due.is_some_and(|due| due <= now)
    }

    fn done(&mut self, outcome: Result<String, Problem>, now: Duration) {
        match (outcome, self.content) {
            (Ok(plugin), Some(content)) => {
                self.runs = Some(Runs { plugin, digest: content.digest, beside: Some(content.beside) });
                (self.problem, self.not_started) = (None, 0);
            }
            // It changed meanwhile, and is read again.
            (Ok(_), None) => {}
            (Err(mut problem), content) => {
                // Where an older revision runs, each try would hold it up.
                if problem.code == NOT_STARTED && self.runs.is_none() && content.is_some() {
                    self.try_again(now);
                    problem
                        .next_step
                        .push_str("; the node tries it again by itself, after a while and less and less often");
                }
                self.problem = Some(problem);
            }
        }
    }

    fn try_again(&mut self, now: Duration) {
        let pause = START_AGAIN.saturating_mul(1 << self.not_started.min(20)).min(LONGEST_PAUSE);
        self.not_started = self.not_started.saturating_add(1);
        self.due = Some(now + pause);
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
