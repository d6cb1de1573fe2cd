//! Rounds and what they come to: all ways take turns within a round, so that whatever else the machine does meanwhile
//! hits them alike.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::case::{Case, Ends, Row, Way};

/// Values of one row in one way.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The median of the rounds.
    pub value: f64,
    /// How far apart the rounds are: the middle half of them, by the median.
    pub spread: f64,
}

impl Measured {
    fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_unstable_by(f64::total_cmp);
        let value = quantile(&rounds, 0.5);
        let middle = quantile(&rounds, 0.75) - quantile(&rounds, 0.25);
        Self { value, spread: if value > 0.0 { middle / value } else { 0.0 } }
    }
}

/// The value that this share of the sorted ones does not exceed, between two of them where it falls between; 0 of none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// One row of a case, in all its ways.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Which.
    pub row: Row,
    /// By way.
    pub ways: BTreeMap<Way, Measured>,
    /// By way, how it stands to `raw`: the median of the ratios within each round, which is steadier than the ratio of
    /// the medians.
    pub to_raw: BTreeMap<Way, f64>,
    /// By way other than `raw`, how the plugin stands to it, in the same way.
    pub plugin_to: BTreeMap<Way, f64>,
}

/// Does one round to warm up, and then as many as are asked for.
///
/// # Errors
/// What went wrong in which way.
pub async fn measure(case: &mut Case, rounds: usize, mut told: impl FnMut(Way, usize)) -> Result<Vec<Figures>> {
    let mut taken: Vec<BTreeMap<Way, Vec<f64>>> = vec![BTreeMap::new(); case.rows.len()];
    for round in 0..=rounds {
        for (way, ends) in std::mem::take(&mut case.ways) {
            told(way, round);
            let (ends, values) = done(ends).await?;
            case.ways.push((way, ends));
            let values = values.with_context(|| way.name())?;
            if round == 0 {
                continue;
            }
            for (row, value) in taken.iter_mut().zip(values) {
                row.entry(way).or_default().push(value);
            }
        }
    }
    Ok(case.rows.iter().zip(taken).map(|(row, taken)| figures(*row, taken)).collect())
}

/// One round in a task, as a user's code is: what the main thread itself waits for is woken across threads, which a round
/// trip of 20 us would show.
async fn done(mut ends: Box<dyn Ends>) -> Result<(Box<dyn Ends>, Result<Vec<f64>>)> {
    let round = tokio::spawn(async move {
        let values = ends.round().await;
        (ends, values)
    });
    Ok(round.await?)
}

fn figures(row: Row, taken: BTreeMap<Way, Vec<f64>>) -> Figures {
    let ratio = |of: &[f64], to: &[f64]| Measured::of(of.iter().zip(to).map(|(of, to)| of / to).collect()).value;
    let others = |than: Way| taken.iter().filter(move |(way, _)| ![Way::Raw, than].contains(way));
    let (mut to_raw, mut plugin_to) = (BTreeMap::new(), BTreeMap::new());
    if let Some(raw) = taken.get(&Way::Raw) {
        to_raw = others(Way::Raw).map(|(way, rounds)| (*way, ratio(rounds, raw))).collect();
    }
    if let Some(plugin) = taken.get(&Way::Plugin) {
        plugin_to = others(Way::Plugin).map(|(way, rounds)| (*way, ratio(plugin, rounds))).collect();
    }
    let ways = taken.into_iter().map(|(way, rounds)| (way, Measured::of(rounds))).collect();
    Figures { row, ways, to_raw, plugin_to }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::case::{Round, Unit};

    const ROW: Row = Row { name: "row", unit: Unit::MessagesPerSecond };

    /// Gives these values, one a round.
    struct Given(VecDeque<f64>);

    impl Ends for Given {
        fn round(&mut self) -> Round<'_> {
            let value = self.0.pop_front();
            Box::pin(async move { Ok(vec![value.context("no more rounds")?]) })
        }
    }

    fn given(way: Way, values: &[f64]) -> (Way, Box<dyn Ends>) {
        (way, Box::new(Given(values.iter().copied().collect())))
    }

    #[test]
    fn quantiles_are_between_their_neighbours() {
        assert_eq!((quantile(&[], 0.5), quantile(&[3.0], 0.9)), (0.0, 3.0));
        assert_eq!((quantile(&[1.0, 2.0, 3.0], 0.5), quantile(&[1.0, 2.0], 0.5)), (2.0, 1.5));
    }

    #[tokio::test]
    async fn the_first_round_does_not_count_and_ratios_are_taken_within_a_round() {
        let mut case = Case {
            rows: vec![ROW],
            // The machine is half as fast in the last round.
            ways: vec![
                given(Way::Raw, &[1.0, 10.0, 10.0, 5.0]),
                given(Way::Plugin, &[900.0, 8.0, 8.0, 4.0]),
                given(Way::Iroh, &[1.0, 4.0, 4.0, 2.0]),
            ],
        };
        let mut order = Vec::new();
        let figures = measure(&mut case, 3, |way, round| order.push((round, way))).await.expect("enough rounds");
        assert_eq!(order[..4], [(0, Way::Raw), (0, Way::Plugin), (0, Way::Iroh), (1, Way::Raw)], "they take turns");
        assert_eq!(figures[0].ways[&Way::Raw], Measured { value: 10.0, spread: 0.25 });
        assert_eq!(figures[0].to_raw, BTreeMap::from([(Way::Plugin, 0.8), (Way::Iroh, 0.4)]));
        assert_eq!(figures[0].plugin_to, BTreeMap::from([(Way::Iroh, 2.0)]));
    }
}
