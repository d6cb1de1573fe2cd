//! `epochs {from, limit, topic}` and `anchors {epoch, topic, after, limit}`: what other protocols need of closed epochs.

use serde::{Deserialize, Serialize};
use weir_ledger::commands::{Entries, entries, limit};
use weir_ledger::store::after_prefix;
use weir_ledger::{Id, Ordered, amount};
use weir_sdk::Error;

use super::{closed_epoch, settled};
use crate::items::Topic;
use crate::{Ledger, layout};

/// Epochs of one answer.
const EPOCHS: usize = 64;
/// Anchors that `epochs` lists of each epoch; `anchors` has the rest.
const INLINE: usize = 64;

/// `epochs`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EpochsArgs {
    /// The first epoch to list; without it the last ones.
    pub from: Option<u64>,
    /// How many, 1 to 64.
    pub limit: Option<usize>,
    /// Only the anchors of this topic.
    pub topic: Option<Topic>,
}

/// The answer of `epochs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochsAnswer {
    /// The network.
    pub genesis: Id,
    /// The last closed epoch.
    pub closed: u64,
    /// In order.
    pub epochs: Vec<EpochAnswer>,
}

/// One closed epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochAnswer {
    /// Its number.
    pub epoch: u64,
    /// The id of its header: another one for the same number means that the ledger went back.
    pub id: Id,
    /// The number in the issuer's log behind its header: from there a rotation lets the log go on.
    pub next_seq: u64,
    /// The root.
    pub root: Id,
    /// Everything at stake when it closed.
    #[serde(with = "amount")]
    pub total: u128,
    /// The first of its anchors, by topic and id.
    pub anchors: Vec<Id>,
    /// Whether `anchors` has more.
    pub more_anchors: bool,
}

/// Answers `epochs`.
pub fn epochs<S: Ordered>(ledger: &Ledger, args: &EpochsArgs, store: &S) -> Result<EpochsAnswer, Error> {
    settled(ledger)?;
    let limit = limit(args.limit)?.min(EPOCHS);
    let closed = ledger.meta().closed.epoch;
    let first = args.from.unwrap_or_else(|| (closed + 1).saturating_sub(limit as u64)).max(1);
    let mut epochs = Vec::new();
    for epoch in (first..=closed).take(limit) {
        let Some(record) = ledger.epoch_record(epoch, store) else { continue };
        let (mut anchors, _) = listed(epoch, args.topic, None, INLINE + 1, store)?;
        let more_anchors = anchors.len() > INLINE;
        anchors.truncate(INLINE);
        epochs.push(EpochAnswer {
            epoch,
            id: record.id,
            next_seq: record.tip.seq,
            root: record.root,
            total: record.totals.staked,
            anchors,
            more_anchors,
        });
    }
    Ok(EpochsAnswer { genesis: ledger.genesis().hash(), closed, epochs })
}

/// `anchors`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorsArgs {
    /// Of which epoch.
    pub epoch: u64,
    /// Only those of this topic.
    #[serde(default)]
    pub topic: Option<Topic>,
    /// The `next` of the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// Entries, 1 to 1,000.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// The answer of `anchors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorsAnswer {
    /// Which epoch.
    pub epoch: u64,
    /// By topic and id.
    pub anchors: Vec<Id>,
    /// Where the next page begins; none after the last one.
    pub next: Option<String>,
}

/// Answers `anchors`.
pub fn anchors<S: Ordered>(ledger: &Ledger, args: &AnchorsArgs, store: &S) -> Result<AnchorsAnswer, Error> {
    settled(ledger)?;
    let epoch = closed_epoch(ledger, Some(args.epoch))?;
    let (anchors, next) = listed(epoch, args.topic, args.after.as_deref(), limit(args.limit)?, store)?;
    Ok(AnchorsAnswer { epoch, anchors, next })
}

fn listed<S: Ordered>(
    epoch: u64,
    topic: Option<Topic>,
    after: Option<&str>,
    limit: usize,
    store: &S,
) -> Result<(Vec<Id>, Option<String>), Error> {
    let mut prefix = layout::anchors(epoch);
    prefix.extend(topic.iter().flat_map(Topic::bytes));
    let Entries { found, next } = entries(store, &prefix, after_prefix(&prefix).as_deref(), after, limit)?;
    Ok((found.iter().filter_map(|(key, _)| key.last_chunk().copied().map(Id)).collect(), next))
}
