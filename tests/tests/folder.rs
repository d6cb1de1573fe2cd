//! The real binary with its plugin folder: what people, editors and copying programs do to it while the node runs.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::node::guest_path;
use weir_tests::weir::{END, Weir};

/// Longer than the node waits before it believes that a file is as it is going to be. Waited for only where nothing is to
/// happen, so there is nothing else to wait for.
const QUIET: Duration = Duration::from_millis(2_500);

/// How long a file must be missing.
const GONE: Duration = Duration::from_secs(1);

struct Folder {
    weir: Weir,
    path: PathBuf,
}

impl Folder {
    fn start() -> Result<Self> {
        let weir = Weir::start()?;
        let path = weir.folder().join("plugins");
        Ok(Self { weir, path })
    }

    fn put(&self, name: &str, guest: &str) -> Result<()> {
        fs::copy(guest_path(guest)?, self.path.join(name))?;
        Ok(())
    }

    fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        self.weir.until(what, &["plugin", "list"], fits)
    }

    /// Waits until exactly these plugins run, by name and version.
    fn runs(&self, expected: &[(&str, &str)]) -> Result<Value> {
        let expected: Vec<_> = expected.iter().map(|(name, version)| json!([name, version])).collect();
        self.until(&format!("{expected:?} run"), |list| {
            let all = list["plugins"].as_array().into_iter().flatten();
            all.map(|plugin| json!([plugin["name"], plugin["version"]])).collect::<Vec<_>>() == expected
        })
    }

    /// Waits until these files are reported, by name and code.
    fn reports(&self, expected: &[(&str, &str)]) -> Result<Value> {
        let expected: Vec<_> = expected.iter().map(|(file, code)| json!([self.path.join(file), code])).collect();
        self.until(&format!("{expected:?} are reported"), |list| {
            let all = list["failed"].as_array().into_iter().flatten();
            all.map(|failed| json!([failed["file"], failed["error"]["code"]])).collect::<Vec<_>>() == expected
        })
    }

    /// The revision of the only plugin, which counts every change of what runs.
    fn revision(&self) -> Result<Value> {
        Ok(self.weir.json(&["plugin", "list"])?["plugins"][0]["revision"].clone())
    }

    fn note(&self) -> Result<Value> {
        self.weir.json(&["call", "journal", "note"])
    }
}

#[test]
fn a_file_comes_is_replaced_renamed_and_goes() -> Result<()> {
    let folder = Folder::start()?;
    folder.put("journal.wasm", "journal")?;
    folder.runs(&[("journal", "0.1.0")])?;
    assert_eq!(folder.note()?["note"], 1);
    // As a careful program does it: written under another name, and moved there.
    folder.put(".journal.wasm.part", "journal_next")?;
    fs::rename(folder.path.join(".journal.wasm.part"), folder.path.join("journal.wasm"))?;
    let list = folder.runs(&[("journal", "0.2.0")])?;
    assert_eq!(list["plugins"][0]["previous"]["version"], "0.1.0", "it was an upgrade: {list}");
    assert_eq!(folder.note()?["note"], 2);

    let revision = folder.revision()?;
    fs::rename(folder.path.join("journal.wasm"), folder.path.join("diary.wasm"))?;
    std::thread::sleep(QUIET);
    assert_eq!(folder.revision()?, revision, "another name changes nothing");
    let stats = folder.note()?;
    assert_eq!((&stats["note"], &stats["cause-upgrade"]), (&json!(3), &json!(1)), "{stats}");

    fs::remove_file(folder.path.join("diary.wasm"))?;
    folder.runs(&[])?;
    folder.reports(&[])?;
    folder.put("journal.wasm", "journal")?;
    folder.runs(&[("journal", "0.1.0")])?;
    assert_eq!(folder.note()?["note"], 4, "its store was still there");
    Ok(())
}

#[test]
fn a_file_that_arrives_slowly_is_waited_for() -> Result<()> {
    let folder = Folder::start()?;
    let bytes = fs::read(guest_path("journal")?)?;
    let mut file = fs::File::create(folder.path.join("journal.wasm"))?;
    // Two pauses that are longer than a file must be quiet: it ends in the middle all the same.
    for part in bytes.chunks(bytes.len() / 3 + 1) {
        file.write_all(part)?;
        file.sync_all()?;
        std::thread::sleep(QUIET);
        let list = folder.weir.json(&["plugin", "list"])?;
        assert_eq!(list["failed"], json!([]), "{list}");
    }
    folder.runs(&[("journal", "0.1.0")])?;
    Ok(())
}

#[test]
fn bad_files_are_reported_and_leave_what_runs_alone() -> Result<()> {
    let folder = Folder::start()?;
    folder.put("journal.wasm", "journal")?;
    folder.runs(&[("journal", "0.1.0")])?;
    fs::write(folder.path.join("journal.wasm"), "dear diary\n")?;
    folder.reports(&[("journal.wasm", "not-wasm")])?;
    assert_eq!(folder.note()?["note"], 1);
    assert!(folder.weir.text(&["plugin", "list"])?.contains("not loaded: "), "people see it, too");

    // Another plugin, another one of the same name, a thing that nobody reads, and one that is much too large.
    folder.put("journal.wasm", "counter")?;
    folder.reports(&[("journal.wasm", "name-mismatch")])?;
    folder.put("second.wasm", "journal_next")?;
    folder.reports(&[("journal.wasm", "name-mismatch"), ("second.wasm", "name-taken")])?;
    fs::write(folder.path.join("notes.txt"), "hello")?;
    fs::write(folder.path.join(".hidden.wasm"), "hello")?;
    fs::File::create(folder.path.join("vast.wasm"))?.set_len((64 << 20) + 1)?;
    let failed = [("journal.wasm", "name-mismatch"), ("second.wasm", "name-taken"), ("vast.wasm", "plugin-too-large")];
    folder.reports(&failed)?;
    folder.runs(&[("journal", "0.1.0")])?;
    assert_eq!(folder.note()?["note"], 2);

    // The first one goes, and the second one has its name.
    fs::remove_file(folder.path.join("vast.wasm"))?;
    fs::remove_file(folder.path.join("journal.wasm"))?;
    folder.runs(&[("journal", "0.2.0")])?;
    folder.reports(&[])?;
    assert_eq!(folder.note()?["note"], 3);
    Ok(())
}

