//! The ABI's types on the host's side and on the plugin's: made of the same WIT by two generators, so field by field the same.

use std::rc::Rc;

use bytes::Bytes;
use weir_host::peer::PeerId;
use weir_host::plugin::harness::{self, types as host};
use weir_sdk::abi;
use weir_sdk::testing::Effect;

pub(super) fn to_sdk(peer: PeerId) -> abi::PeerId {
    abi::PeerId::from_bytes(*peer.as_bytes())
}

fn peer(peer: abi::PeerId) -> host::PeerId {
    let abi::PeerId { a, b, c, d } = peer;
    host::PeerId { a, b, c, d }
}

fn span(span: abi::Span) -> host::Span {
    host::Span { at: span.at, len: span.len }
}

fn failure(failure: abi::Failure) -> host::Failure {
    host::Failure { code: failure.code, message: failure.message }
}

pub(super) fn event(event: abi::Event) -> host::Event {
    use abi::Event as E;
    match event {
        E::Message(it) => {
            host::Event::Message(host::Message { peer: peer(it.peer), protocol: it.protocol, body: span(it.body) })
        }
        E::Request(it) => host::Event::Request(host::Request {
            peer: peer(it.peer),
            protocol: it.protocol,
            id: it.id,
            timeout_ms: it.timeout_ms,
            body: span(it.body),
        }),
        E::Response(it) => {
            host::Event::Response(host::Response { id: it.id, outcome: it.outcome.map(span).map_err(ask_error) })
        }
        E::Command(it) => host::Event::Command(host::Command {
            id: it.id,
            caller: match it.caller {
                abi::Caller::Operator(name) => host::Caller::Operator(name),
                abi::Caller::Plugin(name) => host::Caller::Plugin(name),
            },
            name: it.name,
            timeout_ms: it.timeout_ms,
            body: span(it.body),
        }),
        E::Called(it) => {
            host::Event::Called(host::Called { id: it.id, outcome: it.outcome.map(span).map_err(call_error) })
        }
        E::PeerSupported(it) => host::Event::PeerSupported(host::Reachable {
            peer: peer(it.peer),
            protocol: it.protocol,
            max_message: it.max_message,
        }),
        E::PeerUnsupported(it) => host::Event::PeerUnsupported(lane(it)),
        E::Congested(it) => host::Event::Congested(lane(it)),
        E::Relieved(it) => host::Event::Relieved(lane(it)),
        E::Undelivered(it) => host::Event::Undelivered(count(it)),
        E::Missed(it) => host::Event::Missed(count(it)),
        E::Withdrawn(id) => host::Event::Withdrawn(id),
        E::Timer(id) => host::Event::Timer(id),
        E::Stopping => host::Event::Stopping,
        E::Other(it) => host::Event::Other(host::Extension { kind: it.kind, id: it.id, body: span(it.body) }),
    }
}

fn lane(lane: abi::Lane) -> host::Lane {
    host::Lane { peer: peer(lane.peer), protocol: lane.protocol }
}

fn count(count: abi::Count) -> host::Count {
    host::Count { peer: peer(count.peer), protocol: count.protocol, messages: count.messages }
}

fn ask_error(error: abi::AskError) -> host::AskError {
    match error {
        abi::AskError::NotConnected => host::AskError::NotConnected,
        abi::AskError::Unsupported => host::AskError::Unsupported,
        abi::AskError::TimedOut => host::AskError::TimedOut,
        abi::AskError::TooLarge => host::AskError::TooLarge,
        abi::AskError::Busy => host::AskError::Busy,
        abi::AskError::Refused(why) => host::AskError::Refused(failure(why)),
        abi::AskError::Other(what) => host::AskError::Other(what),
    }
}

fn call_error(error: abi::CallError) -> host::CallError {
    match error {
        abi::CallError::UnknownPlugin => host::CallError::UnknownPlugin,
        abi::CallError::UnknownCommand => host::CallError::UnknownCommand,
        abi::CallError::TimedOut => host::CallError::TimedOut,
        abi::CallError::Busy => host::CallError::Busy,
        abi::CallError::Gone => host::CallError::Gone,
        abi::CallError::Failed(why) => host::CallError::Failed(failure(why)),
        abi::CallError::Other(what) => host::CallError::Other(what),
    }
}

