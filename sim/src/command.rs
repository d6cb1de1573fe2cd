//! The command line: which seeds to run, what to show while they run, and what to say of those that broke.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;

use crate::run::{Report, drawn, run};
use crate::scenario::{SCENARIOS, Scenario, named, plugins_are_built};

/// How often progress is shown on a terminal; a log gets a tenth of it.
const SHOW_EVERY: Duration = Duration::from_secs(2);

/// Whole nodes in a deterministic simulation.
#[derive(Debug, Parser)]
#[command(name = "weir-sim", bin_name = "cargo xtask sim")]
pub struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this scenario; without, each seed draws one. `list` shows them all.
    #[arg(long)]
    scenario: Option<String>,
    /// Writes the trace of the first seed (or of the first that breaks a rule) to this file.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Runs every seed twice and compares the traces byte by byte.
    #[arg(long)]
    twice: bool,
    /// One JSON document on stdout in place of the table; progress stays on stderr.
    #[arg(long)]
    json: bool,
    /// Seeds at once; as many as there are processors.
    #[arg(long)]
    jobs: Option<usize>,
    /// Shows every line of the trace on stderr as it is written.
    #[arg(long)]
    follow: bool,
    /// Goes on after a seed that broke a rule.
    #[arg(long)]
    keep_going: bool,
}

/// What `weir-sim` does.
pub fn main() -> ExitCode {
    match execute(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn execute(arguments: &Arguments) -> Result<bool> {
    if arguments.scenario.as_deref() == Some("list") {
        let list: Vec<_> = SCENARIOS.iter().map(|one| format!("{:<20} {}", one.name, one.about)).collect();
        print(&list.join("\n"));
        return Ok(true);
    }
    let only = arguments.scenario.as_deref().map(find).transpose()?;
    if arguments.follow {
        crate::trace::follow();
    }
    let batch = Batch::new(arguments, only);
    let started = Instant::now();
    let reports = batch.run();
    let broken: Vec<_> = reports.iter().filter(|report| report.violation.is_some()).collect();
    if let Some(path) = &arguments.trace
        && let Some(report) = broken.first().copied().or(reports.first())
    {
        std::fs::write(path, &report.trace).with_context(|| format!("write {}", path.display()))?;
    }
    let clean = broken.is_empty();
    if arguments.json {
        let failures: Vec<_> = broken.iter().map(|report| failure_json(report)).collect();
        print(&format!("{:#}", json!({ "clean": clean, "runs": reports, "failures": failures })));
    } else {
        print(&table(&reports, started.elapsed()));
    }
    Ok(clean)
}

#[expect(clippy::print_stdout, reason = "the result is what the command is for")]
fn print(text: &str) {
    println!("{text}");
}

fn find(name: &str) -> Result<&'static Scenario> {
    let Some(scenario) = named(name) else {
        let names: Vec<_> = SCENARIOS.iter().map(|one| one.name).collect();
        bail!("no scenario is called `{name}`; there are {}", names.join(", "));
    };
    Ok(scenario)
}

/// All seeds of one call.
struct Batch<'a> {
    arguments: &'a Arguments,
    only: Option<&'static Scenario>,
    next: AtomicU64,
    stop: AtomicBool,
    reports: Mutex<Vec<Report>>,
    shown: Mutex<Instant>,
    started: Instant,
}

impl<'a> Batch<'a> {
    fn new(arguments: &'a Arguments, only: Option<&'static Scenario>) -> Self {
        let (next, stop, started) = (AtomicU64::new(0), AtomicBool::new(false), Instant::now());
        Self { arguments, only, next, stop, reports: Mutex::default(), shown: Mutex::new(started), started }
    }

