//! Folders as people, editors and copying programs change them, and random ones.

use proptest::prelude::*;

use super::*;

/// A folder in memory, and plugins that are named by the first byte of their content.
#[derive(Default)]
struct World {
    state: FolderState,
    now: Duration,
    stamps: u128,
    files: BTreeMap<PathBuf, (Vec<u8>, Seen)>,
    /// Content and path by plugin.
    running: BTreeMap<String, (Vec<u8>, PathBuf)>,
    log: Vec<String>,
}

impl World {
    fn write(&mut self, path: &str, bytes: &[u8]) {
        self.stamps += 1;
        let stamp = Stamp { size: bytes.len() as u64, modified: self.stamps, inode: 1 };
        let beside = self.files.get(Path::new(path)).and_then(|(_, seen)| seen.settings);
        let seen = Seen { plugin: stamp, settings: beside, signature: None };
        self.files.insert(path.into(), (bytes.to_vec(), seen));
    }

    fn settings(&mut self, path: &str) {
        self.stamps += 1;
        let stamp = Stamp { size: 1, modified: self.stamps, inode: 2 };
        if let Some((_, seen)) = self.files.get_mut(Path::new(path)) {
            seen.settings = Some(stamp);
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let Some(file) = self.files.remove(Path::new(from)) {
            self.files.insert(to.into(), file);
        }
    }

    fn remove(&mut self, path: &str) {
        self.files.remove(Path::new(path));
    }

    /// Looks, and carries out what follows.
    fn look(&mut self, settled: bool) {
        let files = self.files.iter().map(|(path, (_, seen))| (path.clone(), *seen)).collect();
        let actions = self.state.handle(Event::Listed { files, settled }, self.now);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            let event = match action {
                Action::Read(path) => {
                    let (bytes, seen) = &self.files[&path];
                    let beside = Digest::of(&seen.settings.map_or(0, |stamp| stamp.modified).to_be_bytes());
                    // Whatever ends with `…` is not whole.
                    let content = Content { digest: Digest::of(bytes), beside, cut_off: bytes.ends_with(b".") };
                    Event::Read(path, Ok(content))
                }
                Action::Load(path) => {
                    let outcome = self.load(&path);
                    Event::Done(path, outcome)
                }
                Action::Upgrade(path, plugin) => {
                    let outcome = self.upgrade(&path, &plugin);
                    Event::Done(path, outcome)
                }
                Action::Moved(path, plugin) => {
                    self.log.push(format!("moved {plugin} to {}", path.display()));
                    self.running.get_mut(&plugin).expect("it runs").1 = path;
                    continue;
                }
                Action::Unload(_, plugin) => {
                    self.log.push(format!("unload {plugin}"));
                    assert!(self.running.remove(&plugin).is_some(), "{plugin} runs");
                    self.state.ended(self.now);
                    continue;
                }
            };
            let follows = self.state.handle(event, self.now);
            self.carry_out(follows);
        }
    }

    fn refuse(code: &str) -> Result<String, Problem> {
        Err(Problem::new(code, "", ""))
    }

    fn load(&mut self, path: &Path) -> Result<String, Problem> {
        let bytes = self.files[path].0.clone();
        self.log.push(format!("load {}", path.display()));
        let Some(name) = bytes.first().filter(|first| **first != b'!') else { return Self::refuse("malformed") };
        let name = char::from(*name).to_string();
        if bytes.ends_with(b"?") {
            return Self::refuse("start-failed");
        }
        if self.running.contains_key(&name) {
            return Self::refuse("name-taken");
        }
        self.running.insert(name.clone(), (bytes, path.to_owned()));
        Ok(name)
    }

    fn upgrade(&mut self, path: &Path, plugin: &str) -> Result<String, Problem> {
        let bytes = self.files[path].0.clone();
        self.log.push(format!("upgrade {plugin}"));
        if bytes.ends_with(b"?") {
            return Self::refuse("start-failed");
        }
        if bytes.first().map(|first| char::from(*first).to_string()).as_deref() != Some(plugin) {
            return Self::refuse("name-mismatch");
        }
        self.running.insert(plugin.to_owned(), (bytes, path.to_owned()));
        Ok(plugin.to_owned())
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(100);
            self.look(false);
        }
    }

    fn settle(&mut self) -> Vec<String> {
        self.pass(Duration::from_secs(15));
        std::mem::take(&mut self.log)
    }

    fn problems(&self) -> Vec<(String, String)> {
        self.state.problems().map(|(path, problem)| (path.display().to_string(), problem.code.clone())).collect()
    }
}

