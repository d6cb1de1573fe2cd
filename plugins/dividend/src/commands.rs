//! What the commands take and answer, as JSON: pure functions over a pot and its store.

use serde::{Deserialize, Serialize};
use weir_ledger::commands::{Entries, PAGE, cursor, entries, limit};
use weir_ledger::store::after_prefix;
use weir_ledger::{Id, Key, Ordered, Verify, amount};
use weir_sdk::Error;

use crate::items::{Body, Item, MAX_ITEM};
use crate::layout;
use crate::pot::{Ignored, Outcome, Pot, Receipt, Verdict};

pub use weir_ledger::commands::{Paged, SubmitAnswer, SubmitArgs};

/// Answers `submit`, which takes a declaration or a claim. What was accepted is to be spread.
pub fn submit<S: Ordered, V: Verify>(
    pot: &mut Pot,
    args: &SubmitArgs,
    store: &mut S,
    verify: &V,
) -> Result<(SubmitAnswer, Vec<u8>), Error> {
    let bytes = args.bytes(MAX_ITEM)?;
    if let Ok(item) = Item::decode(&bytes)
        && let Body::Claim { up_to_epoch, .. } = *item.body()
        && up_to_epoch > pot.meta().epoch
    {
        let last = pot.meta().epoch;
        return Err(Error::new(
            "epoch-not-closed",
            format!("epoch {up_to_epoch} is not closed here; the last one that is is {last}"),
        ));
    }
    let Receipt { id, verdict } = pot.receive(&bytes, store, verify);
    let known = match verdict {
        Verdict::Accepted => false,
        Verdict::Ignored(Ignored::Known) => true,
        Verdict::Ignored(why) => return Err(Error::new(why.code(), why.sentence())),
        Verdict::Rejected(why) => return Err(Error::new(why.code(), why.sentence())),
    };
    let id = id.ok_or_else(|| Error::new("malformed", "the item has no id"))?;
    Ok((SubmitAnswer { id, known }, bytes))
}

/// `entitlement {account}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntitlementArgs {
    /// Whose.
    pub account: Key,
}

/// The answer of `entitlement`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitlementAnswer {
    /// Whose.
    pub account: Key,
    /// Up to which epoch.
    pub epoch: u64,
    /// Everything due so far.
    #[serde(with = "amount")]
    pub accrued: u128,
    /// What is claimed of it.
    #[serde(with = "amount")]
    pub claimed: u128,
    /// What is not.
    #[serde(with = "amount")]
    pub claimable: u128,
    /// The epoch up to which its claim goes.
    pub claimed_up_to: Option<u64>,
}

/// Answers `entitlement`.
pub fn entitlement<S: Ordered>(pot: &Pot, args: &EntitlementArgs, store: &S) -> Result<EntitlementAnswer, Error> {
    settled(pot)?;
    Ok(entitlement_of(pot, args.account, store))
}

fn entitlement_of<S: Ordered>(pot: &Pot, account: Key, store: &S) -> EntitlementAnswer {
    let found = pot.entitlement(account, store);
    let (accrued, claimed) = (found.accrued, found.claimed);
    EntitlementAnswer {
        account,
        epoch: pot.meta().epoch,
        accrued,
        claimed,
        claimable: accrued.saturating_sub(claimed),
        claimed_up_to: found.claimed_up_to,
    }
}

/// The answer of `entitlements`: everybody who ever had stake, so that sums can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitlementsAnswer {
    /// By account.
    pub accounts: Vec<EntitlementAnswer>,
    /// Where the next page begins; none after the last one.
    pub next: Option<String>,
}

/// Answers `entitlements`.
pub fn entitlements<S: Ordered>(pot: &Pot, args: &Paged, store: &S) -> Result<EntitlementsAnswer, Error> {
    settled(pot)?;
    let wrong = |_| Error::new("bad-arguments", "`after` must be the `next` of an earlier answer");
    let after = cursor(args.after.as_deref())?.map(|after| after.try_into().map(Key).map_err(wrong)).transpose()?;
    let limit = limit(args.limit)?;
    let found = pot.accounts(after, limit, store);
    let next = found.last().filter(|_| found.len() == limit).map(|account| account.to_string());
    Ok(EntitlementsAnswer {
        accounts: found.into_iter().map(|account| entitlement_of(pot, account, store)).collect(),
        next,
    })
}

