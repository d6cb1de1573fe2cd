//! Knows what was sent and what arrived, from outside of all nodes, and finds what may not be.
//!
//! Every message says who sent it, in which run and by which registration of that node, in which opening of the pair, and
//! its number. So each delivery can be judged alone: in order and at most once by the number, for this handler and not for
//! its predecessor by the opening, of the sender that the handler was told of and not of that one's predecessor by the
//! registration. At the end nothing may be missing that nobody was told of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of [`Label`] at the head of every body.
pub const LABEL: usize = 28;

/// One direction of one protocol between two nodes, in one run of the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId {
    /// Index of the sender.
    pub from: usize,
    /// The sender's run, counted from 1.
    pub boot: u32,
    /// Index of the receiver.
    pub to: usize,
    /// Number of the protocol.
    pub protocol: u8,
}

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The sender's run.
    pub boot: u32,
    /// The sender's registration, counted in that run.
    pub registration: u32,
    /// How often the pair had been opened at the sender, this time included.
    pub opening: u32,
    /// Counts what the sender wanted to send.
    pub number: u64,
}

impl Label {
    /// A body of at least [`LABEL`] bytes.
    pub fn body(self, size: usize) -> Bytes {
        let mut body = BytesMut::with_capacity(size.max(LABEL));
        body.put_u32(self.boot);
        body.put_u32(self.registration);
        body.put_u32(self.opening);
        body.put_u64(self.number);
        body.put_u64(self.number.wrapping_mul(31));
        body.resize(size.max(LABEL), self.number as u8);
        body.freeze()
    }

    /// `None` when the body is none of ours, or not as it was sent.
    pub fn read(body: &[u8]) -> Option<Self> {
        let head: &[u8; LABEL] = body.first_chunk()?;
        let number = u64::from_be_bytes(head[12..20].try_into().ok()?);
        let whole =
            head[20..] == number.wrapping_mul(31).to_be_bytes() && body[LABEL..].iter().all(|b| *b == number as u8);
        let word = |at: usize| Some(u32::from_be_bytes(head[at..at + 4].try_into().ok()?));
        whole.then_some(Self { boot: word(0)?, registration: word(4)?, opening: word(8)?, number })
    }
}

/// What is known of a flow.
#[derive(Debug, Clone, Default)]
pub struct Flow {
    /// Next number.
    next: u64,
    /// Taken by the sender's node.
    pub accepted: u64,
    /// Told to the sender as undelivered.
    pub undelivered: u64,
    /// Handed to a handler of the receiver.
    pub delivered: u64,
    last: Option<u64>,
    /// By registration of the receiver, in their order: the latest opening of the pair that was seen.
    openings: BTreeMap<(u32, u32), u32>,
    /// The sender is gone, and with it what it would have told.
    ended: bool,
}

#[derive(Default)]
struct Inner {
    now: Duration,
    flows: BTreeMap<FlowId, Flow>,
    openings: BTreeMap<FlowId, u32>,
    /// By node, its run and protocol: the registration that sends.
    registered: BTreeMap<(usize, u32, u8), u32>,
    /// By receiver, protocol and sender: whose messages the receiver has got since it was last told that the sender is
    /// there, by the sender's run and registration.
    met: BTreeMap<(usize, u8, usize), (u32, u32)>,
    asks: BTreeMap<u64, (usize, Duration)>,
    last_ask: u64,
    answered: u64,
    failed_asks: u64,
    /// Nodes that are being killed: what their memory does while it is dropped counts for nothing.
    dying: BTreeSet<usize>,
    found: Vec<(&'static str, String)>,
}

/// See the module; cheap to clone.
#[derive(Clone, Default)]
pub struct Oracle(Arc<Mutex<Inner>>);

/// How much was sent and what became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Messages taken by nodes.
    pub accepted: u64,
    /// Messages that reached a handler.
    pub delivered: u64,
    /// Messages told as undelivered.
    pub undelivered: u64,
    /// Asks with an answer.
    pub answered: u64,
    /// Asks that ended with an error.
    pub failed_asks: u64,
}

impl Oracle {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What time it is.
    pub fn set_now(&self, now: Duration) {
        self.inner().now = now;
    }

    /// Something that may not be.
    pub fn found(&self, invariant: &'static str, detail: String) {
        self.inner().found.push((invariant, detail));
    }

    /// The first thing that was found.
    pub fn take_found(&self) -> Option<(&'static str, String)> {
        let mut inner = self.inner();
        (!inner.found.is_empty()).then(|| inner.found.remove(0))
    }

