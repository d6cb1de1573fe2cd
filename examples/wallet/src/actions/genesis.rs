//! `genesis`: writes the file that both plugins have as their configuration, the same on every node.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use weir_ledger::{Genesis, GenesisFile, Id, Key};

use crate::WalletError;
use crate::key_file;

/// What a network is to be.
#[derive(Debug, Clone)]
pub struct GenesisOptions {
    /// What the token is called.
    pub name: String,
    /// Its symbol.
    pub symbol: String,
    /// Who replaces a lost issuer key; without one a key is made, in a file beside the issuer's.
    pub recovery: Option<Key>,
    /// Who may declare dividends; nobody named means the issuer.
    pub payers: Vec<Key>,
    /// How many epochs an unstaked amount waits.
    pub unbonding_epochs: u64,
    /// Where to write it: as the settings of a plugin when it ends with `.toml`, else as JSON.
    pub file: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenesisDone {
    /// Where.
    pub file: PathBuf,
    /// The hash that separates this network from all others.
    pub genesis: Id,
    /// Who mints and closes epochs.
    pub issuer: Key,
    /// Who signs rotations.
    pub recovery: Key,
    /// Its key file, where one was made. Keep it where the issuer's key is not.
    pub recovery_key_file: Option<PathBuf>,
    /// Who may declare dividends.
    pub payers: Vec<Key>,
}

/// The form of `NAME.toml` beside a plugin's file. One text serves both plugins: staking asks for no grant.
#[derive(Serialize)]
struct Settings<'a> {
    grants: [&'static str; 1],
    durability: &'static str,
    config: &'a GenesisFile,
}

/// Makes the genesis of a network whose issuer has this key file. Overwrites nothing.
pub fn write_genesis(key_file: &Path, options: GenesisOptions) -> Result<GenesisDone, WalletError> {
    let issuer = key_file::load(key_file)?.key();
    // Looked at before a key is made that nothing would name.
    if options.file.exists() {
        return Err(WalletError::Exists(options.file));
    }
    let (recovery, recovery_key_file) = match options.recovery {
        Some(recovery) => (recovery, None),
        None => {
            let mut name = OsString::from(key_file);
            name.push(".recovery");
            let path = PathBuf::from(name);
            let pair = if path.exists() { key_file::load(&path)? } else { key_file::create(&path)? };
            (pair.key(), Some(path))
        }
    };
    let payers = if options.payers.is_empty() { vec![issuer] } else { options.payers };
    let GenesisOptions { name, symbol, unbonding_epochs, file, .. } = options;
    let genesis = Genesis::new(GenesisFile { name, symbol, issuer, recovery, payers, unbonding_epochs })
        .map_err(|error| WalletError::Usage(error.to_string()))?;
    let text = render(&genesis, &file).map_err(|source| WalletError::File { path: file.clone(), source })?;
    let written = OpenOptions::new().write(true).create_new(true).open(&file).and_then(|mut open| {
        open.write_all(text.as_bytes())?;
        open.sync_all()
    });
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => WalletError::Exists(file.clone()),
        _ => WalletError::File { path: file.clone(), source },
    })?;
    let payers = genesis.file().payers.clone();
    Ok(GenesisDone { file, genesis: genesis.hash(), issuer, recovery, recovery_key_file, payers })
}

fn render(genesis: &Genesis, file: &Path) -> io::Result<String> {
    if file.extension().is_none_or(|extension| extension != "toml") {
        let text = serde_json::to_string_pretty(genesis.file()).map_err(io::Error::other)?;
        return Ok(text + "\n");
    }
    let settings = Settings { grants: ["call:staking"], durability: "strict", config: genesis.file() };
    let text = toml::to_string(&settings).map_err(io::Error::other)?;
    Ok(format!(
        "# The network {}. The same on every node; goes beside staking.wasm and dividend.wasm.\n{text}",
        genesis.hash()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("issuer.key");
        key_file::create(&key).expect("a key");
        let options = |name: &str| GenesisOptions {
            name: "Example".to_owned(),
            symbol: "EXM".to_owned(),
            recovery: None,
            payers: Vec::new(),
            unbonding_epochs: 3,
            file: folder.path().join(name),
        };
        let json = write_genesis(&key, options("genesis.json")).expect("written");
        let toml = write_genesis(&key, options("staking.toml")).expect("written");
        assert_eq!((json.genesis, json.recovery), (toml.genesis, toml.recovery), "the same recovery key");
        let text = std::fs::read_to_string(json.file).expect("there");
        assert_eq!(Genesis::parse(&text).expect("a genesis").hash(), json.genesis);
        let text = std::fs::read_to_string(toml.file).expect("there");
        let settings: toml::Table = toml::from_str(&text).expect("TOML");
        let config = serde_json::to_string(&settings["config"]).expect("JSON");
        assert_eq!(Genesis::parse(&config).expect("a genesis").hash(), json.genesis);
        let error = write_genesis(&key, options("genesis.json")).expect_err("it is there");
        assert_eq!(error.code(), "file-exists");
        let other = folder.path().join("other.key");
        key_file::create(&other).expect("a key");
        write_genesis(&other, options("genesis.json")).expect_err("it is there");
        assert!(!folder.path().join("other.key.recovery").exists(), "a key was made for nothing");
    }
}
