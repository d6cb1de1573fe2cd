//! `Ledger`: everything a node knows of one staking network. Pure: items in, verdicts, items to spread and wants out.
//!
//! # How it is driven
//!
//! - [`Ledger::receive`] takes one item and says what it is worth: accepted (spread what the receipt says), ignored, or
//!   rejected (blame the sender). [`Ledger::submit`] is the same for an item from beside the node.
//! - [`Ledger::step`] does the work that this made possible, a bounded piece at a time, until it says that nothing is left:
//!   following the issuer's log, checking and folding epochs, going back.
//! - [`Ledger::wants`] says what is missing; [`Ledger::serve`] answers such a want of another node; [`Ledger::summary`] and
//!   [`Ledger::hear`] compare two nodes' logs; [`Ledger::pending`] lists what set reconciliation is about.
//!
//! # What decides
//!
//! The closed state is a fold over the issuer's log and nothing else. Which log counts is a function of the set of decrees a
//! node has: it begins at the genesis; the rotation with the highest reign (of equals the one with the smaller id) chooses the
//! log up to itself; behind it the issuer of that reign appends, up to the first number that has two decrees. Nodes with
//! the same decrees therefore have the same log, in whatever order they came.

mod check;
mod desk;
mod draft;
mod faults;
mod fold;
mod follow;
mod frozen;
mod receive;
mod rewind;
mod rotation;
mod serve;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weir_ledger::{Buckets, Genesis, Hash, Id, Key, Ordered, Standing, Verify};

use crate::account::Account;
use crate::items::{Decree, Include, Operation, Page, Signed};
use crate::layout;
use crate::meta::{Meta, Stage, Totals, Work};

pub use desk::Desk;
pub use draft::Draft;
pub use serve::{Summary, Want};
pub use verdict::{Ignored, Receipt, Rejected, Verdict};

/// Operations that an account may have pending, and that an epoch may include of one account.
pub const MAX_PENDING: u64 = 64;

/// What a step may cost unless the caller says otherwise: see [`Desk`].
pub const STEP: usize = 2_000;

/// Records that a piece of work reads at once where it drops or undoes them.
const PIECE: usize = 32;

/// Pages that are waited for, of headers that are not closed yet.
const MAX_NAMED: usize = 8_192;
/// Peers remembered for having what an epoch names.
const MAX_SOURCES: usize = 256;
/// Decrees of unknown origin that are asked for at once.
const MAX_PARENTS: usize = 64;

const BUCKET_LABEL: &str = "weir-staking-accounts-v1";
const ROOT_LABEL: &str = "weir-staking-root-v1";

/// Something that people should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An epoch is closed.
    Closed {
        /// Which.
        epoch: u64,
        /// Over everything closed.
        root: Id,
    },
    /// An account signed two operations with one number.
    AccountProven {
        /// Which.
        account: Key,
        /// The number.
        seq: u64,
    },
    /// The issuer has to be replaced.
    IssuerFault {
        /// From this number on its log does not count.
        seq: u64,
        /// The epoch up to which it does.
        epoch: u64,
        /// What is wrong.
        what: String,
    },
    /// The recovery key replaced the issuer.
    Rotated {
        /// The issuer from here on.
        new_key: Key,
        /// Its reign.
        reign: u64,
    },
    /// The state went back to this epoch.
    WentBack {
        /// Which.
        epoch: u64,
        /// Whether the root came out as it was: false would mean that the store was damaged.
        intact: bool,
    },
    /// The recovery key signed two rotations with one number.
    RecoveryTorn,
    /// A rotation chooses a log that cannot be followed.
    RotationNowhere {
        /// The reign it would begin.
        reign: u64,
    },
}

/// What an epoch names and this node lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Page,
    Operation { include: Include, from: u64 },
}

/// Everything a node knows of one staking network.
#[derive(Debug, Clone)]
pub struct Ledger {
    genesis: Genesis,
    meta: Meta,
    saved: Option<Meta>,
    buckets: Buckets,
    /// Whether the index by stake is kept (data version 2).
    ranked: bool,
    // What follows is forgotten by a restart and found again.
    missing: BTreeMap<Id, Missing>,
    parents: BTreeSet<Id>,
    named: BTreeSet<Id>,
    ahead: u64,
    sources: VecDeque<(Id, Key)>,
    page: Option<Page>,
    drafted: VecDeque<Vec<Id>>,
    notices: Vec<Notice>,
    standings: Vec<Standing>,
}

