//! `declare AMOUNT` and `claim`: dividends.

use serde::Serialize;
use weir_ledger::{Id, Key, amount, hash};
use weir_plugin_dividend::items::{self, Body};

use crate::WalletError;
use crate::book::{LogName, Place};
use crate::node::{Caller, DIVIDEND};
use crate::wallet::{Signature, Wallet};

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

    /// Claims everything that is due. Nothing of it is in the book: claims merge by maximum, and one up to the same epoch has
    /// the same bytes, so a retry cannot do any harm.
    pub fn claim(&mut self) -> Result<Claimed, WalletError> {
        let (genesis, account) = (self.node.status()?.genesis, self.account());
        let due = self.node.entitlement(account)?;
        if due.claimable == 0 {
            return Ok(Claimed { account, claimed: 0, total: due.claimed, up_to_epoch: None, id: None });
        }
        let body = Body::Claim { account, up_to_epoch: due.epoch }.encode();
        let sent = self.node.submit(DIVIDEND, &self.pair.sign(items::LABEL, genesis, &body))?;
        let (up_to_epoch, id) = (Some(due.epoch), Some(sent.id));
        Ok(Claimed { account, claimed: due.claimable, total: due.accrued, up_to_epoch, id })
    }
}
