//! What a test does to the plugin: peers come and go, events arrive, time passes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::TestHost;
use crate::abi::{AskError, CallError, Caller, Count, Event, Failure, Lane, PeerId, ProtocolKey, Reachable, Span};
use crate::bindings::weir::plugin::types as wire;
use crate::testing::node::{Room, TestLane};
use crate::{Result, decode, encode};

impl TestHost {
    // Peers.

    /// Connects a peer that speaks all protocols of the plugin; the same number is the same peer.
    pub fn peer(&mut self, number: u64) -> PeerId {
        let peer = PeerId { a: number, b: 0, c: 0, d: number };
        let keys: Vec<_> = self.seat.imports.node().protocols.keys().copied().collect();
        self.connect(peer, &keys);
        peer
    }

    /// Connects a peer that speaks these protocols.
    pub fn connect(&mut self, peer: PeerId, protocols: &[ProtocolKey]) {
        let mut events = Vec::new();
        for protocol in protocols {
            let max_message = self.protocol(*protocol).max_message;
            let lane = TestLane { max_message, room: Room::Unlimited, refused: false };
            self.seat.imports.node().lanes.insert((peer, *protocol), lane);
            events.push(Event::PeerSupported(Reachable { peer, protocol: *protocol, max_message }));
        }
        self.turn(events, &[]);
    }

    /// Disconnects a peer: its asks fail, its lanes go.
    pub fn disconnect(&mut self, peer: PeerId) {
        let mut events = Vec::new();
        {
            let mut node = self.seat.imports.node();
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
        if let Some(lane) = self.seat.imports.node().lanes.get_mut(&(peer, protocol)) {
            lane.room = Room::Messages(messages);
        }
    }

    /// Gives the lane room for this many messages again, and tells the plugin if it was refused before.
    pub fn relieve(&mut self, peer: PeerId, protocol: ProtocolKey, messages: u32) {
        self.limit(peer, protocol, messages);
        let refused = match self.seat.imports.node().lanes.get_mut(&(peer, protocol)) {
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
        let id = self.seat.imports.node().open();
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
        let id = self.seat.imports.node().open();
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
        self.settled.remove(&id)
    }

    /// Answers one of the plugin's asks.
    pub fn respond(&mut self, ask: u64, outcome: Result<&[u8], AskError>) {
        self.seat.imports.node().asks.remove(&ask);
        let bytes = outcome.as_ref().map_or(&[][..], |body| body);
        let outcome = outcome.as_ref().map(|body| Span { at: 0, len: body.len() as u32 }).map_err(Clone::clone);
        self.turn(vec![Event::Response(wire::Response { id: ask, outcome })], bytes);
    }

    /// Answers one of the plugin's calls to another plugin.
    pub fn return_call(&mut self, call: u64, outcome: Result<&Value, CallError>) {
        self.seat.imports.node().calls.remove(&call);
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
        let end = self.now_ms() + ms;
        for _ in 0..100_000 {
            let due = {
                let mut node = self.seat.imports.node();
                let next = node.timers.iter().map(|(id, at)| (*at, *id)).min().filter(|(at, _)| *at <= end);
                let Some((at, id)) = next else {
                    node.now_us = end * 1_000;
                    return;
                };
                node.timers.remove(&id);
                node.now_us = node.now_us.max(at * 1_000);
                id
            };
            self.event(Event::Timer(due));
        }
        panic!("the plugin sets timers of 0 ms for ever");
    }
}

fn append(bytes: &mut Vec<u8>, body: &[u8]) -> Span {
    let at = bytes.len() as u32;
    bytes.extend_from_slice(body);
    Span { at, len: body.len() as u32 }
}
