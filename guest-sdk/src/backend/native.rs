//! The imports natively: they act on the node that `testing` has entered on this thread.

use std::cell::RefCell;

use crate::Error;
use crate::testing::Imports;

thread_local! {
    static CURRENT: RefCell<Vec<Imports>> = const { RefCell::new(Vec::new()) };
}

/// Leaves the node again when dropped, also by a panic.
pub(crate) struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|nodes| drop(nodes.pop()));
    }
}

/// Makes `node` the one that plugin code on this thread acts on.
pub(crate) fn enter(node: Imports) -> Entered {
    CURRENT.with_borrow_mut(|nodes| nodes.push(node));
    Entered(())
}

fn on<R>(act: impl FnOnce(&Imports) -> R) -> R {
    CURRENT.with_borrow(|nodes| {
        act(nodes.last().expect("plugin code runs inside a host: drive it with weir_sdk::testing::TestHost"))
    })
}

pub(crate) fn watches_failed_events() -> bool {
    on(|node| node.node().watch_failed_events)
}

pub(crate) fn note_changed_by_failed_event(error: &Error) {
    let what = error.to_string();
    on(|node| node.node().changed_by_failed_event.get_or_insert(what).truncate(1_000));
}

pub(crate) mod turn {
    pub fn keep(effects: u32) {
        super::on(|node| node.keep(effects));
    }
}

pub(crate) mod net {
    use crate::abi::{Failure, PeerId, Protocol, ProtocolKey, RegisterError, SendError, Verdict};

    use super::on;

    pub fn send(to: PeerId, protocol: ProtocolKey, body: &[u8]) -> Result<(), SendError> {
        on(|node| node.send(to, protocol, body))
    }

    pub fn send_all(to: &[PeerId], protocol: ProtocolKey, body: &[u8]) -> Vec<(u32, SendError)> {
        on(|node| node.send_all(to, protocol, body))
    }

    pub fn room(to: PeerId, protocol: ProtocolKey) -> u32 {
        on(|node| node.room(to, protocol))
    }

    pub fn ask(to: PeerId, protocol: ProtocolKey, timeout_ms: u32, body: &[u8]) -> Result<u64, SendError> {
        on(|node| node.ask(to, protocol, timeout_ms, body))
    }

    pub fn cancel(ask: u64) {
        on(|node| node.cancel(ask));
    }

    pub fn respond(request: u64, outcome: Result<&[u8], &Failure>) -> bool {
        on(|node| node.respond(request, outcome))
    }

    pub fn register(protocol: &Protocol) -> Result<(), RegisterError> {
        on(|node| node.register(protocol))
    }

    pub fn unregister(key: ProtocolKey) {
        on(|node| node.unregister(key));
    }

    pub fn pause(protocol: ProtocolKey, paused: bool) {
        on(|node| node.pause(protocol, paused));
    }

    pub fn report(peer: PeerId, protocol: ProtocolKey, verdict: Verdict, why: &str) {
        on(|node| node.report(peer, protocol, verdict, why));
    }
}

pub(crate) mod store {
    use crate::abi::{Page, Range, WriteError};

    use super::on;

    pub fn get(key: &[u8]) -> Option<Vec<u8>> {
        on(|node| node.get(key))
    }

    pub fn put(key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        on(|node| node.put(key, value))
    }

    pub fn remove(key: &[u8]) {
        on(|node| node.remove(key));
    }

    pub fn scan(range: &Range, limit: u32, max_bytes: u32) -> Page {
        on(|node| node.scan(range, limit, max_bytes))
    }

    pub fn used() -> u64 {
        on(|node| node.used())
    }
}

pub(crate) mod timers {
    pub fn set(id: u64, after_ms: u64) -> bool {
        super::on(|node| node.set_timer(id, after_ms))
    }

    pub fn cancel(id: u64) {
        super::on(|node| node.cancel_timer(id));
    }
}

pub(crate) mod calls {
    use crate::abi::{CallRefused, Failure};

    use super::on;

    pub fn call(plugin: &str, name: &str, timeout_ms: u32, body: &[u8]) -> Result<u64, CallRefused> {
        on(|node| node.call(plugin, name, timeout_ms, body))
    }

    pub fn answer(command: u64, outcome: Result<&[u8], &Failure>) -> bool {
        on(|node| node.answer(command, outcome))
    }
}

pub(crate) mod clock {
    pub fn now() -> u64 {
        super::on(|node| node.now())
    }

    pub fn monotonic() -> u64 {
        super::on(|node| node.monotonic())
    }
}

pub(crate) mod random {
    pub fn bytes(len: u32) -> Vec<u8> {
        super::on(|node| node.random_bytes(len))
    }

    pub fn number() -> u64 {
        super::on(|node| node.random_number())
    }
}

pub(crate) mod crypto {
    use sha2::{Digest as _, Sha256};

    use crate::bindings::weir::plugin::crypto::Digest;
    use crate::testing::Imports;

    /// Without a host, because whoever is no plugin hashes, too.
    pub fn sha256(message: &[u8]) -> Digest {
        let [a, b, c, d] = crate::words::of(&Sha256::digest(message).into());
        Digest { a, b, c, d }
    }

    pub fn ed25519_verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        Imports::verify(public_key, message, signature)
    }

    pub fn sign(message: &[u8]) -> Vec<u8> {
        super::on(|node| node.sign(message))
    }
}

pub(crate) mod log {
    use crate::abi::Level;

    pub fn write(level: Level, target: &str, message: &str) {
        super::on(|node| node.log(level, target, message));
    }

    /// Natively nobody installs the hook: the test host catches the panic itself.
    pub fn panicked(_: Option<u32>, _: &str, _: &str) {}
}

pub(crate) mod metrics {
    pub fn count(name: &str, by: u64) {
        super::on(|node| node.count(name, by));
    }

    pub fn gauge(name: &str, value: f64) {
        super::on(|node| node.gauge(name, value));
    }
}
