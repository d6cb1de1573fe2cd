//! `Pot`: everything a node knows of one network's dividends. Pure: items and staking's answers in, verdicts and questions out.
//!
//! # How it is driven
//!
//! - [`Pot::receive`] takes one item (a declaration or a claim) and says what it is worth, as the staking ledger does.
//! - [`Pot::question`] says what to ask the plugin `staking` next; the answer goes into [`Pot::answer_epochs`],
//!   [`Pot::answer_anchors`] or [`Pot::answer_stakes`]. A question that failed is asked again later ([`Pot::forget_plan`]).
//! - [`Pot::step`] does the work that this made possible, a bounded piece at a time.
//! - [`Pot::missing`] lists anchored declarations that are not here; [`Pot::open_declarations`] and [`Pot::claims`] list
//!   what set reconciliation is about.
//!
//! # What decides
//!
//! The dividends are a fold over staking's closed epochs: of each first the stakes it changed, then the declarations it
//! anchors, in the order of their ids. Claims are not ordered at all: of an account's the highest counts, and what it comes
//! to follows from the fold. A claim counts once its account has had stake in the fold. Nodes with the same epochs,
//! declarations and claims therefore agree, in whatever order they came.

mod answers;
mod claims;
mod compare;
mod fold;
mod receive;

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use weir_ledger::{Buckets, Genesis, Hash, Id, Key, Ordered, Standing};

use crate::accumulator::{Accumulator, Position, Rule};
use crate::layout;
use crate::staking::{Epoch, Stake};

pub use claims::Entitlement;
pub use compare::{Found, Summary, Wanted};
pub use receive::{Ignored, Receipt, Rejected, Verdict};

const BUCKET_LABEL: &str = "weir-dividend-claims-v1";
const ROOT_LABEL: &str = "weir-dividend-root-v1";

/// What became of an anchored declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is divided among everybody who had stake in that epoch.
    Counted,
    /// Nobody had.
    NoStake,
    /// One of the payer's with the same number was anchored before.
    NumberUsed,
    /// All declared amounts together would not fit 128 bits, or there were too many accounts.
    TooLarge,
    /// It is not signed by a payer, or is no declaration.
    NotAPayer,
}

/// Where the dividends stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The network.
    pub genesis: Id,
    /// The last epoch that is in them.
    pub epoch: u64,
    /// The id of its header; the genesis hash before the first.
    pub epoch_id: Id,
    /// After that epoch.
    pub accumulator: Accumulator,
    /// While the next epoch's declarations are being added.
    running: Accumulator,
    /// Everything declared that counts, up to that epoch.
    pub declared: u128,
    running_declared: u128,
    /// Declarations that count.
    pub counted: u64,
    /// Declarations that were anchored and do not.
    pub voided: u64,
    /// Accounts that ever had stake.
    pub accounts: u64,
    work: Work,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Work {
    /// Of data version 1, which did not keep whose stakes are in: they may be those of an epoch that staking undid, so
    /// everything is made again. So it is with the next one.
    Old,
    OldDeclaring {
        id: Id,
        at: usize,
    },
    /// Staking went back: everything that follows from its epochs is made again.
    Clearing,
    /// Stakes of the next epoch: of the one with this id, as soon as one of them is in.
    Staking {
        id: Option<Id>,
    },
    /// Declarations of the epoch with this id, from this one on.
    Declaring {
        id: Id,
        at: usize,
    },
}

impl Work {
    fn is_clearing(&self) -> bool {
        matches!(self, Self::Clearing | Self::Old | Self::OldDeclaring { .. })
    }

    /// The epoch that is partly in.
    fn begun(&self) -> Option<Id> {
        match self {
            Self::Staking { id } => *id,
            Self::Declaring { id, .. } => Some(*id),
            Self::Clearing | Self::Old | Self::OldDeclaring { .. } => None,
        }
    }
}

/// An epoch on its way in.
#[derive(Debug, Clone)]
struct Planned {
    epoch: Epoch,
    /// Where its next page of anchors begins, while there is one.
    rest: Option<Rest>,
}

#[derive(Debug, Clone)]
enum Rest {
    FromTheStart,
    After(String),
}

