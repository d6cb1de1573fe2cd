//! The fold: what a checked epoch does to the closed state. Mints, then proofs, then operations, then hashes.
//!
//! It runs in pieces. Until the last one, readers see the state before (`c` records keep it), and an interruption is undone
//! by the same records.

use weir_ledger::{Buckets, Id, Key, Ordered, Standing, Verify, bucket_of};

use super::check::Chain;
use super::desk::Desk;
use super::{Ledger, Notice, root_of};
use crate::account::{Account, Refusal};
use crate::items::{Anchor, Include, Operation, Order, Page, Proof, Signed};
use crate::meta::{Closing, EpochRecord, Stage, Tip, Totals, Work};
use crate::{layout, ranking};

impl Ledger {
    /// One piece of folding an epoch that was checked.
    pub(super) fn fold<S: Ordered, V: Verify>(
        &mut self,
        mut closing: Closing,
        pages: &[Id],
        desk: &mut Desk<'_, S, V>,
    ) {
        closing.stage = match closing.stage {
            Stage::Check { .. } => return,
            Stage::Mints(seq) => self.fold_mints(&mut closing, seq, desk),
            Stage::Proofs { page, at } => match self.folded_page(pages, page, desk) {
                None => Stage::Includes { page: 0, at: 0 },
                Some(body) => {
                    let at = self.fold_proofs(&mut closing, &body.proofs, at, desk);
                    let through = at >= body.proofs.len();
                    self.page = Some(body);
                    if through { Stage::Proofs { page: page + 1, at: 0 } } else { Stage::Proofs { page, at } }
                }
            },
            Stage::Includes { page, at } => match self.folded_page(pages, page, desk) {
                None => Stage::Frozen { page: 0, at: 0 },
                Some(body) => {
                    let at = self.fold_includes(&mut closing, &body.includes, at, desk);
                    let through = at >= body.includes.len();
                    self.page = Some(body);
                    if through { Stage::Includes { page: page + 1, at: 0 } } else { Stage::Includes { page, at } }
                }
            },
            Stage::Frozen { page, at } => match self.folded_page(pages, page, desk) {
                None => Stage::Anchors { page: 0, at: 0 },
                Some(body) => {
                    let at = self.drop_pending(&body.proofs, at, desk);
                    let through = at >= body.proofs.len();
                    self.page = Some(body);
                    if through { Stage::Frozen { page: page + 1, at: 0 } } else { Stage::Frozen { page, at } }
                }
            },
            Stage::Anchors { page, at } => match self.folded_page(pages, page, desk) {
                None => Stage::Buckets(0),
                Some(body) => {
                    let at = fold_anchors(closing.epoch, &body.anchors, at, desk);
                    let through = at >= body.anchors.len();
                    self.page = Some(body);
                    if through { Stage::Anchors { page: page + 1, at: 0 } } else { Stage::Anchors { page, at } }
                }
            },
            Stage::Buckets(bucket) => match self.fold_buckets(closing.epoch, bucket, desk) {
                Some(next) => Stage::Buckets(next),
                None => return self.finish(&closing, desk),
            },
        };
        self.meta.work = Work::Closing(closing);
    }

    /// A page that the check has seen; none behind the last.
    fn folded_page<S: Ordered>(&mut self, pages: &[Id], number: usize, store: &mut S) -> Option<Page> {
        self.page(*pages.get(number)?, store).ok().flatten()
    }

    fn fold_mints<S: Ordered, V: Verify>(
        &mut self,
        closing: &mut Closing,
        mut seq: u64,
        desk: &mut Desk<'_, S, V>,
    ) -> Stage {
        while seq < closing.seq {
            if !desk.has_left() {
                return Stage::Mints(seq);
            }
            let id = desk.get(&layout::log(seq)).and_then(|id| id.try_into().ok()).map(Id);
            let decree = id.and_then(|id| self.decree(id, desk));
            if let Some(Order::Mint { to, amount }) = decree.as_ref().map(|decree| &decree.body().order) {
                self.mint(closing, seq, *to, *amount, desk);
            }
            closing.totals.operations += 1;
            seq += 1;
        }
        // The header itself.
        closing.totals.operations += 1;
        Stage::Proofs { page: 0, at: 0 }
    }

