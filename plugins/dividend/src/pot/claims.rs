//! What is due to an account, and what it has claimed of it.

use weir_ledger::{Id, Key, Ordered, Standing, bucket_of};

use super::Pot;
use crate::layout;

/// What is due to an account, in whole tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entitlement {
    /// Everything up to the last epoch.
    pub accrued: u128,
    /// What its claim covers.
    pub claimed: u128,
    /// The epoch up to which it claims.
    pub claimed_up_to: Option<u64>,
}

impl Pot {
    /// What is due to an account after the last epoch. A claim up to an epoch that is still to come covers what is closed,
    /// and goes on until then: the answer follows from the highest claim alone, so nodes agree whatever came first.
    pub fn entitlement<S: Ordered>(&self, account: Key, store: &S) -> Entitlement {
        let claimed_up_to = self.claim_of(account, store).map(|(epoch, _)| epoch);
        let accrued = self.due_at(account, self.meta.epoch, store);
        let claimed = claimed_up_to.map_or(0, |epoch| self.due_at(account, epoch.min(self.meta.epoch), store));
        Entitlement { accrued, claimed, claimed_up_to }
    }

    fn due_at<S: Ordered>(&self, account: Key, epoch: u64, store: &S) -> u128 {
        let position = self.position_at(account, epoch, store);
        position.map_or(0, |position| position.due(&self.accumulator_at(epoch, store)))
    }

    /// The claim that counts: its epoch and id.
    pub(super) fn claim_of<S: Ordered>(&self, account: Key, store: &S) -> Option<(u64, Id)> {
        read_claim(&store.get(&layout::claim(account))?)
    }

    /// Makes a claim the one that counts; the one before is not needed any more.
    pub(super) fn keep_claim<S: Ordered>(&mut self, account: Key, epoch: u64, id: Id, bytes: &[u8], store: &mut S) {
        if let Some((_, before)) = self.claim_of(account, store) {
            store.remove(&layout::item(before));
            self.standings.push(Standing::Settled(before));
        }
        store.put(&layout::item(id), bytes);
        self.put_claim(account, &[&epoch.to_be_bytes()[..], &id.0].concat(), store);
    }

    fn put_claim<S: Ordered>(&mut self, account: Key, claim: &[u8], store: &mut S) {
        store.put(&layout::claim(account), claim);
        let bucket = bucket_of(account);
        let hash = self.claimed.rehash(bucket, layout::CLAIMS, store);
        store.put(&layout::bucket(bucket), &hash.0);
    }

    /// Keeps a claim until its account has stake again. Whoever never saw the epochs that staking undid refuses the claim
    /// of an account without stake, so until then it is not in the root, and nobody is offered it.
    pub(super) fn set_claim_aside<S: Ordered>(&mut self, key: &[u8], claim: &[u8], store: &mut S) {
        let (Some(account), Some((_, id))) = (layout::read_account(key), read_claim(claim)) else { return };
        store.put(&layout::set_aside(account), claim);
        self.standings.push(Standing::Settled(id));
    }

    /// The claim of an account that has stake now, if one was set aside. About how many writes it took.
    pub(super) fn take_claim_back<S: Ordered>(&mut self, account: Key, store: &mut S) -> usize {
        let Some(claim) = store.get(&layout::set_aside(account)) else { return 0 };
        store.remove(&layout::set_aside(account));
        self.put_claim(account, &claim, store);
        3
    }

    /// Accounts that ever had stake, behind an account, `limit` at most.
    pub fn accounts<S: Ordered>(&self, after: Option<Key>, limit: usize, store: &S) -> Vec<Key> {
        let mut from = after.map_or(layout::POSITIONS.to_vec(), |after| layout::position(after, u64::MAX));
        let end = weir_ledger::store::after_prefix(layout::POSITIONS);
        let mut found = Vec::new();
        while let Some((key, _)) = store.range(&from, end.as_deref(), 1).pop().filter(|_| found.len() < limit) {
            let Some(account) = layout::read_account(&key) else { break };
            found.push(account);
            from = layout::position(account, u64::MAX);
        }
        found
    }
}

/// Epoch and id of a claim that is kept.
pub(super) fn read_claim(value: &[u8]) -> Option<(u64, Id)> {
    let (epoch, id) = value.split_first_chunk()?;
    Some((u64::from_be_bytes(*epoch), Id(id.try_into().ok()?)))
}
