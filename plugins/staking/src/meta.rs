//! `Meta`: where a ledger stands. One record, written with every change, so that a restart goes on exactly there.

use serde::{Deserialize, Serialize};
use weir_ledger::{Genesis, Id, Key, Ordered};

use crate::account::Account;
use crate::items::Proof;
use crate::layout;

/// A place in the issuer's log: what the next decree must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// Its number.
    pub seq: u64,
    /// The id before it.
    pub before: Id,
    /// Its reign.
    pub reign: u64,
    /// Its key.
    pub key: Key,
    /// The rotation that began the reign; the genesis hash for reign 0.
    pub rotation: Id,
}

/// Sums over the closed state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Everything ever minted.
    pub minted: u128,
    /// At stake.
    pub staked: u128,
    /// On its way back.
    pub unbonding: u128,
    /// Included operations and decrees, those that did nothing as well.
    pub operations: u64,
    /// Accounts that exist.
    pub accounts: u64,
}

/// What the last closed epoch left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Its number; 0 before the first.
    pub epoch: u64,
    /// The id of its header; the genesis hash before the first.
    pub id: Id,
    /// Over everything closed.
    pub root: Id,
    /// Sums.
    pub totals: Totals,
    /// Where the issuer's log goes on.
    pub tip: Tip,
}

/// The best rotation known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The reign it begins.
    pub reign: u64,
    /// Its number in the issuer's log.
    pub seq: u64,
    /// Its id.
    pub id: Id,
    /// The issuer from then on.
    pub new_key: Key,
    /// How far the log it chooses has been followed backwards.
    pub walk: Walk,
}

/// Following the log that a rotation chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Walk {
    /// The decree to look at next, and the number it must have.
    At(Id, u64),
    /// It meets what is closed at this epoch.
    Meets(u64),
    /// It leads nowhere: only another rotation helps.
    Nowhere,
}

/// The issuer has to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The number in the issuer's log from which on nothing counts.
    pub seq: u64,
    /// The decrees that show it: two with one number, or one that cannot be followed.
    pub decrees: Vec<Id>,
    /// What is wrong.
    pub what: String,
}

/// What is under way.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Waiting for the next decree.
    Idle,
    /// An epoch is being checked or folded.
    Closing(Closing),
    /// Going back to an earlier epoch.
    Rewinding {
        /// Which.
        to: u64,
        /// The epoch that is being undone.
        from: u64,
    },
}

/// An epoch on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The id of its header.
    pub id: Id,
    /// The number of its header in the issuer's log.
    pub seq: u64,
    /// Which epoch.
    pub epoch: u64,
    /// How far.
    pub stage: Stage,
    /// What the last entries of the pages before were: entries ascend over all pages.
    pub last: Lasts,
    /// Sums so far.
    pub totals: Totals,
}

/// The last entries seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lasts {
    /// Of the includes.
    pub include: Option<Key>,
    /// Of the proofs.
    pub proof: Option<Key>,
    /// Of the anchors: topic and id.
    pub anchor: Option<([u8; 16], Id)>,
}

/// How far an epoch is. Until `Mints` nothing closed has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Looking whether everything the page names is there.
    Check {
        /// Which page.
        page: usize,
        /// Which include.
        at: usize,
    },
    /// Decrees before the header.
    Mints(u64),
    /// Proofs.
    Proofs {
        /// Which page.
        page: usize,
        /// Which of its proofs.
        at: usize,
    },
    /// Operations.
    Includes {
        /// Which page.
        page: usize,
        /// Which of its includes.
        at: usize,
    },
    /// Anchors.
    Anchors {
        /// Which page.
        page: usize,
        /// Which of its anchors.
        at: usize,
    },
    /// Hashes of buckets, from this one on.
    Buckets(u16),
    /// What is still pending of the accounts that the proofs freeze. It comes between `Includes` and `Anchors`; here it is the
    /// last, because this is how it is stored.
    Frozen {
        /// Which page.
        page: usize,
        /// Which of its proofs.
        at: usize,
    },
}

/// Everything a ledger remembers beside its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The network.
    pub genesis: Id,
    /// The last closed epoch.
    pub closed: EpochRecord,
    /// Where the issuer's log goes on; beyond the closed one by the mints since.
    pub tip: Tip,
    /// The best rotation known.
    pub rotation: Option<Rotation>,
    /// Why the issuer of the latest reign has to be replaced.
    pub fault: Option<Fault>,
    /// Two rotations with one number: the recovery key itself is in two hands.
    pub torn_recovery: Option<(Id, Id)>,
    /// What is under way.
    pub work: Work,
}

impl Meta {
    /// Of a network that begins. `root` is that of nothing.
    pub fn new(genesis: &Genesis, root: Id) -> Self {
        let hash = genesis.hash();
        let tip = Tip { seq: 0, before: hash, reign: 0, key: genesis.issuer(), rotation: hash };
        let closed = EpochRecord { epoch: 0, id: hash, root, totals: Totals::default(), tip };
        Self { genesis: hash, closed, tip, rotation: None, fault: None, torn_recovery: None, work: Work::Idle }
    }

    /// The reign and key of the issuer that is to be heard now.
    pub fn issuer(&self) -> (u64, Key) {
        match &self.rotation {
            Some(rotation) => (rotation.reign, rotation.new_key),
            None => (self.tip.reign, self.tip.key),
        }
    }

    /// The best rotation while the log has not come to it.
    pub fn unsettled(&self) -> Option<Rotation> {
        self.rotation.filter(|rotation| rotation.id != self.tip.rotation)
    }

    /// An account as the last closed epoch left it: while the next one is being folded, what it was before.
    pub fn closed_account<S: Ordered>(&self, account: Key, store: &S) -> Option<Account> {
        let before = self.half_done().and_then(|epoch| store.get(&layout::change(epoch, account)));
        let bytes = before.or_else(|| store.get(&layout::account(account)))?;
        weir_sdk::decode(&bytes).ok()
    }

    /// Whether the closed state has the account of the proof frozen.
    pub fn has_applied<S: Ordered>(&self, proof: &Proof, store: &S) -> bool {
        self.closed_account(proof.account(), store).is_some_and(|account| account.frozen.is_some())
    }

    /// The epoch whose records are only partly there.
    pub fn half_done(&self) -> Option<u64> {
        match &self.work {
            Work::Closing(closing) if !matches!(closing.stage, Stage::Check { .. }) => Some(closing.epoch),
            _ => None,
        }
    }
}
