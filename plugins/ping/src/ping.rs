//! Asking and measuring: a job keeps a few requests open and times their answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_sdk::prelude::*;

use crate::commands::{PingArgs, PingDone};
use crate::flood::pattern;
use crate::plugin::PROTOCOL;

/// How long the peer may take for one answer.
const TIMEOUT_MS: u32 = 5_000;

/// One `ping` under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PingJob {
    pub command: u64,
    pub peer: PeerId,
    count: u64,
    size: usize,
    concurrency: usize,
    sent: u64,
    answered: u64,
    failed: u64,
    started_ms: u64,
    /// Answers by the milliseconds they took.
    took: BTreeMap<u64, u64>,
    /// Ask, its index, and when it was made.
    open: BTreeMap<u64, (u64, u64)>,
    last_failure: Option<String>,
}

impl PingJob {
    pub(crate) fn new(command: u64, args: &PingArgs, ctx: &Context) -> Self {
        Self {
            command,
            peer: args.peer,
            count: args.count,
            size: args.size as usize,
            concurrency: args.concurrency as usize,
            sent: 0,
            answered: 0,
            failed: 0,
            started_ms: ctx.now_ms(),
            took: BTreeMap::new(),
            open: BTreeMap::new(),
            last_failure: None,
        }
    }

    /// Asks until enough are open. True when it has to try again later by itself.
    pub(crate) fn run(&mut self, ctx: &Context) -> Result<bool, SendError> {
        let mut body = Vec::with_capacity(self.size);
        while self.open.len() < self.concurrency && self.sent < self.count {
            body.clear();
            pattern(self.command, self.sent, self.size, &mut body);
            match ctx.ask_bytes(self.peer, PROTOCOL, TIMEOUT_MS, &body) {
                Ok(ask) => drop(self.open.insert(ask, (self.sent, ctx.now_ms()))),
                Err(SendError::Busy | SendError::OverBudget) => return Ok(self.open.is_empty()),
                Err(error) => return Err(error),
            }
            self.sent += 1;
        }
        Ok(false)
    }

    /// Takes an answer; false when it is another job's.
    pub(crate) fn take(&mut self, response: &Response<'_>, ctx: &Context) -> bool {
        let Some((index, asked_ms)) = self.open.remove(&response.id) else { return false };
        let failure = match &response.outcome {
            Ok(body) => (!self.is_echo(index, body)).then(|| "the answer is not what was asked".to_owned()),
            Err(error) => Some(Error::from(error.clone()).to_string()),
        };
        if failure.is_some() {
            self.failed += 1;
            self.last_failure = failure;
        } else {
            self.answered += 1;
            *self.took.entry(ctx.now_ms().saturating_sub(asked_ms)).or_default() += 1;
        }
        true
    }

    fn is_echo(&self, index: u64, body: &[u8]) -> bool {
        let mut asked = Vec::with_capacity(self.size);
        pattern(self.command, index, self.size, &mut asked);
        asked == body
    }

    pub(crate) fn is_done(&self) -> bool {
        self.answered + self.failed == self.count
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = u64> {
        self.open.keys().copied()
    }

    pub(crate) fn done(&self, ctx: &Context) -> PingDone {
        let elapsed_ms = ctx.now_ms().saturating_sub(self.started_ms);
        PingDone {
            sent: self.sent,
            answered: self.answered,
            failed: self.failed,
            elapsed_ms,
            mean_ms: elapsed_ms as f64 * self.concurrency as f64 / self.answered.max(1) as f64,
            p50_ms: self.percentile(50),
            p99_ms: self.percentile(99),
            last_failure: self.last_failure.clone(),
        }
    }

    fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.answered * percent).div_ceil(100);
        let mut seen = 0;
        let reached = self.took.iter().find(|(_, answers)| {
            seen += **answers;
            seen >= rank
        });
        reached.map_or(0, |(ms, _)| *ms)
    }
}
