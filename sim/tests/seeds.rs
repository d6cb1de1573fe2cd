//! A fixed set of seeds of every scenario: what a change breaks most of the time shows here, in a minute or two.

use weir_sim::run::run;
use weir_sim::scenario::named;

fn clean(scenario: &str, seeds: std::ops::Range<u64>) {
    let played = named(scenario).expect("a scenario");
    for seed in seeds {
        let report = run(played, seed);
        if let Some(violation) = report.violation {
            let tail: Vec<_> = report.trace.lines().rev().take(30).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            panic!(
                "seed {seed} of {scenario}: {violation}\nreplay: cargo xtask sim --scenario {scenario} --from {seed} --seeds 1\n{tail}"
            );
        }
        assert!(report.steps > 1, "{scenario} does something");
    }
}

macro_rules! fixed {
    ($($scenario:ident: $seeds:expr),* $(,)?) => {
        $(#[test] fn $scenario() { clean(stringify!($scenario), $seeds); })*

        #[test]
        fn every_scenario_has_its_seeds() {
            let tested = [$(stringify!($scenario)),*];
            let all: Vec<_> = weir_sim::scenario::SCENARIOS.iter().map(|one| one.name).collect();
            assert_eq!(tested.as_slice(), all);
        }
    };
}

fixed! {
    lossy_link: 0..8,
    reordering: 0..8,
    partition_and_heal: 0..8,
    one_way_cut: 0..8,
    crash_restart: 0..10,
    simultaneous_dials: 0..8,
    clock_jump: 0..6,
    register_churn: 0..10,
    busy_peers: 0..8,
    crowded: 0..10,
    stalled_handler: 0..3,
    join_leave_storm: 0..1,
    plugin_upgrade: 0..1,
    poison_peer: 0..1,
    mixed: 0..16,
}
