//! Asking and measuring: a job keeps a few requests open and times their answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_sdk::prelude::*;

use crate::commands::{PingArgs, PingDone};
use crate::durations::Durations;
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
    started_us: u64,
    took: Durations,
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
            started_us: ctx.monotonic_us(),
            took: Durations::default(),
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
                Ok(ask) => drop(self.open.insert(ask, (self.sent, ctx.monotonic_us()))),
                Err(SendError::Busy | SendError::OverBudget) => return Ok(self.open.is_empty()),
                Err(error) => return Err(error),
            }
            self.sent += 1;
        }
        Ok(false)
    }

    /// Takes an answer; false when it is another job's.
    pub(crate) fn take(&mut self, response: &Response<'_>, ctx: &Context) -> bool {
        let Some((index, asked_us)) = self.open.remove(&response.id) else { return false };
        let failure = match &response.outcome {
            Ok(body) => (!self.is_echo(index, body)).then(|| "the answer is not what was asked".to_owned()),
            Err(error) => Some(Error::from(error.clone()).to_string()),
        };
        if failure.is_some() {
            self.failed += 1;
            self.last_failure = failure;
        } else {
            self.answered += 1;
            self.took.add(ctx.monotonic_us().saturating_sub(asked_us));
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
        PingDone {
            sent: self.sent,
            answered: self.answered,
            failed: self.failed,
            elapsed_us: ctx.monotonic_us().saturating_sub(self.started_us),
            mean_us: self.took.mean(),
            p50_us: self.took.percentile(50),
            p99_us: self.took.percentile(99),
            last_failure: self.last_failure.clone(),
        }
    }
}