#[test]
fn what_lies_there_at_the_start_is_loaded_at_once() {
    let mut world = World::default();
    world.write("a.wasm", b"a1");
    world.write("b.wasm", b"b1");
    world.look(true);
    assert_eq!(world.log, ["load a.wasm", "load b.wasm"]);
    world.log.clear();
    assert!(world.settle().is_empty());
}

#[test]
fn a_file_comes_is_replaced_and_goes() {
    let mut world = World::default();
    world.write("a.wasm", b"a1");
    assert_eq!(world.settle(), ["load a.wasm"]);
    world.write("a.wasm", b"a2");
    assert_eq!(world.settle(), ["upgrade a"]);
    // Touched, or written again with the same content.
    world.write("a.wasm", b"a2");
    assert!(world.settle().is_empty());
    world.remove("a.wasm");
    assert_eq!(world.settle(), ["unload a"]);
}

#[test]
fn a_file_that_is_still_being_written_is_waited_for() {
    let mut world = World::default();
    for length in 1..20 {
        world.write("a.wasm", &b"a1234567890123456789"[..length]);
        world.pass(Duration::from_millis(300));
    }
    assert!(world.log.is_empty());
    world.write("a.wasm", b"a half.");
    world.pass(Duration::from_secs(5));
    assert!(world.log.is_empty(), "it ends in the middle: {:?}", world.log);
    world.write("a.wasm", b"a whole");
    assert_eq!(world.settle(), ["load a.wasm"]);
    // One that stays like this is what it is.
    world.write("b.wasm", b"!half.");
    assert_eq!(world.settle(), ["load b.wasm"]);
    assert_eq!(world.problems(), [("b.wasm".into(), "malformed".into())]);
}

#[test]
fn another_name_changes_nothing_but_the_path() {
    let mut world = World::default();
    world.write("a.wasm", b"a1");
    world.settle();
    world.rename("a.wasm", "z.wasm");
    assert_eq!(world.settle(), ["moved a to z.wasm"]);
    // A copy first, and the old one removed afterwards.
    world.write("copy.wasm", b"a1");
    assert!(world.settle().is_empty());
    assert_eq!(world.problems(), [("copy.wasm".into(), DUPLICATE.into())]);
    world.remove("z.wasm");
    assert_eq!(world.settle(), ["moved a to copy.wasm"]);
    assert!(world.problems().is_empty());
}

#[test]
fn an_editor_that_removes_and_writes_anew_upgrades() {
    let mut world = World::default();
    world.write("a.wasm", b"a1");
    world.settle();
    world.rename("a.wasm", "a.wasm~");
    world.files.clear();
    world.pass(Duration::from_millis(600));
    world.write("a.wasm", b"a2");
    assert_eq!(world.settle(), ["upgrade a"]);
}

#[test]
fn a_bad_file_leaves_what_runs_alone_and_is_reported() {
    let mut world = World::default();
    world.write("a.wasm", b"a1");
    world.settle();
    world.write("a.wasm", b"!");
    world.settle();
    assert_eq!(world.problems(), [("a.wasm".into(), "name-mismatch".into())]);
    assert_eq!(world.running["a"].0, b"a1");
    world.write("a.wasm", b"a3");
    assert_eq!(world.settle(), ["upgrade a"]);
    assert!(world.problems().is_empty());
}

#[test]
fn of_two_files_of_one_plugin_the_second_waits_for_the_first_to_go() {
    let mut world = World::default();
    world.write("a.wasm", b"a1");
    world.write("b.wasm", b"a2");
    assert_eq!(world.settle(), ["load a.wasm", "load b.wasm"]);
    assert_eq!(world.problems(), [("b.wasm".into(), "name-taken".into())]);
    world.remove("a.wasm");
    assert_eq!(world.settle(), ["unload a", "load b.wasm"]);
    assert!(world.problems().is_empty());
}

#[test]
fn settings_that_come_or_change_are_taken_over() {
    let mut world = World::default();
    world.write("a.wasm", b"a1");
    world.settle();
    world.settings("a.wasm");
    assert_eq!(world.settle(), ["upgrade a"]);
    world.settings("a.wasm");
    assert_eq!(world.settle(), ["upgrade a"]);
    world.write("b.wasm", b"!");
    assert_eq!(world.settle(), ["load b.wasm"]);
    world.settings("b.wasm");
    assert_eq!(world.settle(), ["load b.wasm"]);
}

