//! `stake`, `unstake`, `withdraw`: what an account signs.

use std::cell::RefCell;

use serde::Serialize;
use weir_ledger::{Id, Key};
use weir_plugin_staking::commands::AccountAnswer;
use weir_plugin_staking::items::{Action, Operation, Signed};

use crate::WalletError;
use crate::book::{LogName, Place};
use crate::node::Caller;
use crate::wallet::{Signature, Wallet};

/// An operation that the node has. It is pending until an epoch includes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperationDone {
    /// Whose.
    pub account: Key,
    /// What was asked for: `stake 100`.
    pub operation: String,
    /// Its number in the account's log.
    pub number: u64,
    /// Its id.
    pub id: Id,
    /// Whether an earlier call had signed it, and this one sent the same bytes again.
    pub retried: bool,
    /// Earlier operations that the node lacked and was sent.
    pub resent: u64,
    /// Why it may do nothing, if so: what it asks for is more than the last closed epoch has.
    pub note: Option<String>,
}

impl<C: Caller> Wallet<C> {
    /// Signs an operation and sends it, or sends again what an earlier call signed and nobody confirmed.
    pub fn operate(&mut self, action: Action) -> Result<OperationDone, WalletError> {
        let genesis = self.node.status()?.genesis;
        let account = self.account();
        let what = match action {
            Action::Stake(amount) => format!("stake {amount}"),
            Action::Unstake(amount) => format!("unstake {amount}"),
            Action::Withdraw => "withdraw".to_owned(),
        };
        let seen = RefCell::new(None);
        let place = |node: &crate::node::Node<C>| {
            let answer = node.account(account)?;
            if answer.frozen || answer.equivocated {
                return Err(WalletError::Frozen(account));
            }
            let place = Place { reign: 0, seq: answer.next_seq, before: answer.head };
            seen.replace(Some(answer));
            Ok(place)
        };
        let sent = self.send(genesis, LogName::Operations, &what, place, |wallet, at| {
            let operation = Operation { account, seq: at.seq, before: at.before, action };
            let signed = Signed::sign(operation, &wallet.pair, genesis);
            Ok(Signature::new(signed.id(), signed.bytes()))
        })?;
        let (number, id) = (sent.seq, sent.id);
        let note = seen.into_inner().and_then(|account| too_much(action, &account));
        Ok(OperationDone { account, operation: what, number, id, retried: sent.retried, resent: sent.resent, note })
    }
}

/// Nobody is refused for it, because it depends on what an epoch orders before it. Whoever asks should know all the same.
fn too_much(action: Action, account: &AccountAnswer) -> Option<String> {
    let (there, of) = match action {
        Action::Stake(amount) if amount > account.balance => (account.balance, "balance"),
        Action::Unstake(amount) if amount > account.staked => (account.staked, "stake"),
        _ => return None,
    };
    let epoch = account.epoch;
    Some(format!(
        "the {of} is {there} as of epoch {epoch}: unless it has grown when an epoch includes this, it does nothing"
    ))
}