/// The answer of `list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListAnswer {
    /// The last epoch that is in.
    pub epoch: u64,
    /// Everything declared that counts.
    #[serde(with = "amount")]
    pub declared: u128,
    /// Declarations that no epoch has anchored yet; on the first page only.
    pub open: Vec<DeclarationAnswer>,
    /// Those that one has, in the order of epochs.
    pub anchored: Vec<DeclarationAnswer>,
    /// Where the next page begins; none after the last one.
    pub next: Option<String>,
    /// The number of each payer's next declaration.
    pub payers: Vec<PayerAnswer>,
}

/// One declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclarationAnswer {
    /// Its id, for an epoch to anchor under the topic `dividend`.
    pub id: Id,
    /// Who pays.
    pub payer: Key,
    /// The payer's number for it.
    pub number: u64,
    /// How much.
    #[serde(with = "amount")]
    pub amount: u128,
    /// Its record date.
    pub epoch: Option<u64>,
    /// Whether it counts, and why not.
    pub outcome: Option<Outcome>,
}

/// One payer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayerAnswer {
    /// Who.
    pub payer: Key,
    /// The number of its next declaration.
    pub next_number: u64,
}

/// Answers `list`.
pub fn list<S: Ordered>(pot: &Pot, args: &Paged, store: &S) -> Result<ListAnswer, Error> {
    settled(pot)?;
    let open = match args.after {
        None => Pot::open_declarations(store).iter().take(PAGE).filter_map(|id| declaration(*id, pot, store)).collect(),
        Some(_) => Vec::new(),
    };
    let end = after_prefix(layout::DECLARED);
    let page = entries(store, layout::DECLARED, end.as_deref(), args.after.as_deref(), limit(args.limit)?)?;
    let Entries { found, next } = page;
    let anchored = found.iter().filter_map(|(key, outcome)| {
        let (epoch, outcome) = (layout::read_epoch(key), weir_sdk::decode(outcome).ok());
        // Of an epoch that is only partly in nothing is said yet.
        let epoch = epoch.filter(|epoch| *epoch <= pot.meta().epoch)?;
        Some(DeclarationAnswer { epoch: Some(epoch), outcome, ..declaration(layout::read_id(key)?, pot, store)? })
    });
    let payers = pot.genesis().file().payers.iter();
    let payers = payers.map(|payer| PayerAnswer { payer: *payer, next_number: pot.next_number(*payer, store) });
    Ok(ListAnswer {
        epoch: pot.meta().epoch,
        declared: pot.meta().declared,
        open,
        anchored: anchored.collect(),
        next,
        payers: payers.collect(),
    })
}

fn declaration<S: Ordered>(id: Id, pot: &Pot, store: &S) -> Option<DeclarationAnswer> {
    match *Item::decode(&pot.item(id, store)?).ok()?.body() {
        Body::Declaration { payer, number, amount } => {
            Some(DeclarationAnswer { id, payer, number, amount, epoch: None, outcome: None })
        }
        Body::Claim { .. } => None,
    }
}

/// The answer of `root`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootAnswer {
    /// Over everything: equal on every node with the same epochs and claims.
    pub root: Id,
    /// The last epoch that is in.
    pub epoch: u64,
    /// Declarations that count.
    pub counted: u64,
    /// Declarations that were anchored and do not.
    pub voided: u64,
    /// Accounts that ever had stake.
    pub accounts: u64,
    /// Anchored declarations that are not here: the next epoch waits for them.
    pub missing: Vec<Id>,
}

/// Answers `root`.
pub fn root(pot: &Pot) -> Result<RootAnswer, Error> {
    settled(pot)?;
    let meta = pot.meta();
    Ok(RootAnswer {
        root: pot.root(),
        epoch: meta.epoch,
        counted: meta.counted,
        voided: meta.voided,
        accounts: meta.accounts,
        missing: pot.missing(),
    })
}

fn settled(pot: &Pot) -> Result<(), Error> {
    if pot.is_clearing() {
        return Err(Error::new(
            "rewinding",
            "staking went back and the dividends are made again: ask again in a moment",
        ));
    }
    Ok(())
}
