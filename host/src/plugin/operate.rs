//! What an operator does with a plugin that crashed: look at its dead letters, try one again or drop it, lift a
//! quarantine, hear a muted peer again.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::actor::Control;
use super::error::store_failed;
use super::plugins::ask;
use super::poison::{DeadLetter, Letters, Retry};
use super::{MutedPeer, PluginError, PluginInfo, Plugins};
use crate::peer::PeerId;

impl Plugins {
    /// The dead letters of a plugin, the oldest first. It need not be loaded.
    ///
    /// # Errors
    /// When there is neither a plugin of this name nor a letter, or they cannot be read.
    pub fn dead_letters(&self, name: &str) -> Result<Vec<DeadLetter>, PluginError> {
        let letters = Letters::new(self.store(), name).all().map_err(store_failed(name))?;
        if letters.is_empty() {
            self.find(name)?;
        }
        Ok(letters)
    }

    /// One dead letter and its body.
    ///
    /// # Errors
    /// When there is none of this id, or it cannot be read.
    pub fn dead_letter(&self, name: &str, id: u64) -> Result<(DeadLetter, Bytes), PluginError> {
        let found = Letters::new(self.store(), name).get(id).map_err(store_failed(name))?;
        found.ok_or_else(|| PluginError::UnknownLetter { plugin: name.to_owned(), id })
    }

    /// Hands a dead letter to the running instance once more, in a turn of its own, and removes it when that went well:
    /// what it was. Nobody waits for an answer to it. A cancelled call may have done it or not.
    ///
    /// # Errors
    /// When the plugin does not run, its peer is not there, or it failed again; the letter stays then.
    pub async fn retry(&self, name: &str, id: u64) -> Result<DeadLetter, PluginError> {
        self.asked(name, |reply| Control::Retry(Retry { id, reply })).await
    }

    /// Removes a dead letter: what it was. Its plugin need not be loaded.
    ///
    /// # Errors
    /// When there is none of this id, or the store refuses.
    pub async fn drop_letter(&self, name: &str, id: u64) -> Result<DeadLetter, PluginError> {
        let home = self.find(name).ok().map(|(home, ..)| home);
        let removed = match home {
            Some(home) => home.letters.remove(id).await,
            None => Letters::new(self.store(), name).remove(id).await,
        };
        let removed = removed.map_err(store_failed(name))?;
        removed.ok_or_else(|| PluginError::UnknownLetter { plugin: name.to_owned(), id })
    }

    /// Starts a quarantined plugin now, before its time: what it is then.
    ///
    /// # Errors
    /// When it is not quarantined, or failed again; it stays quarantined then.
    pub async fn lift(&self, name: &str) -> Result<PluginInfo, PluginError> {
        self.asked(name, Control::Lift).await
    }

    /// Peers that are muted for the plugin.
    ///
    /// # Errors
    /// When no plugin has the name.
    pub fn muted(&self, name: &str) -> Result<Vec<MutedPeer>, PluginError> {
        Ok(self.find(name)?.0.mutes())
    }

    /// Hears a muted peer again, and forgets what it did: on how many protocols it was muted. Cancelled, it has done so,
    /// but may not have written it down.
    ///
    /// # Errors
    /// When no plugin has the name.
    pub async fn unmute(&self, name: &str, peer: &PeerId) -> Result<usize, PluginError> {
        let (home, _) = self.find(name)?;
        let lanes = home.unmute(peer);
        home.keep_mutes().await;
        Ok(lanes)
    }

    async fn asked<T>(
        &self,
        name: &str,
        make: impl FnOnce(oneshot::Sender<Result<T, PluginError>>) -> Control,
    ) -> Result<T, PluginError> {
        let (_, control) = self.find(name)?;
        ask(&control, make).await
    }
}
