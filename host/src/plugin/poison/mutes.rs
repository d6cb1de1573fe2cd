//! Muting carried out: the mailbox takes nothing more of the peer, and whoever waits is told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::muting::{LaneName, MutePolicy, Reason};
use crate::peer::PeerId;
use crate::plugin::LogLevel;
use crate::plugin::home::Home;
use crate::plugin::info::MutedPeer;
use crate::wire::Failure;

impl Home {
    /// Takes nothing of a peer for a while. What waits of it is forgotten, and its requests refused.
    pub(super) fn mute(&self, lane: &LaneName, time: Duration) {
        let message = format!("muted for {} for {} s", lane.1, time.as_secs());
        self.mutes_changed.store(true, Ordering::Relaxed);
        let revision = self.info().revision;
        self.note(LogLevel::Warn, revision, None, Some(lane.0), format!("peer {} is {message}", lane.0.short()));
        for token in self.mailbox.mute(lane, Instant::now() + time) {
            let failure = Failure { code: "muted".to_owned(), message: message.clone() };
            self.network().respond(token, Err(failure));
        }
    }

    /// The plugin called a peer abusive.
    pub(in crate::plugin) fn called_abusive(&self, lane: &LaneName) {
        let muted = self.muting().abusive(lane, Instant::now());
        let Some(time) = muted else { return };
        let (plugin, peer) = (self.name.as_str(), lane.0.short());
        tracing::warn!(
            target: "weir::plugin", plugin, %peer, protocol = %lane.1,
            "peer muted for {} s: the plugin called it abusive too often", time.as_secs()
        );
        self.mute(lane, time);
    }

    /// Hears a peer again: on how many protocols it was muted.
    pub(in crate::plugin) fn unmute(&self, peer: &PeerId) -> usize {
        let lanes = self.muting().forgive(peer, Instant::now());
        self.hear_again(&lanes);
        lanes.len()
    }

    /// Takes what these send from now on.
    pub(super) fn hear_again(&self, lanes: &[LaneName]) {
        self.mutes_changed.store(true, Ordering::Relaxed);
        lanes.iter().for_each(|lane| self.mailbox.unmute(lane));
    }

    /// Hears everybody again: another revision runs.
    pub(in crate::plugin) fn unmute_all(&self, policy: MutePolicy) {
        let lanes = self.muting().begin_anew(policy, Instant::now());
        self.hear_again(&lanes);
    }

    /// Who is muted now.
    pub(in crate::plugin) fn mutes(&self) -> Vec<MutedPeer> {
        let now = Instant::now();
        let shown = |mute: super::muting::Mute<Instant>| MutedPeer {
            peer: mute.lane.0,
            protocol: mute.lane.1,
            seconds_left: (mute.until - now).as_secs() + 1,
            times: mute.times,
            reason: match mute.reason {
                Reason::Poison(place) => format!("poison: {place}"),
                Reason::Reported => "called abusive by the plugin".to_owned(),
            },
        };
        self.muting().muted(now).into_iter().map(shown).collect()
    }
}
