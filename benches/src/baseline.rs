//! Whether something was lost since a document was saved. Only ratios are compared: machines differ, and one machine from
//! one hour to the next.

use crate::case::Way;
use crate::report::Document;

/// How much worse a ratio may be.
const ALLOWED: f64 = 0.15;

/// Every ratio to `raw` that is worse than before by more than [`ALLOWED`], in words. Rows that only one of both has, and
/// the tails of distributions, which differ from run to run, are left out.
pub fn lost(before: &Document, now: &Document) -> Vec<String> {
    let mut lost = Vec::new();
    for (name, ratios) in &now.ratios {
        let more_is_better = now.cases[name].values().all(|shown| shown.unit.ends_with("/s"));
        if name.ends_with("_p99") || name.ends_with("_p999") {
            continue;
        }
        for way in [Way::Native, Way::Plugin].map(Way::name) {
            let before = before.ratios.get(name).and_then(|ratios| ratios.get(way));
            let (Some(before), Some(now)) = (before, ratios.get(way)) else { continue };
            let kept = if more_is_better { now / before } else { before / now };
            if kept < 1.0 - ALLOWED {
                lost.push(format!("{name}: {way} was {before:.2} of raw and is {now:.2}"));
            }
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::Shown;

    fn document(name: &str, unit: &str, ratio: f64) -> Document {
        let shown = Shown { value: 1.0, unit: unit.to_owned(), spread: 0.0 };
        Document {
            cases: BTreeMap::from([(name.to_owned(), BTreeMap::from([("plugin".to_owned(), shown)]))]),
            ratios: BTreeMap::from([(name.to_owned(), BTreeMap::from([("plugin".to_owned(), ratio)]))]),
            order: vec![name.to_owned()],
            goals: Vec::new(),
        }
    }

    #[test]
    fn a_ratio_that_is_worse_by_more_than_fifteen_percent_is_a_loss() {
        let rate = |ratio| document("one_way_256", "messages/s", ratio);
        assert_eq!(lost(&rate(0.8), &rate(0.7)), Vec::<String>::new());
        assert_eq!(lost(&rate(0.8), &rate(0.6)), ["one_way_256: plugin was 0.80 of raw and is 0.60"]);
        assert_eq!(lost(&rate(0.8), &rate(1.2)), Vec::<String>::new());
        let time = |ratio| document("rtt_256", "us", ratio);
        assert_eq!(lost(&time(1.5), &time(1.2)), Vec::<String>::new());
        assert_eq!(lost(&time(1.2), &time(1.5)).len(), 1, "of times, less is better");
        assert_eq!(lost(&time(1.2), &document("another", "us", 9.0)), Vec::<String>::new());
    }
}
