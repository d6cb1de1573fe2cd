//! The imports natively: they act on the node that `testing` has entered on this thread.

use std::cell::RefCell;
use std::rc::Rc;

use crate::Error;
use crate::testing::Node;

thread_local! {
    static CURRENT: RefCell<Vec<Rc<RefCell<Node>>>> = const { RefCell::new(Vec::new()) };
}

/// Leaves the node again when dropped, also by a panic.
pub(crate) struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|nodes| drop(nodes.pop()));
    }
}

/// Makes `node` the one that plugin code on this thread acts on.
pub(crate) fn enter(node: Rc<RefCell<Node>>) -> Entered {
    CURRENT.with_borrow_mut(|nodes| nodes.push(node));
    Entered(())
}

fn node<R>(act: impl FnOnce(&mut Node) -> R) -> R {
    let node = CURRENT.with_borrow(|nodes| nodes.last().cloned());
    let node = node.expect("plugin code runs inside a host: drive it with weir_sdk::testing::TestHost");
    act(&mut node.borrow_mut())
}

pub(crate) fn watches_failed_events() -> bool {
    node(|node| node.watch_failed_events)
}

pub(crate) fn note_changed_by_failed_event(error: &Error) {
    let what = error.to_string();
    node(|node| node.changed_by_failed_event.get_or_insert(what).truncate(1_000));
}

pub(crate) mod turn {
    pub fn keep(effects: u32) {
        super::node(|node| node.keep(effects as usize));
    }
}

pub(crate) mod net {
    use crate::abi::{Failure, PeerId, Protocol, ProtocolKey, RegisterError, SendError, Verdict};
    use crate::testing::Effect;

    use super::node;

    pub fn send(to: PeerId, protocol: ProtocolKey, body: &[u8]) -> Result<(), SendError> {
        node(|node| {
            node.admit(to, protocol, body.len())?;
            node.stage(Effect::Send { to: vec![to], protocol, body: body.to_vec() });
            Ok(())
        })
    }

    pub fn send_all(to: &[PeerId], protocol: ProtocolKey, body: &[u8]) -> Vec<(u32, SendError)> {
        node(|node| {
            let (mut accepted, mut refused) = (Vec::new(), Vec::new());
            for (position, peer) in to.iter().enumerate() {
                match node.admit(*peer, protocol, body.len()) {
                    Ok(()) => accepted.push(*peer),
                    Err(error) => refused.push((position as u32, error)),
                }
            }
            if !accepted.is_empty() {
                node.stage(Effect::Send { to: accepted, protocol, body: body.to_vec() });
            }
            refused
        })
    }

    pub fn room(to: PeerId, protocol: ProtocolKey) -> u32 {
        node(|node| node.room(to, protocol))
    }

    pub fn ask(to: PeerId, protocol: ProtocolKey, timeout_ms: u32, body: &[u8]) -> Result<u64, SendError> {
        node(|node| {
            node.admit(to, protocol, body.len())?;
            let id = node.new_id();
            node.stage(Effect::Ask { id, to, protocol, timeout_ms, body: body.to_vec() });
            Ok(id)
        })
    }

    pub fn cancel(ask: u64) {
        node(|node| node.stage(Effect::CancelAsk(ask)));
    }

    pub fn respond(request: u64, outcome: Result<&[u8], &Failure>) -> bool {
        let outcome = outcome.map(<[u8]>::to_vec).map_err(Clone::clone);
        node(|node| node.settle(request) && node.stage(Effect::Respond { request, outcome }))
    }

    pub fn register(protocol: &Protocol) -> Result<(), RegisterError> {
        node(|node| {
            if node.protocols.contains_key(&protocol.key) {
                return Err(RegisterError::KeyInUse);
            }
            node.stage(Effect::Register(protocol.clone()));
            Ok(())
        })
    }

    pub fn unregister(key: ProtocolKey) {
        node(|node| node.stage(Effect::Unregister(key)));
    }

    pub fn pause(protocol: ProtocolKey, paused: bool) {
        node(|node| node.stage(Effect::Pause { protocol, paused }));
    }

