//! What is done to the network: partitions, crashes, upgrades.

use std::collections::BTreeMap;

use super::wires::{LinkState, Place};
use super::{Entry, Note, Step, TestNet, Waiter, gone};
use crate::abi::{Cause, ProtocolKey};
use crate::testing::Crash;
use crate::testing::node::Room;

impl TestNet {
    /// Does this now.
    ///
    /// # Panics
    /// When it names a node, a plugin or a revision that is not there, or the new revision does not start.
    pub fn step(&mut self, step: Step) {
        if self.trace.is_on() {
            let note = Note { text: format!("{step:?}"), ..Note::of("step") };
            self.trace.push(Entry { at_us: self.now_us, node: u32::MAX, plugin: 0, note });
        }
        match step {
            Step::Connect(one, other) => self.want(one, other, true),
            Step::Disconnect(one, other) => self.want(one, other, false),
            Step::Break(one, other) => {
                if let Some(link) = self.link_of.get(&(one.min(other), one.max(other))).copied() {
                    self.link_down(link);
                    self.settle_link(link, false);
                }
            }
            Step::Link(one, other, spec) => self.set_link(one, other, spec),
            Step::Partition(groups) => self.partition(&groups),
            Step::Heal => self.partition(&[]),
            Step::Crash { node, plugin } => self.crash(Place { node, seat: plugin }),
            Step::Kill { node, lose_ms } => self.kill(node, lose_ms),
            Step::Boot(node) => self.boot(node),
            Step::Upgrade { node, plugin, revision } => {
                let outcome = self.upgrade(Place { node, seat: plugin }, revision);
                outcome.unwrap_or_else(|error| panic!("the upgrade on node {node} failed: {error}"));
            }
            Step::Room { from, to, bytes } => self.set_room(from, to, bytes),
            Step::Slow { node, turn_us } => {
                self.machines[node as usize].slots.iter_mut().for_each(|slot| slot.turn_us = turn_us);
            }
            Step::Command { node, plugin, name, args } => drop(self.submit_to(node, plugin, &name, args)),
        }
    }

    fn want(&mut self, one: u32, other: u32, wanted: bool) {
        assert_ne!(one, other, "a node has no connection with itself");
        let link = self.link(one, other);
        self.links[link].wanted = wanted;
        self.settle_link(link, true);
    }

    fn partition(&mut self, groups: &[Vec<u32>]) {
        self.machines.iter_mut().for_each(|machine| machine.group = None);
        for (number, group) in groups.iter().enumerate() {
            for node in group {
                self.machines[*node as usize].group = Some(number);
            }
        }
        (0..self.links.len()).for_each(|link| self.settle_link(link, false));
    }

    fn crash(&mut self, place: Place) {
        if !self.slot(place).seat.is_running() {
            return;
        }
        let mut out = Vec::new();
        let crash = Crash { event: None, message: "told to".to_owned() };
        self.slot(place).seat.restart(Some(crash), &mut out);
        self.carry_out(place, out);
    }

    /// Replaces the revision of one plugin. When the new one does not start, the old one goes on.
    ///
    /// # Errors
    /// What the new revision said.
    fn upgrade(&mut self, place: Place, revision: u32) -> Result<(), String> {
        if !self.slot(place).seat.is_running() {
            return Ok(());
        }
        let revision = self.revisions[revision as usize].clone();
        let mut out = Vec::new();
        let outcome = self.slot(place).seat.upgrade(revision, &mut out);
        self.carry_out(place, out);
        outcome
    }

    fn kill(&mut self, node: u32, lose_ms: u64) {
        if !std::mem::replace(&mut self.machines[node as usize].up, false) {
            return;
        }
        let (clock_us, sync_us) = (self.clock_us(node), self.network.sync_ms * 1_000);
        for seat in 0..self.machines[node as usize].slots.len() as u32 {
            let slot = self.slot(Place { node, seat });
            slot.seat.end();
            slot.mailbox.clear();
            slot.life += 1;
            slot.turn_planned = false;
            slot.busy_until_us = 0;
            slot.blocked.clear();
            slot.asks.clear();
            slot.requests.clear();
            let commands = std::mem::take(&mut slot.commands);
            {
                let store = &mut slot.seat.imports.node().store;
                store.synced(clock_us.saturating_sub(sync_us));
                store.lose(clock_us.saturating_sub(lose_ms * 1_000));
            }
            for waiter in commands.into_values() {
                if let Waiter::Ticket(ticket) = waiter {
                    self.answers.insert(ticket, Err(gone("the node died")));
                }
            }
        }
        let links: Vec<_> = self.machines[node as usize].links.iter().copied().collect();
        links.into_iter().for_each(|link| self.settle_link(link, false));
    }

