//! How cost grows with work: one sweep for each kind of growth, a plot of it, and the law that fits.

mod plot;
mod sweep;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use self::sweep::{ALL, Sweep};
use crate::case::{Unit, Way};
use crate::measure::{Measured, measure};

/// One way of a sweep.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// How much there was, and nanoseconds for each message.
    pub points: Vec<(f64, f64)>,
    /// The law: the cost of a message grows with this power of how much there is.
    pub exponent: f64,
}

/// By sweep and way.
pub type Growth = BTreeMap<&'static str, BTreeMap<&'static str, Line>>;

/// Does all sweeps, or those that are named, up to so much of what grows; writes a plot of each into the folder. What failed
/// ends its sweep, and is said beside what was measured until then.
///
/// # Errors
/// When a plot cannot be written.
pub async fn grow(
    names: &[String],
    most: u64,
    (rounds, scale): (usize, f64),
    folder: &Path,
) -> Result<(Growth, Vec<anyhow::Error>)> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let (mut growth, mut failures) = (Growth::new(), Vec::new());
    for sweep in ALL.iter().filter(|sweep| names.is_empty() || names.iter().any(|name| name == sweep.name)) {
        let mut points = Points::new();
        if let Err(error) = one(sweep, most, (rounds, scale), &mut points).await {
            failures.push(error.context(sweep.name));
        }
        if points.is_empty() {
            continue;
        }
        let lines = lines(points);
        let file = folder.join(format!("{}.svg", sweep.name));
        std::fs::write(&file, plot::svg(sweep.title, sweep.of, "nanoseconds a message", &lines))
            .with_context(|| format!("write {}", file.display()))?;
        growth.insert(sweep.name, lines.into_iter().map(|(way, line)| (way.name(), line)).collect());
    }
    Ok((growth, failures))
}

type Points = BTreeMap<Way, Vec<(f64, f64)>>;

async fn one(sweep: &Sweep, most: u64, (rounds, scale): (usize, f64), points: &mut Points) -> Result<()> {
    for at in sweep.at.iter().filter(|at| **at <= most) {
        eprintln!("==> {} with {at} {}", sweep.name, sweep.of);
        let measured = async { measure(&mut sweep.case(*at, scale).await?, rounds, |_, _| {}).await };
        for figures in measured.await.with_context(|| format!("{at} {}", sweep.of))? {
            for (way, Measured { value, .. }) in figures.ways {
                let nanoseconds = if figures.row.unit == Unit::MessagesPerSecond { 1e9 / value } else { value };
                points.entry(way).or_default().push((*at as f64, nanoseconds));
            }
        }
    }
    Ok(())
}

fn lines(points: Points) -> BTreeMap<Way, Line> {
    points.into_iter().map(|(way, points)| (way, Line { exponent: exponent(&points), points })).collect()
}

/// The slope of the straight line through the logarithms of both, by least squares; 0 of fewer than two points.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<_> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len().max(1) as f64;
    let (x, y) = logs.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / count, b + y / count));
    let (up, along) = logs.iter().fold((0.0, 0.0), |(a, b), (u, v)| (a + (u - x) * (v - y), b + (u - x).powi(2)));
    if along > 0.0 { up / along } else { 0.0 }
}

/// For people: first and last point of each line, and its law.
pub fn table(growth: &Growth) -> String {
    let mut lines = vec![format!("{:<12} {:<12} {:>24} {:>24} {:>9}", "growth", "way", "first", "last", "exponent")];
    let shown = |point: Option<&(f64, f64)>| point.map_or(String::new(), |(x, y)| format!("{y:.0} ns at {x}"));
    for (name, ways) in growth {
        for (way, Line { points, exponent }) in ways {
            let (first, last) = (shown(points.first()), shown(points.last()));
            lines.push(format!("{name:<12} {way:<12} {first:>24} {last:>24} {exponent:>9.2}"));
        }
    }
    lines.push("Nanoseconds a message: they grow with that power of how much there is.".to_owned());
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_is_the_power_that_it_grows_with() {
        let of = |power: i32| {
            (0..6).map(|at| (f64::from(1 << at), 3.0 * f64::from(1 << at).powi(power))).collect::<Vec<_>>()
        };
        for power in [-1, 0, 1, 2] {
            assert!((exponent(&of(power)) - f64::from(power)).abs() < 1e-9);
        }
        assert_eq!(exponent(&[(1.0, 5.0)]), 0.0);
    }

    /// Each does next to nothing of its work at its first point.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_sweep_begins() {
        for sweep in &ALL {
            let mut case = sweep.case(sweep.at[0], 0.002).await.expect(sweep.name);
            let figures = measure(&mut case, 1, |_, _| {}).await.expect(sweep.name);
            assert!(figures[0].ways[&Way::Plugin].value > 0.0, "{figures:?}");
        }
    }
}