#[test]
fn settings_that_lie_beside_a_file_are_taken_over_when_they_come() -> Result<()> {
    let folder = Folder::start()?;
    folder.put("bank.wasm", "asks_for_grant")?;
    folder.reports(&[("bank.wasm", "missing-grant")])?;
    fs::write(folder.path.join("bank.toml"), "grants = [\"call:bank\"]\n")?;
    let list = folder.runs(&[("asks-for-grant", "0.1.0")])?;
    assert_eq!(list["failed"], json!([]), "{list}");
    let revision = folder.revision()?;
    fs::write(folder.path.join("bank.toml"), "grants = [\"call:bank\"]\n[config]\nanything = 1\n")?;
    folder.until("it runs with them", |list| list["plugins"][0]["revision"] != revision)?;
    // Without its grant the file is refused, and what runs goes on as it was.
    fs::write(folder.path.join("bank.toml"), "grants = []\n")?;
    folder.reports(&[("bank.wasm", "missing-grant")])?;
    fs::write(folder.path.join("bank.toml"), "grant = []\n")?;
    folder.reports(&[("bank.wasm", "config-unknown-key")])?;
    folder.runs(&[("asks-for-grant", "0.1.0")])?;
    Ok(())
}

#[test]
fn what_the_operator_does_by_hand_is_not_done_twice() -> Result<()> {
    let mut folder = Folder::start()?;
    let guest = |name: &str| Ok::<_, anyhow::Error>(guest_path(name)?.to_str().context("UTF-8")?.to_owned());
    folder.weir.json(&["plugin", "load", &guest("journal")?, "--save"])?;
    let revision = folder.revision()?;
    std::thread::sleep(QUIET);
    assert_eq!(folder.revision()?, revision, "its file is known");
    folder.weir.json(&["plugin", "upgrade", "journal", &guest("journal_next")?, "--save"])?;
    let revision = folder.revision()?;
    std::thread::sleep(QUIET);
    assert_eq!(folder.revision()?, revision);
    folder.reports(&[])?;

    // What is unloaded stays unloaded, however often its file is touched.
    let unloaded = folder.weir.json(&["plugin", "unload", "journal"])?;
    assert_eq!(unloaded["file"], json!(folder.path.join("journal.wasm")), "{unloaded}");
    folder.put("journal.wasm", "journal_next")?;
    std::thread::sleep(QUIET);
    folder.runs(&[])?;
    folder.put("journal.wasm", "journal")?;
    folder.runs(&[("journal", "0.1.0")])?;

    // Loaded by hand first, and put there afterwards.
    let counter = guest("counter")?;
    folder.weir.json(&["plugin", "load", &counter])?;
    folder.put("counter.wasm", "counter")?;
    std::thread::sleep(QUIET);
    folder.reports(&[])?;
    fs::remove_file(folder.path.join("counter.wasm"))?;
    folder.runs(&[("journal", "0.1.0")])?;

    // Put away, it is not loaded at the next start either.
    let unloaded = folder.weir.json(&["plugin", "unload", "journal", "--save"])?;
    ensure!(unloaded["put_away"] == json!(folder.path.join("journal.wasm.unloaded")), "{unloaded}");
    assert!(folder.weir.terminate()? < END);
    folder.weir.run()?;
    folder.runs(&[])?;
    Ok(())
}

#[test]
fn a_plugin_that_is_upgraded_and_saved_just_when_its_file_goes_stays() -> Result<()> {
    let folder = Folder::start()?;
    folder.put("counter.wasm", "loop_in_snapshot")?;
    folder.runs(&[("counter", "0.1.2")])?;
    fs::remove_file(folder.path.join("counter.wasm"))?;
    // It never gives its memory, so the upgrade takes a second, and the file counts as gone before it is over.
    std::thread::sleep(GONE / 2);
    let next = guest_path("counter_v2")?;
    folder.weir.json(&["plugin", "upgrade", "counter", next.to_str().context("UTF-8")?, "--save"])?;
    std::thread::sleep(QUIET);
    folder.runs(&[("counter", "0.2.0")])?;
    ensure!(folder.path.join("counter.wasm").is_file());
    Ok(())
}

#[test]
fn a_folder_that_is_gone_takes_nothing_with_it() -> Result<()> {
    let folder = Folder::start()?;
    folder.put("journal.wasm", "journal")?;
    folder.runs(&[("journal", "0.1.0")])?;
    fs::rename(&folder.path, folder.weir.folder().join("elsewhere"))?;
    std::thread::sleep(QUIET);
    folder.runs(&[("journal", "0.1.0")])?;
    fs::create_dir(&folder.path)?;
    folder.put("journal.wasm", "journal_next")?;
    folder.runs(&[("journal", "0.2.0")])?;
    Ok(())
}
