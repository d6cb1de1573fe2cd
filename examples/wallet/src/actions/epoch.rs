//! `epoch`: closes the next epoch, with everything that is new.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use weir_ledger::codec::Reader;
use weir_ledger::commands::PAGE;
use weir_ledger::{Id, from_hex, hash};
use weir_plugin_staking::commands::{DraftAnswer, DraftArgs, StatusAnswer};
use weir_plugin_staking::items::{Anchor, Body, Decree, MAX_PAGE, Order, Signed, Topic};

use super::mint::tip;
use crate::WalletError;
use crate::api::ApiError;
use crate::book::{KEPT_PAGES, LogName, Place};
use crate::node::{Caller, Node, PAUSE};
use crate::wallet::{Signature, Wallet};

/// How a retry knows what was asked for.
const WHAT: &str = "epoch";
/// Under which topic dividends look for their declarations.
const TOPIC: &str = "dividend";
/// How long the node is given to close what it was given: a million accounts take it half of that.
const CLOSING: Duration = Duration::from_secs(60);
/// Why an epoch has not everything.
const LEFT: &str = "declarations of dividends are left for a later epoch";
/// An epoch takes about seven thousand accounts with news, so this is more than there can be.
const MOST: u64 = 1_000;
/// Pages of a draft that are kept and sent with it, 4 MiB of digits; a node drafts two.
const MOST_PAGES: usize = KEPT_PAGES / (2 * MAX_PAGE);

/// What was closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EpochDone {
    /// The last epoch that was closed.
    pub epoch: u64,
    /// How many were closed: what does not fit one goes into the next.
    pub epochs: u64,
    /// Operations in them.
    pub operations: u64,
    /// Proofs that they applied.
    pub proofs: u64,
    /// Items of other protocols that they order: declarations of dividends.
    pub anchors: u64,
    /// Over everything closed.
    pub root: Id,
    /// Whether the first of them had been signed by an earlier call; what it held is not counted above.
    pub retried: bool,
    /// Why declarations were left for a later epoch, if so.
    pub note: Option<String>,
}

impl<C: Caller> Wallet<C> {
    /// Collects what is new, signs the epoch that orders it, and waits until the node has closed it; and so on until nothing
    /// is left over.
    pub fn epoch(&mut self) -> Result<EpochDone, WalletError> {
        let mut done = EpochDone::default();
        while done.epochs < MOST {
            let complete = self.one_epoch(&mut done)?;
            if complete {
                break;
            }
        }
        Ok(done)
    }

    /// Closes one. True when everything fitted.
    fn one_epoch(&mut self, done: &mut EpochDone) -> Result<bool, WalletError> {
        let status = self.node.status()?;
        self.must_issue(&status)?;
        let genesis = status.genesis;
        self.bring_pages(&status)?;
        let (anchors, note) = open_declarations(&self.node)?;
        let mut drafted = None;
        let sent = self.send(genesis, LogName::Decrees, WHAT, tip, |wallet, at| {
            let draft = wallet.node.draft(&DraftArgs { anchors: anchors.clone() })?;
            let signature = wallet.sign_draft(&draft, at, genesis)?;
            drafted = Some(draft);
            Ok(signature)
        })?;
        // A retry sends what an earlier call signed: the header in the book says which epoch that is.
        let epoch = match &drafted {
            Some(draft) => draft.epoch,
            None => self.epoch_of(genesis, sent.id).unwrap_or(status.epoch),
        };
        done.root = self.node.until_closed(epoch, CLOSING)?;
        (done.epoch, done.note) = (epoch, note);
        done.epochs += 1;
        done.retried |= sent.retried;
        if let Some(draft) = &drafted {
            done.operations += draft.operations;
            done.proofs += draft.proofs;
            done.anchors += draft.anchors;
        }
        let left = anchors.len() >= PAGE && self.declarations_left(epoch, done)?;
        Ok(drafted.is_none_or(|draft| draft.complete) && !left)
    }

