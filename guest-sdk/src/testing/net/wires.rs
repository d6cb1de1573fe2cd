//! Lanes between nodes: what is on its way, what waits for room, what a break loses.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::abi::ProtocolKey;

/// A plugin on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub node: u32,
    pub seat: u32,
}

/// What goes over a wire.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub body: Rc<[u8]>,
    /// The ask it is, its time in milliseconds, and when its time is over.
    pub ask: Option<(u64, u32, u64)>,
}

/// One lane: one direction between two plugins of one protocol.
#[derive(Debug)]
pub(super) struct Wire {
    pub link: usize,
    pub from: Place,
    pub from_key: ProtocolKey,
    pub to: Place,
    pub to_key: ProtocolKey,
    pub ordered: bool,
    /// Counts connections: what was sent on an earlier one never arrives.
    pub epoch: u32,
    pub up: bool,
    /// The sender was told that it is congested.
    pub congested: bool,
    /// Messages that have not reached the other node.
    pub in_flight: u64,
    /// What reached the other node and waits for room in the mailbox, in order.
    pub waiting: VecDeque<Parcel>,
    /// What reached a link that is silent.
    pub held: VecDeque<Parcel>,
    /// When the last one arrives.
    pub last_us: u64,
    /// When the sender will hear of each message that arrived.
    pub unheard: VecDeque<u64>,
}

impl Wire {
    /// The connection is gone: how many messages the sender must take for lost.
    pub(super) fn cut(&mut self, now_us: u64) -> u64 {
        while self.unheard.pop_front_if(|heard| *heard <= now_us).is_some() {}
        let messages = |parcels: &VecDeque<Parcel>| parcels.iter().filter(|parcel| parcel.ask.is_none()).count() as u64;
        let lost = self.in_flight + messages(&self.waiting) + messages(&self.held) + self.unheard.len() as u64;
        self.epoch += 1;
        (self.up, self.congested) = (false, false);
        self.in_flight = 0;
        self.waiting.clear();
        self.held.clear();
        self.unheard.clear();
        self.last_us = 0;
        lost
    }
}

/// A pair of nodes that want, or once wanted, a connection.
#[derive(Debug)]
pub(super) struct Link {
    pub ends: (u32, u32),
    pub spec: super::LinkSpec,
    pub wanted: bool,
    pub state: LinkState,
    /// Counts changes, so that a plan made before one is void.
    pub change: u32,
    /// When each direction has sent all it was given, in microseconds.
    pub busy_us: [u64; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    Down,
    Up,
    /// Cut, and nobody has noticed yet.
    Silent,
}
