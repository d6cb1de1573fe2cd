//! `TestHost`: one plugin, events in, effects out. Seeded, with a clock that only the test moves.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::node::{Asked, CallMade, LogLine, Node, Sent, TestLane};
use crate::abi::{
    AskError, CallError, Caller, Cause, Count, Event, Failure, Init, Lane, Manifest, PeerId, Predecessor, Protocol,
    ProtocolKey, Reachable, Span, Verdict,
};
use crate::bindings::weir::plugin::types as wire;
use crate::runner::{self, Instance};
use crate::{Plugin, Result, backend, decode, encode};

/// A turn that was thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// The event's position in its batch; none for the start and for the end of a turn.
    pub event: Option<u32>,
    /// What the panic said.
    pub message: String,
}

type Starter = fn(Init) -> Result<Box<dyn Instance>, String>;

/// One plugin on a node that is a value in the test.
///
/// Every method that hands the plugin an event runs one turn, with the host's rules: what a turn staged is
/// committed after it, a panic discards turn and instance, a new instance starts from the store, and of the
/// batch only the culprit is lost. A test also fails when an event that returned `Err` changed the
/// plugin's snapshot ([`TestHost::allow_changes_by_failed_events`] turns that off).
pub struct TestHost {
    node: Rc<RefCell<Node>>,
    starter: Starter,
    manifest: Manifest,
    instance: Option<Box<dyn Instance>>,
    config: String,
    crashes: Vec<Crash>,
}

impl TestHost {
    /// Starts `P` with this configuration, `()` for none.
    ///
    /// # Panics
    /// When `start` fails.
    pub fn new<P: Plugin>(config: impl Serialize) -> Self {
        Self::with_seed::<P>(config, 1)
    }

    /// As [`TestHost::new`], with other randomness: the node's key, ids and `Context::random_*` follow the seed.
    ///
    /// # Panics
    /// When `start` fails.
    pub fn with_seed<P: Plugin>(config: impl Serialize, seed: u64) -> Self {
        let config = match serde_json::to_value(config).expect("the configuration becomes JSON") {
            Value::Null => String::new(),
            config => config.to_string(),
        };
        let mut host = Self {
            node: Rc::new(RefCell::new(Node::new(seed))),
            starter: runner::start::<P>,
            manifest: P::manifest(),
            instance: None,
            config,
            crashes: Vec::new(),
        };
        host.adopt_manifest();
        host.begin(Cause::Boot, None).unwrap_or_else(|error| panic!("the plugin does not start: {error}"));
        host
    }

    /// Lets a failed event change `self`: for plugins that repair that themselves.
    pub fn allow_changes_by_failed_events(&mut self) {
        self.node.borrow_mut().watch_failed_events = false;
    }

    // Peers.

    /// Connects a peer that speaks all protocols of the plugin; the same number is the same peer.
    pub fn peer(&mut self, number: u64) -> PeerId {
        let peer = PeerId { a: number, b: 0, c: 0, d: number };
        let keys: Vec<_> = self.node.borrow().protocols.keys().copied().collect();
        self.connect(peer, &keys);
        peer
    }

    /// Connects a peer that speaks these protocols.
    pub fn connect(&mut self, peer: PeerId, protocols: &[ProtocolKey]) {
        let mut events = Vec::new();
        for protocol in protocols {
            let max_message = self.protocol(*protocol).max_message;
            let lane = TestLane { max_message, room: None, refused: false };
            self.node.borrow_mut().lanes.insert((peer, *protocol), lane);
            events.push(Event::PeerSupported(Reachable { peer, protocol: *protocol, max_message }));
        }
        self.turn(events, &[]);
    }

    /// Disconnects a peer: its asks fail, its lanes go.
    pub fn disconnect(&mut self, peer: PeerId) {
        let mut events = Vec::new();
        {
            let mut node = self.node.borrow_mut();
            let lanes: Vec<_> = node.lanes.range((peer, 0)..=(peer, ProtocolKey::MAX)).map(|(lane, _)| *lane).collect();
            for (peer, protocol) in lanes {
                node.lanes.remove(&(peer, protocol));
                events.push(Event::PeerUnsupported(Lane { peer, protocol }));
            }
            let asks: Vec<_> = node.asks.values().filter(|ask| ask.to == peer).map(|ask| ask.id).collect();
            for id in asks {
                node.asks.remove(&id);
                events.push(Event::Response(wire::Response { id, outcome: Err(AskError::NotConnected) }));
            }
        }
        self.turn(events, &[]);
    }

    /// Lets the lane take this many more messages; the next one is refused as busy.
    pub fn limit(&mut self, peer: PeerId, protocol: ProtocolKey, messages: u32) {
        if let Some(lane) = self.node.borrow_mut().lanes.get_mut(&(peer, protocol)) {
            lane.room = Some(messages);
        }
    }