pub(super) fn init(init: abi::Init) -> harness::Init {
    let limits = init.limits;
    harness::Init {
        node: peer(init.node),
        cause: match init.cause {
            abi::Cause::Boot => harness::Cause::Boot,
            abi::Cause::Load => harness::Cause::Load,
            abi::Cause::Crash => harness::Cause::Crash,
            abi::Cause::Upgrade => harness::Cause::Upgrade,
            abi::Cause::Rollback => harness::Cause::Rollback,
        },
        predecessor: init.predecessor.map(|before| harness::Predecessor {
            version: before.version,
            data_version: before.data_version,
            snapshot: before.snapshot,
        }),
        config: init.config,
        granted: init.granted,
        limits: harness::Limits {
            message: limits.message,
            turn_effects: limits.turn_effects,
            turn_bytes: limits.turn_bytes,
            open_asks: limits.open_asks,
            key: limits.key,
            value: limits.value,
            store: limits.store,
            memory: limits.memory,
            timers: limits.timers,
        },
        more: init.more,
    }
}

pub(super) fn manifest(manifest: harness::Manifest) -> abi::Manifest {
    abi::Manifest {
        name: manifest.name,
        version: manifest.version,
        description: manifest.description,
        data_version: manifest.data_version,
        reads_data_from: manifest.reads_data_from,
        protocols: manifest.protocols.into_iter().map(protocol).collect(),
        capabilities: manifest.capabilities,
        listens: manifest.listens,
        more: manifest.more,
    }
}

fn protocol(protocol: host::Protocol) -> abi::Protocol {
    let host::Protocol { key, id, delivery, max_message } = protocol;
    let delivery = match delivery {
        host::Delivery::Ordered => abi::Delivery::Ordered,
        host::Delivery::Unordered => abi::Delivery::Unordered,
    };
    abi::Protocol { key, id, delivery, max_message }
}

pub(super) fn effect(effect: harness::Effect) -> Effect {
    use harness::Effect as E;
    match effect {
        E::Send { to, protocol, body } => {
            Effect::Send { to: to.into_iter().map(to_sdk).collect(), protocol, body: bytes(&body) }
        }
        E::Ask { id, to, protocol, timeout_ms, body } => {
            Effect::Ask { id, to: to_sdk(to), protocol, timeout_ms, body: bytes(&body) }
        }
        E::CancelAsk(id) => Effect::CancelAsk(id),
        E::Respond { request, outcome } => Effect::Respond { request, outcome: answer(outcome) },
        E::Register(of) => Effect::Register(protocol(of)),
        E::Nothing => Effect::Nothing,
        E::Unregister(key) => Effect::Unregister(key),
        E::Pause { protocol, paused } => Effect::Pause { protocol, paused },
        E::Report { peer, protocol, verdict, why } => {
            let verdict = match verdict {
                harness::Verdict::Useful => abi::Verdict::Useful,
                harness::Verdict::Invalid => abi::Verdict::Invalid,
                harness::Verdict::Abusive => abi::Verdict::Abusive,
            };
            Effect::Report { peer: to_sdk(peer), protocol, verdict, why }
        }
        E::Put { key, value } => Effect::Put { key: key.to_vec(), value: value.to_vec() },
        E::Remove { key } => Effect::Remove { key: key.to_vec() },
        E::SetTimer { id, after_ms } => Effect::SetTimer { id, after_ms },
        E::CancelTimer(id) => Effect::CancelTimer(id),
        E::Call { id, plugin, name, timeout_ms, body } => {
            Effect::Call { id, plugin, name, timeout_ms, body: bytes(&body) }
        }
        E::Answer { command, outcome } => Effect::Answer { command, outcome: answer(outcome) },
    }
}

fn bytes(bytes: &Bytes) -> Rc<[u8]> {
    Rc::from(&bytes[..])
}

fn answer(outcome: Result<Bytes, weir_host::wire::Failure>) -> Result<Rc<[u8]>, abi::Failure> {
    let outcome = outcome.map(|body| bytes(&body));
    outcome.map_err(|why| abi::Failure { code: why.code, message: why.message })
}
