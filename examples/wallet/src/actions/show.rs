//! `show`: an account as the node sees it.

use serde::Serialize;
use weir_ledger::{Id, Key, amount};
use weir_plugin_dividend::commands::EntitlementAnswer;
use weir_plugin_staking::{Refusal, Unbonding};

use crate::WalletError;
use crate::api::ApiError;
use crate::book::LogName;
use crate::node::Caller;
use crate::wallet::Wallet;

/// What a key may do beside what every account may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Mints and closes epochs.
    Issuer,
    /// Declares dividends.
    Payer,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The public key.
    pub account: Key,
    /// The network.
    pub genesis: Id,
    /// What the token is called.
    pub symbol: String,
    /// The epoch up to which the amounts stand.
    pub epoch: u64,
    /// What the node says about where it stands.
    pub state: String,
    /// What else the key may do.
    pub roles: Vec<Role>,
    /// Free.
    #[serde(with = "amount")]
    pub balance: u128,
    /// At stake.
    #[serde(with = "amount")]
    pub staked: u128,
    /// On its way back.
    pub unbonding: Vec<Unbonding>,
    /// Operations that no epoch has included yet.
    pub pending: u64,
    /// The number of the next operation.
    pub next_number: u64,
    /// Whether it signed two operations with one number.
    pub frozen: bool,
    /// The last included operation that did nothing, and why.
    pub last_refused: Option<(u64, Refusal)>,
    /// Dividends; none where the node has no plugin for them.
    pub dividend: Option<EntitlementAnswer>,
    /// What was signed and no node has confirmed: asking for it again sends it again.
    pub unconfirmed: Vec<String>,
}

impl<C: Caller> Wallet<C> {
    /// Looks at the account.
    pub fn show(&self) -> Result<Shown, WalletError> {
        let (status, account) = (self.node.status()?, self.account());
        let seen = self.node.account(account)?;
        let dividend = optional(self.node.entitlement(account))?;
        let payers = optional(self.node.declarations())?.map_or(Vec::new(), |list| list.payers);
        let mut roles = Vec::new();
        roles.extend((status.issuer.key == account).then_some(Role::Issuer));
        roles.extend(payers.iter().any(|payer| payer.payer == account).then_some(Role::Payer));
        let logs = [LogName::Operations, LogName::Decrees, LogName::Rotations, LogName::Declarations, LogName::Claims];
        let open =
            logs.into_iter().filter_map(|name| self.log(status.genesis, name).open().map(|open| open.what.clone()));
        Ok(Shown {
            account,
            genesis: status.genesis,
            symbol: status.symbol,
            epoch: seen.epoch,
            state: status.state,
            roles,
            balance: seen.balance,
            staked: seen.staked,
            unbonding: seen.unbonding,
            pending: seen.pending,
            next_number: seen.next_seq,
            frozen: seen.frozen || seen.equivocated,
            last_refused: seen.refused.first().map(|refused| (refused.seq, refused.reason)),
            dividend,
            unconfirmed: open.collect(),
        })
    }
}

/// A node without dividends, or whose dividends fail, is no reason not to show the rest.
fn optional<T>(answer: Result<T, WalletError>) -> Result<Option<T>, WalletError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(WalletError::NoPlugin(_) | WalletError::Node(ApiError::Refused(_))) => Ok(None),
        Err(error) => Err(error),
    }
}
