//! What happens when: ordered by time, then by the order in which it was planned. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use super::plan::Step;
use super::wires::{Parcel, Place};
use crate::abi::AskError;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Due {
    /// A parcel reaches the other end of its wire, if that is still the same connection.
    Arrive { wire: usize, epoch: u32, parcel: Parcel },
    /// A plugin takes a turn.
    Turn(Place),
    /// A timer fires, if it is still set for this time on its node's clock.
    Timer { place: Place, id: u64, at_ms: u64, life: u32 },
    /// The outcome of an ask reaches who asked.
    Reply { place: Place, ask: u64, life: u32, outcome: Result<Rc<[u8]>, AskError> },
    /// An ask has waited long enough.
    AskTimeout { place: Place, ask: u64, life: u32 },
    /// A call or a command has waited long enough.
    CommandTimeout { place: Place, command: u64, life: u32 },
    /// Nobody waits for the answer to a request any more.
    Withdraw { place: Place, request: u64, life: u32 },
    /// A silent link is noticed to be gone, if it still is what it was then.
    Notice { link: usize, change: u32 },
    /// A link comes up, if it still is what it was then.
    Up { link: usize, change: u32 },
    /// A pause has lasted long enough.
    Unpause { place: Place, protocol: u32, life: u32 },
    /// Something is done to the network.
    Step(Box<Step>),
}

#[derive(Debug)]
struct Slot {
    at_us: u64,
    number: u64,
    due: Due,
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Slot {}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slot {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Slot>>,
    number: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at_us: u64, due: Due) {
        self.number += 1;
        self.heap.push(Reverse(Slot { at_us, number: self.number, due }));
    }

    /// The next one, if it is due by then.
    pub(super) fn pop(&mut self, until_us: u64) -> Option<(u64, Due)> {
        if self.heap.peek()?.0.at_us > until_us {
            return None;
        }
        self.heap.pop().map(|Reverse(slot)| (slot.at_us, slot.due))
    }
}
