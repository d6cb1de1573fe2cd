//! Connections: who is connected to whom, and what both sides hear of it.

use std::collections::VecDeque;

use super::queue::Due;
use super::wires::{Link, LinkState, Place, Wire};
use super::{LinkSpec, TestNet, Waiting};
use crate::abi::{AskError, Delivery};
use crate::testing::node::{Room, TestLane};

impl TestNet {
    /// The link between two nodes, made when it is first spoken of.
    pub(super) fn link(&mut self, one: u32, other: u32) -> usize {
        let ends = (one.min(other), one.max(other));
        if let Some(link) = self.link_of.get(&ends) {
            return *link;
        }
        let spec = self.network.link;
        let number = self.links.len();
        self.links.push(Link { ends, spec, wanted: false, state: LinkState::Down, change: 0, busy_us: [0; 2] });
        self.link_of.insert(ends, number);
        self.machines[ends.0 as usize].links.insert(number);
        self.machines[ends.1 as usize].links.insert(number);
        number
    }

    pub(super) fn set_link(&mut self, one: u32, other: u32, spec: LinkSpec) {
        let link = self.link(one, other);
        self.links[link].spec = spec;
    }

    /// Whether a link could carry anything now.
    fn passable(&self, link: usize) -> bool {
        let (one, other) = self.links[link].ends;
        let (one, other) = (&self.machines[one as usize], &self.machines[other as usize]);
        self.links[link].wanted && one.up && other.up && one.group == other.group
    }

    /// Brings a link towards what it should be. `at_once`: whoever closes it says so, and a first connection needs no
    /// search.
    pub(super) fn settle_link(&mut self, link: usize, at_once: bool) {
        let passable = self.passable(link);
        let Link { state, change, .. } = &mut self.links[link];
        match (*state, passable) {
            (LinkState::Up, true) | (LinkState::Down, false) => {}
            (LinkState::Silent, true) => {
                *state = LinkState::Up;
                *change += 1;
                self.release_held(link);
            }
            (LinkState::Down, true) => {
                *change += 1;
                let change = *change;
                let wait = self.network.reconnect_ms;
                let wait_us = if at_once { 0 } else { (wait + self.random.within(0..wait + 1)) * 1_000 };
                self.queue.push(self.now_us + wait_us, Due::Up { link, change });
            }
            (LinkState::Up, false) if !at_once && self.network.silence_ms > 0 => {
                *state = LinkState::Silent;
                *change += 1;
                let change = *change;
                self.queue.push(self.now_us + self.network.silence_ms * 1_000, Due::Notice { link, change });
            }
            (LinkState::Up, false) => self.link_down(link),
            (LinkState::Silent, false) if at_once => self.link_down(link),
            (LinkState::Silent, false) => {}
        }
    }

    /// A silent link was silent for too long.
    pub(super) fn notice(&mut self, link: usize, change: u32) {
        if self.links[link].change == change {
            self.link_down(link);
            self.settle_link(link, false);
        }
    }

    pub(super) fn link_up(&mut self, link: usize, change: u32) {
        if self.links[link].change != change || !self.passable(link) {
            return;
        }
        self.links[link].state = LinkState::Up;
        let (one, other) = self.links[link].ends;
        let shared: Vec<_> = {
            let (one, other) = (&self.machines[one as usize], &self.machines[other as usize]);
            let theirs = |id: &String| other.protocols.get(id).copied();
            one.protocols.iter().filter_map(|(id, ours)| Some((*ours, theirs(id)?))).collect()
        };
        for ((seat, key), (other_seat, other_key)) in shared {
            let (one, other) = (Place { node: one, seat }, Place { node: other, seat: other_seat });
            self.lane_up(link, (one, key), (other, other_key));
            self.lane_up(link, (other, other_key), (one, key));
        }
    }

