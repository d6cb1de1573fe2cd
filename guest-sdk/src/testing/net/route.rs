//! Where effects go: over a wire, into the clock, to another plugin of the node.

use std::rc::Rc;

use super::queue::Due;
use super::wires::{LinkState, Parcel, Place};
use super::{OpenAsk, TestNet, Waiter, Waiting};
use crate::abi::{AskError, CallError, Caller, PeerId, ProtocolKey};
use crate::testing::Effect;
use crate::testing::node::{Room, START_MS};

impl TestNet {
    /// Lets one effect out. What acts on the node itself has been done at the commit.
    pub(super) fn route(&mut self, place: Place, effect: Effect) {
        match effect {
            Effect::Send { to, protocol, body } => {
                for peer in to {
                    self.totals.sent += 1;
                    self.totals.sent_bytes += body.len() as u64;
                    self.dispatch(place, peer, protocol, Parcel { body: body.clone(), ask: None });
                }
            }
            Effect::Ask { id, to, protocol, timeout_ms, body } => self.ask(place, id, (to, protocol), timeout_ms, body),
            Effect::CancelAsk(id) => self.forget_ask(place, id),
            Effect::Respond { request, outcome } => {
                if let Some((wire, ask)) = self.slot(place).requests.remove(&request) {
                    self.send_reply(wire, ask, outcome.map_err(AskError::Refused));
                }
            }
            Effect::Pause { protocol, paused } => self.pause(place, protocol, paused),
            Effect::SetTimer { id, .. } => self.plan_timer(place, id),
            Effect::Call { id, plugin, name, timeout_ms, body } => {
                let slots = self.machines[place.node as usize].slots.iter();
                let seat = (0..).zip(slots).find(|(_, slot)| slot.seat.manifest.name == plugin).map(|(seat, _)| seat);
                let slot = self.slot(place);
                let waiter = Waiter::Call { place, call: id, life: slot.life };
                let caller = Caller::Plugin(slot.seat.manifest.name.clone());
                match seat {
                    Some(seat) => {
                        let to = Place { node: place.node, seat };
                        self.command_in(to, caller, name, timeout_ms, body, waiter);
                    }
                    None => self.answered(waiter, Err(CallError::UnknownPlugin)),
                }
            }
            Effect::Answer { command, outcome } => {
                let slot = self.slot(place);
                {
                    // An answer waits for the disk, and the disk takes what came before as well.
                    let mut node = slot.seat.imports.node();
                    let now_us = node.now_us;
                    node.store.synced(now_us);
                }
                if let Some(waiter) = slot.commands.remove(&command) {
                    self.answered(waiter, outcome.map_err(CallError::Failed));
                }
            }
            Effect::Nothing
            | Effect::Register(_)
            | Effect::Unregister(_)
            | Effect::Report { .. }
            | Effect::Put { .. }
            | Effect::Remove { .. }
            | Effect::CancelTimer(_) => {}
        }
    }

    /// Puts a parcel on its wire.
    fn dispatch(&mut self, place: Place, peer: PeerId, key: ProtocolKey, parcel: Parcel) {
        let Some(number) = self.slot(place).wires.get(&(peer, key)).copied() else { return };
        let now_us = self.now_us;
        let wire = &self.wires[number];
        let (link, direction) = (wire.link, usize::from(place.node > wire.to.node));
        let spec = self.links[link].spec;
        let jitter = self.random.within(0..spec.jitter_us + 1);
        let busy = &mut self.links[link].busy_us[direction];
        if let Some(takes_us) = (parcel.body.len() as u64 * 1_000).checked_div(spec.bytes_per_ms) {
            *busy = (*busy).max(now_us) + takes_us;
        }
        let arrives = (*busy).max(now_us) + spec.latency_us + jitter;
        let wire = &mut self.wires[number];
        let arrives = if wire.ordered { arrives.max(wire.last_us) } else { arrives };
        wire.last_us = arrives;
        wire.in_flight += u64::from(parcel.ask.is_none());
        let epoch = wire.epoch;
        self.queue.push(arrives, Due::Arrive { wire: number, epoch, parcel });
        self.congested(place, peer, key, number);
    }

    fn congested(&mut self, place: Place, peer: PeerId, key: ProtocolKey, number: usize) {
        let slot = self.slot(place);
        let full = {
            let node = slot.seat.imports.node();
            let room = node.lanes.get(&(peer, key)).map(|lane| lane.room);
            matches!(room, Some(Room::Bytes { queued, soft }) if queued >= soft)
        };
        if full && !std::mem::replace(&mut self.wires[number].congested, true) {
            self.slot(place).mailbox.pressure((peer, key), true);
            self.plan_turn(place);
        }
    }