    /// The node registers the protocol, in this run of it for the so manieth time.
    pub fn registers(&self, node: usize, boot: u32, protocol: u8, registration: u32) {
        self.inner().registered.insert((node, boot, protocol), registration);
    }

    /// The sender heard that the pair is open. What it gets from the other node is of one registration from now on.
    pub fn opened(&self, flow: FlowId) -> u32 {
        let mut inner = self.inner();
        inner.met.remove(&(flow.from, flow.protocol, flow.to));
        let count = inner.openings.entry(flow).or_default();
        *count += 1;
        *count
    }

    /// The label of the next message.
    pub fn next(&self, flow: FlowId) -> Label {
        let mut inner = self.inner();
        let opening = inner.openings.get(&flow).copied().unwrap_or_default();
        let registered = inner.registered.get(&(flow.from, flow.boot, flow.protocol));
        let registration = registered.copied().unwrap_or_default();
        let entry = inner.flows.entry(flow).or_default();
        entry.next += 1;
        Label { boot: flow.boot, registration, opening, number: entry.next }
    }

    /// The sender's node took the message.
    pub fn accepted(&self, flow: FlowId) {
        self.inner().flows.entry(flow).or_default().accepted += 1;
    }

    /// The sender was told.
    pub fn undelivered(&self, flow: FlowId, messages: u64) {
        self.inner().flows.entry(flow).or_default().undelivered += messages;
    }

    /// A handler got a message. `registration` is the receiver's run and its number of the handler in that.
    pub fn delivered(&self, flow: FlowId, registration: (u32, u32), label: Label) {
        let mut inner = self.inner();
        let flow_now = inner.flows.entry(flow).or_default();
        let last = flow_now.last.replace(label.number);
        flow_now.delivered += 1;
        let before = flow_now.openings.range(..registration).next_back().map(|(of, seen)| (*of, *seen));
        let seen = flow_now.openings.entry(registration).or_default();
        *seen = label.opening.max(*seen);
        if last.is_some_and(|last| last >= label.number) {
            let detail = format!("{flow:?} got message {} after {last:?}", label.number);
            inner.found.push(("messages of a lane arrive in order and at most once", detail));
        } else if let Some((of, seen)) = before.filter(|(_, seen)| *seen >= label.opening) {
            let (opening, number) = (label.opening, label.number);
            let detail = format!(
                "{flow:?} message {number} of opening {opening} came to registration {registration:?}, opening {seen} to {of:?}"
            );
            inner.found.push(("no handler sees a message that was meant for its predecessor", detail));
        }
        let sender = (label.boot, label.registration);
        let met = *inner.met.entry((flow.to, flow.protocol, flow.from)).or_insert(sender);
        if met != sender {
            let detail = format!("{flow:?} message {} of {sender:?} came beside those of {met:?}", label.number);
            inner.found.push(("a handler hears one registration of a peer at a time", detail));
        }
    }

    /// An ask was made; it must end by `deadline`.
    pub fn asked(&self, from: usize, deadline: Duration) -> u64 {
        let mut inner = self.inner();
        inner.last_ask += 1;
        let ask = inner.last_ask;
        inner.asks.insert(ask, (from, deadline));
        ask
    }

    /// An ask has ended, with an outcome or by being dropped.
    pub fn ask_ended(&self, ask: u64, outcome: Option<bool>) {
        let mut inner = self.inner();
        let Some((from, _)) = inner.asks.remove(&ask) else {
            return inner.found.push(("an ask ends once", format!("ask {ask} ended again")));
        };
        match outcome {
            Some(true) => inner.answered += 1,
            Some(false) => inner.failed_asks += 1,
            None if inner.dying.contains(&from) => {}
            None => inner.found.push(("an ask ends with an outcome", format!("ask {ask} of n{from} was dropped"))),
        }
    }

    /// The node is being killed.
    pub fn dies(&self, node: usize) {
        let mut inner = self.inner();
        inner.dying.insert(node);
        inner.asks.retain(|_, (from, _)| *from != node);
        inner.flows.iter_mut().filter(|(id, _)| id.from == node).for_each(|(_, flow)| flow.ended = true);
    }

    /// It is dead.
    pub fn died(&self, node: usize) {
        self.inner().dying.remove(&node);
    }

    /// An ask that should have ended before `now`.
    pub fn overdue(&self, slack: Duration) -> Option<String> {
        let inner = self.inner();
        let late = inner.asks.iter().find(|(_, (_, deadline))| *deadline + slack < inner.now);
        late.map(|(ask, (from, deadline))| format!("ask {ask} of n{from} should have ended at {deadline:?}"))
    }

