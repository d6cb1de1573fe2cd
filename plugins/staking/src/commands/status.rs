//! `root`, `proofs` and `status`.

use serde::{Deserialize, Serialize};
use weir_ledger::commands::{Entries, Paged, entries, limit};
use weir_ledger::store::after_prefix;
use weir_ledger::{Id, Key, Ordered, amount, to_hex};
use weir_sdk::Error;

use super::settled;
use crate::items::Proof;
use crate::meta::Work;
use crate::{Ledger, layout};

/// Names of missing things that `status` lists.
const MISSING: usize = 100;
/// Proofs of one page of `proofs`: 600 hexadecimal digits each.
const PROOFS: usize = 200;
/// Pending operations that `status` counts before it gives up.
const PENDING: usize = 10_000;

/// The answer of `root`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootAnswer {
    /// Over everything closed: equal on every node that has closed the same epoch.
    pub root: Id,
    /// The last closed epoch.
    pub epoch: u64,
    /// Included operations and decrees.
    pub operations: u64,
    /// Accounts.
    pub accounts: u64,
}

/// Answers `root`.
pub fn root(ledger: &Ledger) -> RootAnswer {
    let closed = ledger.meta().closed;
    let (operations, accounts) = (closed.totals.operations, closed.totals.accounts);
    RootAnswer { root: closed.root, epoch: closed.epoch, operations, accounts }
}

/// The answer of `proofs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofsAnswer {
    /// Accounts that signed two operations with one number.
    pub accounts: Vec<ProofAnswer>,
    /// Where the next page begins; none after the last one.
    pub next: Option<String>,
    /// Why the issuer has to be replaced.
    pub issuer: Option<FaultAnswer>,
    /// Two rotations with one reign: the recovery key itself is in two hands.
    pub recovery: Option<(Id, Id)>,
}

/// A proof against an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofAnswer {
    /// Whom it is about.
    pub account: Key,
    /// The number that two operations have.
    pub seq: u64,
    /// The two.
    pub operations: [Id; 2],
    /// The epoch that applied it; none while it is pending.
    pub applied: Option<u64>,
    /// The item, in hexadecimal digits.
    pub proof: String,
}

/// What is wrong with the issuer's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultAnswer {
    /// From this number on its log does not count.
    pub seq: u64,
    /// The decrees that show it.
    pub decrees: Vec<Id>,
    /// In words.
    pub what: String,
}

/// Answers `proofs`.
pub fn proofs<S: Ordered>(ledger: &Ledger, args: &Paged, store: &S) -> Result<ProofsAnswer, Error> {
    settled(ledger)?;
    let (limit, end) = (limit(args.limit)?.min(PROOFS), after_prefix(layout::PROOFS));
    let Entries { found, next } = entries(store, layout::PROOFS, end.as_deref(), args.after.as_deref(), limit)?;
    let proofs = found.iter().filter_map(|(_, bytes)| {
        let proof = Proof::decode(bytes).ok()?;
        let state = ledger.closed_account(proof.account(), store);
        Some(ProofAnswer {
            account: proof.account(),
            seq: proof.seq(),
            operations: proof.operations().map(|operation| operation.id()),
            applied: state.and_then(|state| state.frozen),
            proof: to_hex(bytes),
        })
    });
    Ok(ProofsAnswer { accounts: proofs.collect(), next, issuer: fault(ledger), recovery: ledger.meta().torn_recovery })
}

fn fault(ledger: &Ledger) -> Option<FaultAnswer> {
    let fault = ledger.meta().fault.clone()?;
    Some(FaultAnswer { seq: fault.seq, decrees: fault.decrees, what: fault.what })
}

/// The answer of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// The network.
    pub genesis: Id,
    /// What the token is called.
    pub name: String,
    /// Its symbol.
    pub symbol: String,
    /// The last closed epoch.
    pub epoch: u64,
    /// Over everything closed.
    pub root: Id,
    /// `up-to-date`, `closing` (folding an epoch), `waiting` (an epoch names what is not here), `behind` (a peer's log is
    /// longer), `rewinding`, `rotating` (following what a rotation chose), `issuer-fault` (waiting for a rotation).
    pub state: String,
    /// A sentence about it.
    pub sentence: String,
    /// Who issues now.
    pub issuer: IssuerAnswer,
    /// Everything ever minted.
    #[serde(with = "amount")]
    pub minted: u128,
    /// At stake.
    #[serde(with = "amount")]
    pub staked: u128,
    /// On its way back.
    #[serde(with = "amount")]
    pub unbonding: u128,
    /// Operations that no epoch has included yet; counted up to 10,000.
    pub pending: u64,
    /// What an epoch names and this node lacks, the first hundred.
    pub missing: Vec<MissingAnswer>,
    /// How many there are.
    pub missing_count: u64,
    /// Peers that have shown the epoch that names it.
    pub missing_from: Vec<Key>,
    /// Why the issuer has to be replaced.
    pub fault: Option<FaultAnswer>,
}

/// Where the issuer's log goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerAnswer {
    /// Its key.
    pub key: Key,
    /// Its reign.
    pub reign: u64,
    /// The number of the next decree to sign.
    pub next_seq: u64,
    /// The id that it names as the one before it.
    pub head: Id,
}

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingAnswer {
    /// Its id.
    pub id: Id,
    /// Whose operation it is; none for a page or a decree.
    pub account: Option<Key>,
}

/// Answers `status`.
pub fn status<S: Ordered>(ledger: &Ledger, store: &S) -> StatusAnswer {
    let (meta, file) = (ledger.meta(), ledger.genesis().file());
    let (missing, missing_from) = ledger.missing();
    let (state, sentence) = state(ledger, missing.len());
    let (summary, totals) = (ledger.summary(), meta.closed.totals);
    let issuer = IssuerAnswer { key: meta.tip.key, reign: meta.tip.reign, next_seq: summary.seq, head: summary.last };
    let listed = missing.iter().take(MISSING).map(|(id, account)| MissingAnswer { id: *id, account: *account });
    StatusAnswer {
        genesis: meta.genesis,
        name: file.name.clone(),
        symbol: file.symbol.clone(),
        epoch: meta.closed.epoch,
        root: meta.closed.root,
        state: state.to_owned(),
        sentence,
        issuer,
        minted: totals.minted,
        staked: totals.staked,
        unbonding: totals.unbonding,
        pending: ledger.pending(PENDING, store).len() as u64,
        missing: listed.collect(),
        missing_count: missing.len() as u64,
        missing_from,
        fault: fault(ledger),
    }
}

fn state(ledger: &Ledger, missing: usize) -> (&'static str, String) {
    let meta = ledger.meta();
    match &meta.work {
        Work::Rewinding { to, .. } => ("rewinding", format!("going back to epoch {to}")),
        Work::Closing(closing) if missing > 0 => {
            ("waiting", format!("epoch {} names {missing} things that are not here yet", closing.epoch))
        }
        Work::Closing(closing) => ("closing", format!("closing epoch {}", closing.epoch)),
        Work::Idle if meta.unsettled().is_some() => {
            let reign = meta.issuer().0;
            ("rotating", format!("following the log that the rotation to reign {reign} chose"))
        }
        Work::Idle => match &meta.fault {
            Some(fault) => (
                "issuer-fault",
                format!(
                    "{}; the state stays at epoch {} until the recovery key signs a rotation",
                    fault.what, meta.closed.epoch
                ),
            ),
            None if ledger.is_behind() => ("behind", "a peer's issuer log is longer".to_owned()),
            None => ("up-to-date", "nothing that is known is missing".to_owned()),
        },
    }
}
