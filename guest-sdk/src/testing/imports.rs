//! The ABI's imports as methods, acting on one node of a test.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use ed25519_dalek::Signer;

use super::node::Node;
use super::{Effect, LogLine};
use crate::abi::{
    CallRefused, Failure, Level, Page, PeerId, Protocol, ProtocolKey, Range, RegisterError, SendError, Verdict,
    WriteError,
};

/// Most bytes that one page of a scan carries, whatever was asked for.
const MAX_PAGE: u32 = 1 << 20;

/// What one plugin on one node may do: every import of the ABI, with the host's refusals.
///
/// Native plugins reach it through [`crate::Context`]. A harness that runs compiled ones calls the methods from the
/// imports it links.
#[derive(Clone)]
pub struct Imports(Rc<RefCell<Node>>);

impl Imports {
    pub(crate) fn new(node: Node) -> Self {
        Self(Rc::new(RefCell::new(node)))
    }

    pub(crate) fn node(&self) -> RefMut<'_, Node> {
        self.0.borrow_mut()
    }

    /// `turn.keep`.
    pub fn keep(&self, effects: u32) {
        self.node().keep(effects as usize);
    }

    /// `net.send`.
    ///
    /// # Errors
    /// As the ABI says.
    pub fn send(&self, to: PeerId, protocol: ProtocolKey, body: &[u8]) -> Result<(), SendError> {
        let mut node = self.node();
        node.admit(to, protocol, body.len())?;
        node.stage(Effect::Send { to: vec![to], protocol, body: body.into() });
        Ok(())
    }

    /// `net.send-all`: who was refused, by position in `to`.
    pub fn send_all(&self, to: &[PeerId], protocol: ProtocolKey, body: &[u8]) -> Vec<(u32, SendError)> {
        let mut node = self.node();
        if !node.fits(body.len()) {
            return (0..).zip(to).map(|(position, _)| (position, SendError::OverBudget)).collect();
        }
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for (position, peer) in to.iter().enumerate() {
            match node.admit(*peer, protocol, body.len()) {
                Ok(()) => accepted.push(*peer),
                Err(error) => refused.push((position as u32, error)),
            }
        }
        if !accepted.is_empty() {
            node.stage(Effect::Send { to: accepted, protocol, body: body.into() });
        }
        refused
    }

    /// `net.room`.
    pub fn room(&self, to: PeerId, protocol: ProtocolKey) -> u32 {
        self.node().room(to, protocol)
    }

    /// `net.ask`.
    ///
    /// # Errors
    /// As the ABI says.
    pub fn ask(&self, to: PeerId, protocol: ProtocolKey, timeout_ms: u32, body: &[u8]) -> Result<u64, SendError> {
        let mut node = self.node();
        if !node.may_ask() {
            return Err(SendError::OverBudget);
        }
        node.admit(to, protocol, body.len())?;
        let id = node.new_id();
        node.stage(Effect::Ask { id, to, protocol, timeout_ms, body: body.into() });
        Ok(id)
    }

    /// `net.cancel`.
    pub fn cancel(&self, ask: u64) {
        self.node().stage(Effect::CancelAsk(ask));
    }

    /// `net.respond`.
    pub fn respond(&self, request: u64, outcome: Result<&[u8], &Failure>) -> bool {
        let outcome = outcome.map(Rc::from).map_err(Clone::clone);
        let mut node = self.node();
        node.settle(request) && node.stage(Effect::Respond { request, outcome })
    }

    /// `net.register`.
    ///
    /// # Errors
    /// When the key is in use.
    pub fn register(&self, protocol: &Protocol) -> Result<(), RegisterError> {
        let mut node = self.node();
        if node.protocols.contains_key(&protocol.key) {
            return Err(RegisterError::KeyInUse);
        }
        node.stage(Effect::Register(protocol.clone()));
        Ok(())
    }

    /// `net.unregister`.
    pub fn unregister(&self, key: ProtocolKey) {
        let mut node = self.node();
        let known = node.protocols.contains_key(&key);
        node.stage(if known { Effect::Unregister(key) } else { Effect::Nothing });
    }

    /// `net.pause`.
    pub fn pause(&self, protocol: ProtocolKey, paused: bool) {
        let mut node = self.node();
        let known = node.protocols.contains_key(&protocol);
        node.stage(if known { Effect::Pause { protocol, paused } } else { Effect::Nothing });
    }

    /// `net.report`.
    pub fn report(&self, peer: PeerId, protocol: ProtocolKey, verdict: Verdict, why: &str) {
        let why = why.chars().take(200).collect();
        self.node().stage(Effect::Report { peer, protocol, verdict, why });
    }

    /// `store.get`.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.node().store.get(key).cloned()
    }

    /// `store.put`.
    ///
    /// # Errors
    /// As the ABI says.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        let mut node = self.node();
        node.admit_write(key, value)?;
        node.stage(Effect::Put { key: key.to_vec(), value: value.to_vec() });
        Ok(())
    }

    /// `store.remove`.
    pub fn remove(&self, key: &[u8]) {
        let mut node = self.node();
        let known = node.store.get(key).is_some();
        node.stage(if known { Effect::Remove { key: key.to_vec() } } else { Effect::Nothing });
    }

    /// `store.scan`.
    pub fn scan(&self, range: &Range, limit: u32, max_bytes: u32) -> Page {
        self.node().store.scan(range, limit as usize, max_bytes.min(MAX_PAGE) as usize)
    }

    /// `store.used`.
    pub fn used(&self) -> u64 {
        self.node().store.bytes()
    }

    /// `timers.set`.
    pub fn set_timer(&self, id: u64, after_ms: u64) -> bool {
        let mut node = self.node();
        node.fits(0) && node.stage(Effect::SetTimer { id, after_ms })
    }

    /// `timers.cancel`.
    pub fn cancel_timer(&self, id: u64) {
        self.node().stage(Effect::CancelTimer(id));
    }

    /// `calls.call`.
    ///
    /// # Errors
    /// When the manifest does not ask for `call:PLUGIN`, or too many are open.
    pub fn call(&self, plugin: &str, name: &str, timeout_ms: u32, body: &[u8]) -> Result<u64, CallRefused> {
        let mut node = self.node();
        if !node.granted.iter().any(|granted| granted.strip_prefix("call:") == Some(plugin)) {
            return Err(CallRefused::NotGranted);
        }
        if !node.may_ask() {
            return Err(CallRefused::Busy);
        }
        if !node.fits(body.len()) {
            return Err(CallRefused::OverBudget);
        }
        let id = node.new_id();
        let (plugin, name) = (plugin.to_owned(), name.to_owned());
        node.stage(Effect::Call { id, plugin, name, timeout_ms, body: body.into() });
        Ok(id)
    }

    /// `calls.answer`.
    pub fn answer(&self, command: u64, outcome: Result<&[u8], &Failure>) -> bool {
        let outcome = outcome.map(Rc::from).map_err(Clone::clone);
        let mut node = self.node();
        node.settle(command) && node.stage(Effect::Answer { command, outcome })
    }

    /// `clock.now`.
    pub fn now(&self) -> u64 {
        self.node().now_ms()
    }

    /// `clock.monotonic`. It moves with the test's clock, not within a turn.
    pub fn monotonic(&self) -> u64 {
        self.node().now_us
    }

    /// `random.bytes`.
    pub fn random_bytes(&self, len: u32) -> Vec<u8> {
        let mut node = self.node();
        (0..len).map(|_| node.random.number() as u8).collect()
    }

    /// `random.number`.
    pub fn random_number(&self) -> u64 {
        self.node().random.number()
    }

    /// `crypto.ed25519-verify`. What was good once is remembered on this thread, so that a hundred nodes of a test verify
    /// a signature once.
    pub fn verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        super::verify::verify(public_key, message, signature)
    }

    /// `crypto.sign`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let node = self.node();
        let text = [b"weir-plugin-v1", node.name.as_bytes(), b"\0", message].concat();
        node.key.sign(&text).to_vec()
    }

    /// `log.write`.
    pub fn log(&self, level: Level, target: &str, message: &str) {
        self.node().log(LogLine { level, target: target.to_owned(), message: message.to_owned() });
    }

    /// `metrics.count`.
    pub fn count(&self, name: &str, by: u64) {
        *self.node().counters.entry(name.to_owned()).or_default() += by;
    }

    /// `metrics.gauge`.
    pub fn gauge(&self, name: &str, value: f64) {
        self.node().gauges.insert(name.to_owned(), value);
    }
}
