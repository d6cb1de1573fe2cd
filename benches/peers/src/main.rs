//! Other libraries on the work of `weir-bench`, which starts this and says on stdin whose turn it is.
//!
//! Both ends of each library live in this one process, as both ends of Weir live in that one.

mod ends;
mod framing;
mod node;
mod prepare;
mod protocol;
// One piece of code for both programs.
#[path = "../../src/tally.rs"]
mod tally;
mod ways;
mod work;

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::timeout;

use crate::prepare::{Ways, prepare};
use crate::protocol::{Answer, Request};

/// How long a step may take before it counts as hung. `weir-bench` waits a little longer, so that it is told what hung.
const PATIENCE: Duration = Duration::from_secs(100);

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut ways, mut stdout) = (Ways::new(), std::io::stdout());
    for line in std::io::stdin().lock().lines() {
        let answer = runtime.block_on(answer(&mut ways, &line?));
        let answer = answer.unwrap_or_else(|error| Answer::Failed { error: format!("{error:#}") });
        writeln!(stdout, "{}", serde_json::to_string(&answer)?)?;
        stdout.flush()?;
    }
    Ok(())
}

async fn answer(ways: &mut Ways, line: &str) -> Result<Answer> {
    match serde_json::from_str(line).context("this is no request")? {
        Request::Prepare { case, scale } => {
            ways.clear();
            let Some(work) = work::of(&case, scale) else {
                return Ok(Answer::Prepared { ways: Vec::new(), rows: Vec::new() });
            };
            *ways = timeout(PATIENCE, prepare(work)).await.context("the case takes too long to prepare")??;
            let rows = work.rows(&case);
            Ok(Answer::Prepared { ways: ways.iter().map(|(name, _)| *name).collect(), rows })
        }
        Request::Round(way) => {
            let place = ways.iter().position(|(name, _)| *name == way);
            let place = place.with_context(|| format!("{way} is not among what was prepared"))?;
            let (name, mut ends) = ways.remove(place);
            // In a task, as the code of a user is: what the main thread itself waits for is woken across threads.
            let round = tokio::spawn(async move {
                let values = ends.round().await;
                (ends, values)
            });
            let (ends, values) = timeout(PATIENCE, round).await.context("the round takes too long")??;
            ways.insert(place, (name, ends));
            Ok(Answer::Done { values: values? })
        }
    }
}
