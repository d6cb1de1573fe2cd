//! What the commands take and answer, as JSON: pure functions over a ledger and its store.

mod account;
mod epochs;
mod stakes;
mod status;
mod submit;

pub use account::{AccountAnswer, AccountArgs, RefusedOperation, account};
pub use epochs::{AnchorsAnswer, AnchorsArgs, EpochAnswer, EpochsAnswer, EpochsArgs, anchors, epochs};
pub use stakes::{StakeAnswer, StakesAnswer, StakesArgs, TopAnswer, TopArgs, TopEntry, stakes, top};
pub use status::{
    FaultAnswer, IssuerAnswer, MissingAnswer, Paged, ProofAnswer, ProofsAnswer, RootAnswer, StatusAnswer, proofs, root,
    status,
};
pub use submit::{DraftAnswer, DraftArgs, SubmitAnswer, SubmitArgs, draft, submit};

use weir_sdk::Error;

use crate::Ledger;
use crate::meta::Work;

/// Entries of a page unless `limit` says otherwise, and the most that it may say.
const PAGE: usize = 1_000;

fn page(limit: Option<usize>) -> Result<usize, Error> {
    match limit {
        None => Ok(PAGE),
        Some(limit) if (1..=PAGE).contains(&limit) => Ok(limit),
        Some(limit) => Err(Error::new("bad-arguments", format!("`limit` is {limit}; it must be 1 to {PAGE}"))),
    }
}

/// A cursor is what an earlier answer gave as `next`.
fn cursor(text: Option<&str>) -> Result<Option<Vec<u8>>, Error> {
    let wrong = |_| Error::new("bad-arguments", "`after` must be the `next` of an earlier answer".to_owned());
    text.map(|text| weir_ledger::from_hex(text, 64).map_err(wrong)).transpose()
}

/// While the ledger goes back, accounts are between two epochs.
fn settled(ledger: &Ledger) -> Result<(), Error> {
    match ledger.meta().work {
        Work::Rewinding { to, .. } => {
            Err(Error::new("rewinding", format!("the ledger is going back to epoch {to}: ask again in a moment")))
        }
        Work::Idle | Work::Closing(_) => Ok(()),
    }
}

/// An epoch that is closed; the last one when none is asked for.
fn closed_epoch(ledger: &Ledger, epoch: Option<u64>) -> Result<u64, Error> {
    let last = ledger.meta().closed.epoch;
    match epoch {
        None => Ok(last),
        Some(epoch) if epoch <= last => Ok(epoch),
        Some(epoch) => Err(Error::new(
            "epoch-not-closed",
            format!("epoch {epoch} is not closed here; the last one that is is {last}"),
        )),
    }
}
