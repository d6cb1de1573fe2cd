//! What came of a run: a document for programs, and a table for people.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::case::{OTHERS, Way};
use crate::goals::Goal;
use crate::measure::Figures;

/// One value, as the document has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// The median of the rounds.
    pub value: f64,
    /// Of what.
    pub unit: String,
    /// The middle half of the rounds, by the median.
    pub spread: f64,
}

/// `cases.NAME.{raw,raw_chunked,native,plugin}` and `ratios.NAME.{raw_chunked,native,plugin}`: each to `raw` within the
/// same rounds; and `plugin_to_WAY`, the plugin to any other. Other libraries only where they were asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// By case and way.
    pub cases: BTreeMap<String, BTreeMap<String, Shown>>,
    /// By case and way. Of times, too, the way by `raw`.
    pub ratios: BTreeMap<String, BTreeMap<String, f64>>,
    /// The cases in the order in which they were measured.
    pub order: Vec<String>,
    /// What the plugin is to reach, where other libraries were measured, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goals: Vec<Goal>,
}

impl Document {
    /// Reads one that was saved.
    ///
    /// # Errors
    /// When the file is none.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no document of this command", file.display()))
    }

    /// Takes the figures of one case.
    pub fn add(&mut self, figures: Vec<Figures>) {
        for Figures { row, ways, to_raw, plugin_to } in figures {
            let mut ratios: BTreeMap<_, _> =
                to_raw.iter().map(|(way, ratio)| (way.name().to_owned(), *ratio)).collect();
            ratios.extend(plugin_to.iter().map(|(way, ratio)| (format!("plugin_to_{}", way.name()), *ratio)));
            let shown = ways.into_iter().map(|(way, measured)| {
                let unit = row.unit.name().to_owned();
                (way.name().to_owned(), Shown { value: measured.value, unit, spread: measured.spread })
            });
            self.cases.insert(row.name.to_owned(), shown.collect());
            self.ratios.insert(row.name.to_owned(), ratios);
            self.order.push(row.name.to_owned());
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        serde_json::json!(self)
    }
}

/// For people: a line for each case, in the units of the case, and how each way stands to `raw`.
pub fn table(document: &Document) -> String {
    let others = OTHERS.into_iter().filter(|way| document.cases.values().any(|ways| ways.contains_key(way.name())));
    let others: Vec<_> = others.collect();
    let columns: String = others.iter().map(|way| format!(" {:>22}", format!("{} (by raw)", way.name()))).collect();
    let mut lines = vec![format!(
        "{:<20} {:>16} {:>16} {:>22} {:>22}{columns}  {}",
        "case", "raw", "raw in 64 KiB", "native (by raw)", "plugin (by raw)", "unit"
    )];
    for name in &document.order {
        let (ways, ratios) = (&document.cases[name], &document.ratios[name]);
        let value = |way: Way| ways.get(way.name()).map_or("–".to_owned(), |shown| number(shown.value, shown.spread));
        let beside = |way: Way| match ratios.get(way.name()) {
            Some(ratio) => format!("{} {ratio:>5.2}", value(way)),
            None => value(way),
        };
        let unit = ways.values().next().map_or("", |shown| shown.unit.as_str());
        let columns: String = others.iter().map(|way| format!(" {:>22}", beside(*way))).collect();
        lines.push(format!(
            "{name:<20} {:>16} {:>16} {:>22} {:>22}{columns}  {unit}",
            value(Way::Raw),
            value(Way::RawChunked),
            beside(Way::Native),
            beside(Way::Plugin),
        ));
    }
    lines.push("Medians; ± is the middle half of the rounds, by the median.".to_owned());
    lines.join("\n") + "\n"
}

fn number(value: f64, spread: f64) -> String {
    let spread = format!("±{:.0}%", spread * 100.0);
    match value {
        value if value >= 1e6 => format!("{:.2} M {spread}", value / 1e6),
        value if value >= 1e4 => format!("{:.1} k {spread}", value / 1e3),
        value if value >= 10.0 => format!("{value:.0} {spread}"),
        value => format!("{value:.2} {spread}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Row, Unit};
    use crate::measure::Measured;

    #[test]
    fn a_document_survives_its_file_and_the_table_has_every_case() {
        let measured = |value| Measured { value, spread: 0.02 };
        let figures = Figures {
            row: Row { name: "one_way_256", unit: Unit::MessagesPerSecond },
            ways: [(Way::Raw, measured(2e6)), (Way::Native, measured(1.5e6)), (Way::Plugin, measured(1.2e6))].into(),
            to_raw: [(Way::Native, 0.75), (Way::Plugin, 0.6)].into(),
            plugin_to: [(Way::Native, 0.8)].into(),
        };
        let mut document = Document::default();
        document.add(vec![figures]);
        assert_eq!(document.ratios["one_way_256"]["plugin_to_native"], 0.8);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bench.json");
        std::fs::write(&file, document.json().to_string()).expect("written");
        assert_eq!(Document::read(&file).expect("readable"), document);
        let table = table(&document);
        assert!(table.contains("1.20 M ±2%  0.60") && table.contains("–"), "{table}");
        assert!(!table.contains("iroh"), "{table}");
    }

    #[test]
    fn other_libraries_have_columns_where_they_were_measured() {
        let measured = |value| Measured { value, spread: 0.02 };
        let mut document = Document::default();
        document.add(vec![Figures {
            row: Row { name: "connect", unit: Unit::HandshakesPerSecond },
            ways: [(Way::Raw, measured(1e3)), (Way::Iroh, measured(5e2))].into(),
            to_raw: [(Way::Iroh, 0.5)].into(),
            plugin_to: BTreeMap::new(),
        }]);
        let table = table(&document);
        assert!(table.contains("iroh (by raw)") && table.contains("500 ±2%  0.50"), "{table}");
        assert!(!table.contains("quinn"), "{table}");
    }
}
