//! The fold over staking's epochs: stakes first, then what is declared on them.
//!
//! An epoch costs what it changes: one position for each stake that changed, one division for each declaration. Who keeps
//! its stake is not touched, however many declarations there are.

use weir_ledger::{Buckets, Id, Key, Ordered, Standing};

use super::{BUCKET_LABEL, Meta, Outcome, Pot, Work};
use crate::accumulator::{AddError, MAX_ACCOUNTS, Position};
use crate::items::{Body, Item};
use crate::layout;
use crate::staking::{Epoch, Stake};

impl Pot {
    /// Does what can be done now, at most about `limit` writes. True when there is more to do without asking anybody.
    pub fn step<S: Ordered>(&mut self, store: &mut S, limit: usize) -> bool {
        let mut left = limit;
        let mut more = true;
        while more && left > 0 {
            more = match self.meta.work {
                Work::Clearing | Work::Old | Work::OldDeclaring { .. } => self.clear(&mut left, store),
                Work::Staking { .. } => self.fold_stakes(&mut left, store),
                Work::Declaring { id, at } => self.fold_declarations(id, at, &mut left, store),
            };
        }
        self.save(store);
        more
    }

    /// Removes what follows from staking's epochs; the declarations are open again, the claims set aside.
    fn clear<S: Ordered>(&mut self, left: &mut usize, store: &mut S) -> bool {
        for prefix in layout::DERIVED {
            let found = store.prefix(prefix, (*left).clamp(1, 256));
            if found.is_empty() {
                continue;
            }
            for (key, value) in &found {
                match prefix {
                    layout::DECLARED => self.reopen(key, store),
                    layout::CLAIMS => self.set_claim_aside(key, value, store),
                    _ => {}
                }
                store.remove(key);
                *left = left.saturating_sub(2);
            }
            return true;
        }
        self.forget_plan();
        self.claimed = Buckets::new(BUCKET_LABEL);
        self.meta = Meta::new(self.meta.genesis);
        false
    }

    fn reopen<S: Ordered>(&mut self, declared: &[u8], store: &mut S) {
        let item = layout::read_id(declared).and_then(|id| store.get(&layout::item(id)));
        let Some(item) = item.and_then(|item| Item::decode(&item).ok()) else { return };
        if let Body::Declaration { payer, number, .. } = *item.body() {
            store.put(&layout::open(payer, number, item.id()), &[]);
            self.standings.push(Standing::Open(item.id()));
        }
    }

    /// Stakes that the next epoch changed. When all are in, its declarations follow, if they are all here.
    fn fold_stakes<S: Ordered>(&mut self, left: &mut usize, store: &mut S) -> bool {
        let Some((next, id)) = self.plan.front().map(|next| (next.epoch.epoch, next.epoch.id)) else { return false };
        while let Some(change) = self.changes.front().copied().filter(|change| change.epoch <= next) {
            if *left == 0 {
                return true;
            }
            // With the first of them: when staking undoes this epoch, they have to go.
            self.meta.work = Work::Staking { id: Some(id) };
            let writes = self.restake(change, store);
            self.changes.pop_front();
            *left = left.saturating_sub(writes);
        }
        // With nothing behind them the next page may still have some.
        if self.changes.is_empty() && self.next_page.is_some() {
            return false;
        }
        let Some(first) = self.plan.front().filter(|first| first.rest.is_none()) else { return false };
        let lacking = first.epoch.anchors.iter().filter(|id| !store.has(&layout::item(**id)));
        self.missing = lacking.copied().collect();
        if !self.missing.is_empty() {
            return false;
        }
        self.meta.work = Work::Declaring { id: first.epoch.id, at: 0 };
        true
    }

    /// About how many writes it took.
    fn restake<S: Ordered>(&mut self, change: Stake, store: &mut S) -> usize {
        let Stake { account, staked, epoch } = change;
        let known = self.position_at(account, u64::MAX - 1, store);
        let mut writes = 1;
        if known.is_none() {
            self.meta.accounts += 1;
            writes += self.take_claim_back(account, store);
        }
        let mut position: Position = known.unwrap_or_default();
        // What is counted was kept small enough for this: see `Accumulator`.
        if position.restake(staked, &self.meta.accumulator).is_ok() {
            store.put_record(&layout::position(account, epoch), &position);
        }
        writes
    }

    fn fold_declarations<S: Ordered>(&mut self, id: Id, mut at: usize, left: &mut usize, store: &mut S) -> bool {
        // After a restart the plan is asked for again, and the stakes, which are in already, come with it.
        let Some(epoch) = self.plan.front().filter(|first| first.rest.is_none()).map(|first| first.epoch.clone())
        else {
            return false;
        };
        while let Some(declaration) = epoch.anchors.get(at).filter(|_| *left > 0) {
            self.declare(&epoch, *declaration, store);
            at += 1;
            *left = left.saturating_sub(4);
        }
        if at < epoch.anchors.len() {
            self.meta.work = Work::Declaring { id, at };
            return true;
        }
        self.finish(&epoch, store);
        true
    }

    fn declare<S: Ordered>(&mut self, epoch: &Epoch, id: Id, store: &mut S) {
        if store.has(&layout::anchored(id)) {
            return;
        }
        let item = store.get(&layout::item(id)).and_then(|item| Item::decode(&item).ok());
        let outcome = match item.as_ref().map(|item| *item.body()) {
            Some(Body::Declaration { payer, number, amount }) if self.genesis.is_payer(payer) => {
                store.remove(&layout::open(payer, number, id));
                self.count(payer, number, amount, epoch, store)
            }
            _ => Outcome::NotAPayer,
        };
        match outcome {
            Outcome::Counted => self.meta.counted += 1,
            _ => self.meta.voided += 1,
        }
        store.put_record(&layout::declared(epoch.epoch, id), &outcome);
        store.put_record(&layout::anchored(id), &epoch.epoch);
        self.standings.push(Standing::Settled(id));
    }

    fn count<S: Ordered>(&mut self, payer: Key, number: u64, amount: u128, epoch: &Epoch, store: &mut S) -> Outcome {
        if store.has(&layout::used(payer, number)) {
            return Outcome::NumberUsed;
        }
        store.put_record(&layout::used(payer, number), &epoch.epoch);
        let Some(declared) = self.meta.running_declared.checked_add(amount) else { return Outcome::TooLarge };
        if self.meta.accounts > MAX_ACCOUNTS {
            return Outcome::TooLarge;
        }
        match self.meta.running.add(amount, epoch.total) {
            Ok(()) => {
                self.meta.running_declared = declared;
                Outcome::Counted
            }
            Err(AddError::NoStake) => Outcome::NoStake,
            Err(AddError::TooLarge) => Outcome::TooLarge,
        }
    }

    fn finish<S: Ordered>(&mut self, epoch: &Epoch, store: &mut S) {
        let meta = &mut self.meta;
        if meta.running != meta.accumulator {
            store.put_record(&layout::after_epoch(epoch.epoch), &meta.running);
        }
        (meta.accumulator, meta.declared) = (meta.running, meta.running_declared);
        (meta.epoch, meta.epoch_id, meta.work) = (epoch.epoch, epoch.id, Work::Staking { id: None });
        self.plan.pop_front();
        while self.changes.front().is_some_and(|change| change.epoch <= epoch.epoch) {
            self.changes.pop_front();
        }
        if self.plan.is_empty() {
            self.next_page = None;
        }
    }
}
