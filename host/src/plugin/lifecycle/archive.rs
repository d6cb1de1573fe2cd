//! What the node keeps of plugins' revisions across restarts: what ran and what ran before, whose a store is, which
//! layout it has, and copies of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::record::{CopyRecord, LayoutRecord};
use super::shelf::Shelf;
use super::succession::{Chain, Layouts};
use crate::plugin::error::store_failed;
use crate::plugin::records::{RecordError, Records};
use crate::plugin::store::{Namespace, Staging, Store};
use crate::plugin::trust::{Owner, OwnerRecord, Trust};
use crate::plugin::{Digest, PluginError};

/// Copies that are kept of one plugin's store: what the newest layout replaced, and what that one had replaced.
const MOST_COPIES: u64 = 2;
/// All records here are one a plugin, but for copies.
const ONLY: u64 = 0;

/// See the module. One for all plugins of a node.
pub(in crate::plugin) struct Archive {
    pub(in crate::plugin) trust: Trust,
    pub(in crate::plugin) shelf: Shelf,
    store: Store,
    chains: Records,
    layouts: Records,
    owners: Records,
    copies: Records,
    /// Copies that are being brought back: a restore that was cut off begins anew.
    restores: Records,
    /// The number of the last revision.
    revisions: AtomicU64,
}

impl Archive {
    pub(in crate::plugin) fn new(store: &Store, trust: Trust, shelf: Shelf) -> Self {
        let records = |kind| Records::new(store, kind);
        Self {
            trust,
            shelf,
            chains: records("revisions"),
            layouts: records("layouts"),
            owners: records("owners"),
            copies: records("store-copies"),
            restores: records("store-restores"),
            revisions: AtomicU64::new(0),
            store: store.clone(),
        }
    }

