//! What the kernel knows of a process: of this one, `self`, or of one by its id.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::node::until;

/// How long a process is looked at to see whether it is at rest.
const LOOK: Duration = Duration::from_millis(500);

/// Memory that is really there, in bytes.
///
/// # Errors
/// Where the system does not tell.
pub fn resident(process: impl Display) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? << 10)
}

/// CPU time that was used, all threads together.
///
/// # Errors
/// Where the system does not tell.
pub fn cpu_time(process: impl Display) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may have blanks; the 12th and 13th field are ticks of 10 ms.
    let (_, rest) = stat.rsplit_once(')').context("a name")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Waits until the process uses less than a tenth of a processor.
///
/// # Errors
/// When it is busy for too long.
pub async fn at_rest(process: impl Display) -> Result<()> {
    until("the process is at rest", async || {
        let before = cpu_time(&process);
        tokio::time::sleep(LOOK).await;
        matches!((before, cpu_time(&process)), (Ok(before), Ok(after)) if after - before < LOOK / 10)
    })
    .await
}
