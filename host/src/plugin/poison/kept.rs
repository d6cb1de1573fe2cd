//! What the node remembers of mutes across its own restarts: who, for which protocol, until when and why.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::muting::{Mute, Reason};
use crate::peer::PeerId;
use crate::plugin::home::Home;
use crate::plugin::records::{RecordError, Records};
use crate::plugin::store::Store;
use crate::protocol::ProtocolId;

/// A plugin has one record at most, of all its mutes: there are few, and they change together.
const NUMBER: u64 = 0;

/// One mute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptMute {
    peer: PeerId,
    protocol: ProtocolId,
    until_unix_ms: u64,
    times: u32,
    reason: Reason,
}

/// All mutes of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptMutes {
    /// The file whose revision muted them: another one hears everybody.
    digest: String,
    mutes: Vec<KeptMute>,
}

fn records(store: &Store) -> Records {
    Records::new(store, "mutes")
}

/// Forgets whom a plugin muted.
pub(in crate::plugin) async fn forget_mutes(store: &Store, plugin: &str) -> Result<(), RecordError> {
    match records(store).get::<KeptMutes>(plugin, NUMBER)? {
        Some(_) => records(store).remove(plugin, NUMBER).await.map(drop),
        None => Ok(()),
    }
}

impl KeptMute {
    fn of(mute: Mute<Instant>, now: Instant, unix_ms: u64) -> Self {
        let Mute { lane: (peer, protocol), until, times, reason } = mute;
        let left = u64::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX);
        Self { peer, protocol, until_unix_ms: unix_ms.saturating_add(left), times, reason }
    }

    /// None when its time is over.
    fn restored(self, now: Instant, unix_ms: u64, longest: Duration) -> Option<Mute<Instant>> {
        let left = self.until_unix_ms.checked_sub(unix_ms).filter(|left| *left > 0)?;
        // A clock that was set back must not make a mute longer than any is.
        let until = now + Duration::from_millis(left).min(longest);
        Some(Mute { lane: (self.peer, self.protocol), until, times: self.times, reason: self.reason })
    }
}

impl Home {
    /// Writes down who is muted now, if that changed since the last time.
    pub(in crate::plugin) async fn keep_mutes(&self) {
        // Held until it is written, so that what is newer is never overtaken by what is older.
        let _writing = self.mutes_written.lock().await;
        if !self.mutes_changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let (now, unix_ms) = (Instant::now(), self.services.runtime.clock.unix_ms());
        let all = self.muting().muted(now);
        let mutes: Vec<_> = all.into_iter().map(|mute| KeptMute::of(mute, now, unix_ms)).collect();
        let written = if mutes.is_empty() {
            forget_mutes(&self.services.store, &self.name).await
        } else {
            let kept = KeptMutes { digest: self.digest(), mutes };
            records(&self.services.store).put(&self.name, NUMBER, &kept).await.map(drop)
        };
        if let Err(error) = written {
            let plugin = self.name.as_str();
            tracing::error!(target: "weir::plugin", plugin, %error, "who is muted will not be known after a restart");
        }
    }

    /// Mutes again whom the same file muted before the node ended, as long as it would have been.
    pub(in crate::plugin) fn restore_mutes(&self, digest: &str) -> Result<(), RecordError> {
        let Some(kept) = records(&self.services.store).get::<KeptMutes>(&self.name, NUMBER)? else { return Ok(()) };
        let (now, unix_ms) = (Instant::now(), self.services.runtime.clock.unix_ms());
        let longest = self.policy().mute.longest;
        let same = if kept.digest == digest { kept.mutes } else { Vec::new() };
        for mute in same.into_iter().filter_map(|mute| mute.restored(now, unix_ms, longest)) {
            // Nothing waits yet that would have to be refused.
            self.mailbox.mute(&mute.lane, mute.until);
            self.muting().restore(mute, now);
        }
        // What ran out goes.
        self.mutes_changed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mute_comes_back_for_what_is_left_of_it() {
        let now = Instant::now();
        let lane = (PeerId::from_bytes([1; 32]), "/a/1".parse().expect("an id"));
        let minute = Duration::from_secs(60);
        let mute = Mute { lane, until: now + minute, times: 3, reason: Reason::Poison("here".to_owned()) };
        let kept = KeptMute::of(mute.clone(), now, 1_000_000);
        let text = serde_json::to_string(&kept).expect("JSON");
        let kept: KeptMute = serde_json::from_str(&text).expect("the same");
        let restored = |unix_ms, longest| kept.clone().restored(now, unix_ms, longest);
        assert_eq!(restored(1_000_000, minute), Some(mute));
        assert_eq!(restored(1_020_000, minute).map(|mute| mute.until), Some(now + Duration::from_secs(40)));
        assert_eq!(restored(1_060_000, minute), None);
        assert_eq!(restored(0, minute).map(|mute| mute.until), Some(now + minute), "of a clock that was set back");
    }
}
