//! The store alone, in a process that is killed at any moment, also while it opens its file: what it said is on the disk
//! is there.
//!
//! `WEIR_STORE_KILLS=2000 cargo xtask test --test store_kill -- --nocapture` for more than the few of every run.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use weir_host::plugin::store::{Durability, Namespace, Store, StorePolicy, WriteBatch};

const FOLDER: &str = "WEIR_STORE_KILL_FOLDER";
const PATIENCE: Duration = Duration::from_secs(60);
/// Turns whose own keys are kept.
const KEPT: u64 = 64;
const KILLS: u64 = 60;

fn number(namespace: &Namespace, key: &str) -> u64 {
    let value = namespace.get(key.as_bytes()).expect("readable");
    value.and_then(|value| value.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn turn(number: u64) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.put("left", number.to_le_bytes().to_vec());
    batch.put(format!("turn/{number:020}").into_bytes(), vec![number as u8; (number % 1_500) as usize]);
    if let Some(old) = number.checked_sub(KEPT) {
        batch.remove(format!("turn/{old:020}").into_bytes());
    }
    batch.put("right", number.to_le_bytes().to_vec());
    batch
}

/// What the killed process runs: it tells what it found, then every turn that is on the disk.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let path = Path::new(&folder).join("store.redb");
        let policy = StorePolicy { commit_after: Duration::from_millis(3), ..StorePolicy::default() };
        let store = Store::open(&path, policy).expect("it opens");
        let namespaces = ["a", "b"].map(|name| store.namespace(name));
        let tell = |kind: &str, turn: u64| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "\n@{kind} {turn}").and_then(|()| out.flush()).expect("somebody reads");
        };
        let [a, b] = &namespaces;
        let found = number(a, "left");
        let whole = [a, b].iter().all(|namespace| number(namespace, "left") == number(namespace, "right"));
        // The turns of both take turns: what is left is a prefix of them.
        let prefix = found == number(b, "left") || found == number(b, "left") + 1;
        tell(if whole && prefix { "found" } else { "torn" }, found);
        for number in found + 1.. {
            a.commit(turn(number), Durability::Relaxed).await.expect("committed");
            let durability = if number % 5 == 0 { Durability::Strict } else { Durability::Relaxed };
            let ticket = b.commit(turn(number), durability).await.expect("committed");
            if durability == Durability::Strict {
                ticket.durable().await.expect("on the disk");
                tell("kept", number);
            }
        }
    });
}

/// Reads what the process tells until it is dead.
fn listen(from: impl std::io::Read + Send + 'static) -> Receiver<(String, u64)> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let Some((kind, turn)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) else { continue };
            let Ok(turn) = turn.parse() else { continue };
            if sender.send((kind.to_owned(), turn)).is_err() {
                return;
            }
        }
    });
    receiver
}

#[test]
fn what_was_said_to_be_on_the_disk_is_there_after_a_kill() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("WEIR_STORE_KILLS").unwrap_or(KILLS);
    let mut dice = number("WEIR_SEED").unwrap_or(u64::from(std::process::id()));
    eprintln!("{kills} kills, WEIR_SEED={dice}");
    let folder = tempfile::tempdir().expect("a folder");
    let binary = std::env::current_exe().expect("a path");
    let (mut kept, mut looks, mut worst) = (0, 0, 0);
    for kill in 0..=kills {
        let mut child = Command::new(&binary)
            .args(["writer", "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let told = listen(child.stdout.take().expect("piped"));
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Instant::now() + Duration::from_micros((dice >> 33) % 120_000);
        let mut last = None;
        let mut check = |(kind, turn): (String, u64)| {
            assert_ne!(kind, "torn", "kill {kill}");
            if kind == "found" {
                looks += 1;
                assert!(turn >= kept, "kill {kill}: turn {turn} was found, {kept} were on the disk");
                worst = worst.max(turn - kept);
            }
            kept = kept.max(turn);
            last = Some(turn);
        };
        // The last one lives until it has told what it found.
        let deadline = if kill == kills { Instant::now() + PATIENCE } else { moment };
        while let Ok(line) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            check(line);
            if kill == kills {
                break;
            }
        }
        child.kill().expect("killed");
        child.wait().expect("dead");
        // What it had said before.
        told.iter().for_each(&mut check);
    }
    eprintln!("{looks} restarts looked at, {kept} turns; nothing torn, nothing lost that was said to be on the disk");
    assert!(looks > kills / 10, "too little was seen");
}
