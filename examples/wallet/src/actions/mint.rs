//! `mint TO AMOUNT`: new tokens, by the issuer.

use serde::Serialize;
use weir_ledger::{Id, Key, amount};
use weir_plugin_staking::commands::StatusAnswer;
use weir_plugin_staking::items::{Decree, Order, Signed};

use crate::WalletError;
use crate::book::{LogName, Place};
use crate::node::{Caller, Node};
use crate::wallet::{Signature, Wallet};

/// A mint that the node has. It counts with the next epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Minted {
    /// Whose tokens.
    pub to: Key,
    /// How many.
    #[serde(with = "amount")]
    pub amount: u128,
    /// Its number in the issuer's log.
    pub number: u64,
    /// Its id.
    pub id: Id,
    /// Whether an earlier call had signed it.
    pub retried: bool,
}

impl<C: Caller> Wallet<C> {
    /// Signs a mint and sends it.
    pub fn mint(&mut self, to: Key, amount: u128) -> Result<Minted, WalletError> {
        let status = self.node.status()?;
        self.must_issue(&status)?;
        let (genesis, key) = (status.genesis, self.account());
        let what = format!("mint {to} {amount}");
        let sent = self.send(genesis, LogName::Decrees, &what, tip, |wallet, at| {
            let order = Order::Mint { to, amount };
            let decree = Decree { key, reign: at.reign, seq: at.seq, before: at.before, order };
            let signed = Signed::sign(decree, &wallet.pair, genesis);
            Ok(Signature::new(signed.id(), signed.bytes()))
        })?;
        Ok(Minted { to, amount, number: sent.seq, id: sent.id, retried: sent.retried })
    }

    /// Only the issuer signs decrees.
    pub(super) fn must_issue(&self, status: &StatusAnswer) -> Result<(), WalletError> {
        let issuer = status.issuer.key;
        if issuer == self.account() {
            return Ok(());
        }
        let fix = format!("name the key file of {issuer} with --key");
        Err(WalletError::WrongRole { key: self.account(), role: "the issuer", fix })
    }
}

/// Where the issuer's log goes on.
pub(super) fn tip<C: Caller>(node: &Node<C>) -> Result<Place, WalletError> {
    let issuer = node.status()?.issuer;
    Ok(Place { reign: issuer.reign, seq: issuer.next_seq, before: issuer.head })
}