    /// Gives the lane room for this many messages again, and tells the plugin if it was refused before.
    pub fn relieve(&mut self, peer: PeerId, protocol: ProtocolKey, messages: u32) {
        self.limit(peer, protocol, messages);
        let refused = match self.node.borrow_mut().lanes.get_mut(&(peer, protocol)) {
            Some(lane) => std::mem::take(&mut lane.refused),
            None => false,
        };
        if refused {
            self.event(Event::Relieved(Lane { peer, protocol }));
        }
    }

    // Events.

    /// A peer's message.
    pub fn message(&mut self, peer: PeerId, protocol: ProtocolKey, body: &[u8]) {
        self.messages(peer, protocol, [body]);
    }

    /// Several messages of a peer in one turn.
    pub fn messages<B: AsRef<[u8]>>(
        &mut self,
        peer: PeerId,
        protocol: ProtocolKey,
        bodies: impl IntoIterator<Item = B>,
    ) {
        let (mut events, mut bytes) = (Vec::new(), Vec::new());
        for body in bodies {
            let body = append(&mut bytes, body.as_ref());
            events.push(Event::Message(wire::Message { peer, protocol, body }));
        }
        self.turn(events, &bytes);
    }

    /// A peer's request; its answer is found with [`TestHost::outcome`] under the id that this returns.
    pub fn request(&mut self, peer: PeerId, protocol: ProtocolKey, body: &[u8]) -> u64 {
        let id = self.open();
        let span = Span { at: 0, len: body.len() as u32 };
        let request = wire::Request { peer, protocol, id, timeout_ms: 5_000, body: span };
        self.turn(vec![Event::Request(request)], body);
        id
    }

    /// A peer's request and its answer, both as postcard.
    pub fn ask<A: DeserializeOwned>(
        &mut self,
        peer: PeerId,
        protocol: ProtocolKey,
        value: &(impl Serialize + ?Sized),
    ) -> Result<A> {
        let id = self.request(peer, protocol, &encode(value)?);
        let outcome = self.outcome(id).expect("the request is answered in its own turn");
        decode(&outcome?)
    }

    /// An operator's command; its answer is found with [`TestHost::outcome`] under the id that this returns.
    pub fn command_later(&mut self, name: &str, args: Value) -> u64 {
        let id = self.open();
        let body = args.to_string();
        let span = Span { at: 0, len: body.len() as u32 };
        let caller = Caller::Operator("test".to_owned());
        let command = wire::Command { id, caller, name: name.to_owned(), timeout_ms: 30_000, body: span };
        self.turn(vec![Event::Command(command)], body.as_bytes());
        id
    }

    /// An operator's command and its answer.
    ///
    /// # Panics
    /// When there is no answer before the plugin waits for something from outside. Timers that are due
    /// now fire while it waits, later ones do not.
    pub fn command(&mut self, name: &str, args: Value) -> Result<Value, Failure> {
        let id = self.command_later(name, args);
        self.advance(0);
        self.answer(id).unwrap_or_else(|| panic!("`{name}` is not answered yet: use command_later and answer"))
    }

    /// The answer of an earlier [`TestHost::command_later`], once.
    pub fn answer(&mut self, id: u64) -> Option<Result<Value, Failure>> {
        let outcome = self.outcome(id)?;
        Some(outcome.map(|body| serde_json::from_slice(&body).expect("an answer is JSON")))
    }

    /// What the plugin answered to a request or command, once.
    pub fn outcome(&mut self, id: u64) -> Option<Result<Vec<u8>, Failure>> {
        self.node.borrow_mut().settled.remove(&id)
    }

    /// Answers one of the plugin's asks.
    pub fn respond(&mut self, ask: u64, outcome: Result<&[u8], AskError>) {
        self.node.borrow_mut().asks.remove(&ask);
        let bytes = outcome.as_ref().map_or(&[][..], |body| body);
        let outcome = outcome.as_ref().map(|body| Span { at: 0, len: body.len() as u32 }).map_err(Clone::clone);
        self.turn(vec![Event::Response(wire::Response { id: ask, outcome })], bytes);
    }

    /// Answers one of the plugin's calls to another plugin.
    pub fn return_call(&mut self, call: u64, outcome: Result<&Value, CallError>) {
        self.node.borrow_mut().calls.remove(&call);
        let bytes = outcome.as_ref().map_or(String::new(), |value| value.to_string());
        let outcome = outcome.map(|_| Span { at: 0, len: bytes.len() as u32 });
        self.turn(vec![Event::Called(wire::Called { id: call, outcome })], bytes.as_bytes());
    }

    /// News that this many of the plugin's messages did not arrive.
    pub fn undelivered(&mut self, peer: PeerId, protocol: ProtocolKey, messages: u64) {
        self.event(Event::Undelivered(Count { peer, protocol, messages }));
    }