/// Everything a node knows of one network's dividends.
#[derive(Debug, Clone)]
pub struct Pot {
    genesis: Genesis,
    meta: Meta,
    saved: Option<Meta>,
    claimed: Buckets,
    // What follows is forgotten by a restart and asked for again.
    plan: VecDeque<Planned>,
    changes: VecDeque<Stake>,
    next_page: Option<Option<String>>,
    missing: BTreeSet<Id>,
    went_back: u64,
    standings: Vec<Standing>,
}

/// The store belongs to another network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store holds the dividends of the network {stored}, the genesis is that of {configured}: use another node directory or the genesis of that network"
)]
pub struct OtherGenesis {
    /// Whose they are.
    pub stored: Id,
    /// What the configuration says.
    pub configured: Id,
}

impl Pot {
    /// Goes on where the store stands, or begins.
    pub fn open<S: Ordered>(genesis: Genesis, store: &S) -> Result<Self, OtherGenesis> {
        let saved: Option<Meta> = store.record(layout::META);
        let meta = saved.clone().unwrap_or_else(|| Meta::new(genesis.hash()));
        if meta.genesis != genesis.hash() {
            return Err(OtherGenesis { stored: meta.genesis, configured: genesis.hash() });
        }
        Ok(Self {
            genesis,
            meta,
            saved,
            claimed: Buckets::load(BUCKET_LABEL, layout::BUCKETS, store),
            plan: VecDeque::new(),
            changes: VecDeque::new(),
            next_page: None,
            missing: BTreeSet::new(),
            went_back: 0,
            standings: Vec::new(),
        })
    }

    fn save<S: Ordered>(&mut self, store: &mut S) {
        if self.saved.as_ref() != Some(&self.meta) {
            store.put_record(layout::META, &self.meta);
            self.saved = Some(self.meta.clone());
        }
    }

    /// The network.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Where they stand.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// How often staking went back and everything was made again, since this instance began.
    pub fn times_gone_back(&self) -> u64 {
        self.went_back
    }

    /// Whether everything is being made again, so that nothing can be said now.
    pub fn is_clearing(&self) -> bool {
        self.meta.work.is_clearing()
    }

    /// SHA-256 over label, genesis hash, epoch, the id of its header, what one unit of stake has earned, the sums, and the hash
    /// over the claims that count (see [`Buckets`]).
    pub fn root(&self) -> Id {
        let meta = &self.meta;
        let mut hash = Hash::new(ROOT_LABEL).with(&meta.genesis.0).with(&meta.epoch.to_be_bytes());
        hash.add(&meta.epoch_id.0);
        hash.add(&meta.accumulator.earned().to_be_bytes());
        hash.add(&meta.declared.to_be_bytes());
        [meta.counted, meta.voided].iter().for_each(|count| hash.add(&count.to_be_bytes()));
        hash.with(&self.claimed.root().0).id()
    }

    /// How what gossip compares changed, beside what was received: claims that others outdid or that are set aside and
    /// declarations that an epoch anchored are settled; declarations of epochs that staking undid are open.
    pub fn take_standings(&mut self) -> Vec<Standing> {
        std::mem::take(&mut self.standings)
    }

    /// Anchored declarations that are not here: to be asked for by id.
    pub fn missing(&self) -> Vec<Id> {
        self.missing.iter().copied().collect()
    }

    /// An account's position as an epoch left it.
    fn position_at<S: Ordered>(&self, account: Key, epoch: u64, store: &S) -> Option<Position> {
        let end = layout::position(account, epoch.saturating_add(1));
        let (_, bytes) = store.last(&layout::position_of(account), Some(&end))?;
        weir_sdk::decode(&bytes).ok()
    }

    /// The accumulator as an epoch left it.
    fn accumulator_at<S: Ordered>(&self, epoch: u64, store: &S) -> Accumulator {
        if epoch >= self.meta.epoch {
            return self.meta.accumulator;
        }
        let last = store.last(&layout::after_epoch(0), Some(&layout::after_epoch(epoch + 1)));
        let found = last.and_then(|(_, bytes)| weir_sdk::decode(&bytes).ok());
        found.unwrap_or(Accumulator::new(Rule::Exact))
    }
}

impl Meta {
    fn new(genesis: Id) -> Self {
        let accumulator = Accumulator::new(Rule::Exact);
        Self {
            genesis,
            epoch: 0,
            epoch_id: genesis,
            accumulator,
            running: accumulator,
            declared: 0,
            running_declared: 0,
            counted: 0,
            voided: 0,
            accounts: 0,
            work: Work::Staking { id: None },
        }
    }
}
