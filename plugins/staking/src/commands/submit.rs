//! `submit {op}`: an item from beside the node. `draft {anchors}`: the next epoch, ready to be signed. `page {id}`: what it names.

use serde::{Deserialize, Serialize};
use weir_ledger::commands::{SubmitAnswer, SubmitArgs};
use weir_ledger::{Id, Ordered, Verify, to_hex};
use weir_sdk::Error;

use crate::items::{Anchor, MAX_ITEM};
use crate::{Ignored, Ledger, Receipt, Verdict};

/// Answers `submit`, which takes an operation, a decree, a proof, or a page that an epoch names; the receipt says what to spread.
pub fn submit<S: Ordered, V: Verify>(
    ledger: &mut Ledger,
    args: &SubmitArgs,
    store: &mut S,
    verify: &V,
) -> Result<(SubmitAnswer, Receipt), Error> {
    let bytes = args.bytes(MAX_ITEM)?;
    let receipt = ledger.submit(&bytes, store, verify);
    let known = match &receipt.verdict {
        Verdict::Accepted => false,
        Verdict::Ignored(Ignored::Known) => true,
        Verdict::Ignored(why) => return Err(Error::new(why.code(), why.sentence())),
        Verdict::Rejected(why) => return Err(Error::new(why.code(), why.sentence())),
    };
    let id = receipt.id.ok_or_else(|| Error::new("malformed", "the item has no id"))?;
    Ok((SubmitAnswer { id, known }, receipt))
}

/// `draft {anchors}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DraftArgs {
    /// Items of other protocols that the epoch orders.
    pub anchors: Vec<Anchor>,
}

/// The answer of `draft`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftAnswer {
    /// The number of the epoch.
    pub epoch: u64,
    /// The number in the issuer's log.
    pub seq: u64,
    /// What the issuer signs, in hexadecimal digits; `submit` takes it with the signature behind it.
    pub body: String,
    /// Operations that it includes.
    pub operations: u64,
    /// Of so many accounts.
    pub accounts: u64,
    /// Proofs that it applies.
    pub proofs: u64,
    /// Anchors.
    pub anchors: u64,
    /// False when there is more news than one epoch takes: sign another one behind it.
    pub complete: bool,
}

/// Answers `draft`.
pub fn draft<S: Ordered>(ledger: &mut Ledger, args: &DraftArgs, store: &mut S) -> Result<DraftAnswer, Error> {
    let draft = ledger.draft(&args.anchors, store).map_err(|error| Error::new(error.code(), error.to_string()))?;
    Ok(DraftAnswer {
        epoch: ledger.meta().closed.epoch + 1,
        seq: draft.decree.seq,
        body: to_hex(&draft.body),
        operations: draft.operations,
        accounts: draft.accounts,
        proofs: draft.proofs,
        anchors: draft.anchors,
        complete: draft.complete,
    })
}

/// `page {id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageArgs {
    /// Which, as the header of an epoch names it.
    pub id: Id,
}

/// The answer of `page`: half a megabyte of digits at most, so each has its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageAnswer {
    /// Its bytes, in hexadecimal digits; `submit` takes them at a node that has the header.
    pub page: String,
}

/// Answers `page`.
pub fn page<S: Ordered>(ledger: &Ledger, args: &PageArgs, store: &S) -> Result<PageAnswer, Error> {
    let none =
        || Error::new("unknown-page", "no epoch and none of the last drafts has this page: draft the epoch again");
    let bytes = ledger.page_bytes(args.id, store).ok_or_else(none)?;
    Ok(PageAnswer { page: to_hex(&bytes) })
}
