//! Who plays, and the tally of everything that they sent.

use std::time::Duration;

use anyhow::Result;
use weir_ledger::Key;
use weir_ledger::keys::KeyPair;
use weir_wallet::key_file;

use super::accounts::Account;
use super::stage::Stage;

/// Who plays, and what they have done so far.
pub struct Cast {
    /// By the node they speak to.
    pub accounts: Vec<Vec<Account>>,
    pub issuer: KeyPair,
    pub tally: Tally,
}

/// Everything that was sent.
#[derive(Default)]
pub struct Tally {
    pub mints: u64,
    pub operations: u64,
    pub epochs: u64,
    pub claims: u64,
    pub declared: u128,
    /// Who had how much when the dividend's epoch closed.
    pub record: Vec<(Key, u128)>,
    /// Who claimed.
    pub claimed: Vec<Key>,
    /// Operations on either side of the cut.
    pub apart: [u64; 2],
    /// From the healing to equal roots.
    pub healed: Duration,
    /// How long each node's events were held for its upgrade, as the node measured it.
    pub pauses: Vec<Duration>,
    /// Operations that were sent meanwhile.
    pub flowing: u64,
    /// How long the dropped-in dividends took to stand where the others do.
    pub back: Duration,
    pub acts: Vec<(&'static str, Duration)>,
}

impl Cast {
    pub fn new(stage: &Stage, accounts: Vec<Vec<Account>>) -> Result<Self> {
        Ok(Self { accounts, issuer: key_file::load(&stage.issuer)?, tally: Tally::default() })
    }

    pub fn everybody(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter().flatten()
    }
}