    /// Whether declarations are left over by an epoch that took a whole list of them. They leave the list when dividends have
    /// followed.
    fn declarations_left(&self, epoch: u64, done: &mut EpochDone) -> Result<bool, WalletError> {
        let since = Instant::now();
        loop {
            match self.node.declarations() {
                Ok(list) if list.epoch >= epoch => return Ok(!list.open.is_empty()),
                Ok(_) if since.elapsed() > CLOSING => {
                    done.note = Some(format!("{LEFT}: the plugin has not followed to epoch {epoch} yet"));
                    return Ok(false);
                }
                Ok(_) => thread::sleep(PAUSE),
                Err(WalletError::Node(error @ ApiError::Refused(_))) => {
                    done.note = Some(format!("{LEFT}: {error}"));
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A node may wait for pages that nobody has but this book: the one that took them may have died before anybody asked.
    fn bring_pages(&mut self, status: &StatusAnswer) -> Result<(), WalletError> {
        let wanted = status.missing.iter().map(|missing| missing.id).collect();
        let entries = self.log(status.genesis, LogName::Decrees).with_pages(&wanted);
        for entry in entries.iter().filter(|entry| entry.settled) {
            self.send_again(status.genesis, LogName::Decrees, entry)?;
            self.node.until_closed(status.epoch + 1, CLOSING)?;
        }
        Ok(())
    }

    /// Looks at what the node wants signed before it is: only the next epoch, at the place that the book agreed to.
    fn sign_draft(&self, draft: &DraftAnswer, at: Place, genesis: Id) -> Result<Signature, WalletError> {
        let strange = WalletError::StrangeDraft;
        let bytes = from_hex(&draft.body, Decree::MAX).map_err(|_| strange("its body is not readable"))?;
        let mut reader = Reader::new(&bytes);
        let decree = Decree::read(&mut reader).and_then(|decree| reader.end().map(|()| decree));
        let decree = decree.map_err(|_| strange("its body is not readable"))?;
        if (decree.key, decree.reign, decree.seq, decree.before) != (self.account(), at.reign, at.seq, at.before) {
            return Err(strange("it does not follow the last decree"));
        }
        let pages = match &decree.order {
            Order::Epoch { number, pages } if *number == draft.epoch => self.pages(pages)?,
            _ => return Err(strange("it is no epoch, or another one")),
        };
        let signed = Signed::sign(decree, &self.pair, genesis);
        Ok(Signature { pages, ..Signature::new(signed.id(), signed.bytes()) })
    }

    /// Reads the pages of a draft, so that they are on the disk with its header: one that was heard of without them stops
    /// the network, and the node forgets them.
    fn pages(&self, ids: &[Id]) -> Result<Vec<String>, WalletError> {
        let strange = WalletError::StrangeDraft;
        if ids.len() > MOST_PAGES {
            return Err(strange("it has too many pages"));
        }
        let read = |id: &Id| {
            let page = self.node.page(*id)?;
            let bytes = from_hex(&page, MAX_PAGE).map_err(|_| strange("a page is not readable"))?;
            if hash(&bytes) == *id { Ok(page) } else { Err(strange("a page is another one")) }
        };
        ids.iter().map(read).collect()
    }

    /// The number of the epoch with this header.
    fn epoch_of(&self, genesis: Id, id: Id) -> Option<u64> {
        let log = self.log(genesis, LogName::Decrees);
        let entry = log.last().filter(|entry| entry.id == id)?;
        let bytes = from_hex(&entry.bytes, Decree::MAX + weir_ledger::sign::SIGNATURE).ok()?;
        match Signed::<Decree>::decode(&bytes).ok()?.body().order {
            Order::Epoch { number, .. } => Some(number),
            _ => None,
        }
    }
}

/// Declarations that wait for an epoch. A node without dividends, or whose dividends fail, must not keep the issuer from closing
/// epochs; what is left out now is in the next one.
fn open_declarations<C: Caller>(node: &Node<C>) -> Result<(Vec<Anchor>, Option<String>), WalletError> {
    let Some(topic) = Topic::new(TOPIC) else { return Ok((Vec::new(), None)) };
    match node.declarations() {
        Ok(list) => Ok((list.open.iter().map(|open| Anchor { topic, id: open.id }).collect(), None)),
        Err(WalletError::NoPlugin(_)) => Ok((Vec::new(), None)),
        Err(WalletError::Node(error @ ApiError::Refused(_))) => Ok((Vec::new(), Some(format!("{LEFT}: {error}")))),
        Err(error) => Err(error),
    }
}
