//! The genesis: the plugin's configuration, the same on every node. Its hash separates networks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Hash, Id, Key};

const LABEL: &str = "weir-genesis-v1";
const MAX_NAME: usize = 64;
const MAX_SYMBOL: usize = 12;
const MAX_PAYERS: usize = 64;
/// An account's value in the store grows by 24 bytes for each epoch in which it unstaked and that is not mature yet.
const MAX_UNBONDING_EPOCHS: u64 = 4_096;

/// The genesis as it stands in JSON, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisFile {
    /// What the token is called, 1 to 64 bytes.
    pub name: String,
    /// Its symbol, 1 to 12 capital letters and digits.
    pub symbol: String,
    /// Who mints and closes epochs.
    pub issuer: Key,
    /// Who replaces an issuer key that was lost or that signed two logs.
    pub recovery: Key,
    /// Who may declare dividends; at most 64.
    #[serde(default)]
    pub payers: Vec<Key>,
    /// How many epochs an unstaked amount waits; at most 4,096.
    pub unbonding_epochs: u64,
}

/// A genesis that is in order, and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    file: GenesisFile,
    hash: Id,
}

/// What is wrong with a genesis.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GenesisError {
    /// Not the JSON of a genesis.
    #[error("the genesis is not readable: {0}")]
    Unreadable(String),
    /// The name.
    #[error("the genesis' `name` must have 1 to {MAX_NAME} bytes without control characters")]
    Name,
    /// The symbol.
    #[error("the genesis' `symbol` must have 1 to {MAX_SYMBOL} characters out of A to Z and 0 to 9")]
    Symbol,
    /// The issuer could replace itself.
    #[error("the genesis' `issuer` and `recovery` are the same key: the second exists for when the first is lost")]
    SameKeys,
    /// Too many payers.
    #[error("the genesis names {0} payers; at most {MAX_PAYERS}")]
    TooManyPayers(usize),
    /// A payer stands there twice.
    #[error("the genesis names the payer {0} twice")]
    PayerTwice(Key),
    /// Too long.
    #[error("the genesis' `unbonding_epochs` is {0}; at most {MAX_UNBONDING_EPOCHS}")]
    UnbondingEpochs(u64),
}

impl GenesisError {
    /// The stable, kebab-case name of the cause: every one of them means that the configuration is wrong.
    pub fn code(&self) -> &'static str {
        "bad-genesis"
    }
}

impl Genesis {
    /// From JSON.
    pub fn parse(text: &str) -> Result<Self, GenesisError> {
        let file = serde_json::from_str(text).map_err(|error| GenesisError::Unreadable(error.to_string()))?;
        Self::new(file)
    }

    /// Checks it and takes its hash.
    pub fn new(mut file: GenesisFile) -> Result<Self, GenesisError> {
        check(&file)?;
        // The order in which payers stand in the file says nothing.
        file.payers.sort();
        let mut hash = Hash::new(LABEL);
        for text in [&file.name, &file.symbol] {
            // A name has at most 64 bytes, so its length is one.
            hash.add(&[text.len() as u8]);
            hash.add(text.as_bytes());
        }
        let mut hash = hash.with(&file.issuer.0).with(&file.recovery.0).with(&file.unbonding_epochs.to_be_bytes());
        hash.add(&[file.payers.len() as u8]);
        file.payers.iter().for_each(|payer| hash.add(&payer.0));
        Ok(Self { hash: hash.id(), file })
    }

    /// SHA-256 over the canonical form: label, name and symbol with their lengths, issuer, recovery, unbonding epochs, payers in order.
    pub fn hash(&self) -> Id {
        self.hash
    }

    /// Who mints and closes epochs until a rotation.
    pub fn issuer(&self) -> Key {
        self.file.issuer
    }

    /// Who signs rotations.
    pub fn recovery(&self) -> Key {
        self.file.recovery
    }

    /// Whether this key may declare dividends.
    pub fn is_payer(&self, key: Key) -> bool {
        self.file.payers.binary_search(&key).is_ok()
    }