/// The store belongs to another network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store holds the ledger of the network {stored}, the genesis is that of {configured}: use another node directory or the genesis of that network"
)]
pub struct OtherGenesis {
    /// Whose ledger it is.
    pub stored: Id,
    /// What the configuration says.
    pub configured: Id,
}

impl Ledger {
    /// Goes on where the store stands, or begins.
    pub fn open<S: Ordered>(genesis: Genesis, store: &S) -> Result<Self, OtherGenesis> {
        let saved: Option<Meta> = store.record(layout::META);
        let mut meta = saved.clone().unwrap_or_else(|| first_meta(&genesis));
        if meta.genesis != genesis.hash() {
            return Err(OtherGenesis { stored: meta.genesis, configured: genesis.hash() });
        }
        let buckets = Buckets::load(BUCKET_LABEL, layout::BUCKET_HASHES, store);
        // What was missing is not remembered, so the page is looked through again.
        if let Work::Closing(closing) = &mut meta.work
            && let Stage::Check { at, .. } = &mut closing.stage
        {
            *at = 0;
        }
        Ok(Self {
            genesis,
            meta,
            saved,
            buckets,
            ranked: false,
            missing: BTreeMap::new(),
            parents: BTreeSet::new(),
            named: BTreeSet::new(),
            ahead: 0,
            sources: VecDeque::new(),
            page: None,
            drafted: VecDeque::new(),
            notices: Vec::new(),
            standings: Vec::new(),
        })
    }

    /// Keeps the index by stake from here on. It must be complete: see [`crate::ranking`].
    pub fn keep_ranking(&mut self) {
        self.ranked = true;
    }

    /// Does what can be done now, for about `limit` units (see [`Desk`]). True when there is more to do.
    pub fn step<S: Ordered, V: Verify>(&mut self, store: &mut S, verify: &V, limit: usize) -> bool {
        let mut desk = Desk::new(store, verify, limit);
        let mut more = true;
        while more && desk.has_left() {
            more = match self.meta.work.clone() {
                Work::Idle => self.follow(&mut desk),
                Work::Closing(closing) => self.close(closing, &mut desk),
                Work::Rewinding { to, from } => self.rewind(to, from, &mut desk),
            };
        }
        self.save(store);
        more
    }

    /// Writes where the ledger stands, if that changed.
    fn save<S: Ordered>(&mut self, store: &mut S) {
        if self.saved.as_ref() != Some(&self.meta) {
            store.put_record(layout::META, &self.meta);
            self.saved = Some(self.meta.clone());
        }
    }

    /// What happened since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// How what is reconciled changed, beside what was received: operations that an epoch included and proofs that one
    /// applied are settled; those of epochs that were undone, and proofs that the fold came upon, are open.
    pub fn take_standings(&mut self) -> Vec<Standing> {
        std::mem::take(&mut self.standings)
    }

    /// The network.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Where it stands.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Over everything closed.
    pub fn root(&self) -> Id {
        self.meta.closed.root
    }

    /// An account as the last closed epoch left it, also while the next one is being folded.
    pub fn closed_account<S: Ordered>(&self, account: Key, store: &S) -> Option<Account> {
        self.meta.closed_account(account, store)
    }

    /// An account as the fold has it.
    fn account<S: Ordered>(&self, account: Key, store: &S) -> Option<Account> {
        store.record(&layout::account(account))
    }

    fn operation<S: Ordered>(&self, id: Id, store: &S) -> Option<Signed<Operation>> {
        Signed::decode(&store.get(&layout::item(id))?).ok()
    }

    fn decree<S: Ordered>(&self, id: Id, store: &S) -> Option<Signed<Decree>> {
        Signed::decode(&store.get(&layout::item(id))?).ok()
    }

    fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}

/// Where a network begins.
fn first_meta(genesis: &Genesis) -> Meta {
    let nobody = Buckets::new(BUCKET_LABEL).root();
    Meta::new(genesis, root_of(genesis.hash(), 0, genesis.hash(), &Totals::default(), nobody))
}

/// SHA-256 over label, genesis hash, epoch, the id of its header (and so the issuer's whole log), the sums, and the hash over all
/// accounts (see [`Buckets`]).
fn root_of(genesis: Id, epoch: u64, header: Id, totals: &Totals, accounts: Id) -> Id {
    let mut hash = Hash::new(ROOT_LABEL).with(&genesis.0).with(&epoch.to_be_bytes()).with(&header.0);
    [totals.minted, totals.staked, totals.unbonding].iter().for_each(|amount| hash.add(&amount.to_be_bytes()));
    [totals.operations, totals.accounts].iter().for_each(|count| hash.add(&count.to_be_bytes()));
    hash.with(&accounts.0).id()
}
