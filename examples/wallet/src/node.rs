//! The commands of the plugins `staking` and `dividend`, typed, over anything that can call a plugin's command.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weir_ledger::{Id, Key, to_hex};
use weir_plugin_dividend::commands::{EntitlementAnswer, ListAnswer};
use weir_plugin_staking::commands::{
    AccountAnswer, DraftAnswer, DraftArgs, EpochsAnswer, PageAnswer, PageArgs, RootAnswer, StatusAnswer, SubmitAnswer,
};

use crate::WalletError;
use crate::api::{Api, ApiError};

/// The plugin with the accounts.
pub const STAKING: &str = "staking";
/// The plugin with the dividends.
pub const DIVIDEND: &str = "dividend";

/// Between two looks at something that is waited for.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// Whatever calls a command of a plugin: a node, or a ledger in a test.
pub trait Caller {
    /// Runs it.
    fn call(&self, plugin: &str, command: &str, arguments: &Value) -> Result<Value, ApiError>;
}

impl Caller for Api {
    fn call(&self, plugin: &str, command: &str, arguments: &Value) -> Result<Value, ApiError> {
        Api::call(self, plugin, command, arguments)
    }
}

impl<C: Caller + ?Sized> Caller for &C {
    fn call(&self, plugin: &str, command: &str, arguments: &Value) -> Result<Value, ApiError> {
        (**self).call(plugin, command, arguments)
    }
}

/// A node with its two plugins.
#[derive(Debug, Clone)]
pub struct Node<C>(pub C);

impl<C: Caller> Node<C> {
    fn ask<A: DeserializeOwned>(
        &self,
        plugin: &'static str,
        command: &str,
        arguments: &impl Serialize,
    ) -> Result<A, WalletError> {
        let unexpected = |error: serde_json::Error| ApiError::Unexpected(format!("`{command}` of {plugin}: {error}"));
        let arguments = serde_json::to_value(arguments).map_err(unexpected)?;
        let answer = self
            .0
            .call(plugin, command, &arguments)
            .map_err(|error| if error.is_unknown_plugin() { WalletError::NoPlugin(plugin) } else { error.into() })?;
        Ok(serde_json::from_value(answer).map_err(unexpected)?)
    }

    /// Where staking stands.
    pub fn status(&self) -> Result<StatusAnswer, WalletError> {
        self.ask(STAKING, "status", &json!({}))
    }

    /// What is closed.
    pub fn root(&self) -> Result<RootAnswer, WalletError> {
        self.ask(STAKING, "root", &json!({}))
    }

    /// One account.
    pub fn account(&self, account: Key) -> Result<AccountAnswer, WalletError> {
        self.ask(STAKING, "account", &json!({"account": account}))
    }

    /// One closed epoch; none when it is not closed.
    pub fn epochs(&self, from: u64, limit: u64) -> Result<EpochsAnswer, WalletError> {
        self.ask(STAKING, "epochs", &json!({"from": from, "limit": limit}))
    }

    /// The next epoch, ready to be signed.
    pub fn draft(&self, arguments: &DraftArgs) -> Result<DraftAnswer, WalletError> {
        self.ask(STAKING, "draft", arguments)
    }

    /// A page that a draft names, in hexadecimal digits.
    pub fn page(&self, id: Id) -> Result<String, WalletError> {
        let answer: PageAnswer = self.ask(STAKING, "page", &PageArgs { id })?;
        Ok(answer.page)
    }

    /// What is declared; the first page has a thousand open declarations at most.
    pub fn declarations(&self) -> Result<ListAnswer, WalletError> {
        self.ask(DIVIDEND, "list", &json!({}))
    }

    /// What is due to an account.
    pub fn entitlement(&self, account: Key) -> Result<EntitlementAnswer, WalletError> {
        self.ask(DIVIDEND, "entitlement", &json!({"account": account}))
    }

    /// Submits something signed.
    pub fn submit(&self, plugin: &'static str, bytes: &[u8]) -> Result<SubmitAnswer, WalletError> {
        self.submit_hex(plugin, &to_hex(bytes))
    }

    /// The same in hexadecimal digits.
    pub fn submit_hex(&self, plugin: &'static str, bytes: &str) -> Result<SubmitAnswer, WalletError> {
        self.ask(plugin, "submit", &json!({"op": bytes}))
    }

    /// Waits until an epoch is closed here, `limit` at most, and returns the root.
    pub fn until_closed(&self, epoch: u64, limit: Duration) -> Result<Id, WalletError> {
        let since = Instant::now();
        loop {
            let root = self.root()?;
            if root.epoch >= epoch {
                return Ok(root.root);
            }
            if since.elapsed() > limit {
                let sentence = self.status()?.sentence;
                return Err(WalletError::NotClosed { epoch, seconds: limit.as_secs(), sentence });
            }
            thread::sleep(PAUSE);
        }
    }
}
