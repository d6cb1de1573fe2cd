//! The same seed gives the same trace, byte by byte: in this process and in another one.

use std::process::Command;

use weir_sim::run::run;
use weir_sim::scenario::named;

const RUNS: [(&str, u64); 16] = [
    ("lossy_link", 3),
    ("partition_and_heal", 1),
    ("crash_restart", 2),
    ("register_churn", 5),
    // Streams that wait for the same protocol set.
    ("register_churn", 2006),
    ("simultaneous_dials", 1),
    ("mixed", 7),
    ("one_way_cut", 1),
    ("reordering", 1),
    ("plugin_upgrade", 1),
    ("clock_jump", 1),
    ("stalled_handler", 1),
    ("join_leave_storm", 1),
    ("busy_peers", 1),
    ("crowded", 1),
    ("poison_peer", 1),
];

/// Where two traces part, for the message.
fn first_difference(one: &str, two: &str) -> String {
    let parts = one.lines().zip(two.lines()).enumerate().find(|(_, (a, b))| a != b);
    parts.map_or_else(|| "one is longer".into(), |(line, (a, b))| format!("line {}:\n{a}\n{b}", line + 1))
}

#[test]
fn twice_in_one_process() {
    for (scenario, seed) in RUNS {
        let played = named(scenario).expect("a scenario");
        // Between the two another seed runs, so that what they could share is not as it was.
        let (one, _, two) = (run(played, seed), run(played, seed + 1_000), run(played, seed));
        assert!(one.lines > 50, "{scenario} {seed} is worth a comparison");
        assert!(one.trace == two.trace, "{scenario} {seed}: {}", first_difference(&one.trace, &two.trace));
    }
}

#[test]
fn in_two_processes() {
    let folder = tempfile::tempdir().expect("a folder");
    for (scenario, seed) in RUNS {
        let path = folder.path().join(format!("{scenario}-{seed}"));
        let status = Command::new(env!("CARGO_BIN_EXE_weir-sim"))
            .args(["--scenario", scenario, "--seeds", "1", "--from", &seed.to_string(), "--json", "--trace"])
            .arg(&path)
            .output()
            .expect("weir-sim");
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        let other = std::fs::read_to_string(&path).expect("the trace of the other process");
        let own = run(named(scenario).expect("a scenario"), seed).trace;
        assert!(own == other, "{scenario} {seed}: {}", first_difference(&own, &other));
    }
}

#[test]
fn other_seeds_play_otherwise() {
    let played = named("mixed").expect("a scenario");
    assert_ne!(run(played, 1).digest, run(played, 2).digest);
}

/// tokio draws the branch that a `select!` looks at first, and that draw is not ours to seed.
#[test]
fn every_select_of_a_node_names_its_order() {
    fn files(folder: &std::path::Path, into: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if ["tests", "tests.rs", "testing.rs"].iter().any(|of_tests| name.ends_with(of_tests)) {
                // Tests may draw.
            } else if entry.is_dir() {
                files(&entry, into);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                into.push(entry);
            }
        }
    }
    let mut all = Vec::new();
    let source =
        std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../host/src");
    for layer in ["transport", "connection", "stream", "supervisor", "protocol", "plugin"] {
        files(&source.join(layer), &mut all);
    }
    assert!(all.len() > 50, "the layers were found");
    for path in &all {
        let text = std::fs::read_to_string(path).expect("a source file");
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.ends_with("select! {")) {
            let next = lines[at + 1..].iter().find(|line| !line.starts_with("//")).copied().unwrap_or_default();
            assert_eq!(next, "biased;", "{}:{}: `{line}` leaves its order to chance", path.display(), at + 1);
        }
    }
}
