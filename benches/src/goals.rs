//! What Weir is to reach beside other libraries, and whether it does.

use serde::{Deserialize, Serialize};

use crate::report::Document;

/// A goal whose case was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// Of which row.
    pub case: String,
    /// What the plugin is compared with.
    pub to: String,
    /// In words.
    pub goal: String,
    /// The plugin by that: the median of the ratios within the rounds.
    pub figure: f64,
    /// Whether it is reached.
    pub reached: bool,
}

/// Where more is better, and where less is.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

use Wanted::{AtLeast, AtMost};

/// The row, the way to compare with, and the plugin by it.
const WANTED: [(&str, &str, Wanted); 10] = [
    ("one_way_256", "raw", AtLeast(1.0)),
    ("one_way_256", "native", AtLeast(0.95)),
    ("one_way_256", "iroh", AtLeast(1.2)),
    ("one_way_256", "libp2p", AtLeast(2.0)),
    ("one_way_64k", "raw_chunked", AtLeast(0.9)),
    ("rtt_256", "raw", AtMost(1.25)),
    ("rtt_256", "libp2p", AtMost(0.65)),
    ("inflight_64", "libp2p", AtLeast(6.0)),
    ("broadcast_2", "libp2p", AtLeast(1.0)),
    ("broadcast_2_merkle", "libp2p", AtLeast(10.0)),
];

/// Every goal that the document has the figures for.
pub fn all(document: &Document) -> Vec<Goal> {
    let figure = |case: &str, to: &str| {
        let name = if to == "raw" { "plugin".to_owned() } else { format!("plugin_to_{to}") };
        document.ratios.get(case)?.get(&name).copied().or_else(|| without_merkle(document, case, to))
    };
    let measured = WANTED.into_iter().filter_map(|(case, to, wanted)| Some((case, to, wanted, figure(case, to)?)));
    let goal = |(case, to, wanted, figure): (&str, &str, Wanted, f64)| {
        let (goal, reached) = match wanted {
            AtLeast(least) => (format!("at least {least}"), figure >= least),
            AtMost(most) => (format!("at most {most}"), figure <= most),
        };
        Goal { case: case.to_owned(), to: to.to_owned(), goal, figure, reached }
    };
    measured.map(goal).collect()
}

/// The plugin with one signature for many messages, by another library that has one for each: its row is the one without
/// `_merkle`, and the medians are compared.
fn without_merkle(document: &Document, case: &str, to: &str) -> Option<f64> {
    let other = document.cases.get(case.strip_suffix("_merkle")?)?.get(to)?;
    Some(document.cases.get(case)?.get("plugin")?.value / other.value)
}

/// For people; nothing where there are none.
pub fn table(goals: &[Goal]) -> String {
    if goals.is_empty() {
        return String::new();
    }
    let mut lines = vec![format!("\n{:<20} {:<14} {:>14} {:>8}", "the plugin in", "by", "goal", "figure")];
    for Goal { case, to, goal, figure, reached } in goals {
        let reached = if *reached { "reached" } else { "not reached" };
        lines.push(format!("{case:<20} {to:<14} {goal:>14} {figure:>8.2}  {reached}"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn document(case: &str, ratios: &[(&str, f64)]) -> Document {
        let ratios = ratios.iter().map(|(name, ratio)| ((*name).to_owned(), *ratio)).collect();
        Document { ratios: BTreeMap::from([(case.to_owned(), ratios)]), ..Document::default() }
    }

    #[test]
    fn of_times_less_reaches_the_goal_and_of_rates_more() {
        let times = all(&document("rtt_256", &[("plugin", 1.2), ("plugin_to_libp2p", 0.7)]));
        let reached: Vec<_> = times.iter().map(|goal| (goal.to.as_str(), goal.reached)).collect();
        assert_eq!(reached, [("raw", true), ("libp2p", false)]);
        let rates = all(&document("one_way_256", &[("plugin_to_iroh", 1.19), ("plugin_to_libp2p", 2.0)]));
        let reached: Vec<_> = rates.iter().map(|goal| (goal.to.as_str(), goal.reached)).collect();
        assert_eq!(reached, [("iroh", false), ("libp2p", true)]);
    }

    #[test]
    fn only_what_was_measured_has_a_line() {
        let goals = all(&document("inflight_64", &[("plugin", 0.4), ("plugin_to_libp2p", 6.5)]));
        let table = table(&goals);
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.contains("at least 6     6.50  reached"), "{table}");
        assert_eq!(super::table(&[]), "");
    }
}