    /// A number for a revision; never used twice while the node runs.
    pub(in crate::plugin) fn next_revision(&self) -> u64 {
        self.revisions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What runs and ran before, if the plugin ever ran.
    pub(in crate::plugin) fn chain(&self, plugin: &str) -> Result<Option<Chain>, PluginError> {
        self.chains.get(plugin, ONLY).map_err(store_failed(plugin))
    }

    pub(in crate::plugin) async fn put_chain(&self, plugin: &str, chain: &Chain) -> Result<(), PluginError> {
        if self.chain(plugin)?.as_ref() == Some(chain) {
            return Ok(());
        }
        self.chains.put(plugin, ONLY, chain).await.map(drop).map_err(store_failed(plugin))
    }

    /// The chain of the plugin that was rolled back from a file with this content, with its name.
    pub(in crate::plugin) fn rolled_back_from(&self, digest: &Digest) -> Option<(String, Chain)> {
        let digest = digest.to_string();
        let all = self.chains.all::<Chain>().ok()?;
        let found = all.into_iter().find(|(_, _, chain)| chain.set_aside.as_ref() == Some(&digest));
        found.map(|(plugin, _, chain)| (plugin, chain))
    }

    /// All digests whose bytes are needed for a rollback. None when the records cannot be read: nothing is thrown away
    /// then.
    pub(in crate::plugin) fn digests(&self) -> Option<BTreeSet<Digest>> {
        let all = self.chains.all::<Chain>().ok()?;
        Some(all.iter().flat_map(|(_, _, chain)| chain.digests()).filter_map(|text| text.parse().ok()).collect())
    }

    /// The layout of a plugin's store; none while it is empty or was never written by a revision that said so.
    pub(in crate::plugin) fn layout(&self, plugin: &str) -> Result<Option<LayoutRecord>, PluginError> {
        if self.is_empty(plugin) { Ok(None) } else { self.layouts.get(plugin, ONLY).map_err(store_failed(plugin)) }
    }

    /// Whether nothing lies under the plugin's name: then it belongs to nobody.
    pub(in crate::plugin) fn is_empty(&self, plugin: &str) -> bool {
        self.store.namespace(plugin).used() == 0
    }

    /// Notes which layout the store has from now on. To be called before the first write of it is committed: what is
    /// on the disk after a crash is never newer than its record.
    pub(in crate::plugin) async fn set_layout(&self, plugin: &str, layout: &LayoutRecord) -> Result<(), PluginError> {
        let before: Option<LayoutRecord> = self.layouts.get(plugin, ONLY).map_err(store_failed(plugin))?;
        if before.as_ref() == Some(layout) {
            return Ok(());
        }
        self.layouts.put(plugin, ONLY, layout).await.map(drop).map_err(store_failed(plugin))
    }

    /// Puts what was laid down in the place of the plugin's store, which nobody may use meanwhile. Without a layout every
    /// revision may try it. A crash of the node in between leaves the old or the new store, with its layout or with none:
    /// never with that of the other. A restore that was cut off before is of the past.
    pub(in crate::plugin) async fn replace(
        &self,
        plugin: &str,
        with: Staging,
        layout: Option<&LayoutRecord>,
    ) -> Result<(), RecordError> {
        let before: Option<LayoutRecord> = self.layouts.get(plugin, ONLY)?;
        self.restores.remove(plugin, ONLY).await?;
        self.layouts.remove(plugin, ONLY).await?;
        let replaced = with.replace(&self.store.namespace(plugin)).await;
        let known = if replaced.is_ok() { layout } else { before.as_ref() };
        if let Some(layout) = known {
            self.layouts.put(plugin, ONLY, layout).await?.durable().await?;
        }
        Ok(replaced?)
    }

    /// Whose the plugin's store is, if anybody ever had it.
    pub(in crate::plugin) fn owner(&self, plugin: &str) -> Result<Option<Owner>, PluginError> {
        let record: Option<OwnerRecord> = self.owners.get(plugin, ONLY).map_err(store_failed(plugin))?;
        Ok(record.map(|record| record.owner))
    }

    pub(in crate::plugin) async fn set_owner(&self, plugin: &str, owner: &Owner) -> Result<(), PluginError> {
        if self.owner(plugin)?.as_ref() == Some(owner) {
            return Ok(());
        }
        let record = OwnerRecord { owner: owner.clone() };
        self.owners.put(plugin, ONLY, &record).await.map(drop).map_err(store_failed(plugin))
    }

    /// Whose the store was before, because a revision that was to have it does not run.
    pub(in crate::plugin) async fn leave_owner(&self, plugin: &str, before: Option<&Owner>) {
        let put_back = match before {
            Some(owner) => self.set_owner(plugin, owner).await,
            None => self.owners.remove(plugin, ONLY).await.map(drop).map_err(store_failed(plugin)),
        };
        if let Err(error) = put_back {
            tracing::error!(target: "weir::plugin", plugin, %error, "the owner of a store is not noted");
        }
    }

    fn place(&self, plugin: &str, number: u64) -> Namespace {
        self.store.host_namespace(&format!("copy/{plugin}/{}", number % MOST_COPIES))
    }

    /// Copies the plugin's store. Nobody may write it meanwhile. The oldest copy makes room.
    pub(in crate::plugin) async fn copy(
        &self,
        plugin: &str,
        layout: &LayoutRecord,
        made_ms: u64,
    ) -> Result<CopyRecord, PluginError> {
        let all = self.copies.of::<CopyRecord>(plugin).map_err(store_failed(plugin))?;
        let number = all.last().map_or(0, |(number, _)| number + 1);
        // The record goes first: a place without one is empty, whatever half of a copy lies in it.
        for (old, _) in all.iter().filter(|(old, _)| old + MOST_COPIES <= number) {
            self.copies.remove(plugin, *old).await.map_err(store_failed(plugin))?;
        }
        let place = self.place(plugin, number);
        let bytes = self.store.namespace(plugin).copy_to(&place).await.map_err(store_failed(plugin))?;
        let LayoutRecord { data_version, version } = layout.clone();
        let record = CopyRecord { data_version, version, bytes, made_ms };
        self.copies.put(plugin, number, &record).await.map_err(store_failed(plugin))?;
        Ok(record)
    }

    /// The newest copy that a revision with these layouts can run on.
    pub(in crate::plugin) fn newest_copy(
        &self,
        plugin: &str,
        layouts: Layouts,
    ) -> Result<Option<(u64, CopyRecord)>, PluginError> {
        let all = self.copies.of::<CopyRecord>(plugin).map_err(store_failed(plugin))?;
        Ok(all.into_iter().rev().find(|(_, copy)| layouts.fits(copy.data_version)))
    }

    /// Puts a copy in the place of the plugin's store, which nobody may use meanwhile. The copy stays.
    pub(in crate::plugin) async fn restore(&self, plugin: &str, number: u64) -> Result<CopyRecord, PluginError> {
        let copy: Option<CopyRecord> = self.copies.get(plugin, number).map_err(store_failed(plugin))?;
        let copy = copy.ok_or_else(|| PluginError::NoCopy { plugin: plugin.to_owned() })?;
        self.restores.put(plugin, ONLY, &number).await.map_err(store_failed(plugin))?;
        let place = self.place(plugin, number);
        self.store.namespace(plugin).replace_with(&place).await.map_err(store_failed(plugin))?;
        let layout = LayoutRecord { data_version: copy.data_version, version: copy.version.clone() };
        self.set_layout(plugin, &layout).await?;
        self.restores.remove(plugin, ONLY).await.map_err(store_failed(plugin))?;
        Ok(copy)
    }

    /// Brings a restore to its end that a crash of the node cut off.
    pub(in crate::plugin) async fn finish_restore(&self, plugin: &str) -> Result<(), PluginError> {
        let cut: Option<u64> = self.restores.get(plugin, ONLY).map_err(store_failed(plugin))?;
        match cut {
            Some(number) => self.restore(plugin, number).await.map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
