//! What waits in the order in which it came, in segments as large as one turn may take. Pure.

use std::collections::VecDeque;

use super::batch::{CommandHead, Place};
use super::state::{Bounds, Stay};
use crate::plugin::CallError;
use crate::protocol::{AskError, AskId, RequestToken};

/// One entry of a segment. `cost` is the room it gives back.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) cost: u32,
    pub(super) body: Place,
    pub(super) what: What,
}

/// What waits.
#[derive(Debug)]
pub(super) enum What {
    Message(Stay),
    Request(Stay, RequestToken, u32),
    Response(AskId, Option<Box<AskError>>),
    Command(Box<CommandHead>),
    Called(u64, Option<Box<CallError>>),
    RequestWithdrawn(RequestToken),
    CommandWithdrawn(u64),
    /// Purged or withdrawn; the next turn passes over it. It keeps its cost until then, because its body is still there:
    /// a peer that comes and goes, or asks and withdraws, must not put more here than the bounds say.
    Nothing,
    /// The same for a command.
    NoCommand,
}

/// As much as one turn may take.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) entries: Vec<Entry>,
    pub(super) bodies: Vec<u8>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue(VecDeque<Segment>);

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn segments(&self) -> usize {
        self.0.len()
    }

    pub(super) fn entries(&self) -> usize {
        self.0.iter().map(|segment| segment.entries.len()).sum()
    }

    /// Of bodies.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|segment| segment.bodies.len()).sum()
    }

    /// Makes room for so many more entries and bytes at once, where they would make it bit by bit; no more than a segment
    /// takes.
    pub(super) fn reserve(&mut self, entries: usize, bytes: usize, bounds: &Bounds) {
        if self.0.is_empty() && entries > 0 {
            self.0.push_back(Segment::default());
        }
        let Some(segment) = self.0.back_mut() else { return };
        segment.entries.reserve(entries.min(bounds.batch_events.saturating_sub(segment.entries.len())));
        segment.bodies.reserve(bytes.min(bounds.batch_bytes.saturating_sub(segment.bodies.len())));
    }

    pub(super) fn append(&mut self, what: What, body: &[u8], cost: u32, bounds: &Bounds) {
        let fits = |segment: &Segment| {
            segment.entries.len() < bounds.batch_events && segment.bodies.len() + body.len() <= bounds.batch_bytes
        };
        if !self.0.back().is_some_and(fits) {
            self.0.push_back(Segment::default());
        }
        if let Some(segment) = self.0.back_mut() {
            // A body is at most 1 MiB, and more than one in a segment are at most a batch: both fit 32 bits.
            let place = Place { at: segment.bodies.len() as u32, len: body.len() as u32 };
            segment.bodies.extend_from_slice(body);
            segment.entries.push(Entry { cost, body: place, what });
        }
    }

    /// Makes nothing of what waits of one stay: how many messages, and the requests.
    pub(super) fn void_all_of(&mut self, stay: Stay) -> (u64, Vec<RequestToken>) {
        let (mut messages, mut requests) = (0, Vec::new());
        for entry in self.0.iter_mut().flat_map(|segment| &mut segment.entries) {
            match entry.what {
                What::Message(of) if of == stay => messages += 1,
                What::Request(of, token, _) if of == stay => requests.push(token),
                _ => continue,
            }
            entry.what = What::Nothing;
        }
        (messages, requests)
    }

    /// Puts something else in the place of what matches.
    pub(super) fn void(&mut self, matches: impl Fn(&What) -> bool, by: impl Fn() -> What) {
        for entry in self.0.iter_mut().flat_map(|segment| &mut segment.entries) {
            if matches(&entry.what) {
                entry.what = by();
            }
        }
    }

    /// Takes the first segment, if it is wanted.
    pub(super) fn pop_if(&mut self, wanted: bool) -> Option<Segment> {
        self.0.pop_front_if(|_| wanted)
    }

    /// Takes everything.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Entry> {
        self.0.drain(..).flat_map(|segment| segment.entries)
    }
}
