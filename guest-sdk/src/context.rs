//! `Context`: stages effects, and says at once what cannot be done.

use std::cell::{Cell, OnceCell};

use serde::Serialize;

use crate::abi::{CallRefused, Failure, PeerId, Protocol, ProtocolKey, RegisterError, SendError, Verdict};
use crate::backend::{calls, clock, crypto, metrics, net, random, timers, turn};
use crate::{Error, Result, Store, encode};

/// The host, as one turn sees it.
///
/// What the methods stage is committed after the batch, all of it or nothing. They refuse at once what
/// cannot be done, so an accepted effect needs no second look.
pub struct Context {
    /// Effects the host has accepted in this turn, in the host's own counting (see `turn.keep` in the WIT).
    staged: Cell<u32>,
    now: OnceCell<u64>,
}

impl Context {
    pub(crate) fn new() -> Self {
        Self { staged: Cell::new(0), now: OnceCell::new() }
    }

    pub(crate) fn staged(&self) -> u32 {
        self.staged.get()
    }

    pub(crate) fn count_one(&self) {
        self.staged.set(self.staged.get() + 1);
    }

    /// Forgets what was staged after the first `effects`.
    pub(crate) fn keep(&self, effects: u32) {
        if effects < self.staged.get() {
            turn::keep(effects);
            self.staged.set(effects);
        }
    }

    fn counted<T, E>(&self, outcome: Result<T, E>) -> Result<T, E> {
        if outcome.is_ok() {
            self.count_one();
        }
        outcome
    }

    fn counted_if(&self, accepted: bool) -> bool {
        if accepted {
            self.count_one();
        }
        accepted
    }

    /// Sends `value` as postcard.
    pub fn send<T: Serialize + ?Sized>(&self, to: PeerId, protocol: ProtocolKey, value: &T) -> Result {
        Ok(self.send_bytes(to, protocol, &encode(value)?)?)
    }

    /// Sends these bytes. After [`SendError::Busy`] comes `on_relieved` when there is room again.
    pub fn send_bytes(&self, to: PeerId, protocol: ProtocolKey, body: &[u8]) -> Result<(), SendError> {
        self.counted(net::send(to, protocol, body))
    }

    /// One value to many peers, encoded once. Returns who was refused, by position in `to`.
    pub fn send_all<T: Serialize + ?Sized>(
        &self,
        to: &[PeerId],
        protocol: ProtocolKey,
        value: &T,
    ) -> Result<Vec<(u32, SendError)>> {
        Ok(self.send_all_bytes(to, protocol, &encode(value)?))
    }

    /// One body to many peers in one crossing. Returns who was refused, by position in `to`.
    pub fn send_all_bytes(&self, to: &[PeerId], protocol: ProtocolKey, body: &[u8]) -> Vec<(u32, SendError)> {
        let refused = net::send_all(to, protocol, body);
        self.counted_if(refused.len() < to.len());
        refused
    }

    /// Bytes that a send to this lane would take now.
    pub fn room(&self, to: PeerId, protocol: ProtocolKey) -> u32 {
        net::room(to, protocol)
    }

    /// Asks a peer; the outcome comes as `on_response` with the id that this returns.
    pub fn ask<T: Serialize + ?Sized>(
        &self,
        to: PeerId,
        protocol: ProtocolKey,
        timeout_ms: u32,
        value: &T,
    ) -> Result<u64> {
        Ok(self.ask_bytes(to, protocol, timeout_ms, &encode(value)?)?)
    }

    /// As [`Context::ask`], with these bytes.
    pub fn ask_bytes(&self, to: PeerId, protocol: ProtocolKey, timeout_ms: u32, body: &[u8]) -> Result<u64, SendError> {
        self.counted(net::ask(to, protocol, timeout_ms, body))
    }

    /// Gives an `ask` up: no response comes for it any more.
    pub fn cancel_ask(&self, ask: u64) {
        net::cancel(ask);
        self.count_one();
    }

    /// Answers a request with `value` as postcard. False when nobody waits for it any more.
    pub fn respond<T: Serialize + ?Sized>(&self, request: u64, value: &T) -> Result<bool> {
        Ok(self.respond_bytes(request, &encode(value)?))
    }

