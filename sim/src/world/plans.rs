//! What nodes do from now on, most of it after every restart, too: peers, protocols, floods, clocks.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Outcome, STARTED, World};
use crate::courier::Flood;

impl World {
    /// A node learns of a peer, now and after every restart.
    pub fn watch(&self, index: usize, peer: usize, necessary: bool) {
        self.machines[index].plan.borrow_mut().peers.insert(peer, necessary);
        self.post(index, move |node| async move { node.watch(peer, necessary).await });
    }

    /// A node forgets a peer and closes its connections.
    pub fn unwatch(&self, index: usize, peer: usize) {
        self.machines[index].plan.borrow_mut().peers.remove(&peer);
        let id = self.machines[index].directory()[peer];
        self.post(index, move |node| async move {
            node.host.remove_peer(id).await;
        });
    }

    /// Starts all machines; every one keeps every other one connected.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start_mesh(&mut self) -> Outcome<Vec<usize>> {
        let all: Vec<usize> = (0..self.machines.len()).collect();
        self.step("start");
        self.boot_all(&all)?;
        self.mesh(&all);
        Ok(all)
    }

    /// The same with so many protocols at each, waits until everything is as it should be, and says who they are.
    ///
    /// # Errors
    /// What was broken, or is not so in time.
    pub fn start_with(&mut self, protocols: u8) -> Outcome<Vec<usize>> {
        let all = self.start_mesh()?;
        self.register_all(protocols);
        self.settle(STARTED)?;
        Ok(all)
    }

    /// Every machine registers the first so many protocols, with handlers that take no time.
    pub fn register_all(&self, protocols: u8) {
        for node in 0..self.machines.len() {
            (0..protocols).for_each(|number| self.register(node, number, Duration::ZERO));
        }
    }

    /// Every one of these keeps every other one connected.
    pub fn mesh(&self, nodes: &[usize]) {
        for a in nodes {
            nodes.iter().filter(|b| *b != a).for_each(|b| self.watch(*a, *b, true));
        }
    }

    /// A node registers a protocol, now and after every restart.
    pub fn register(&self, index: usize, number: u8, pace: Duration) {
        self.machines[index].plan.borrow_mut().protocols.insert(number, pace);
        self.post(index, move |node| async move { node.register(number, pace) });
    }

    /// A node unregisters a protocol.
    pub fn unregister(&self, index: usize, number: u8) {
        self.machines[index].plan.borrow_mut().protocols.remove(&number);
        self.post(index, move |node| async move { node.unregister(number) });
    }

    /// A node begins to send.
    pub fn flood(&self, index: usize, flood: Flood) {
        self.trace.note(&self.machines[index].name, format_args!("{flood:?}"));
        self.post(index, move |node| node.flood(flood));
    }

    /// Sets a wall clock off by so many milliseconds.
    pub fn set_clock(&self, index: usize, off: i64) {
        self.trace.note(&self.machines[index].name, format_args!("clock off by {off} ms"));
        self.machines[index].clock.store(off, Ordering::Relaxed);
    }
}