    /// A parcel reaches the other node.
    pub(super) fn arrive(&mut self, number: usize, epoch: u32, parcel: Parcel) {
        let wire = &mut self.wires[number];
        if wire.epoch == epoch {
            wire.in_flight -= u64::from(parcel.ask.is_none());
            self.reach(number, parcel);
        }
    }

    /// A parcel that has arrived goes into the mailbox, or waits for the link or for room.
    pub(super) fn reach(&mut self, number: usize, parcel: Parcel) {
        let wire = &self.wires[number];
        let (to, to_key) = (wire.to, wire.to_key);
        if self.links[wire.link].state == LinkState::Silent {
            self.wires[number].held.push_back(parcel);
        } else if !wire.waiting.is_empty() || !self.has_room(to, to_key) {
            self.wires[number].waiting.push_back(parcel);
            self.slot(to).blocked.insert(number);
        } else {
            self.hand_over(number, parcel);
        }
    }

    fn has_room(&mut self, place: Place, key: ProtocolKey) -> bool {
        let (most, most_bytes) = (self.network.mailbox_events as usize, self.network.mailbox_bytes as usize);
        let slot = self.slot(place);
        let (events, bytes) = slot.mailbox.load();
        events < most && bytes < most_bytes && !slot.seat.imports.node().paused.contains(&key)
    }

    /// Lets in what has waited for room.
    pub(super) fn unblock(&mut self, place: Place) {
        if self.slot(place).blocked.is_empty() {
            return;
        }
        for number in self.slot(place).blocked.clone() {
            let key = self.wires[number].to_key;
            while self.has_room(place, key)
                && let Some(parcel) = self.wires[number].waiting.pop_front()
            {
                self.hand_over(number, parcel);
            }
            if self.wires[number].waiting.is_empty() {
                self.slot(place).blocked.remove(&number);
            }
        }
    }

    fn hand_over(&mut self, number: usize, parcel: Parcel) {
        let wire = &self.wires[number];
        let (from, from_key, to, to_key) = (wire.from, wire.from_key, wire.to, wire.to_key);
        let back_us = self.links[wire.link].spec.latency_us;
        let sender = self.machines[from.node as usize].id;
        let receiver = self.machines[to.node as usize].id;
        self.relieve(number, from, (receiver, from_key), parcel.body.len());
        let now_us = self.now_us;
        match parcel.ask {
            None => {
                let wire = &mut self.wires[number];
                while wire.unheard.pop_front_if(|heard| *heard <= now_us).is_some() {}
                wire.unheard.push_back(now_us + back_us);
                self.totals.delivered += 1;
                self.slot(to).mailbox.push(Waiting::Message((sender, to_key), parcel.body));
            }
            Some((ask, _, deadline_us)) => {
                if !self.slot(from).asks.contains_key(&ask) {
                    return;
                }
                let slot = self.slot(to);
                let id = slot.seat.imports.node().open();
                slot.requests.insert(id, (number, ask));
                let timeout_ms = (deadline_us.saturating_sub(now_us) / 1_000) as u32;
                let (lane, body) = ((sender, to_key), parcel.body);
                slot.mailbox.push(Waiting::Request { lane, id, timeout_ms, body });
                if let Some(open) = self.slot(from).asks.get_mut(&ask) {
                    open.request = Some(id);
                }
            }
        }
        self.plan_turn(to);
    }

    /// The sender's lane has so many bytes less to carry.
    pub(super) fn relieve(&mut self, number: usize, from: Place, lane: (PeerId, ProtocolKey), bytes: usize) {
        let congested = self.wires[number].congested;
        let slot = self.slot(from);
        let relieved = {
            let mut node = slot.seat.imports.node();
            let Some(lane) = node.lanes.get_mut(&lane) else { return };
            let Room::Bytes { queued, soft } = &mut lane.room else { return };
            *queued = queued.saturating_sub(bytes);
            let relieved = (congested || lane.refused) && (*queued < *soft / 2 || (*queued == 0 && *soft > 0));
            lane.refused &= !relieved;
            relieved
        };
        if relieved {
            slot.mailbox.pressure(lane, false);
            self.wires[number].congested = false;
            self.plan_turn(from);
        }
    }

