//! `Gossip`: the state machine with a plugin's context around it.

use super::state::{Port, State};
use super::{Decision, Incoming, ItemId, Items, Place, Policy, Stats, wire};
use crate::abi::{Count, Init, Lane, PeerId, ProtocolKey, Reachable, SendError, Verdict};
use crate::{Context, Error, Message, Request, Response, Result};

/// Gossip on one protocol of a plugin. The events of that protocol go to the methods of their names, or all of them by
/// [`crate::gossip_events!`]; [`Gossip::on_turn_end`] sends what they led to.
///
/// After an instance is replaced, what it had in memory is built again from [`Items`] and from the peers.
pub struct Gossip<I> {
    state: State,
    items: I,
    protocol: ProtocolKey,
    timer: u64,
    armed_ms: Option<u64>,
    /// How far the items were read again.
    read_to: Option<Vec<u8>>,
}

/// Items that one turn stores: a quarter of the effects that a host lets it stage, for two or three each.
const MOST_WRITES: usize = 512;

/// The timer that gossip uses unless [`Gossip::timer`] says otherwise.
pub const TIMER: u64 = 0x676f_7373_6970;

impl<I: Items> Gossip<I> {
    /// Gossip on the protocol with this key.
    ///
    /// # Errors
    /// When the items cannot be loaded.
    pub fn start(protocol: ProtocolKey, policy: Policy, mut items: I, init: &Init, ctx: &Context) -> Result<Self> {
        let mut state = State::new(policy, init.node, ctx.now_ms());
        items.load(&mut |place| state.hold(place), ctx)?;
        Ok(Self { state, items, protocol, timer: TIMER, armed_ms: None, read_to: None })
    }

    /// With another timer, for a plugin that has several of these or uses this number itself.
    pub fn timer(mut self, id: u64) -> Self {
        self.timer = id;
        self
    }

    /// Spreads an item that this node made. One that is held already is left as it is.
    ///
    /// # Errors
    /// When it is empty or larger than [`Policy::item_bytes`].
    pub fn broadcast(&mut self, bytes: &[u8], ctx: &Context) -> Result<ItemId> {
        let most = self.state.policy.item_bytes;
        if bytes.is_empty() || bytes.len() > most {
            let message = format!("the item has {} bytes: it takes 1 to {most}", bytes.len());
            return Err(Error::new("bad-item", message));
        }
        let id = self.items.id(bytes);
        let port = Wired { ctx, items: &self.items, protocol: self.protocol };
        self.state.broadcast(id, bytes, ctx.now_ms(), &port);
        Ok(id)
    }

    /// The next item that waits for a decision and was not returned before. It may be decided on in a later event.
    #[expect(clippy::should_implement_trait, reason = "more come after none")]
    pub fn next(&mut self) -> Option<Incoming> {
        self.state.next()
    }

    /// Says what becomes of an item. False when it does not wait any more.
    pub fn decide(&mut self, id: &ItemId, decision: Decision, ctx: &Context) -> bool {
        let port = Wired { ctx, items: &self.items, protocol: self.protocol };
        self.state.decide(id, decision, ctx.now_ms(), &port)
    }

    /// An item is no longer held, for instance because what it said is part of something else now. `seen`: it is not
    /// taken again as long as it is remembered.
    pub fn forget(&mut self, id: &ItemId, seen: bool) {
        self.state.forget(id, seen);
    }

    /// An item that is kept already counts among those that nodes compare: one that was forgotten here, or that came by
    /// other means. It is not pushed: whoever lacks it finds it when sets are reconciled. [`Items::get`] must have its
    /// bytes.
    pub fn hold(&mut self, place: Place) {
        let _ = self.state.take_in(place);
    }

    /// Whether an item is held, waits for a decision, or was seen.
    pub fn knows(&self, id: &ItemId) -> bool {
        self.state.knows(id)
    }