    fn mint<S: Ordered, V: Verify>(
        &mut self,
        closing: &mut Closing,
        seq: u64,
        to: Key,
        amount: u128,
        desk: &mut Desk<'_, S, V>,
    ) {
        let Some(minted) = closing.totals.minted.checked_add(amount) else {
            return desk.put_record(&layout::mint_refusal(seq), &(closing.epoch, Refusal::SupplyTooLarge));
        };
        let mut account = self.open_account(to, closing.epoch, &mut closing.totals, desk);
        // A balance is a part of what was minted, and that fits.
        account.balance = account.balance.saturating_add(amount);
        closing.totals.minted = minted;
        desk.put_record(&layout::account(to), &account);
    }

    fn fold_proofs<S: Ordered, V: Verify>(
        &mut self,
        closing: &mut Closing,
        proofs: &[Proof],
        mut at: usize,
        desk: &mut Desk<'_, S, V>,
    ) -> usize {
        while let Some(proof) = proofs.get(at).filter(|_| desk.has_left()) {
            let key = proof.account();
            let mut account = self.open_account(key, closing.epoch, &mut closing.totals, desk);
            account.frozen.get_or_insert(closing.epoch);
            self.standings.push(Standing::Settled(proof.id()));
            desk.put_record(&layout::account(key), &account);
            if !desk.has(&layout::proof(key)) {
                let bytes = proof.encode();
                desk.put(&layout::proof(key), &bytes);
                desk.put(&layout::item(proof.id()), &bytes);
            }
            at += 1;
        }
        at
    }

    fn fold_includes<S: Ordered, V: Verify>(
        &mut self,
        closing: &mut Closing,
        includes: &[Include],
        mut at: usize,
        desk: &mut Desk<'_, S, V>,
    ) -> usize {
        while let Some(include) = includes.get(at).filter(|_| desk.has_left()) {
            self.include(closing, *include, desk);
            at += 1;
        }
        at
    }

    fn include<S: Ordered, V: Verify>(&mut self, closing: &mut Closing, include: Include, desk: &mut Desk<'_, S, V>) {
        // The check has seen that it is whole.
        let Chain::Whole(operations) = self.chain(include, desk) else { return };
        let (key, epoch) = (include.account, closing.epoch);
        let mut account = self.open_account(key, epoch, &mut closing.totals, desk);
        let (staked, unbonding) = (account.staked, account.unbonding_total());
        for operation in &operations {
            self.apply(&mut account, operation, epoch, desk);
        }
        (account.next_seq, account.head) = (include.seq + 1, include.id);
        closing.totals.operations += operations.len() as u64;
        // Parts of what was minted: the differences fit, and so do the sums.
        let moved = |total: u128, before: u128, after: u128| total.wrapping_sub(before).wrapping_add(after);
        closing.totals.staked = moved(closing.totals.staked, staked, account.staked);
        closing.totals.unbonding = moved(closing.totals.unbonding, unbonding, account.unbonding_total());
        if account.staked != staked {
            account.stake_epoch = epoch;
            let value = account.staked.to_be_bytes();
            desk.put(&layout::stake(epoch, key), &value);
            desk.put(&layout::history(key, epoch), &value);
            if self.ranked {
                ranking::moved(key, staked, account.staked, desk);
            }
        }
        desk.put_record(&layout::account(key), &account);
        self.settle(key, &operations, desk);
    }

