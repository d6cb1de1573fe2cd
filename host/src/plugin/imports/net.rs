//! `net`: peers, messages, asks, answers and protocols. Staged.

use super::bounded;
use crate::peer::PeerId;
use crate::plugin::abi::types;
use crate::plugin::abi::weir::plugin::net::{Host, RegisterError, SendError, Verdict};
use crate::plugin::instance::InstanceState;
use crate::plugin::manifest::check_protocol;
use crate::plugin::turn::{Effect, Report};
use crate::protocol::{self, AskId, RequestToken};
use crate::wire::DEFAULT_MAX_MESSAGE;

impl From<protocol::SendError> for SendError {
    fn from(error: protocol::SendError) -> Self {
        match error {
            protocol::SendError::NotConnected => Self::NotConnected,
            protocol::SendError::Unsupported => Self::Unsupported,
            protocol::SendError::Busy => Self::Busy,
            protocol::SendError::TooLarge => Self::TooLarge,
            protocol::SendError::Closed => Self::Other,
        }
    }
}

impl InstanceState {
    pub(super) fn lane(&mut self, to: types::PeerId, key: u32) -> Result<usize, SendError> {
        let peer = PeerId::from(to);
        if let Some(lane) = self.staged.lanes.known(&peer, key) {
            return Ok(lane);
        }
        let protocol = self.protocol(key).ok_or(SendError::UnknownProtocol)?.id.clone();
        let home = &self.home;
        Ok(self.staged.lanes.position(peer, key, || {
            let status = home.network().lane(&peer, &protocol);
            (protocol, status)
        }))
    }
}

impl Host for InstanceState {
    // Nobody calls these three: `send.rs` takes their place in the linker.

    fn send(&mut self, _: types::PeerId, _: u32, _: Vec<u8>) -> wasmtime::Result<Result<(), SendError>> {
        Err(replaced())
    }

    fn send_all(&mut self, _: Vec<types::PeerId>, _: u32, _: Vec<u8>) -> wasmtime::Result<Vec<(u32, SendError)>> {
        Err(replaced())
    }

    fn ask(&mut self, _: types::PeerId, _: u32, _: u32, _: Vec<u8>) -> wasmtime::Result<Result<u64, SendError>> {
        Err(replaced())
    }

    fn room(&mut self, to: types::PeerId, key: u32) -> wasmtime::Result<u32> {
        let room = self.lane(to, key).map_or(0, |lane| self.staged.room(lane));
        Ok(u32::try_from(room).unwrap_or(u32::MAX))
    }

    fn cancel(&mut self, ask: u64) -> wasmtime::Result<()> {
        self.stage(Effect::Cancel(AskId(ask)))
    }

    fn respond(&mut self, request: u64, outcome: Result<Vec<u8>, types::Failure>) -> wasmtime::Result<bool> {
        let token = RequestToken(request);
        let ours = self.home.ledger().requests.contains(&token);
        if !ours || self.staged.answered(token) || !self.home.network().awaits(token) {
            return Ok(false);
        }
        self.stage(Effect::Respond { token, outcome: bounded(outcome, DEFAULT_MAX_MESSAGE) })?;
        Ok(true)
    }

    fn register(&mut self, protocol: types::Protocol) -> wasmtime::Result<Result<(), RegisterError>> {
        let Ok(checked) = check_protocol(&protocol) else { return Ok(Err(RegisterError::BadId)) };
        let (key, spec) = (checked.key, checked.spec);
        if !self.grants.protocol(&spec.id) {
            return Ok(Err(RegisterError::NotGranted));
        }
        if self.protocol(key).is_some() {
            return Ok(Err(RegisterError::KeyInUse));
        }
        let owner = self.home.network().owner(&spec.id);
        if self.all_protocols().any(|(_, of)| of.id == spec.id) || owner.is_some_and(|owner| owner != self.home.name) {
            return Ok(Err(RegisterError::Taken));
        }
        if self.all_protocols().count() >= self.policy.protocols {
            return Ok(Err(RegisterError::TooMany));
        }
        let before = self.staged.key(key).cloned();
        let staged = self.staged.push(Effect::Register { key, spec, before });
        Ok(staged.map_err(|_| RegisterError::Other))
    }

    fn unregister(&mut self, key: u32) -> wasmtime::Result<()> {
        let Some(id) = self.protocol(key).map(|spec| spec.id.clone()) else { return self.stage(Effect::Nothing) };
        let before = self.staged.key(key).cloned();
        self.stage(Effect::Unregister { key, id, before })
    }

    fn pause(&mut self, key: u32, paused: bool) -> wasmtime::Result<()> {
        let Some(protocol) = self.protocol(key).map(|spec| spec.id.clone()) else {
            return self.stage(Effect::Nothing);
        };
        self.stage(Effect::Pause { protocol, paused })
    }

    fn report(&mut self, peer: types::PeerId, key: u32, verdict: Verdict, why: String) -> wasmtime::Result<()> {
        let protocol = self.protocol(key).map(|spec| spec.id.clone());
        let why = why.chars().take(200).collect();
        self.stage(Effect::Report(Box::new(Report { peer: peer.into(), key, protocol, verdict, why })))
    }
}

impl InstanceState {
    /// Asks and calls without an outcome, those of this turn included.
    pub(super) fn open_asks(&self) -> usize {
        let ledger = self.home.ledger();
        ledger.asks.len() + ledger.calls.len() + self.staged.opened()
    }
}

fn replaced() -> wasmtime::Error {
    wasmtime::format_err!("the linker lacks what takes the place of this function")
}
