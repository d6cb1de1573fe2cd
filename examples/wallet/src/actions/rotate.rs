//! `rotate`: the recovery key names a new issuer, and the place in the log from which it goes on.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;
use weir_ledger::{Id, Key, from_hex};
use weir_plugin_staking::items::{Body, Decree, Order, Signed};

use crate::WalletError;
use crate::book::{LogName, Place};
use crate::key_file;
use crate::node::Caller;
use crate::wallet::{Signature, Wallet};

/// A rotation that the node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotated {
    /// The issuer from here on.
    pub new_key: Key,
    /// Its key file, where the wallet made one.
    pub key_file: Option<PathBuf>,
    /// The reign that begins.
    pub reign: u64,
    /// The number from which the issuer's log goes on.
    pub number: u64,
    /// The decree it goes on from; the genesis hash for none.
    pub head: Id,
    /// The id of the rotation.
    pub id: Id,
    /// Whether an earlier call had signed it.
    pub retried: bool,
}

impl<C: Caller> Wallet<C> {
    /// Signs a rotation and sends it. Without a key one is made, in a file beside that of the recovery key. The log goes on where
    /// it counts as far as the node knows, or behind the header of `epoch`: what was signed later does not count then.
    pub fn rotate(&mut self, new_key: Option<Key>, epoch: Option<u64>) -> Result<Rotated, WalletError> {
        let status = self.node.status()?;
        let (genesis, key) = (status.genesis, self.account());
        let log = self.log(genesis, LogName::Rotations);
        // Of two rotations with one reign only one counts, and they show that the key is in two hands: one that is open goes first.
        if let Some(open) = log.open().cloned() {
            let asked = new_key.is_none_or(|new_key| what(new_key, epoch) == open.what);
            let place = Place { reign: open.reign, seq: open.seq, before: Id::default() };
            match self.send(genesis, LogName::Rotations, &open.what, |_| Ok(place), |_, _| no_rotation()) {
                Ok(_) if asked => return self.rotated(genesis, true, None),
                Ok(_) => {}
                // Another rotation counts more, so this one does no harm and no good: the next has a higher reign.
                Err(WalletError::Unconfirmed { source, .. }) if source.code() == "outdone" => {
                    self.settle(genesis, LogName::Rotations, open.id)?;
                }
                Err(error) => return Err(error),
            }
        }
        let reign = log.last().map_or(0, |last| last.reign).max(status.issuer.reign) + 1;
        let (seq, before) = match epoch {
            None => (status.issuer.next_seq, status.issuer.head),
            Some(0) => (0, genesis),
            Some(epoch) => self.behind(epoch)?,
        };
        let (new_key, made) = match new_key {
            Some(new_key) => (new_key, None),
            None => self.new_issuer(reign)?,
        };
        let place = Place { reign, seq, before };
        self.send(
            genesis,
            LogName::Rotations,
            &what(new_key, epoch),
            |_| Ok(place),
            |wallet, at| {
                let order = Order::Rotate { new_key };
                let decree = Decree { key, reign: at.reign, seq: at.seq, before: at.before, order };
                let signed = Signed::sign(decree, &wallet.pair, genesis);
                Ok(Signature::new(signed.id(), signed.bytes()))
            },
        )?;
        self.rotated(genesis, false, made)
    }

    /// Where the log goes on behind the header of a closed epoch.
    fn behind(&self, epoch: u64) -> Result<(u64, Id), WalletError> {
        let answer = self.node.epochs(epoch, 1)?;
        let found = answer.epochs.iter().find(|found| found.epoch == epoch);
        let found = found.map(|found| (found.next_seq, found.id));
        let none = || format!("epoch {epoch} is not closed here; the last one that is is {}", answer.closed);
        found.ok_or_else(|| WalletError::Usage(none()))
    }

    fn new_issuer(&self, reign: u64) -> Result<(Key, Option<PathBuf>), WalletError> {
        let mut name = OsString::from(&self.key_file);
        name.push(format!(".issuer-{reign}"));
        let path = PathBuf::from(name);
        // One that a call made which then failed before it signed anything.
        let pair = if path.exists() { key_file::load(&path)? } else { key_file::create(&path)? };
        Ok((pair.key(), Some(path)))
    }

    /// What the last rotation in the book says.
    fn rotated(&self, genesis: Id, retried: bool, key_file: Option<PathBuf>) -> Result<Rotated, WalletError> {
        let log = self.log(genesis, LogName::Rotations);
        let decree = log.last().and_then(|entry| from_hex(&entry.bytes, Decree::MAX + 64).ok());
        let decree = decree.and_then(|bytes| Signed::<Decree>::decode(&bytes).ok());
        let Some(signed) = decree else { return no_rotation() };
        let body = signed.body();
        let Order::Rotate { new_key } = body.order else { return no_rotation() };
        let (reign, number, head) = (body.reign, body.seq, body.before);
        Ok(Rotated { new_key, key_file, reign, number, head, id: signed.id(), retried })
    }
}

fn what(new_key: Key, epoch: Option<u64>) -> String {
    let behind = epoch.map_or(String::new(), |epoch| format!(" behind epoch {epoch}"));
    format!("rotate to {new_key}{behind}")
}

fn no_rotation<T>() -> Result<T, WalletError> {
    Err(WalletError::Usage("the rotation that was signed before is not in the book any more".to_owned()))
}