    /// News that the plugin will never see this many messages of the peer.
    pub fn missed(&mut self, peer: PeerId, protocol: ProtocolKey, messages: u64) {
        self.event(Event::Missed(Count { peer, protocol, messages }));
    }

    /// Any event without a body.
    pub fn event(&mut self, event: Event) {
        self.turn(vec![event], &[]);
    }

    /// Moves the clock and fires every timer on the way, each at its own time.
    ///
    /// # Panics
    /// After 100,000 timers: the plugin sets 0-ms timers for ever.
    pub fn advance(&mut self, ms: u64) {
        let end = self.node.borrow().now + ms;
        for _ in 0..100_000 {
            let due = {
                let mut node = self.node.borrow_mut();
                let next = node.timers.iter().map(|(id, at)| (*at, *id)).min().filter(|(at, _)| *at <= end);
                let Some((at, id)) = next else {
                    node.now = end;
                    return;
                };
                node.timers.remove(&id);
                node.now = node.now.max(at);
                id
            };
            self.event(Event::Timer(due));
        }
        panic!("the plugin sets timers of 0 ms for ever");
    }

    // What came out.

    /// The messages sent since the last look.
    pub fn sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.node.borrow_mut().sent)
    }

    /// The asks that wait for [`TestHost::respond`].
    pub fn asks(&self) -> Vec<Asked> {
        self.node.borrow().asks.values().cloned().collect()
    }

    /// The calls that wait for [`TestHost::return_call`].
    pub fn calls(&self) -> Vec<CallMade> {
        self.node.borrow().calls.values().cloned().collect()
    }

    /// What the plugin said about its peers.
    pub fn reports(&self) -> Vec<(PeerId, ProtocolKey, Verdict, String)> {
        self.node.borrow().reports.clone()
    }

    /// Whether the plugin has paused this protocol.
    pub fn is_paused(&self, protocol: ProtocolKey) -> bool {
        self.node.borrow().paused.contains(&protocol)
    }

    /// The lines logged since the last look.
    pub fn logs(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.node.borrow_mut().logs)
    }

    /// One of the plugin's counters.
    pub fn counter(&self, name: &str) -> u64 {
        self.node.borrow().counters.get(name).copied().unwrap_or(0)
    }

    /// One of the plugin's gauges.
    pub fn gauge(&self, name: &str) -> Option<f64> {
        self.node.borrow().gauges.get(name).copied()
    }

    /// A committed value of the store.
    pub fn stored(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.node.borrow().read(key.as_ref())
    }

    /// The turns that were thrown away since the last look.
    pub fn crashes(&mut self) -> Vec<Crash> {
        std::mem::take(&mut self.crashes)
    }

    /// The running revision's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The node's own id.
    pub fn node(&self) -> PeerId {
        self.node.borrow().id
    }

    /// Milliseconds since the Unix epoch, on the test's clock.
    pub fn now_ms(&self) -> u64 {
        self.node.borrow().now
    }

    // Life and death.

    /// Throws the instance away and starts a new one from the store, as the host does after a trap.
    ///
    /// # Panics
    /// When the new instance does not start.
    pub fn crash(&mut self) {
        self.restart(Cause::Crash);
    }

    /// What `snapshot` returns now.
    pub fn snapshot(&self) -> Result<Vec<u8>, String> {
        let _entered = backend::enter(self.node.clone());
        self.instance.as_ref().map_or(Err("no instance".to_owned()), |instance| instance.snapshot())
    }

    /// Replaces the revision by `Q`, with the snapshot. On an error the old one goes on.
    pub fn upgrade<Q: Plugin>(&mut self) -> Result<(), String> {
        let snapshot = self.snapshot().ok();
        let predecessor =
            Predecessor { version: self.manifest.version.clone(), data_version: self.manifest.data_version, snapshot };
        let manifest = Q::manifest();
        if manifest.name != self.manifest.name {
            return Err(format!("the plugin is called `{}`, not `{}`", manifest.name, self.manifest.name));
        }
        let old = (self.starter, std::mem::replace(&mut self.manifest, manifest), self.instance.take());
        self.starter = runner::start::<Q>;
        match self.begin(Cause::Upgrade, Some(predecessor)) {
            Ok(()) => {
                self.adopt_manifest();
                self.announce();
                Ok(())
            }
            Err(error) => {
                (self.starter, self.manifest, self.instance) = old;
                Err(error)
            }
        }
    }

    fn protocol(&self, key: ProtocolKey) -> Protocol {
        let protocol = self.node.borrow().protocols.get(&key).cloned();
        protocol.unwrap_or_else(|| panic!("the plugin has no protocol with the key {key}"))
    }

    fn adopt_manifest(&mut self) {
        let mut node = self.node.borrow_mut();
        node.name = self.manifest.name.clone();
        node.protocols = self.manifest.protocols.iter().map(|protocol| (protocol.key, protocol.clone())).collect();
    }

    fn open(&mut self) -> u64 {
        let mut node = self.node.borrow_mut();
        let id = node.new_id();
        node.open.insert(id);
        id
    }

    /// `start` as a turn of its own.
    fn begin(&mut self, cause: Cause, predecessor: Option<Predecessor>) -> Result<(), String> {
        let init = {
            let node = self.node.borrow();
            Init {
                node: node.id,
                cause,
                predecessor,
                config: self.config.clone(),
                granted: self.manifest.capabilities.clone(),
                limits: node.limits,
                more: Vec::new(),
            }
        };
        let starter = self.starter;
        match self.guarded(|| starter(init)) {
            Ok(instance) => {
                self.node.borrow_mut().commit();
                self.instance = Some(instance);
                Ok(())
            }
            Err(error) => {
                self.node.borrow_mut().keep(0);
                Err(error)
            }
        }
    }

    /// Runs plugin code on this node; a panic becomes an error.
    fn guarded<R>(&mut self, run: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
        let _entered = backend::enter(self.node.clone());
        std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
            let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            Err(text.unwrap_or_else(|| "a panic without a message".to_owned()))
        })
    }

    fn restart(&mut self, cause: Cause) {
        self.instance = None;
        {
            let mut node = self.node.borrow_mut();
            node.asks.clear();
            node.calls.clear();
            for id in std::mem::take(&mut node.open) {
                let gone = Failure { code: "gone".to_owned(), message: "the plugin was restarted".to_owned() };
                node.settled.insert(id, Err(gone));
            }
        }
        let predecessor = Predecessor {
            version: self.manifest.version.clone(),
            data_version: self.manifest.data_version,
            snapshot: None,
        };
        self.begin(cause, Some(predecessor)).unwrap_or_else(|error| panic!("the plugin does not restart: {error}"));
        self.announce();
    }

    /// Tells a new instance who is there.
    fn announce(&mut self) {
        let there: Vec<_> = {
            let node = self.node.borrow();
            let lanes = node.lanes.iter();
            lanes
                .map(|((peer, protocol), lane)| Reachable {
                    peer: *peer,
                    protocol: *protocol,
                    max_message: lane.max_message,
                })
                .map(Event::PeerSupported)
                .collect()
        };
        self.turn(there, &[]);
    }

    /// One turn. After a panic: a new instance, then what came before the culprit, then what came after it.
    fn turn(&mut self, events: Vec<Event>, bodies: &[u8]) {
        if events.is_empty() {
            return;
        }
        let Some(mut instance) = self.instance.take() else { panic!("the plugin is not running") };
        let batch = events.clone();
        let outcome = self.guarded(|| instance.handle(batch, bodies));
        let Err(message) = outcome else {
            self.instance = Some(instance);
            self.node.borrow_mut().commit();
            return self.check_failed_events();
        };
        let position = runner::position();
        self.crashes.push(Crash { event: position, message: message.clone() });
        let culprit = position.unwrap_or_else(|| panic!("the end of a turn failed: {message}")) as usize;
        self.discard(instance, &events, culprit);
        let (mut before, mut after) = (events, Vec::new());
        if culprit < before.len() {
            after = before.split_off(culprit + 1);
            before.truncate(culprit);
        }
        self.turn(before, bodies);
        self.turn(after, bodies);
    }

    /// Forgets a failed turn and its instance. What the batch's other events wait for stays open.
    fn discard(&mut self, instance: Box<dyn Instance>, events: &[Event], culprit: usize) {
        drop(instance);
        self.node.borrow_mut().keep(0);
        let waiting = events.iter().enumerate().filter(|(position, _)| *position != culprit);
        let waiting: Vec<_> = waiting.filter_map(|(_, event)| awaited(event)).collect();
        self.node.borrow_mut().open.retain(|id| !waiting.contains(id));
        self.restart(Cause::Crash);
        self.node.borrow_mut().open.extend(waiting);
    }

    fn check_failed_events(&mut self) {
        if let Some(error) = self.node.borrow_mut().changed_by_failed_event.take() {
            panic!(
                "an event failed with \"{error}\" and had already changed the plugin's memory: \
                 its effects are dropped, its changes are not. Check first, change afterwards"
            );
        }
    }
}

fn awaited(event: &Event) -> Option<u64> {
    match event {
        Event::Request(request) => Some(request.id),
        Event::Command(command) => Some(command.id),
        _ => None,
    }
}

fn append(bytes: &mut Vec<u8>, body: &[u8]) -> Span {
    let at = bytes.len() as u32;
    bytes.extend_from_slice(body);
    Span { at, len: body.len() as u32 }
}
