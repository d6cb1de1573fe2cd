//! What Weir costs beside raw QUIC. `cargo xtask bench` builds the plugin and starts this.

mod baseline;
mod case;
mod cases;
mod cost;
mod ends;
mod goals;
mod growth;
mod measure;
mod peers;
mod report;
mod tally;
mod usage;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;

use crate::case::Way;
use crate::cases::{ALL, Listed};
use crate::ends::PATIENCE;
use crate::peers::Peers;
use crate::report::{Document, table};

#[global_allocator]
static ALLOCATOR: usage::Counting = usage::Counting;

/// Measures the same work through raw QUIC, a handler in plain Rust and a plugin, in turns within one run.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Only these cases.
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// Rounds that count; one more, before them, warms up.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How much of its work a round does.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Beside rates, the CPU time and the allocations that a unit of work costs this process.
    #[arg(long)]
    cost: bool,
    /// Only these ways, to look at one of them with a profiler.
    #[arg(long = "way", value_name = "WAY")]
    ways: Vec<Way>,
    /// Print one JSON document in place of the table; progress stays on stderr.
    #[arg(long)]
    json: bool,
    /// Also keep the document in this file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare with a document that was saved before: status 1 when a ratio to `raw` is more than 15 % worse.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Also through quinn, iroh and libp2p, which a process of its own does.
    #[arg(long)]
    peers: bool,
    /// In place of the cases, how cost grows with work: a plot for each kind of growth, and the law it shows. CASE is
    /// `sizes`, `peers`, `plugins` or `protocols` then.
    #[arg(long)]
    growth: bool,
    /// Up to so many bytes, peers, plugins or protocols.
    #[arg(long, value_name = "NUMBER", default_value_t = u64::MAX, hide_default_value = true, requires = "growth")]
    most: u64,
    /// Where the plots go.
    #[arg(long, value_name = "FOLDER", default_value = "docs/plots", requires = "growth")]
    plots: PathBuf,
    /// Be the other end of a case: for the program's own use.
    #[arg(long, hide = true)]
    far: bool,
    /// Name the cases and what they are about.
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    if arguments.far {
        ends::serve().await?;
        // Whatever still runs has nobody to run for.
        std::process::exit(0);
    }
    if arguments.list {
        let lines: String = ALL.iter().map(|case| format!("{:<20} {}\n", case.name, case.about)).collect();
        return print(&lines).map(|()| ExitCode::SUCCESS);
    }
    ensure!(arguments.scale > 0.0, "--scale is {}: it takes a number above 0", arguments.scale);
    if arguments.growth {
        let Arguments { cases, rounds, scale, plots, most, .. } = &arguments;
        let (growth, failures) = growth::grow(cases, *most, ((*rounds).into(), *scale), plots).await?;
        print(&if arguments.json { format!("{:#}\n", serde_json::json!(growth)) } else { growth::table(&growth) })?;
        failures.iter().for_each(|failure| eprintln!("FAILED: {failure:#}"));
        return Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let before = arguments.check.as_deref().map(Document::read).transpose()?;
    let document = measure_all(&arguments).await?;
    if let Some(file) = &arguments.save {
        let text = format!("{:#}\n", document.json());
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    print(&if arguments.json {
        format!("{:#}\n", document.json())
    } else {
        table(&document) + &goals::table(&document.goals)
    })?;
    let lost = before.map(|before| baseline::lost(&before, &document)).unwrap_or_default();
    lost.iter().for_each(|loss| eprintln!("LOST: {loss}"));
    Ok(if lost.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure_all(arguments: &Arguments) -> Result<Document> {
    let mut document = Document::default();
    let peers = if arguments.peers { Some(Peers::start()?) } else { None };
    let chosen = chosen(&arguments.cases)?;
    for (number, listed) in chosen.iter().enumerate() {
        let place = format!("{} of {}: {}", number + 1, chosen.len(), listed.name);
        eprintln!("==> {place}, {}", listed.about);
        let mut case = listed.prepare(arguments.scale).await.with_context(|| listed.name)?;
        if let Some(peers) = &peers {
            peers.join(&mut case, listed.name, arguments.scale).await.with_context(|| listed.name)?;
        }
        if !arguments.ways.is_empty() {
            case.ways.retain(|(way, _)| arguments.ways.contains(way));
        }
        if arguments.cost {
            cost::add(&mut case);
        }
        let told = |way: Way, round: usize| {
            let round = if round == 0 { "warm-up".to_owned() } else { format!("round {round}") };
            eprint!("\r    {round} of {}: {:<12}", arguments.rounds, way.name());
        };
        let figures = measure::measure(&mut case, arguments.rounds.into(), told).await;
        eprintln!("\r{:<60}\r", "");
        document.add(figures.with_context(|| listed.name)?);
    }
    if arguments.peers {
        document.goals = goals::all(&document);
    }
    Ok(document)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Listed>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let known = || ALL.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| match ALL.iter().find(|case| case.name == name) {
        Some(case) => Ok(case),
        None => bail!("there is no case {name}; there are {}", known()),
    };
    names.iter().map(find).collect()
}

fn print(text: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cases with two processes start, in a test.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "the cases start it"]
    async fn the_other_end() {
        if std::env::var_os("WEIR_BENCH_FAR").is_some() {
            ends::serve().await.expect("served");
            std::process::exit(0);
        }
    }

    /// Each does next to nothing of its work, which shows that it comes to its end and counts.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_case_runs_in_all_its_ways() {
        for listed in &ALL {
            let mut case = listed.prepare(0.002).await.expect(listed.name);
            let figures = measure::measure(&mut case, 1, |_, _| {}).await.expect(listed.name);
            assert_eq!(figures.len(), case.rows.len());
            for figures in figures {
                assert_eq!(figures.ways.len(), case.ways.len(), "{}", figures.row.name);
                assert!(figures.ways.values().all(|measured| measured.value > 0.0), "{figures:?}");
            }
        }
    }
}
