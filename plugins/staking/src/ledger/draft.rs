//! `Draft`: the next epoch as the issuer's wallet signs it. The node collects what is new; the wallet only signs the header.

use weir_ledger::{Id, Key, Ordered};

use super::{Ledger, MAX_PENDING};
use crate::items::{Anchor, Body, Decree, Include, Order, Page, PageBuilder};
use crate::layout;
use crate::meta::Work;

/// Pages of one draft: half of the megabyte that a turn may write. What does not fit is news for the next epoch.
const MAX_DRAFT_PAGES: usize = 2;
/// Drafts whose pages are kept, 2 MiB at most: who collects something else meanwhile does not take the pages from a draft
/// that is just being signed. A restart forgets how old they are, and the draft after it drops them.
const KEPT_DRAFTS: usize = 4;

/// An epoch that only lacks its signature. Its pages are kept by this node for the next few drafts, and for good once it is
/// signed and here. Who signs it keeps them too ([`Ledger::page_bytes`]), because nobody else has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The header.
    pub decree: Decree,
    /// Its bytes, to be signed.
    pub body: Vec<u8>,
    /// Operations that it includes.
    pub operations: u64,
    /// Accounts with news.
    pub accounts: u64,
    /// Proofs that it applies.
    pub proofs: u64,
    /// Anchors.
    pub anchors: u64,
    /// Whether everything fits.
    pub complete: bool,
}

/// Why there can be no draft now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The node is closing an epoch, or waits for what one names.
    #[error("this node has not closed the last epoch yet: `status` says what is missing")]
    Behind,
    /// The issuer has to be replaced first.
    #[error("the issuer's log has a fault: sign a rotation with the recovery key first")]
    Fault,
}

impl DraftError {
    /// Its stable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Fault => "issuer-fault",
        }
    }
}

impl Ledger {
    /// Collects everything that is new into the pages of the next epoch. `anchors` are items of other protocols to order.
    pub fn draft<S: Ordered>(&mut self, anchors: &[Anchor], store: &mut S) -> Result<Draft, DraftError> {
        if self.meta.fault.is_some() {
            return Err(DraftError::Fault);
        }
        if self.meta.work != Work::Idle || self.meta.unsettled().is_some() {
            return Err(DraftError::Behind);
        }
        let mut builder = PageBuilder::new(MAX_DRAFT_PAGES);
        let mut anchors = anchors.to_vec();
        anchors.sort();
        anchors.dedup();
        let anchored = anchors.iter().take_while(|anchor| builder.anchor(**anchor)).count();
        let mut complete = anchored == anchors.len();
        let mut proofs = 0;
        for proof in self.open_proofs(store) {
            if !builder.prove(proof) {
                complete = false;
                break;
            }
            proofs += 1;
        }
        let (mut accounts, mut operations, mut from) = (0, 0, layout::PENDING.to_vec());
        let end = weir_ledger::store::after_prefix(layout::PENDING);
        while let Some((key, _)) = store.range(&from, end.as_deref(), 1).pop() {
            let Some((account, _, _)) = layout::read_pending(&key) else { break };
            from = layout::pending_at(account, u64::MAX);
            let Some((include, count)) = self.news_of(account, store) else { continue };
            if !builder.include(include) {
                complete = false;
                break;
            }
            accounts += 1;
            operations += count;
        }
        let pages = self.keep_draft(&builder.finish(), store);
        let tip = self.meta.tip;
        let order = Order::Epoch { number: self.meta.closed.epoch + 1, pages };
        let decree = Decree { key: tip.key, reign: tip.reign, seq: tip.seq, before: tip.before, order };
        let body = decree.encode();
        Ok(Draft { decree, body, operations, accounts, proofs, anchors: anchored as u64, complete })
    }

    /// Keeps the pages of a draft, and drops those of drafts that are too old and those that an epoch has by now.
    fn keep_draft<S: Ordered>(&mut self, pages: &[Page], store: &mut S) -> Vec<Id> {
        let ids: Vec<_> = pages.iter().map(Page::id).collect();
        self.drafted.retain(|drafted| *drafted != ids);
        self.drafted.push_back(ids.clone());
        let extra = self.drafted.len().saturating_sub(KEPT_DRAFTS);
        self.drafted.drain(..extra);
        for (key, _) in store.prefix(layout::DRAFTS, usize::MAX) {
            let kept = layout::read_draft(&key).is_some_and(|id| {
                self.drafted.iter().flatten().any(|kept| *kept == id) && !store.has(&layout::item(id))
            });
            if !kept {
                store.remove(&key);
            }
        }
        pages.iter().for_each(|page| store.put(&layout::draft(page.id()), page.bytes()));
        ids
    }

    /// The last of an account's pending operations that follow each other without a gap, and how many they are.
    fn news_of<S: Ordered>(&self, account: Key, store: &S) -> Option<(Include, u64)> {
        if store.has(&layout::proof(account)) {
            return None;
        }
        let (next, head, pending) = self.line_of(account, store);
        let id = pending.last().copied().unwrap_or(head);
        let count = pending.len() as u64;
        (count > 0).then(|| (Include { account, seq: next + count - 1, id }, count))
    }

    /// The number and id where an account's closed log ends, and the ids of the pending operations that go on from there.
    pub(crate) fn line_of<S: Ordered>(&self, account: Key, store: &S) -> (u64, Id, Vec<Id>) {
        let state = self.closed_account(account, store);
        let (next, head) = state.map_or((0, self.genesis.hash()), |state| (state.next_seq, state.head));
        let (mut last, mut line) = (head, Vec::new());
        let end = layout::pending_at(account, next.saturating_add(MAX_PENDING));
        for (key, _) in store.range(&layout::pending_at(account, next), Some(&end), 2 * MAX_PENDING as usize) {
            let Some((_, seq, id)) = layout::read_pending(&key) else { continue };
            let follows = seq == next + line.len() as u64
                && self.operation(id, store).is_some_and(|operation| operation.body().before == last);
            if follows {
                line.push(id);
                last = id;
            }
        }
        (next, head, line)
    }
}