    /// Items held, of those that nodes compare: at most [`Policy::index`].
    pub fn len(&self) -> usize {
        self.state.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items that were announced and are not here, and items that wait for a decision.
    pub fn waiting(&self) -> (usize, usize) {
        self.state.waiting()
    }

    /// The peers that items are pushed to, and those they are announced to.
    pub fn active_view(&self) -> (Vec<PeerId>, Vec<PeerId>) {
        self.state.active_view()
    }

    /// What it has done.
    pub fn stats(&self) -> Stats {
        self.state.stats
    }

    /// The items.
    pub fn items(&self) -> &I {
        &self.items
    }

    /// The items. What is removed from them must be forgotten here as well.
    pub fn items_mut(&mut self) -> &mut I {
        &mut self.items
    }

    fn with<R>(&mut self, ctx: &Context, act: impl FnOnce(&mut State, u64, &mut Wired<'_, I>) -> R) -> R {
        let mut port = Wired { ctx, items: &self.items, protocol: self.protocol };
        act(&mut self.state, ctx.now_ms(), &mut port)
    }

    /// Takes a message. False when it is the plugin's own: of another protocol, or beginning with
    /// [`super::FIRST_OWN_BYTE`] or more.
    pub fn on_message(&mut self, message: &Message<'_>, ctx: &Context) -> bool {
        let ours = self.owns(message.protocol, message.body);
        if ours {
            self.with(ctx, |state, now, port| state.message(message.peer, message.body, now, port));
        }
        ours
    }

    /// Takes a request and answers it. False when it is the plugin's own.
    pub fn on_request(&mut self, request: &Request<'_>, ctx: &Context) -> bool {
        let ours = self.owns(request.protocol, request.body);
        if ours {
            let answer = self.with(ctx, |state, now, port| state.request(request.peer, request.body, now, port));
            match answer {
                Some(answer) => drop(ctx.respond_bytes(request.id, &answer)),
                None => drop(ctx.refuse(request.id, Error::new("malformed", "the request cannot be read"))),
            }
        }
        ours
    }

    fn owns(&self, protocol: ProtocolKey, body: &[u8]) -> bool {
        protocol == self.protocol && body.first().is_none_or(|first| *first < wire::FIRST_OWN_BYTE)
    }

    /// Takes a response. False when the plugin itself asked.
    pub fn on_response(&mut self, response: &Response<'_>, ctx: &Context) -> bool {
        self.with(ctx, |state, now, port| state.response(response.id, &response.outcome, now, port))
    }

    /// Hears of a peer.
    pub fn on_peer_supported(&mut self, there: &Reachable, ctx: &Context) {
        if there.protocol == self.protocol {
            self.with(ctx, |state, now, port| state.peer_supported(*there, now, port));
        }
    }

    /// Hears that a peer is gone.
    pub fn on_peer_unsupported(&mut self, lane: &Lane, ctx: &Context) {
        if lane.protocol == self.protocol {
            self.with(ctx, |state, now, _| state.peer_unsupported(lane.peer, now));
        }
    }

    /// Hears that a lane takes sends again.
    pub fn on_relieved(&mut self, lane: &Lane, ctx: &Context) {
        if lane.protocol == self.protocol {
            self.with(ctx, |state, now, _| state.relieved(lane.peer, now));
        }
    }

    /// Hears that messages did not arrive, in either direction.
    pub fn on_lost(&mut self, count: &Count, ctx: &Context) {
        if count.protocol == self.protocol {
            self.with(ctx, |state, now, _| state.lost(count.peer, now));
        }
    }

    /// Hears of a timer. False when it is the plugin's own.
    pub fn on_timer(&mut self, id: u64) -> bool {
        let ours = id == self.timer;
        if ours {
            self.armed_ms = None;
        }
        ours
    }

    /// Stores what was accepted and sends what is due. Call it at the end of every turn, after the last decision.
    ///
    /// # Errors
    /// When there is no timer left.
    pub fn on_turn_end(&mut self, ctx: &Context) -> Result {
        self.write(ctx);
        let now_ms = ctx.now_ms();
        let more = self.read_again(ctx) || !self.state.writes.is_empty();
        let wake_ms = if more { now_ms } else { u64::MAX };
        let wake_ms = wake_ms.min(self.with(ctx, |state, now, port| state.flush(now, port)));
        // One that is overdue was dropped with the rest of a turn end that failed.
        if self.armed_ms.is_none_or(|armed_ms| wake_ms < armed_ms || armed_ms < now_ms) {
            ctx.set_timer(self.timer, wake_ms.saturating_sub(now_ms))?;
            self.armed_ms = Some(wake_ms);
        }
        Ok(())
    }
}

impl<I: Items> Gossip<I> {
    /// Stores as much of what was accepted as one turn should.
    fn write(&mut self, ctx: &Context) {
        for _ in 0..MOST_WRITES {
            let Some(write) = self.state.writes.pop_front() else { return };
            match self.items.put(write.place, &write.bytes, ctx) {
                Ok(gone) => gone.iter().for_each(|id| self.state.forget(id, true)),
                Err(error) if error.code() == "over-budget" => return self.state.writes.push_front(write),
                Err(error) => {
                    crate::warn!("item {:?} is not kept: {error}", write.place.id);
                    self.state.forget(&write.place.id, false);
                }
            }
        }
    }

    /// Reads some of the items again when the index has room for what it had to leave out. True when there are more.
    fn read_again(&mut self, ctx: &Context) -> bool {
        if !self.state.reads_again() {
            return false;
        }
        let state = &mut self.state;
        match self.items.load_on(self.read_to.take(), &mut |place| state.take_in(place), ctx) {
            Ok(Some(next)) => self.read_to = Some(next),
            Ok(None) => self.state.all_read(),
            Err(error) => {
                crate::warn!("what was left out of the index cannot be read: {error}");
                self.state.not_read();
            }
        }
        self.read_to.is_some()
    }
}

/// The outside, as a turn has it.
struct Wired<'a, I> {
    ctx: &'a Context,
    items: &'a I,
    protocol: ProtocolKey,
}

impl<I: Items> Port for Wired<'_, I> {
    fn send(&mut self, to: PeerId, body: &[u8]) -> Result<(), SendError> {
        self.ctx.send_bytes(to, self.protocol, body)
    }

    fn ask(&mut self, to: PeerId, timeout_ms: u32, body: &[u8]) -> Result<u64, SendError> {
        self.ctx.ask_bytes(to, self.protocol, timeout_ms, body)
    }

    fn report(&mut self, peer: PeerId, verdict: Verdict, why: &str) {
        self.ctx.report(peer, self.protocol, verdict, why);
    }

    fn random(&mut self) -> u64 {
        self.ctx.random_number()
    }

    fn load(&self, id: &ItemId) -> Option<Vec<u8>> {
        self.items.get(id, self.ctx)
    }

    fn id(&self, bytes: &[u8]) -> ItemId {
        self.items.id(bytes)
    }

    fn stamp(&self, bytes: &[u8]) -> u64 {
        self.items.stamp(bytes)
    }
}
