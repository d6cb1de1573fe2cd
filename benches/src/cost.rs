//! What a unit of work costs this process, beside how fast it is done: with `--cost`. CPU time is steadier than rates are on
//! a machine that does other work meanwhile.

use std::time::Instant;

use crate::case::{Case, Ends, Round, Row, Unit, Way};
use crate::usage::{Usage, count_allocations};

/// Adds rows for CPU time and allocations to a case with one rate, in its first row. Ways that do their work in another
/// process have none.
pub fn add(case: &mut Case) {
    let [rate, others @ ..] = case.rows.as_slice() else { return };
    if !rate.unit.is_rate() || others.iter().any(|row| row.unit.is_rate()) {
        return;
    }
    count_allocations();
    // The few names of one run live as long as it does.
    let row = |of: &str, unit| Row { name: format!("{}_{of}", rate.name).leak(), unit };
    let more = [row("cpu", Unit::CpuMicroseconds), row("allocations", Unit::Allocations)];
    case.rows.extend(more);
    let ways = std::mem::take(&mut case.ways).into_iter();
    case.ways = ways.map(|(way, ends)| (way, if way.is_here() { Box::new(Costing(ends)) } else { ends })).collect();
}

/// Takes what a round used for what it did: as much as its rate says, in the time that it took.
struct Costing(Box<dyn Ends>);

impl Ends for Costing {
    fn round(&mut self) -> Round<'_> {
        Box::pin(async {
            let (before, began) = (Usage::now(), Instant::now());
            let mut values = self.0.round().await?;
            let rate = values.first().copied().unwrap_or_default();
            let (used, done) = (Usage::since(before), rate * began.elapsed().as_secs_f64());
            values.extend([used.cpu.as_secs_f64() * 1e6 / done, used.allocations as f64 / done]);
            Ok(values)
        })
    }
}

impl Way {
    /// Whether the work is done in this process.
    fn is_here(self) -> bool {
        matches!(self, Self::Raw | Self::RawChunked | Self::Native | Self::Plugin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand units of work in a round.
    struct Work;

    impl Ends for Work {
        fn round(&mut self) -> Round<'_> {
            Box::pin(async {
                let began = Instant::now();
                let blocks: Vec<_> = (0..1_000).map(|size| vec![1_u8; 1 + size]).collect();
                Ok(vec![blocks.len() as f64 / began.elapsed().as_secs_f64()])
            })
        }
    }

    #[tokio::test]
    async fn what_a_unit_of_work_costs_stands_beside_its_rate() {
        let rows = vec![Row { name: "work", unit: Unit::MessagesPerSecond }];
        let mut case = Case { rows, ways: vec![(Way::Raw, Box::new(Work)), (Way::Libp2p, Box::new(Work))] };
        add(&mut case);
        assert_eq!(case.rows.iter().map(|row| row.name).collect::<Vec<_>>(), ["work", "work_cpu", "work_allocations"]);
        let values = case.ways[0].1.round().await.expect("done");
        assert!(values[1] > 0.0 && values[2] >= 0.9, "{values:?}");
        assert_eq!(case.ways[1].1.round().await.expect("done").len(), 1, "another process has costs of its own");
        let mut times = Case { rows: vec![Row { name: "rtt", unit: Unit::Microseconds }], ways: Vec::new() };
        add(&mut times);
        assert_eq!(times.rows.len(), 1, "what a time is of is not known");
    }
}