    /// Runs all, in order as far as that goes, and returns them in order.
    fn run(&self) -> Vec<Report> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let jobs = self.arguments.jobs.unwrap_or(cores).max(1);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| while self.one_more() {});
            }
        });
        let mut reports = std::mem::take(&mut *lock(&self.reports));
        reports.sort_by_key(|report| report.seed);
        if stderr().is_terminal() {
            eprint!("\r\x1b[2K");
        }
        reports
    }

    fn one_more(&self) -> bool {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if index >= self.arguments.seeds || self.stop.load(Ordering::Relaxed) {
            return false;
        }
        let seed = self.arguments.from + index;
        let scenario = self.only.unwrap_or_else(|| drawn(seed));
        if self.only.is_none() && scenario.needs_plugins && !plugins_are_built() {
            return true;
        }
        let mut report = run(scenario, seed);
        if self.arguments.twice && report.violation.is_none() {
            compare(&mut report, &run(scenario, seed));
        }
        if report.violation.is_some() {
            eprintln!("{}", explain(&report));
            self.stop.fetch_or(!self.arguments.keep_going, Ordering::Relaxed);
        }
        let mut reports = lock(&self.reports);
        // Traces are large; one is kept to be written.
        if self.arguments.trace.is_none() || (index > 0 && report.violation.is_none()) {
            report.trace = String::new();
        }
        reports.push(report);
        self.show(&reports);
        true
    }

    fn show(&self, reports: &[Report]) {
        let mut shown = lock(&self.shown);
        let terminal = stderr().is_terminal();
        if shown.elapsed() < if terminal { SHOW_EVERY } else { SHOW_EVERY * 10 } {
            return;
        }
        *shown = Instant::now();
        let (done, last) = (reports.len(), reports.last().map_or("", |report| report.scenario));
        let broken = reports.iter().filter(|report| report.violation.is_some()).count();
        let rate = done as f64 / self.started.elapsed().as_secs_f64();
        let text =
            format!("{done} of {} seeds, {rate:.1} a second, {broken} broken, last {last}", self.arguments.seeds);
        if terminal {
            eprint!("\r\x1b[2K    {text}");
            let _no_terminal = stderr().flush();
        } else {
            eprintln!("    {text}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Notes the first line in which two runs of the same seed differ.
fn compare(report: &mut Report, again: &Report) {
    if report.trace == again.trace {
        return;
    }
    let differs = report.trace.lines().zip(again.trace.lines()).enumerate().find(|(_, (one, two))| one != two);
    let detail = match differs {
        Some((line, (one, two))) => format!("line {}: `{one}` and `{two}`", line + 1),
        None => format!("{} and {} lines", report.lines, again.lines),
    };
    let at = Duration::from_millis(report.virtual_ms);
    let invariant = "the same seed gives the same trace";
    report.violation = Some(crate::violation::Violation { invariant, detail, at, step: report.steps });
}

fn replay(report: &Report) -> String {
    let Report { scenario, seed, .. } = report;
    format!("cargo xtask sim --scenario {scenario} --from {seed} --seeds 1 --trace {scenario}-{seed}.trace")
}

fn failure_json(report: &Report) -> serde_json::Value {
    json!({ "scenario": report.scenario, "seed": report.seed, "violation": report.violation, "replay": replay(report) })
}

fn explain(report: &Report) -> String {
    let Some(violation) = &report.violation else { return String::new() };
    let Report { scenario, seed, .. } = report;
    format!("BROKEN seed {seed} of {scenario}: {violation}\n    replay: {}", replay(report))
}

/// One line a scenario, and the sums.
fn table(reports: &[Report], elapsed: Duration) -> String {
    let mut by_name = BTreeMap::<&str, Vec<&Report>>::new();
    reports.iter().for_each(|report| by_name.entry(report.scenario).or_default().push(report));
    let head =
        ["scenario", "seeds", "broken", "virtual s", "real ms", "steps", "settled ms", "delivered", "undelivered"];
    let mut rows = vec![head.map(str::to_owned)];
    for (name, of_name) in by_name {
        rows.push(row(name, &of_name));
    }
    rows.push(row("all", &reports.iter().collect::<Vec<_>>()));
    let widths: Vec<_> = (0..head.len()).map(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let line: Vec<_> =
            cells.map(|(at, (cell, w))| if at == 0 { format!("{cell:<w$}") } else { format!("{cell:>w$}") }).collect();
        let _ = writeln!(text, "{}", line.join("  "));
    }
    let _ = write!(
        text,
        "{} seeds in {:.1} s (settled: the longest wait; real: a seed's mean)",
        reports.len(),
        elapsed.as_secs_f64()
    );
    text
}

fn row(name: &str, reports: &[&Report]) -> [String; 9] {
    let count = reports.len().max(1) as u64;
    let sum = |of: fn(&Report) -> u64| reports.iter().map(|report| of(report)).sum::<u64>();
    [
        name.to_owned(),
        reports.len().to_string(),
        reports.iter().filter(|report| report.violation.is_some()).count().to_string(),
        (sum(|report| report.virtual_ms) / 1000).to_string(),
        (sum(|report| report.real_ms) / count).to_string(),
        sum(|report| report.steps as u64).to_string(),
        reports.iter().map(|report| report.settled_ms).max().unwrap_or(0).to_string(),
        sum(|report| report.totals.delivered).to_string(),
        sum(|report| report.totals.undelivered).to_string(),
    ]
}
