//! What a plugin's home knows of the revisions before the one that runs.

use std::sync::Arc;

use super::probation::reversible;
use super::record::KeptRecord;
use super::succession::Chain;
use crate::plugin::info::PreviousRevision;
use crate::plugin::revision::Revision;
use crate::plugin::store::Namespace;

/// See the module.
#[derive(Default)]
pub(in crate::plugin) struct Lineage {
    chain: Option<Chain>,
    /// The revision that the chain calls the previous one, while it is in memory.
    previous: Option<Arc<Revision>>,
    /// Digests of revisions that cannot come back any more.
    unneeded: Vec<String>,
}

impl Lineage {
    /// What is written down.
    pub(in crate::plugin) fn chain(&self) -> Option<&Chain> {
        self.chain.as_ref()
    }

    /// The revision that can come back, and its compiled form if it is in memory.
    pub(in crate::plugin) fn previous(&self) -> Option<(KeptRecord, Option<Arc<Revision>>)> {
        let kept = self.chain.as_ref()?.previous.clone()?;
        let matching = |revision: &&Arc<Revision>| revision.identity.digest.to_string() == kept.digest;
        let revision = self.previous.as_ref().filter(matching).cloned();
        Some((kept, revision))
    }

    /// Takes a new chain. Of `retired`, the revision that ran until now, what the chain may come back to is kept.
    pub(in crate::plugin) fn turn(&mut self, chain: Chain, retired: Option<Arc<Revision>>) {
        let wanted = chain.previous.as_ref().map(|kept| kept.digest.clone());
        let candidates = [retired, self.previous.take()].into_iter().flatten();
        self.previous = candidates.into_iter().find(|one| Some(one.identity.digest.to_string()) == wanted);
        let needed = |digest: &str| chain.digests().any(|needed| needed == digest);
        let before = self.chain.iter().flat_map(Chain::digests).filter(|digest| !needed(digest));
        self.unneeded.extend(before.map(str::to_owned));
        self.chain = Some(chain);
    }

    /// Whether there are files that this plugin needs no more, since the last time somebody asked.
    pub(in crate::plugin) fn leaves_files(&mut self) -> bool {
        !std::mem::take(&mut self.unneeded).is_empty()
    }

    /// Whether the previous revision could run on what this one writes.
    pub(in crate::plugin) fn reversible(&self) -> bool {
        let chain = self.chain.as_ref();
        let both = chain.and_then(|chain| Some((chain.previous.as_ref()?.layouts(), chain.running.layouts())));
        both.is_some_and(|(before, new)| reversible(before, new))
    }

    /// As an operator sees it.
    pub(in crate::plugin) fn shown(&self, namespace: &Namespace) -> Option<PreviousRevision> {
        let (kept, _) = self.previous()?;
        let reads_store = self.reversible() || namespace.used() == 0;
        let KeptRecord { version, digest, data_version, .. } = kept;
        Some(PreviousRevision { version, digest, data_version, reads_store })
    }
}