#[test]
fn what_the_operator_unloads_stays_unloaded_until_it_changes() {
    let mut world = World::default();
    world.write("a.wasm", b"a1");
    world.settle();
    world.running.remove("a");
    world.state.handle(Event::Unloaded { plugin: "a".into() }, world.now);
    world.write("a.wasm", b"a1");
    assert!(world.settle().is_empty());
    world.write("a.wasm", b"a2");
    assert_eq!(world.settle(), ["load a.wasm"]);
    world.running.remove("a");
    world.state.handle(Event::Unloaded { plugin: "a".into() }, world.now);
    world.remove("a.wasm");
    assert!(world.settle().is_empty());
    world.write("a.wasm", b"a2");
    assert_eq!(world.settle(), ["load a.wasm"]);
}

#[test]
fn what_the_operator_saves_is_not_done_twice() {
    let mut world = World::default();
    world.running.insert("a".into(), (b"a1".to_vec(), "a.wasm".into()));
    world.write("a.wasm", b"a1");
    let saved = Event::Saved { plugin: "a".into(), path: "a.wasm".into(), digest: Digest::of(b"a1") };
    world.state.handle(saved, world.now);
    assert!(world.settle().is_empty());
    assert_eq!(world.state.file_of("a"), Some(Path::new("a.wasm")));
    world.write("a.wasm", b"a2");
    assert_eq!(world.settle(), ["upgrade a"]);
}

#[test]
fn a_file_that_cannot_be_read_is_tried_again() {
    let mut world = World::default();
    world.write("a.wasm", b"a1");
    let files: BTreeMap<_, _> = world.files.iter().map(|(path, (_, seen))| (path.clone(), *seen)).collect();
    let actions = world.state.handle(Event::Listed { files: files.clone(), settled: true }, world.now);
    assert_eq!(actions, [Action::Read("a.wasm".into())]);
    let problem = Problem::new("plugin-unreadable", "", "");
    assert!(world.state.handle(Event::Read("a.wasm".into(), Err(problem)), world.now).is_empty());
    assert_eq!(world.problems().len(), 1);
    assert_eq!(world.state.next_look(), Some(RETRY));
    assert_eq!(world.settle(), ["load a.wasm"]);
    assert!(world.problems().is_empty());
}

#[test]
fn a_plugin_that_does_not_start_is_tried_again_after_pauses_that_grow() {
    let mut world = World::default();
    world.write("a.wasm", b"a?");
    let mut tries = Vec::new();
    for _ in 0..30_000 {
        world.pass(Duration::from_millis(100));
        if !std::mem::take(&mut world.log).is_empty() {
            tries.push(world.now);
        }
    }
    let pauses: Vec<_> = tries.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    let (_, problem) = world.state.problems().next().expect("reported");
    assert!(problem.next_step.contains("tries it again by itself"), "{problem:?}");
    // Another content is another plugin, and what comes back is well.
    world.write("a.wasm", b"a2?");
    assert_eq!(world.settle(), ["load a.wasm", "load a.wasm"]);
    world.write("a.wasm", b"a3");
    assert_eq!(world.settle(), ["load a.wasm"]);
    assert!(world.problems().is_empty());
    // Nothing is held up again and again by what does not start in its place.
    world.write("a.wasm", b"a4?");
    assert_eq!(world.settle(), ["upgrade a"]);
    assert!(world.settle().is_empty());
}

proptest! {
    /// Whatever is done to a folder: when it has been quiet for a while, what runs has a file that holds it, and every
    /// other file is reported.
    #[test]
    fn in_the_end_what_lies_there_is_what_runs(
        steps in proptest::collection::vec((0_u8..5, 0_usize..4, 0_usize..4, 0_u8..8), 1..40),
    ) {
        let names = ["1.wasm", "2.wasm", "3.wasm", "4.wasm"];
        let contents: [&[u8]; 4] = [b"a1", b"a2", b"b1", b"!"];
        let mut world = World::default();
        for (step, file, content, wait) in steps {
            match step {
                0 | 1 => world.write(names[file], contents[content]),
                2 => world.remove(names[file]),
                3 => world.rename(names[file], names[content]),
                _ => world.settings(names[file]),
            }
            world.pass(Duration::from_millis(u64::from(wait) * 200));
        }
        world.settle();
        world.settle();
        for (plugin, (bytes, path)) in &world.running {
            prop_assert!(world.files.contains_key(path), "{plugin} runs without its file {}", path.display());
            let reported = world.problems().iter().any(|(file, _)| *file == path.display().to_string());
            prop_assert!(reported || world.files[path].0 == *bytes, "{plugin} is not what lies there");
        }
        for path in world.files.keys() {
            let runs = world.running.values().any(|(_, file)| file == path);
            let reported = world.problems().iter().any(|(file, _)| *file == path.display().to_string());
            prop_assert!(runs || reported, "{} is neither loaded nor reported", path.display());
        }
    }
}