    /// Opens one direction.
    pub(super) fn lane_up(&mut self, link: usize, (from, from_key): (Place, u32), (to, to_key): (Place, u32)) {
        let peer = self.machines[to.node as usize].id;
        let theirs = self.max_message(to, to_key);
        let room = Room::Bytes { queued: 0, soft: self.network.lane_bytes as usize };
        let slot = self.slot(from);
        let (ours, ordered) = {
            let node = slot.seat.imports.node();
            let Some(protocol) = node.protocols.get(&from_key) else { return };
            (protocol.max_message, protocol.delivery == Delivery::Ordered)
        };
        let max_message = ours.min(theirs);
        let known = slot.wires.get(&(peer, from_key)).copied();
        let lane = TestLane { max_message, room, refused: false };
        slot.seat.imports.node().lanes.insert((peer, from_key), lane);
        slot.mailbox.supported((peer, from_key), max_message);
        let number = known.unwrap_or(self.wires.len());
        if known.is_none() {
            self.wires.push(Wire {
                link,
                from,
                from_key,
                to,
                to_key,
                ordered,
                epoch: 0,
                up: false,
                congested: false,
                in_flight: 0,
                waiting: VecDeque::new(),
                held: VecDeque::new(),
                last_us: 0,
                unheard: VecDeque::new(),
            });
            self.slot(from).wires.insert((peer, from_key), number);
        }
        let wire = &mut self.wires[number];
        (wire.up, wire.to, wire.to_key, wire.ordered) = (true, to, to_key, ordered);
        self.plan_turn(from);
    }

    fn max_message(&mut self, place: Place, key: u32) -> u32 {
        let node = self.slot(place).seat.imports.node();
        node.protocols.get(&key).map_or(0, |protocol| protocol.max_message)
    }

    /// Both sides hear that the connection is gone; what was in flight is lost.
    pub(super) fn link_down(&mut self, link: usize) {
        let Link { state, change, busy_us, ends, .. } = &mut self.links[link];
        *change += 1;
        *busy_us = [0; 2];
        let ends = *ends;
        if std::mem::replace(state, LinkState::Down) == LinkState::Down {
            return;
        }
        for (node, peer) in [ends, (ends.1, ends.0)] {
            let peer = self.machines[peer as usize].id;
            for seat in 0..self.machines[node as usize].slots.len() as u32 {
                let place = Place { node, seat };
                let wires = self.slot(place).wires.range((peer, 0)..=(peer, u32::MAX)).map(|(_, wire)| *wire);
                for wire in wires.collect::<Vec<_>>() {
                    if self.wires[wire].up {
                        self.lane_down(wire);
                    }
                }
            }
        }
    }

    /// Closes one direction: its sender hears what it must take for lost.
    pub(super) fn lane_down(&mut self, number: usize) {
        let now_us = self.now_us;
        let wire = &mut self.wires[number];
        let (from, from_key, to) = (wire.from, wire.from_key, wire.to);
        let lost = wire.cut(now_us);
        let peer = self.machines[to.node as usize].id;
        self.slot(to).blocked.remove(&number);
        self.totals.undelivered += lost;
        let up = self.machines[from.node as usize].up;
        let slot = self.slot(from);
        slot.seat.imports.node().lanes.remove(&(peer, from_key));
        let failed: Vec<_> = slot.asks.iter().filter(|(_, ask)| ask.wire == number).map(|(id, _)| *id).collect();
        for ask in failed {
            self.end_ask(from, ask, Err(AskError::NotConnected), false);
        }
        if !up {
            return;
        }
        let slot = self.slot(from);
        if lost > 0 {
            slot.mailbox.undelivered((peer, from_key), lost);
        }
        let told = slot.seat.has_told(peer, from_key);
        let unhandled = slot.mailbox.unsupported((peer, from_key), told);
        // What came from there and was not answered yet need not be any more.
        let back: Vec<_> = slot.requests.iter().map(|(id, (wire, _))| (*id, *wire)).collect();
        for (id, wire) in back {
            if self.wires[wire].from == to && self.wires[wire].to_key == from_key && self.wires[wire].to == from {
                self.slot(from).requests.remove(&id);
                let slot = self.slot(from);
                if slot.seat.imports.node().settle(id) && !unhandled.contains(&id) {
                    slot.mailbox.push(Waiting::Withdrawn(id));
                }
            }
        }
        for id in unhandled {
            self.slot(from).seat.imports.node().settle(id);
        }
        self.plan_turn(from);
    }

    /// What reached a silent link goes on.
    fn release_held(&mut self, link: usize) {
        let (one, other) = self.links[link].ends;
        for node in [one, other] {
            let peer = self.machines[if node == one { other } else { one } as usize].id;
            for seat in 0..self.machines[node as usize].slots.len() as u32 {
                let slot = self.slot(Place { node, seat });
                let wires: Vec<_> = slot.wires.range((peer, 0)..=(peer, u32::MAX)).map(|(_, wire)| *wire).collect();
                for wire in wires {
                    for parcel in std::mem::take(&mut self.wires[wire].held) {
                        self.reach(wire, parcel);
                    }
                }
            }
        }
    }
}
