//! Going back to an earlier epoch: every change undone by the record of what was before.

use weir_ledger::{Id, Key, Ordered, Standing, Verify};

use super::desk::Desk;
use super::{Ledger, Notice, PIECE, root_of};
use crate::account::Account;
use crate::items::Proof;
use crate::meta::{Stage, Work};
use crate::{layout, ranking};

impl Ledger {
    /// Begins to go back to this epoch, also from the middle of the next one.
    pub(super) fn begin_rewind(&mut self, to: u64) {
        let (to, from) = match &self.meta.work {
            Work::Rewinding { to: already, from } => (to.min(*already), *from),
            Work::Closing(closing) if !matches!(closing.stage, Stage::Check { .. }) => (to, closing.epoch),
            Work::Closing(_) | Work::Idle => (to, self.meta.closed.epoch),
        };
        self.missing.clear();
        self.ahead = 0;
        self.page = None;
        self.meta.work = Work::Rewinding { to, from };
    }

    /// One piece of the way back.
    pub(super) fn rewind<S: Ordered, V: Verify>(&mut self, to: u64, from: u64, desk: &mut Desk<'_, S, V>) -> bool {
        if from <= to {
            self.arrive(to, desk);
            return true;
        }
        let changes = desk.prefix(&layout::changes(from), PIECE);
        if !changes.is_empty() {
            for (change, before) in changes {
                if let Some((_, account)) = layout::read_stake(&change) {
                    self.restore(account, from, &before, desk);
                }
                desk.remove(&change);
                // An account with 64 operations is two hundred writes.
                if !desk.has_left() {
                    break;
                }
            }
            return true;
        }
        let buckets = desk.prefix(&layout::buckets_before(from), PIECE);
        if !buckets.is_empty() {
            for (record, hash) in buckets {
                self.restore_bucket(&record, hash, desk);
                desk.remove(&record);
            }
            return true;
        }
        let (first, end) = (self.first_of(from, desk), self.first_of(from + 1, desk));
        let mut rest = desk.prefix(&layout::anchors(from), PIECE);
        rest.extend(desk.range(&layout::mint_refusal(first), Some(&layout::mint_refusal(end)), PIECE));
        for (record, _) in &rest {
            desk.remove(record);
        }
        if rest.is_empty() {
            if let Some(record) = self.epoch_record(from - 1, desk) {
                self.meta.closed = record;
            }
            desk.remove(&layout::epoch(from));
            self.meta.work = Work::Rewinding { to, from: from - 1 };
        }
        true
    }

    /// The number of the first decree of an epoch; for one that is not closed yet the end of the log.
    fn first_of<S: Ordered>(&self, epoch: u64, store: &S) -> u64 {
        let before = epoch.checked_sub(1).filter(|before| *before <= self.meta.closed.epoch);
        before.and_then(|before| self.epoch_record(before, store)).map_or(u64::MAX, |record| record.tip.seq)
    }

    fn restore<S: Ordered, V: Verify>(&mut self, key: Key, epoch: u64, before: &[u8], desk: &mut Desk<'_, S, V>) {
        let Some(now) = self.account(key, desk) else { return };
        let was: Account = weir_sdk::decode(before).unwrap_or_else(|_| Account::new(self.genesis.hash()));
        for seq in was.next_seq..now.next_seq {
            // Included no more, pending again: the next epoch may name it. Of who is frozen nothing is pending.
            let id = desk.get(&layout::included(key, seq)).and_then(|id| id.try_into().ok()).map(Id);
            if let Some(id) = id.filter(|_| was.frozen.is_none()) {
                desk.put(&layout::pending(key, seq, id), layout::NAMED);
                self.standings.push(Standing::Open(id));
            }
            desk.remove(&layout::included(key, seq));
            desk.remove(&layout::refusal(key, seq));
        }
        if now.frozen.is_some() && was.frozen.is_none() {
            self.standings.push(Standing::Open(Proof::id_for(key)));
        }
        if now.stake_epoch == epoch {
            desk.remove(&layout::stake(epoch, key));
            desk.remove(&layout::history(key, epoch));
        }
        if self.ranked {
            ranking::moved(key, now.staked, was.staked, desk);
        }
        if before.is_empty() {
            desk.remove(&layout::account(key));
        } else {
            desk.put(&layout::account(key), before);
        }
    }

    fn restore_bucket<S: Ordered, V: Verify>(&mut self, record: &[u8], hash: Vec<u8>, desk: &mut Desk<'_, S, V>) {
        let (Some(bucket), Ok(hash)) = (record.last_chunk(), hash.try_into()) else { return };
        let (bucket, hash) = (u16::from_be_bytes(*bucket), Id(hash));
        self.buckets.set(bucket, hash);
        desk.put(&layout::bucket(bucket), &hash.0);
    }

    fn arrive<S: Ordered, V: Verify>(&mut self, to: u64, desk: &mut Desk<'_, S, V>) {
        if let Some(record) = self.epoch_record(to, desk) {
            self.meta.closed = record;
        }
        let closed = self.meta.closed;
        let root = root_of(self.genesis.hash(), closed.epoch, closed.id, &closed.totals, self.buckets.root());
        self.meta.tip = closed.tip;
        self.meta.work = Work::Idle;
        self.notice(Notice::WentBack { epoch: to, intact: root == closed.root });
    }
}
