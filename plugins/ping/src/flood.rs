//! Sending by the thousand: a job cuts its work into turns and goes as fast as its lane takes it.

use serde::{Deserialize, Serialize};
use weir_sdk::prelude::*;

use crate::checksum::Checksum;
use crate::commands::FloodDone;
use crate::plugin::PROTOCOL;

/// Bytes before the payload: the flood's number, then the message's index, both little-endian.
pub const HEADER: usize = 16;

/// What one turn may send at most, so that it stays short and within the host's budget.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub messages: u32,
    pub bytes: usize,
}

impl Budget {
    /// An equal share for each of `jobs`, never nothing.
    pub(crate) fn share(self, jobs: usize) -> Self {
        let jobs = jobs.max(1);
        Self { messages: (self.messages / jobs as u32).max(1), bytes: self.bytes / jobs }
    }
}

/// Where a flood stands; kept for the next command that goes on with it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Position {
    pub flood: u64,
    pub peer: PeerId,
    pub next: u64,
    pub checksum: Checksum,
}

/// What the payloads are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Source {
    /// See [`pattern`].
    Pattern,
    /// Cut from the front; this much is gone already.
    Data { data: Vec<u8>, taken: usize },
}

/// One `flood` or `send` under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FloodJob {
    pub command: u64,
    pub position: Position,
    pub left: u64,
    /// Bytes of a payload.
    pub payload: usize,
    pub source: Source,
    pub accepted: u64,
    pub started_ms: u64,
}

/// How far one turn brought a job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    /// The budget is used up: go on next turn.
    More,
    /// The lane is full: go on when it is relieved.
    Busy,
}

impl FloodJob {
    /// Sends until the work, the budget or the lane's room ends.
    pub(crate) fn run(&mut self, ctx: &Context, budget: Budget) -> Result<Progress, SendError> {
        let mut body = Vec::with_capacity(HEADER + self.payload);
        let mut bytes = 0;
        for _ in 0..budget.messages {
            if self.left == 0 {
                return Ok(Progress::Done);
            }
            self.fill(&mut body);
            match ctx.send_bytes(self.position.peer, PROTOCOL, &body) {
                Ok(()) => self.accepted(&body[HEADER..]),
                Err(SendError::Busy) => return Ok(Progress::Busy),
                Err(SendError::OverBudget) => return Ok(Progress::More),
                Err(error) => return Err(error),
            }
            bytes += body.len();
            if bytes >= budget.bytes {
                break;
            }
        }
        Ok(if self.left == 0 { Progress::Done } else { Progress::More })
    }

    fn fill(&self, body: &mut Vec<u8>) {
        let Position { flood, next, .. } = self.position;
        body.clear();
        body.extend_from_slice(&flood.to_le_bytes());
        body.extend_from_slice(&next.to_le_bytes());
        match &self.source {
            Source::Pattern => pattern(flood, next, self.payload, body),
            Source::Data { data, taken } => body.extend(data[*taken..].iter().take(self.payload)),
        }
    }

    fn accepted(&mut self, payload: &[u8]) {
        self.position.checksum.update(payload);
        self.position.next += 1;
        self.left -= 1;
        self.accepted += 1;
        if let Source::Data { taken, .. } = &mut self.source {
            *taken += payload.len();
        }
    }

    pub(crate) fn done(&self, ctx: &Context) -> FloodDone {
        FloodDone {
            flood: format!("{:016x}", self.position.flood),
            messages: self.accepted,
            total: self.position.next,
            checksum: self.position.checksum.hex(),
            elapsed_ms: ctx.now_ms().saturating_sub(self.started_ms),
        }
    }
}

/// Appends `len` made-up bytes that differ from message to message and that anyone can make again.
pub fn pattern(flood: u64, index: u64, len: usize, body: &mut Vec<u8>) {
    let mut word = flood ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let end = body.len() + len;
    while body.len() < end {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let bytes = (word ^ word >> 32).to_le_bytes();
        body.extend_from_slice(&bytes[..bytes.len().min(end - body.len())]);
    }
}
