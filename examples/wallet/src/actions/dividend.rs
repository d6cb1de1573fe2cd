//! `declare AMOUNT` and `claim`: dividends.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use weir_ledger::{Id, Key, amount, hash};
use weir_plugin_dividend::commands::EntitlementAnswer;
use weir_plugin_dividend::items::{self, Body};

use crate::WalletError;
use crate::book::{LogName, Place};
use crate::node::{Caller, PAUSE};
use crate::wallet::{Sent, Signature, Wallet};

/// How long dividends are given to come to the epoch that staking has closed.
const FOLLOWING: Duration = Duration::from_secs(10);

/// A declaration that the node has. It counts from the epoch that anchors it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// Who pays.
    pub payer: Key,
    /// How much.
    #[serde(with = "amount")]
    pub amount: u128,
    /// The payer's number for it.
    pub number: u64,
    /// Its id.
    pub id: Id,
    /// Whether an earlier call had signed it.
    pub retried: bool,
}

/// A claim that the node has, or that there was nothing to claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claimed {
    /// Whose.
    pub account: Key,
    /// What this claim covers beyond the one before.
    #[serde(with = "amount")]
    pub claimed: u128,
    /// Everything claimed so far.
    #[serde(with = "amount")]
    pub total: u128,
    /// The epoch up to which it claims; none where nothing was due and nothing was signed.
    pub up_to_epoch: Option<u64>,
    /// The id of the record; none where nothing was signed.
    pub id: Option<Id>,
    /// Whether an earlier call had signed it, or a part of it.
    pub retried: bool,
    /// Why more may be due than was claimed, if so.
    pub note: Option<String>,
}

impl<C: Caller> Wallet<C> {
    /// Signs a declaration and sends it.
    pub fn declare(&mut self, amount: u128) -> Result<Declared, WalletError> {
        let (genesis, payer) = (self.node.status()?.genesis, self.account());
        let place = |node: &crate::node::Node<C>| {
            let list = node.declarations()?;
            let ours = list.payers.iter().find(|one| one.payer == payer);
            let fix = || "only payers that the genesis names can declare dividends".to_owned();
            let ours = ours.ok_or_else(|| WalletError::WrongRole { key: payer, role: "a payer", fix: fix() })?;
            Ok(Place { reign: 0, seq: ours.next_number, before: Id::default() })
        };
        let what = format!("declare {amount}");
        let sent = self.send(genesis, LogName::Declarations, &what, place, |wallet, at| {
            let body = Body::Declaration { payer, number: at.seq, amount }.encode();
            Ok(Signature::new(hash(&body), &wallet.pair.sign(items::LABEL, genesis, &body)))
        })?;
        Ok(Declared { payer, amount, number: sent.seq, id: sent.id, retried: sent.retried })
    }

    /// Claims everything that is due. A claim that nobody confirmed is sent again first, and what became due since is claimed
    /// after it.
    pub fn claim(&mut self) -> Result<Claimed, WalletError> {
        let (status, account) = (self.node.status()?, self.account());
        let genesis = status.genesis;
        let mut done =
            Claimed { account, claimed: 0, total: 0, up_to_epoch: None, id: None, retried: false, note: None };
        if let Some(open) = self.log(genesis, LogName::Claims).open().cloned() {
            match self.send_again(genesis, LogName::Claims, &open) {
                Ok(()) => done.claimed = covered(&open.what),
                // A claim that goes further counts in its place, so this one does no harm and no good.
                Err(WalletError::Unconfirmed { source, .. }) if source.code() == "outdone" => {
                    self.settle(genesis, LogName::Claims, open.id)?;
                }
                Err(error) => return Err(error),
            }
            (done.up_to_epoch, done.id, done.retried) = (Some(open.seq), Some(open.id), true);
        }
        let due = self.due_at(status.epoch)?;
        let (last, followed) = (status.epoch, due.epoch);
        let behind = || format!("dividends have followed to epoch {followed} of {last} only: claim again in a while");
        done.note = (followed < last).then(behind);
        done.total = due.claimed;
        if due.claimable > 0 {
            let sent = self.claim_up_to(due.epoch, due.claimable, genesis)?;
            (done.claimed, done.total) = (done.claimed.saturating_add(due.claimable), due.accrued);
            (done.up_to_epoch, done.id, done.retried) = (Some(due.epoch), Some(sent.id), done.retried || sent.retried);
        }
        Ok(done)
    }

    /// What is due when dividends have followed to an epoch: they do so a moment after staking has closed it.
    fn due_at(&self, epoch: u64) -> Result<EntitlementAnswer, WalletError> {
        let since = Instant::now();
        loop {
            let due = self.node.entitlement(self.account())?;
            if due.epoch >= epoch || since.elapsed() > FOLLOWING {
                return Ok(due);
            }
            thread::sleep(PAUSE);
        }
    }

    fn claim_up_to(&mut self, epoch: u64, claimable: u128, genesis: Id) -> Result<Sent, WalletError> {
        let (account, place) = (self.account(), Place { reign: 0, seq: epoch, before: Id::default() });
        self.send(
            genesis,
            LogName::Claims,
            &what(claimable, epoch),
            |_| Ok(place),
            |wallet, at| {
                let body = Body::Claim { account, up_to_epoch: at.seq }.encode();
                Ok(Signature::new(hash(&body), &wallet.pair.sign(items::LABEL, genesis, &body)))
            },
        )
    }
}

/// How a claim stands in the book.
fn what(claimable: u128, epoch: u64) -> String {
    format!("claim {claimable} up to epoch {epoch}")
}

/// What a claim in the book covers beyond the one before it: a node that has it already cannot tell any more.
fn covered(what: &str) -> u128 {
    what.split(' ').nth(1).and_then(amount::parse).unwrap_or_default()
}
