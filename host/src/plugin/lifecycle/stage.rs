//! From a file to a revision that could run: its identity is checked before a byte of it is compiled.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::archive::Archive;
use super::record::KeptRecord;
use crate::plugin::engine::WasmEngine;
use crate::plugin::revision::{PluginSettings, PluginSource, Revision};
use crate::plugin::trust::Identity;
use crate::plugin::{Digest, PluginError, PluginPolicy};

/// A revision that was staged, verified and compiled, with the bytes it was made of.
pub(in crate::plugin) struct Staged {
    pub(in crate::plugin) revision: Arc<Revision>,
    pub(in crate::plugin) bytes: Vec<u8>,
}

/// Where a revision is made.
pub(in crate::plugin) struct Stage<'a> {
    pub(in crate::plugin) engine: &'a Arc<WasmEngine>,
    pub(in crate::plugin) policy: &'a Arc<PluginPolicy>,
    pub(in crate::plugin) archive: &'a Arc<Archive>,
}

impl Stage<'_> {
    /// Checks and compiles a file. `name` is the plugin's, if it is known before the file says it.
    pub(in crate::plugin) async fn prepare(
        &self,
        source: PluginSource,
        signature: Option<&str>,
        name: Option<&str>,
        named: impl FnOnce(&str, PluginSettings) -> Result<PluginSettings, PluginError>,
    ) -> Result<Staged, PluginError> {
        let file = source.file();
        let identity = self.verify(&source, signature, name).await?;
        let bytes = source.bytes.clone();
        let number = self.archive.next_revision();
        let mut revision = Revision::prepare(self.engine, self.policy, source, named, number, identity).await?;
        // Now that it has said its name, what is pinned under it counts as well.
        let (name, digest) = (&revision.manifest.name, &revision.identity.digest);
        revision.identity.pinned |= self.archive.trust.check_pin(&file, name, digest)?;
        Ok(Staged { revision: Arc::new(revision), bytes })
    }

    async fn verify(
        &self,
        source: &PluginSource,
        signature: Option<&str>,
        name: Option<&str>,
    ) -> Result<Identity, PluginError> {
        let (file, size, limit) = (source.file(), source.bytes.len(), self.policy.file);
        if size > limit {
            return Err(PluginError::TooLarge { file, size, limit });
        }
        let digest = self.digest(&source.bytes).await?;
        let stem = source.path.as_deref().and_then(Path::file_stem).and_then(OsStr::to_str);
        let trust = &self.archive.trust;
        let by_name = name.map(|name| trust.check_pin(&file, name, &digest)).transpose()?.unwrap_or_default();
        let section = if by_name { name } else { stem };
        trust.check(&file, section, digest, signature)
    }

    async fn digest(&self, bytes: &[u8]) -> Result<Digest, PluginError> {
        // What is small is hashed sooner than handed to another thread.
        if self.engine.works_inline() || bytes.len() < 1 << 20 {
            return Ok(Digest::of(bytes));
        }
        let bytes = bytes.to_vec();
        let digest = tokio::task::spawn_blocking(move || Digest::of(&bytes)).await;
        digest.map_err(|error| PluginError::Runtime { reason: error.to_string() })
    }

    /// Makes a kept revision anew from its bytes.
    pub(in crate::plugin) async fn recall(
        &self,
        plugin: &str,
        kept: &KeptRecord,
    ) -> Result<Arc<Revision>, PluginError> {
        let source = self.kept_source(plugin, kept).await?;
        let staged = self.prepare(source, kept.signature.as_deref(), Some(plugin), |_, settings| Ok(settings)).await?;
        Ok(staged.revision)
    }

    /// The file of a kept revision.
    pub(in crate::plugin) async fn kept_source(
        &self,
        plugin: &str,
        kept: &KeptRecord,
    ) -> Result<PluginSource, PluginError> {
        let lost =
            |reason: String| PluginError::Lost { plugin: plugin.to_owned(), version: kept.version.clone(), reason };
        let digest: Digest = kept.digest.parse().map_err(|_| lost("its digest is unreadable".to_owned()))?;
        let archive = self.archive.clone();
        let take = move || archive.shelf.take(&digest);
        let bytes = if self.engine.works_inline() {
            take()
        } else {
            tokio::task::spawn_blocking(take).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
        };
        let bytes = bytes.map_err(|error| lost(format!("its file cannot be read ({error})")))?;
        let settings = kept.settings();
        Ok(PluginSource { bytes, path: kept.file.clone(), settings })
    }

    /// Keeps the bytes of what runs now, and with `sweep` throws away what nothing can come back to. A failure costs the
    /// rollback after a restart and nothing else.
    pub(in crate::plugin) async fn shelve(&self, digest: Digest, bytes: Vec<u8>, sweep: bool) {
        let archive = self.archive.clone();
        let work = move || {
            if let Err(error) = archive.shelf.put(&digest, &bytes) {
                tracing::warn!(target: "weir::plugin", %digest, %error, "a revision is not kept for rollbacks after a restart");
            }
            // All plugins are looked through for it, so it is not done for every load of one among many.
            if let Some(mut kept) = sweep.then(|| archive.digests()).flatten() {
                kept.insert(digest);
                archive.shelf.sweep(&kept);
            }
        };
        if self.engine.works_inline() {
            work();
        } else if let Err(error) = tokio::task::spawn_blocking(work).await {
            tracing::warn!(target: "weir::plugin", %error, "a revision is not kept for rollbacks after a restart");
        }
    }
}
