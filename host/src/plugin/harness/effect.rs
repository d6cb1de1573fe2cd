//! What a turn staged as plain data, in order, with keys in place of lanes.

use bytes::Bytes;

use super::{Manifest, Outcome, Verdict, types};
use crate::peer::PeerId;
use crate::plugin::instance::InstanceState;
use crate::plugin::manifest;
use crate::plugin::store::WriteBatch;
use crate::plugin::turn::{self, Commit};
use crate::protocol::{Delivery, ProtocolId, ProtocolSpec};
use crate::wire::Failure;

/// One accepted call. The fields are the arguments of the ABI's functions of the same names.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are the arguments of the ABI's functions of the same names")]
pub enum Effect {
    /// `net.send` and `net.send-all`: to those that took it.
    Send { to: Vec<PeerId>, protocol: u32, body: Bytes },
    /// `net.ask`.
    Ask { id: u64, to: PeerId, protocol: u32, timeout_ms: u32, body: Bytes },
    /// `net.cancel`.
    CancelAsk(u64),
    /// `net.respond`.
    Respond { request: u64, outcome: Result<Bytes, Failure> },
    /// `net.register`.
    Register(types::Protocol),
    /// An accepted call that changes nothing.
    Nothing,
    /// `net.unregister`.
    Unregister(u32),
    /// `net.pause`.
    Pause { protocol: u32, paused: bool },
    /// `net.report`.
    Report { peer: PeerId, protocol: u32, verdict: Verdict, why: String },
    /// `store.put`.
    Put { key: Bytes, value: Bytes },
    /// `store.remove` of a key that was there.
    Remove { key: Bytes },
    /// `timers.set`.
    SetTimer { id: u64, after_ms: u64 },
    /// `timers.cancel`.
    CancelTimer(u64),
    /// `calls.call`.
    Call { id: u64, plugin: String, name: String, timeout_ms: u32, body: Bytes },
    /// `calls.answer`.
    Answer { command: u64, outcome: Result<Bytes, Failure> },
}

/// Takes a turn that ended ok out of an instance: its writes, and everything it staged.
pub(super) fn take(state: &mut InstanceState) -> (WriteBatch, Outcome) {
    let marks: Vec<_> = state.staged.effects().iter().filter_map(mark).collect();
    let mut written = state.staged.writes.history(&marks).into_iter();
    let writes = state.staged.writes.take();
    let Commit { effects, lanes, keys } = state.staged.take();
    let key = |id: &ProtocolId| {
        let staged = keys.iter().find(|(_, spec)| spec.as_ref().is_some_and(|spec| spec.id == *id));
        staged.map(|(key, _)| *key).or_else(|| state.key(id)).unwrap_or(u32::MAX)
    };
    let lane = |at: usize| lanes.get(at).map(|lane| (lane.peer, key(&lane.protocol)));
    let effects = effects.into_iter().map(|effect| plain(effect, &lane, &key, &mut written)).collect();
    let refused = lanes.iter().filter(|lane| lane.was_refused()).map(|lane| (lane.peer, key(&lane.protocol))).collect();
    for (key, spec) in keys {
        match spec {
            Some(spec) => drop(state.protocols.insert(key, spec)),
            None => drop(state.protocols.remove(&key)),
        }
    }
    (writes, Outcome { effects, refused })
}

fn mark(effect: &turn::Effect) -> Option<crate::plugin::store::Mark> {
    match effect {
        turn::Effect::Write(mark) => Some(*mark),
        _ => None,
    }
}

fn plain(
    effect: turn::Effect,
    lane: &impl Fn(usize) -> Option<(PeerId, u32)>,
    key: &impl Fn(&ProtocolId) -> u32,
    written: &mut impl Iterator<Item = Option<(Bytes, Option<Bytes>)>>,
) -> Effect {
    let millis = |time: std::time::Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    match effect {
        turn::Effect::Message { lane: at, body } => send(lane(at).into_iter(), body),
        turn::Effect::Messages { lanes, body } => send(lanes.into_iter().filter_map(lane), body),
        turn::Effect::Ask { lane: at, id, timeout, body } => match lane(at) {
            Some((to, protocol)) => Effect::Ask { id: id.0, to, protocol, timeout_ms: millis(timeout), body },
            None => Effect::Nothing,
        },
        turn::Effect::Cancel(id) => Effect::CancelAsk(id.0),
        turn::Effect::Respond { token, outcome } => Effect::Respond { request: token.0, outcome },
        turn::Effect::Register { key, spec, .. } => Effect::Register(protocol(key, &spec)),
        turn::Effect::Unregister { key, .. } => Effect::Unregister(key),
        turn::Effect::Pause { protocol, paused } => Effect::Pause { protocol: key(&protocol), paused },
        turn::Effect::Report(report) => {
            let turn::Report { peer, key: protocol, verdict, why, .. } = *report;
            Effect::Report { peer, protocol, verdict, why }
        }
        turn::Effect::Nothing => Effect::Nothing,
        turn::Effect::Write(_) => match written.next().flatten() {
            Some((key, Some(value))) => Effect::Put { key, value },
            Some((key, None)) => Effect::Remove { key },
            None => Effect::Nothing,
        },
        turn::Effect::TimerSet { id, after, .. } => {
            Effect::SetTimer { id, after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX) }
        }
        turn::Effect::TimerCancel { id, .. } => Effect::CancelTimer(id),
        turn::Effect::Call { id, plugin, name, timeout, body } => {
            Effect::Call { id, plugin, name, timeout_ms: millis(timeout), body }
        }
        turn::Effect::Answer { command, outcome } => Effect::Answer { command, outcome },
    }
}

fn send(lanes: impl Iterator<Item = (PeerId, u32)>, body: Bytes) -> Effect {
    let (to, keys): (Vec<_>, Vec<_>) = lanes.unzip();
    Effect::Send { to, protocol: keys.first().copied().unwrap_or(u32::MAX), body }
}

fn protocol(key: u32, spec: &ProtocolSpec) -> types::Protocol {
    let delivery = match spec.delivery {
        Delivery::Ordered => types::Delivery::Ordered,
        Delivery::Unordered => types::Delivery::Unordered,
    };
    types::Protocol { key, id: spec.id.to_string(), delivery, max_message: spec.max_message }
}

/// A manifest that was checked, as it was said.
pub(super) fn manifest(checked: &manifest::Manifest) -> Manifest {
    Manifest {
        name: checked.name.clone(),
        version: checked.version.clone(),
        description: checked.description.clone(),
        data_version: checked.data_version,
        reads_data_from: checked.reads_data_from,
        protocols: checked.protocols.iter().map(|of| protocol(of.key, &of.spec)).collect(),
        capabilities: checked.capabilities.clone(),
        listens: Vec::new(),
        more: Vec::new(),
    }
}