    pub fn report(peer: PeerId, protocol: ProtocolKey, verdict: Verdict, why: &str) {
        node(|node| node.stage(Effect::Report { peer, protocol, verdict, why: why.to_owned() }));
    }
}

pub(crate) mod store {
    use crate::abi::{Page, Range, WriteError};
    use crate::testing::Effect;

    use super::node;

    pub fn get(key: &[u8]) -> Option<Vec<u8>> {
        node(|node| node.read(key))
    }

    pub fn put(key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        node(|node| {
            node.admit_write(key, value)?;
            node.stage(Effect::Put { key: key.to_vec(), value: value.to_vec() });
            Ok(())
        })
    }

    pub fn remove(key: &[u8]) {
        node(|node| node.stage(Effect::Remove { key: key.to_vec() }));
    }

    pub fn scan(range: &Range, limit: u32, max_bytes: u32) -> Page {
        node(|node| node.scan(range, limit as usize, max_bytes as usize))
    }

    pub fn used() -> u64 {
        node(|node| node.used())
    }
}

pub(crate) mod timers {
    use crate::testing::Effect;

    use super::node;

    pub fn set(id: u64, after_ms: u64) -> bool {
        node(|node| node.stage(Effect::SetTimer { id, after_ms }))
    }

    pub fn cancel(id: u64) {
        node(|node| node.stage(Effect::CancelTimer(id)));
    }
}

pub(crate) mod calls {
    use crate::abi::{CallRefused, Failure};
    use crate::testing::Effect;

    use super::node;

    pub fn call(plugin: &str, name: &str, timeout_ms: u32, body: &[u8]) -> Result<u64, CallRefused> {
        let (plugin, name, body) = (plugin.to_owned(), name.to_owned(), body.to_vec());
        node(|node| {
            let id = node.new_id();
            node.stage(Effect::Call { id, plugin, name, timeout_ms, body });
            Ok(id)
        })
    }

    pub fn answer(command: u64, outcome: Result<&[u8], &Failure>) -> bool {
        let outcome = outcome.map(<[u8]>::to_vec).map_err(Clone::clone);
        node(|node| node.settle(command) && node.stage(Effect::Answer { command, outcome }))
    }
}

pub(crate) mod clock {
    pub fn now() -> u64 {
        super::node(|node| node.now)
    }

    pub fn monotonic() -> u64 {
        now() * 1_000
    }
}

pub(crate) mod random {
    pub fn bytes(len: u32) -> Vec<u8> {
        super::node(|node| (0..len).map(|_| node.random() as u8).collect())
    }

    pub fn number() -> u64 {
        super::node(|node| node.random())
    }
}

pub(crate) mod crypto {
    use ed25519_dalek::{Signature, Signer, VerifyingKey};

    pub fn ed25519_verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let key = public_key.try_into().ok().and_then(|key| VerifyingKey::from_bytes(key).ok());
        let signature = Signature::from_slice(signature).ok();
        key.zip(signature).is_some_and(|(key, signature)| key.verify_strict(message, &signature).is_ok())
    }

    pub fn sign(message: &[u8]) -> Vec<u8> {
        super::node(|node| {
            let text = [b"weir-plugin-v1", node.name.as_bytes(), b"\0", message].concat();
            node.key.sign(&text).to_vec()
        })
    }
}

pub(crate) mod log {
    use crate::abi::Level;
    use crate::testing::LogLine;

    pub fn write(level: Level, target: &str, message: &str) {
        let line = LogLine { level, target: target.to_owned(), message: message.to_owned() };
        super::node(|node| node.logs.push(line));
    }

    /// Natively nobody installs the hook: the test host catches the panic itself.
    pub fn panicked(_: Option<u32>, _: &str, _: &str) {}
}

pub(crate) mod metrics {
    pub fn count(name: &str, by: u64) {
        super::node(|node| *node.counters.entry(name.to_owned()).or_default() += by);
    }

    pub fn gauge(name: &str, value: f64) {
        super::node(|node| {
            node.gauges.insert(name.to_owned(), value);
        });
    }
}