    fn ask(&mut self, place: Place, id: u64, (to, key): (PeerId, ProtocolKey), timeout_ms: u32, body: Rc<[u8]>) {
        let Some(wire) = self.slot(place).wires.get(&(to, key)).copied() else { return };
        self.totals.asks += 1;
        self.totals.ask_bytes += body.len() as u64;
        let life = self.slot(place).life;
        self.slot(place).asks.insert(id, OpenAsk { wire, request: None });
        let deadline_us = self.now_us + u64::from(timeout_ms) * 1_000;
        self.queue.push(deadline_us, Due::AskTimeout { place, ask: id, life });
        self.dispatch(place, to, key, Parcel { body, ask: Some((id, timeout_ms, deadline_us)) });
    }

    /// Sends the outcome of a request back over the link it came on.
    pub(super) fn send_reply(&mut self, wire: usize, ask: u64, outcome: Result<Rc<[u8]>, AskError>) {
        let wire = &self.wires[wire];
        let (place, key, to) = (wire.from, wire.from_key, wire.to);
        let spec = self.links[wire.link].spec;
        let peer = self.machines[to.node as usize].id;
        let jitter = self.random.within(0..spec.jitter_us + 1);
        let most = self.slot(place).seat.imports.node().lanes.get(&(peer, key)).map(|lane| lane.max_message);
        let bytes = outcome.as_ref().map_or(0, |body| body.len());
        let outcome = if most.is_some_and(|most| bytes > most as usize) { Err(AskError::TooLarge) } else { outcome };
        self.totals.ask_bytes += bytes as u64;
        let life = self.slot(place).life;
        self.queue.push(self.now_us + spec.latency_us + jitter, Due::Reply { place, ask, life, outcome });
    }

    pub(super) fn reply(&mut self, place: Place, ask: u64, life: u32, outcome: Result<Rc<[u8]>, AskError>) {
        let slot = self.slot(place);
        let same = slot.life == life;
        let Some(wire) = slot.asks.get(&ask).filter(|_| same).map(|open| open.wire) else { return };
        let link = self.wires[wire].link;
        if self.links[link].state == LinkState::Silent {
            self.queue.push(self.now_us + 50_000, Due::Reply { place, ask, life, outcome });
        } else {
            self.end_ask(place, ask, outcome, false);
        }
    }

    /// An ask has its outcome. `withdraw`: the other side still works on it.
    pub(super) fn end_ask(&mut self, place: Place, ask: u64, outcome: Result<Rc<[u8]>, AskError>, withdraw: bool) {
        let slot = self.slot(place);
        let open = slot.seat.imports.node().asks.remove(&ask).is_some();
        if open && slot.asks.contains_key(&ask) {
            slot.mailbox.push(Waiting::Response(ask, outcome));
            self.plan_turn(place);
        }
        if withdraw {
            self.forget_ask(place, ask);
        } else {
            self.slot(place).asks.remove(&ask);
        }
    }

    /// Nobody waits for an ask any more; the other side hears so.
    pub(super) fn forget_ask(&mut self, place: Place, ask: u64) {
        let Some(OpenAsk { wire, request: Some(request) }) = self.slot(place).asks.remove(&ask) else { return };
        let (to, link) = (self.wires[wire].to, self.wires[wire].link);
        let (life, latency_us) = (self.slot(to).life, self.links[link].spec.latency_us);
        self.queue.push(self.now_us + latency_us, Due::Withdraw { place: to, request, life });
    }

    fn pause(&mut self, place: Place, protocol: ProtocolKey, paused: bool) {
        if paused {
            let (life, pause_us) = (self.slot(place).life, self.network.pause_ms * 1_000);
            self.queue.push(self.now_us + pause_us, Due::Unpause { place, protocol, life });
        } else {
            self.unblock(place);
        }
    }

    fn plan_timer(&mut self, place: Place, id: u64) {
        let skew_us = self.machines[place.node as usize].skew_us;
        let slot = self.slot(place);
        let life = slot.life;
        let Some(at_ms) = slot.seat.imports.node().timers.get(&id).copied() else { return };
        let at_us = at_ms.saturating_sub(START_MS).saturating_mul(1_000).saturating_sub(skew_us).max(self.now_us);
        self.queue.push(at_us, Due::Timer { place, id, at_ms, life });
    }

    /// A command or a call comes in.
    pub(super) fn command_in(
        &mut self,
        place: Place,
        caller: Caller,
        name: String,
        timeout_ms: u32,
        body: Rc<[u8]>,
        waiter: Waiter,
    ) {
        let slot = self.slot(place);
        let (id, life) = (slot.seat.imports.node().open(), slot.life);
        slot.commands.insert(id, waiter);
        slot.mailbox.push(Waiting::Command { id, caller, name, timeout_ms, body });
        self.queue.push(self.now_us + u64::from(timeout_ms) * 1_000, Due::CommandTimeout { place, command: id, life });
        self.plan_turn(place);
    }
}
