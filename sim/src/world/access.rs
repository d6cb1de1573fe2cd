//! Whom nodes let in, and that they do not let in others.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_host::transport::{AccessEntry, AccessLists};

use super::{Outcome, World};
use crate::look::Look;

/// How long after its lists have changed a node may show a connection that they deny: until its end is noticed.
const CLOSING: Duration = Duration::from_secs(1);

impl World {
    /// Decides anew whom a node lets in, now and after every restart.
    pub fn set_access(&mut self, index: usize, lists: AccessLists) {
        self.trace.note(&self.machines[index].name, format_args!("lists {lists:?}"));
        self.machines[index].plan.borrow_mut().access = lists.clone();
        self.access_changed.insert(index, self.now());
        self.post(index, move |node| async move {
            node.host.set_access(lists).await;
        });
    }

    /// Everybody lets in everybody.
    pub fn lift_all(&mut self) {
        for index in 0..self.machines.len() {
            let lists = !self.machines[index].plan.borrow().access.eq(&AccessLists::default());
            if lists {
                self.set_access(index, AccessLists::default());
            }
        }
    }

    /// A node blocks one, or allows some only, or lifts what it had: as it is drawn.
    pub fn draw_access(&mut self, node: usize) {
        let all: Vec<usize> = (0..self.machines.len()).filter(|other| *other != node).collect();
        let mut lists = self.machines[node].plan.borrow().access.clone();
        let of = |world: &mut Self| {
            let peer = world.pick(&all);
            let (id, at) = (world.machines[peer].directory()[peer], world.machines[peer].address());
            if world.chance(50) { AccessEntry::Peer(id) } else { AccessEntry::Ip(at.ip()) }
        };
        match self.draw(0..=4) {
            0 | 1 => drop(lists.block.insert(of(self))),
            2 => drop(lists.allow.insert(of(self))),
            _ => lists = AccessLists::default(),
        }
        self.set_access(node, lists);
    }

    /// Nobody is connected whom a node's lists deny, but for the moment in which that ends.
    pub(super) fn lists_are_kept(&self, looks: &BTreeMap<usize, Look>) -> Outcome {
        for (node, look) in looks {
            let settled = self.access_changed.get(node).is_none_or(|at| self.looked >= *at + CLOSING);
            if let Some(peer) = look.peers.keys().find(|peer| settled && self.denies(*node, **peer)) {
                let detail = format!("n{node} is connected to n{peer}, whom its lists deny");
                return Err(self.violation("nobody is connected whom the lists deny", detail));
            }
        }
        Ok(())
    }

    /// Whether the lists of a node keep out another one.
    pub(super) fn denies(&self, node: usize, peer: usize) -> bool {
        let lists = &self.machines[node].plan.borrow().access;
        let (ids, at) = (self.machines[node].directory(), self.machines[peer].address());
        lists.check(ids.get(peer), at).is_err()
    }
}