    /// How many epochs an unstaked amount waits.
    pub fn unbonding_epochs(&self) -> u64 {
        self.file.unbonding_epochs
    }

    /// What the file says, with payers in order.
    pub fn file(&self) -> &GenesisFile {
        &self.file
    }
}

fn check(file: &GenesisFile) -> Result<(), GenesisError> {
    if file.name.is_empty() || file.name.len() > MAX_NAME || file.name.chars().any(char::is_control) {
        return Err(GenesisError::Name);
    }
    let plain = |character: u8| character.is_ascii_uppercase() || character.is_ascii_digit();
    if file.symbol.is_empty() || file.symbol.len() > MAX_SYMBOL || !file.symbol.bytes().all(plain) {
        return Err(GenesisError::Symbol);
    }
    if file.issuer == file.recovery {
        return Err(GenesisError::SameKeys);
    }
    if file.payers.len() > MAX_PAYERS {
        return Err(GenesisError::TooManyPayers(file.payers.len()));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = file.payers.iter().find(|payer| !seen.insert(**payer)) {
        return Err(GenesisError::PayerTwice(*twice));
    }
    if file.unbonding_epochs > MAX_UNBONDING_EPOCHS {
        return Err(GenesisError::UnbondingEpochs(file.unbonding_epochs));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> GenesisFile {
        GenesisFile {
            name: "Test".to_owned(),
            symbol: "TST".to_owned(),
            issuer: Key([1; 32]),
            recovery: Key([2; 32]),
            payers: vec![Key([9; 32]), Key([3; 32])],
            unbonding_epochs: 2,
        }
    }

    #[test]
    fn the_hash_follows_every_field_and_nothing_else() {
        let hash = |file: GenesisFile| Genesis::new(file).expect("in order").hash();
        let plain = hash(file());
        assert_eq!(plain, hash(GenesisFile { payers: vec![Key([3; 32]), Key([9; 32])], ..file() }));
        let others = [
            GenesisFile { name: "Tes".to_owned(), symbol: "TTST".to_owned(), ..file() },
            GenesisFile { name: "Best".to_owned(), ..file() },
            GenesisFile { symbol: "TSU".to_owned(), ..file() },
            GenesisFile { issuer: Key([7; 32]), ..file() },
            GenesisFile { recovery: Key([7; 32]), ..file() },
            GenesisFile { payers: vec![], ..file() },
            GenesisFile { unbonding_epochs: 3, ..file() },
        ];
        let all: BTreeSet<_> = others.into_iter().map(hash).chain([plain]).collect();
        assert_eq!(all.len(), 8);
        let text = serde_json::to_string(&file()).expect("json");
        assert_eq!(Genesis::parse(&text).expect("own json").hash(), plain);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |file| Genesis::new(file).expect_err("wrong");
        assert_eq!(wrong(GenesisFile { name: String::new(), ..file() }), GenesisError::Name);
        assert_eq!(wrong(GenesisFile { symbol: "tst".to_owned(), ..file() }), GenesisError::Symbol);
        assert_eq!(wrong(GenesisFile { recovery: Key([1; 32]), ..file() }), GenesisError::SameKeys);
        assert_eq!(
            wrong(GenesisFile { payers: vec![Key([3; 32]); 2], ..file() }),
            GenesisError::PayerTwice(Key([3; 32]))
        );
        assert_eq!(wrong(GenesisFile { unbonding_epochs: 5_000, ..file() }), GenesisError::UnbondingEpochs(5_000));
        assert!(matches!(Genesis::parse("{}"), Err(GenesisError::Unreadable(_))));
        let more = r#"{"name":"a","symbol":"A","issuer":"","recovery":"","unbonding_epochs":1,"more":1}"#;
        assert!(matches!(Genesis::parse(more), Err(GenesisError::Unreadable(_))));
        assert!(matches!(Genesis::parse(&"[".repeat(1_000_000)), Err(GenesisError::Unreadable(_))));
    }
}
