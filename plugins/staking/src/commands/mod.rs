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
    FaultAnswer, IssuerAnswer, MissingAnswer, ProofAnswer, ProofsAnswer, RootAnswer, StatusAnswer, proofs, root, status,
};
pub use submit::{DraftAnswer, DraftArgs, PageAnswer, PageArgs, draft, page, submit};
pub use weir_ledger::commands::{Paged, SubmitAnswer, SubmitArgs};

use weir_sdk::Error;

use crate::Ledger;
use crate::meta::Work;

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
