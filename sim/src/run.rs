//! One run: a scenario with a seed, on a thread of its own, to its end or to the first violation.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::entropy::{mix, seed_thread};
use crate::oracle::Totals;
use crate::scenario::{SCENARIOS, Scenario};
use crate::trace::{Trace, digest};
use crate::violation::Violation;

/// Nodes and the futures of a debug build are deep.
const STACK: usize = 64 << 20;

thread_local! {
    static SIMULATES: Cell<bool> = const { Cell::new(false) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: &'static str,
    /// What it drew from.
    pub seed: u64,
    /// What it broke.
    pub violation: Option<Violation>,
    /// Steps of the scenario.
    pub steps: usize,
    /// Virtual time, in milliseconds.
    pub virtual_ms: u64,
    /// Real time, in milliseconds.
    pub real_ms: u64,
    /// The longest wait for the network to settle, in virtual milliseconds.
    pub settled_ms: u64,
    /// Messages.
    pub totals: Totals,
    /// Lines of the trace.
    pub lines: usize,
    /// FNV-1a of the trace.
    pub digest: u64,
    /// The trace itself.
    #[serde(skip)]
    pub trace: String,
}

/// The scenario that a seed draws when none is named: the small ones in turn, the large one seldom.
pub fn drawn(seed: u64) -> &'static Scenario {
    let all: u64 = SCENARIOS.iter().map(|scenario| scenario.weight).sum();
    let mut at = mix(&[seed, 5]) % all.max(1);
    for scenario in SCENARIOS {
        if at < scenario.weight {
            return scenario;
        }
        at -= scenario.weight;
    }
    &SCENARIOS[0]
}

/// Runs it on a thread of its own and waits for the end.
///
/// # Panics
/// When the system has no thread to give.
pub fn run(scenario: &'static Scenario, seed: u64) -> Report {
    watch_panics();
    let thread = std::thread::Builder::new().name(format!("seed-{seed}")).stack_size(STACK);
    let running = thread.spawn(move || {
        // Before anything else, or the thread's first hash map has drawn already.
        seed_thread(mix(&[seed, 6]));
        on_this_thread(scenario, seed)
    });
    match running.map(std::thread::JoinHandle::join) {
        Ok(Ok(report)) => report,
        _ => panic!("no thread for seed {seed}"),
    }
}

fn on_this_thread(scenario: &'static Scenario, seed: u64) -> Report {
    SIMULATES.set(true);
    let (started, trace) = (Instant::now(), Trace::default());
    let listening = trace.listen();
    trace.note("-", format_args!("scenario {} seed {seed}", scenario.name));
    let mut world = (scenario.world)(seed, trace.clone());
    let played = catch_unwind(AssertUnwindSafe(|| (scenario.play)(&mut world)));
    let violation = match played {
        Ok(outcome) => outcome.err(),
        Err(_) => Some(world.violation("nothing panics", take_panic().unwrap_or_default())),
    };
    match &violation {
        Some(violation) => trace.note("-", format_args!("BROKEN {violation}")),
        None => trace.note("-", "clean"),
    }
    drop(listening);
    let text = trace.text();
    let millis = |time: Duration| time.as_millis() as u64;
    let report = Report {
        scenario: scenario.name,
        seed,
        violation,
        steps: world.steps(),
        virtual_ms: millis(world.now()),
        settled_ms: millis(world.worst_settling()),
        totals: world.oracle.totals(),
        lines: trace.lines(),
        digest: digest(&text),
        trace: text,
        real_ms: millis(started.elapsed()),
    };
    // Nodes that are dropped with the world are no run any more.
    let _ = catch_unwind(AssertUnwindSafe(|| world.end()));
    report
}

/// The panic that happened on this thread since the last call, also one that a task swallowed.
pub fn take_panic() -> Option<String> {
    PANIC.take()
}

fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if SIMULATES.get() {
                PANIC.with_borrow_mut(|panic| panic.get_or_insert_with(|| info.to_string()).truncate(2_000));
            } else {
                before(info);
            }
        }));
    });
}