    fn boot(&mut self, node: u32) {
        if self.machines[node as usize].up {
            return;
        }
        let links: Vec<_> = self.machines[node as usize].links.iter().copied().collect();
        // Whoever still takes the old process for alive learns better from the new one.
        links.iter().for_each(|link| self.link_down(*link));
        self.machines[node as usize].up = true;
        for seat in 0..self.machines[node as usize].slots.len() as u32 {
            self.start(Place { node, seat }, Cause::Boot);
        }
        links.into_iter().for_each(|link| self.settle_link(link, false));
    }

    fn set_room(&mut self, from: u32, to: u32, bytes: u32) {
        let peer = self.machines[to as usize].id;
        for seat in 0..self.machines[from as usize].slots.len() as u32 {
            let place = Place { node: from, seat };
            let slot = self.slot(place);
            let lanes: Vec<_> = slot.wires.range((peer, 0)..=(peer, u32::MAX)).map(|(at, wire)| (*at, *wire)).collect();
            for (lane, wire) in lanes {
                if let Some(lane) = self.slot(place).seat.imports.node().lanes.get_mut(&lane)
                    && let Room::Bytes { soft, .. } = &mut lane.room
                {
                    *soft = bytes as usize;
                }
                self.relieve(wire, place, lane, 0);
            }
        }
    }

    /// A node's plugins may serve other protocols than before: lanes open and close.
    pub(super) fn protocols_changed(&mut self, node: u32) {
        let mut now: BTreeMap<String, (u32, ProtocolKey)> = BTreeMap::new();
        for (seat, slot) in (0..).zip(&self.machines[node as usize].slots) {
            for protocol in slot.seat.imports.node().protocols.values() {
                // Who was there first keeps it.
                now.entry(protocol.id.clone()).or_insert((seat, protocol.key));
            }
        }
        let before = std::mem::replace(&mut self.machines[node as usize].protocols, now.clone());
        let links: Vec<_> = self.machines[node as usize].links.iter().copied().collect();
        for link in links.into_iter().filter(|link| self.links[*link].state == LinkState::Up).collect::<Vec<_>>() {
            let (one, other) = self.links[link].ends;
            let peer = if one == node { other } else { one };
            for (id, ours) in before.iter().filter(|(id, ours)| now.get(*id) != Some(ours)) {
                self.protocol_gone(node, *ours, peer, id);
            }
            for (id, ours) in now.iter().filter(|(id, ours)| before.get(*id) != Some(ours)) {
                let Some(theirs) = self.machines[peer as usize].protocols.get(id).copied() else { continue };
                let ours = (Place { node, seat: ours.0 }, ours.1);
                let theirs = (Place { node: peer, seat: theirs.0 }, theirs.1);
                self.lane_up(link, ours, theirs);
                self.lane_up(link, theirs, ours);
            }
        }
    }

    fn protocol_gone(&mut self, node: u32, (seat, key): (u32, ProtocolKey), peer: u32, id: &str) {
        let (ours, theirs) = (self.machines[node as usize].id, self.machines[peer as usize].id);
        let out = self.slot(Place { node, seat }).wires.get(&(theirs, key)).copied();
        let back = self.machines[peer as usize].protocols.get(id).copied();
        let back = back.and_then(|(seat, key)| self.slot(Place { node: peer, seat }).wires.get(&(ours, key)).copied());
        for wire in [out, back].into_iter().flatten().collect::<Vec<_>>() {
            if self.wires[wire].up {
                self.lane_down(wire);
            }
        }
    }
}