    /// Asks without an outcome.
    pub fn open_asks(&self) -> usize {
        self.inner().asks.len()
    }

    /// A flow of which a message is missing that its sender was not told of.
    pub fn missing(&self) -> Option<String> {
        let inner = self.inner();
        let missing = |flow: &Flow| !flow.ended && flow.accepted > flow.delivered + flow.undelivered;
        inner.flows.iter().find(|(_, flow)| missing(flow)).map(|(id, flow)| {
            let Flow { accepted, delivered, undelivered, .. } = flow;
            format!("{id:?}: {accepted} accepted, {delivered} delivered, {undelivered} told as undelivered")
        })
    }

    /// Messages of one protocol that were delivered, by all senders to all receivers.
    pub fn delivered_by(&self, protocol: u8) -> u64 {
        let inner = self.inner();
        inner.flows.iter().filter(|(id, _)| id.protocol == protocol).map(|(_, flow)| flow.delivered).sum()
    }

    /// Messages of one protocol that were accepted, and neither delivered nor told as undelivered.
    pub fn under_way(&self, protocol: u8) -> u64 {
        let inner = self.inner();
        let flows = inner.flows.iter().filter(|(id, flow)| id.protocol == protocol && !flow.ended);
        flows.map(|(_, flow)| flow.accepted.saturating_sub(flow.delivered + flow.undelivered)).sum()
    }

    /// Sums over all flows.
    pub fn totals(&self) -> Totals {
        let inner = self.inner();
        let mut totals = Totals { answered: inner.answered, failed_asks: inner.failed_asks, ..Totals::default() };
        for flow in inner.flows.values() {
            totals.accepted += flow.accepted;
            totals.delivered += flow.delivered;
            totals.undelivered += flow.undelivered;
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: FlowId = FlowId { from: 0, boot: 1, to: 1, protocol: 0 };

    fn label(opening: u32, number: u64) -> Label {
        Label { boot: 1, registration: 1, opening, number }
    }

    #[test]
    fn a_label_is_read_back_and_a_broken_body_is_not() {
        let body = label(3, 258).body(100);
        assert_eq!(Label::read(&body), Some(label(3, 258)));
        let mut broken = body.to_vec();
        broken[99] ^= 1;
        assert_eq!(Label::read(&broken), None);
        assert_eq!(Label::read(&body[..20]), None);
    }

    #[test]
    fn what_comes_twice_or_late_is_found() {
        let oracle = Oracle::default();
        [1, 2, 4].into_iter().for_each(|number| oracle.delivered(FLOW, (1, 1), label(1, number)));
        assert_eq!(oracle.take_found(), None);
        for number in [4, 3] {
            oracle.delivered(FLOW, (1, 1), label(1, number));
            assert!(oracle.take_found().is_some(), "{number}");
        }
    }

    #[test]
    fn what_was_meant_for_another_handler_is_found() {
        let oracle = Oracle::default();
        oracle.delivered(FLOW, (1, 1), label(1, 1));
        oracle.delivered(FLOW, (1, 2), label(2, 2));
        assert_eq!(oracle.take_found(), None);
        oracle.delivered(FLOW, (1, 3), label(2, 3));
        assert!(oracle.take_found().is_some());
    }

    #[test]
    fn what_another_registration_of_the_sender_sent_is_found() {
        let oracle = Oracle::default();
        let of = |registration, number| Label { registration, ..label(1, number) };
        let back = FlowId { from: FLOW.to, to: FLOW.from, ..FLOW };
        oracle.delivered(FLOW, (1, 1), of(1, 1));
        // The receiver is told that another one is there.
        oracle.opened(back);
        oracle.delivered(FLOW, (1, 1), of(2, 3));
        assert_eq!(oracle.take_found(), None);
        oracle.opened(back);
        oracle.delivered(FLOW, (1, 1), of(2, 4));
        oracle.delivered(FLOW, (1, 1), of(3, 5));
        assert!(oracle.take_found().is_some());
    }

    #[test]
    fn what_is_lost_without_a_word_is_found() {
        let oracle = Oracle::default();
        oracle.accepted(FLOW);
        assert!(oracle.missing().is_some());
        oracle.undelivered(FLOW, 1);
        assert_eq!(oracle.missing(), None);
        oracle.accepted(FLOW);
        oracle.dies(0);
        assert_eq!(oracle.missing(), None);
    }
}