    /// Answers a request with these bytes. False when nobody waits for it any more.
    pub fn respond_bytes(&self, request: u64, body: &[u8]) -> bool {
        self.counted_if(net::respond(request, Ok(body)))
    }

    /// Answers a request with a failure. False when nobody waits for it any more.
    pub fn refuse(&self, request: u64, error: Error) -> bool {
        self.counted_if(net::respond(request, Err(&Failure::from(error))))
    }

    /// Answers a command with `value` as JSON. False when nobody waits for it any more.
    pub fn answer<T: Serialize + ?Sized>(&self, command: u64, value: &T) -> Result<bool> {
        let body = serde_json::to_vec(value)?;
        Ok(self.counted_if(calls::answer(command, Ok(&body))))
    }

    /// Answers a command with a failure. False when nobody waits for it any more.
    pub fn fail(&self, command: u64, error: Error) -> bool {
        self.counted_if(calls::answer(command, Err(&Failure::from(error))))
    }

    /// Calls another plugin with JSON arguments; the outcome comes as `on_called` with the id that this
    /// returns. Needs the capability `call:NAME`.
    pub fn call<T: Serialize + ?Sized>(&self, plugin: &str, name: &str, timeout_ms: u32, args: &T) -> Result<u64> {
        let body = serde_json::to_vec(args)?;
        Ok(self.counted::<u64, CallRefused>(calls::call(plugin, name, timeout_ms, &body))?)
    }

    /// Registers one more protocol than the manifest has. Needs the capability `protocol:/prefix`.
    pub fn register(&self, protocol: &Protocol) -> Result<(), RegisterError> {
        self.counted(net::register(protocol))
    }

    /// Takes a protocol back that [`Context::register`] registered.
    pub fn unregister(&self, protocol: ProtocolKey) {
        net::unregister(protocol);
        self.count_one();
    }

    /// Stops delivery of this protocol's messages, so that its senders feel it, or lets it go on.
    pub fn pause(&self, protocol: ProtocolKey, paused: bool) {
        net::pause(protocol, paused);
        self.count_one();
    }

    /// Says what this peer's messages were worth; enough of [`Verdict::Abusive`] mutes it.
    pub fn report(&self, peer: PeerId, protocol: ProtocolKey, verdict: Verdict, why: &str) {
        net::report(peer, protocol, verdict, why);
        self.count_one();
    }

    /// Fires `on_timer(id)` after this many milliseconds; 0 is the next turn. Setting an id again moves it.
    pub fn set_timer(&self, id: u64, after_ms: u64) -> Result {
        if self.counted_if(timers::set(id, after_ms)) {
            return Ok(());
        }
        Err(Error::new("too-many-timers", "the plugin has as many timers as it may have: cancel one or use fewer ids"))
    }

    /// Forgets a timer.
    pub fn cancel_timer(&self, id: u64) {
        timers::cancel(id);
        self.count_one();
    }

    /// The plugin's own durable keys.
    pub fn store(&self) -> Store<'_> {
        Store::new(self)
    }

    /// Milliseconds since the Unix epoch: the same for the whole turn, never less than in the turn before.
    pub fn now_ms(&self) -> u64 {
        *self.now.get_or_init(clock::now)
    }

    /// Microseconds on a clock that goes on within a turn and never goes back; where it began says nothing. For
    /// measuring only: a turn that is run again reads other values. In tests it moves with the test's clock.
    pub fn monotonic_us(&self) -> u64 {
        clock::monotonic()
    }

    /// Random bytes, fit for keys.
    pub fn random_bytes(&self, len: u32) -> Vec<u8> {
        random::bytes(len)
    }

    /// A random number.
    pub fn random_number(&self) -> u64 {
        random::number()
    }

    /// Whether this is the key's Ed25519 signature of the message (RFC 8032, strict).
    pub fn verify(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        crypto::ed25519_verify(public_key, message, signature)
    }

    /// The node's signature over `weir-plugin-v1`, the plugin's name, a zero byte and the message. Needs the capability `sign`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        crypto::sign(message)
    }

    /// Adds to one of the plugin's counters. Acts at once.
    pub fn count(&self, name: &str, by: u64) {
        metrics::count(name, by);
    }

    /// Sets one of the plugin's gauges. Acts at once.
    pub fn gauge(&self, name: &str, value: f64) {
        metrics::gauge(name, value);
    }
}
