//! What is known of one peer, and what waits to be said to it.

use std::collections::{BTreeMap, VecDeque};

use super::item::ItemId;
use super::policy::Policy;
use super::quota::Bucket;
use super::wire::{self, Message};
use crate::abi::SendError;

/// What passes between two peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// In the active view: items are pushed.
    Eager,
    /// In the active view: items are announced.
    Lazy,
    /// Connected, and only reconciled with.
    Aside,
}

/// What one peer may do.
#[derive(Debug)]
pub(super) struct Quotas {
    pub items: Bucket,
    pub bytes: Bucket,
    pub ids: Bucket,
    pub asks: Bucket,
    pub served: Bucket,
    pub unwanted: Bucket,
}

/// What is sent to one peer at most: less than its quotas.
#[derive(Debug)]
pub(super) struct Pace {
    pub items: Bucket,
    pub bytes: Bucket,
    pub ids: Bucket,
    pub asks: Bucket,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Peer {
    pub max_message: usize,
    pub role: Role,
    /// It said that it has no place for us: not asked again before.
    pub refused_until_ms: u64,
    /// Nothing is taken from it before.
    pub distrusted_until_ms: u64,
    /// What it may still do wrong.
    pub patience: Bucket,
    /// Its lane takes nothing until it is relieved.
    pub busy: bool,
    pub push: VecDeque<(ItemId, u8)>,
    pub have: VecDeque<(u8, ItemId)>,
    /// What it was found to lack.
    pub held: VecDeque<ItemId>,
    /// When what it is to be told of goes out.
    pub have_at_ms: u64,
    pub notices: Notices,
    /// Our asks for items that it has not answered, with what they were for.
    pub wants: BTreeMap<u64, Vec<ItemId>>,
    /// When to reconcile with it.
    pub reconcile_at_ms: Option<u64>,
    pub quotas: Quotas,
    pub pace: Pace,
    /// Not asked for anything before: it put off an answer.
    pub quiet_until_ms: u64,
    /// Items in a row that it pushed too late.
    pub late: u32,
    /// When it was last told to stop pushing.
    pub pruned_at_ms: u64,
}

/// Small messages that wait.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Notices {
    // At most one of each, however often there was a reason.
    pub prune: bool,
    pub graft: bool,
    /// True where there is nobody else.
    pub join: Option<bool>,
    pub leave: bool,
}

impl Peer {
    pub(super) fn new(max_message: u32, policy: &Policy, now_ms: u64) -> Self {
        let bucket = |limit| Bucket::new(limit, now_ms);
        Self {
            max_message: max_message as usize,
            role: Role::Aside,
            refused_until_ms: 0,
            distrusted_until_ms: 0,
            patience: bucket(policy.strikes),
            busy: false,
            push: VecDeque::new(),
            have: VecDeque::new(),
            held: VecDeque::new(),
            have_at_ms: 0,
            notices: Notices::default(),
            wants: BTreeMap::new(),
            reconcile_at_ms: None,
            quotas: Quotas {
                items: bucket(policy.items),
                bytes: bucket(policy.bytes),
                ids: bucket(policy.ids),
                asks: bucket(policy.asks),
                served: bucket(policy.served),
                unwanted: bucket(policy.unwanted),
            },
            pace: Pace {
                items: Bucket::of_sender(policy.items, now_ms),
                bytes: Bucket::of_sender(policy.bytes, now_ms),
                ids: Bucket::of_sender(policy.ids, now_ms),
                asks: Bucket::of_sender(policy.asks, now_ms),
            },
            quiet_until_ms: 0,
            late: 0,
            pruned_at_ms: 0,
        }
    }

    pub(super) fn in_view(&self) -> bool {
        self.role != Role::Aside
    }

    pub(super) fn is_trusted(&self, now_ms: u64) -> bool {
        now_ms >= self.distrusted_until_ms
    }

    /// Puts an item on the way, or its announcement where it does not fit. Whether it is pushed.
    pub(super) fn queue_push(&mut self, (id, hops): (ItemId, u8), len: usize, policy: &Policy, now_ms: u64) -> bool {
        let fits = !self.busy
            && self.push.len() < policy.push_queue
            && self.pace.items.take(1, now_ms)
            && self.pace.bytes.take(len as u64, now_ms);
        if fits {
            self.push.push_back((id, hops));
        } else {
            self.queue_have((hops, id), policy, now_ms);
        }
        fits
    }

    /// Puts an announcement on the way. What does not fit is left to a reconciliation.
    pub(super) fn queue_have(&mut self, item: (u8, ItemId), policy: &Policy, now_ms: u64) {
        if self.have.len() >= policy.have_queue {
            return self.reconcile_soon(policy, now_ms);
        }
        if self.have.is_empty() {
            self.have_at_ms = now_ms + policy.have_after_ms;
        }
        self.have.push_back(item);
    }

    /// Sends announcements, if the peer may be told so many now.
    pub(super) fn tell(
        &mut self,
        count: usize,
        message: &Message<'_>,
        now_ms: u64,
        send: impl FnOnce(&[u8]) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        if !self.pace.ids.take(count as u64, now_ms) {
            return Err(SendError::OverBudget);
        }
        send(&wire::encode(message))
    }

    pub(super) fn reconcile_soon(&mut self, policy: &Policy, now_ms: u64) {
        let at_ms = now_ms + policy.reconcile_soon_ms;
        self.reconcile_at_ms = Some(self.reconcile_at_ms.map_or(at_ms, |before| before.min(at_ms)));
    }
}