    /// What was included is pending no more, and neither are other branches: the one that was named counts for ever, and
    /// together they are a proof.
    fn settle<S: Ordered, V: Verify>(&mut self, key: Key, included: &[Signed<Operation>], desk: &mut Desk<'_, S, V>) {
        let Some(last) = included.last() else { return };
        let end = layout::pending_at(key, last.body().seq + 1);
        for (pending, _) in desk.range(&layout::pending_of(key), Some(&end), usize::MAX) {
            desk.remove(&pending);
            let Some((_, seq, id)) = layout::read_pending(&pending) else { continue };
            self.standings.push(Standing::Settled(id));
            let named = included.iter().find(|named| named.body().seq == seq && named.id() != id);
            if let Some(named) = named.filter(|_| !desk.has(&layout::proof(key)))
                && let Some(other) = self.operation(id, desk)
                && let Some(proof) = Proof::new(named.clone(), other)
            {
                self.keep_proof(&proof, desk);
                self.standings.push(Standing::Open(proof.id()));
            }
        }
    }

    fn apply<S: Ordered, V: Verify>(
        &self,
        account: &mut Account,
        operation: &Signed<Operation>,
        epoch: u64,
        desk: &mut Desk<'_, S, V>,
    ) {
        let Operation { account: key, seq, action, .. } = *operation.body();
        desk.put(&layout::included(key, seq), &operation.id().0);
        if let Err(refusal) = account.apply(action, epoch, self.genesis.unbonding_epochs()) {
            desk.put_record(&layout::refusal(key, seq), &(epoch, refusal));
        }
    }

    /// An account that this epoch changes, and what it was before on record.
    fn open_account<S: Ordered, V: Verify>(
        &self,
        key: Key,
        epoch: u64,
        totals: &mut Totals,
        desk: &mut Desk<'_, S, V>,
    ) -> Account {
        let bytes = desk.get(&layout::account(key));
        let change = layout::change(epoch, key);
        if !desk.has(&change) {
            desk.put(&change, bytes.as_deref().unwrap_or_default());
            totals.accounts += u64::from(bytes.is_none());
        }
        let account = bytes.and_then(|bytes| weir_sdk::decode(&bytes).ok());
        account.unwrap_or_else(|| Account::new(self.genesis.hash()))
    }

    /// Hashes the next bucket in which something changed. None when there is no further one.
    fn fold_buckets<S: Ordered, V: Verify>(&mut self, epoch: u64, from: u16, desk: &mut Desk<'_, S, V>) -> Option<u16> {
        let (start, _) = Buckets::range(from);
        let start = [layout::changes(epoch).as_slice(), &start].concat();
        let end = layout::changes(epoch + 1);
        let (changed, _) = desk.range(&start, Some(&end), 1).pop()?;
        let bucket = bucket_of(layout::read_stake(&changed)?.1);
        desk.put(&layout::bucket_before(epoch, bucket), &self.buckets.hash_of(bucket).0);
        let hash = self.buckets.rehash(bucket, layout::ACCOUNTS, desk);
        desk.put(&layout::bucket(bucket), &hash.0);
        (bucket + 1 < weir_ledger::BUCKETS).then_some(bucket + 1)
    }

    fn finish<S: Ordered, V: Verify>(&mut self, closing: &Closing, desk: &mut Desk<'_, S, V>) {
        let root = root_of(self.genesis.hash(), closing.epoch, closing.id, &closing.totals, self.buckets.root());
        let tip: Tip = self.meta.tip;
        self.advance_tip(closing.id, tip, desk);
        let record =
            EpochRecord { epoch: closing.epoch, id: closing.id, root, totals: closing.totals, tip: self.meta.tip };
        desk.put_record(&layout::epoch(closing.epoch), &record);
        self.meta.closed = record;
        self.meta.work = Work::Idle;
        self.page = None;
        self.sources.retain(|(id, _)| *id != closing.id);
        self.notice(Notice::Closed { epoch: closing.epoch, root });
    }
}

fn fold_anchors<S: Ordered, V: Verify>(
    epoch: u64,
    anchors: &[Anchor],
    mut at: usize,
    desk: &mut Desk<'_, S, V>,
) -> usize {
    while let Some(anchor) = anchors.get(at).filter(|_| desk.has_left()) {
        desk.put(&layout::anchor(epoch, anchor), &[]);
        at += 1;
    }
    at
}
