//! What a turn stages, as plain data: one value for one accepted call.

use std::rc::Rc;

use crate::abi::{Failure, PeerId, Protocol, ProtocolKey, Verdict};

/// One accepted call, in the order of the turn.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the arguments of the ABI's functions of the same names")]
pub enum Effect {
    /// `net.send` and `net.send-all`: to those that took it.
    Send { to: Vec<PeerId>, protocol: ProtocolKey, body: Rc<[u8]> },
    /// `net.ask`.
    Ask { id: u64, to: PeerId, protocol: ProtocolKey, timeout_ms: u32, body: Rc<[u8]> },
    /// `net.cancel`.
    CancelAsk(u64),
    /// `net.respond`.
    Respond { request: u64, outcome: Result<Rc<[u8]>, Failure> },
    /// `net.register`.
    Register(Protocol),
    /// An accepted call that changes nothing, as `store.remove` of a key that is not there: `turn.keep` counts it.
    Nothing,
    /// `net.unregister`.
    Unregister(ProtocolKey),
    /// `net.pause`.
    Pause { protocol: ProtocolKey, paused: bool },
    /// `net.report`.
    Report { peer: PeerId, protocol: ProtocolKey, verdict: Verdict, why: String },
    /// `store.put`.
    Put { key: Vec<u8>, value: Vec<u8> },
    /// `store.remove`.
    Remove { key: Vec<u8> },
    /// `timers.set`.
    SetTimer { id: u64, after_ms: u64 },
    /// `timers.cancel`.
    CancelTimer(u64),
    /// `calls.call`.
    Call { id: u64, plugin: String, name: String, timeout_ms: u32, body: Rc<[u8]> },
    /// `calls.answer`.
    Answer { command: u64, outcome: Result<Rc<[u8]>, Failure> },
}

impl Effect {
    /// Bytes it counts against the budget of the turn; writes are the store's.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Send { body, .. } | Self::Ask { body, .. } | Self::Call { body, .. } => body.len(),
            _ => 0,
        }
    }
}
