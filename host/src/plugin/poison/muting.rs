//! Which peer is muted for which protocol, and when a crash is the plugin's own fault. Pure.
//!
//! A peer must be muted when it feeds a plugin poison, and must not when it only happens to send what makes the plugin
//! trap. Three things tell them apart:
//!
//! 1. **The trial.** Every culprit is run again on an instance beside the running one, with an empty store: the same
//!    code, the same peers, nothing that anybody sent before. An event that fails there at the same place is *poison by
//!    itself*. One that does not fails because of what is in the store, which another peer may have put there: that is
//!    the plugin's own fault, whoever sent the event. So nothing that one peer plants gets another one muted.
//! 2. **Two senders.** When the same place fails for poison of two peers, the plugin has a fault that honest peers run
//!    into: its own. Whoever was muted for that place is heard again.
//! 3. **Others succeed.** While nobody else's events went well, nothing tells the peer from all others. By which protocol
//!    does not matter: else a peer would choose one that nobody else speaks.
//!
//! A peer that poisons [`MutePolicy::poisons`] times within [`MutePolicy::window`], or [`MutePolicy::reports`] times is
//! called abusive by the plugin itself, is muted for [`MutePolicy::first`]; each further time, for which one poison is
//! enough, for twice as long, up to [`MutePolicy::longest`]. Who behaved for [`MutePolicy::memory`] after a mute begins
//! anew. Poison is counted over all protocols of the plugin, because a crash costs the plugin as a whole; muted is the one
//! by which it came.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::peer::PeerId;
use crate::protocol::ProtocolId;

/// Peers and protocols that are remembered; the one heard of longest ago goes first. A stranger cannot make the host
/// hold more than this by coming back under other names.
const MOST_REMEMBERED: usize = 1_024;
/// Places of traps that are remembered.
const MOST_PLACES: usize = 64;
/// Senders of one place that are remembered. Two decide.
const MOST_SENDERS: usize = 4;

/// A peer on a protocol.
pub(in crate::plugin) type LaneName = (PeerId, ProtocolId);

/// When a peer is muted, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MutePolicy {
    /// Poisons within `window` after which a peer is muted: one may be an accident, and a plugin's crash budget (5) must
    /// not be used up before.
    pub poisons: usize,
    /// Times within `window` the plugin calls a peer abusive before it is muted.
    pub reports: usize,
    /// See `poisons`.
    pub window: Duration,
    /// The first mute. A minute is long enough for other peers to notice nothing, short for a mistake.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// After so long without poison a peer that was muted is like any other. Longer than `longest`.
    pub memory: Duration,
}

impl Default for MutePolicy {
    fn default() -> Self {
        Self {
            poisons: 3,
            reports: 8,
            window: Duration::from_secs(60),
            first: Duration::from_secs(60),
            longest: Duration::from_secs(3_600),
            memory: Duration::from_secs(4 * 3_600),
        }
    }
}

/// What a culprit says about its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) enum Verdict {
    /// The plugin would have failed whoever sent it. Whoever was muted for this place is heard again.
    OwnFault { heard_again: Vec<LaneName> },
    /// It may be the peer; not often enough yet, or nobody to compare it with.
    Suspected,
    /// The peer is muted for so long. What it cost so far is not the plugin's doing.
    Muted(Duration),
}

/// Why a peer is muted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::plugin) enum Reason {
    /// Its events failed at this place.
    Poison(String),
    /// The plugin called it abusive.
    Reported,
}

/// One mute as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) struct Mute<N> {
    pub(in crate::plugin) lane: LaneName,
    pub(in crate::plugin) until: N,
    pub(in crate::plugin) times: u32,
    pub(in crate::plugin) reason: Reason,
}

#[derive(Debug)]
struct Conduct<N> {
    poisons: VecDeque<N>,
    reports: VecDeque<N>,
    times: u32,
    muted: Option<(N, Reason)>,
    last: N,
}

/// See the module. `N` is a point in time.
#[derive(Debug)]
pub(in crate::plugin) struct Muting<N> {
    policy: MutePolicy,
    conduct: BTreeMap<LaneName, Conduct<N>>,
    /// Senders of poison, by the place where it fails.
    places: BTreeMap<String, BTreeMap<PeerId, N>>,
    /// The last two peers whose events went well: of two, one is another than whoever is looked at.
    succeeded: [Option<(PeerId, N)>; 2],
}

impl<N: Copy + Ord + std::ops::Add<Duration, Output = N>> Muting<N> {
    pub(in crate::plugin) fn new(policy: MutePolicy) -> Self {
        Self { policy, conduct: BTreeMap::new(), places: BTreeMap::new(), succeeded: [None; 2] }
    }

    /// Events of a peer were handled.
    pub(in crate::plugin) fn succeeded(&mut self, peer: PeerId, now: N) {
        let [last, before] = &mut self.succeeded;
        if last.is_some_and(|(of, _)| of != peer) {
            *before = *last;
        }
        *last = Some((peer, now));
    }

    /// An event of a peer failed alone. `by_itself`: so it did on an empty store, at the same place.
    pub(in crate::plugin) fn failed(&mut self, lane: &LaneName, place: &str, by_itself: bool, now: N) -> Verdict {
        if !by_itself || self.senders(lane.0, place, now) > 1 {
            return Verdict::OwnFault { heard_again: if by_itself { self.acquit(place) } else { Vec::new() } };
        }
        let (window, most) = (self.policy.window, self.policy.poisons.max(1));
        recent(&mut self.conduct(lane, now).poisons, window, now, most);
        if self.is_enough(&lane.0, now) && self.others_succeed(&lane.0, now) {
            return Verdict::Muted(self.mute(lane, Reason::Poison(place.to_owned()), now));
        }
        Verdict::Suspected
    }

    /// The plugin called a peer abusive: for how long it is muted for it, if it is.
    pub(in crate::plugin) fn abusive(&mut self, lane: &LaneName, now: N) -> Option<Duration> {
        let (window, most) = (self.policy.window, self.policy.reports.max(1));
        let conduct = self.conduct(lane, now);
        recent(&mut conduct.reports, window, now, most);
        let enough = conduct.reports.len() >= most && conduct.muted.as_ref().is_none_or(|(until, _)| *until <= now);
        enough.then(|| self.mute(lane, Reason::Reported, now))
    }

    /// How many peers' poison failed at this place within the memory, this one's among it.
    fn senders(&mut self, peer: PeerId, place: &str, now: N) -> usize {
        let memory = self.policy.memory;
        if !self.places.contains_key(place) && self.places.len() >= MOST_PLACES {
            let oldest = self.places.iter().min_by_key(|(_, senders)| senders.values().max().copied());
            let oldest = oldest.map(|(place, _)| place.clone());
            oldest.map(|place| self.places.remove(&place));
        }
        let senders = self.places.entry(place.to_owned()).or_default();
        senders.retain(|_, at| *at + memory > now);
        if senders.len() < MOST_SENDERS || senders.contains_key(&peer) {
            senders.insert(peer, now);
        }
        senders.len()
    }

    /// Whether a peer sent so much poison that it is to be muted, by whichever protocols.
    fn is_enough(&self, peer: &PeerId, now: N) -> bool {
        let MutePolicy { poisons, window, memory, .. } = self.policy;
        let of_peer = self.conduct.iter().filter(|((of, _), conduct)| of == peer && conduct.last + memory > now);
        let mut count = 0;
        for (_, conduct) in of_peer {
            if conduct.times > 0 {
                return true;
            }
            count += conduct.poisons.iter().filter(|at| **at + window > now).count();
        }
        count >= poisons.max(1)
    }

    /// Whether events of another peer went well, not too long ago.
    pub(in crate::plugin) fn others_succeed(&self, peer: &PeerId, now: N) -> bool {
        self.succeeded.iter().flatten().any(|(of, at)| of != peer && *at + self.policy.memory > now)
    }

    fn mute(&mut self, lane: &LaneName, reason: Reason, now: N) -> Duration {
        let (first, longest) = (self.policy.first, self.policy.longest);
        let conduct = self.conduct(lane, now);
        let time = first.saturating_mul(1 << conduct.times.min(20)).min(longest);
        conduct.times += 1;
        conduct.muted = Some((now + time, reason));
        conduct.poisons.clear();
        conduct.reports.clear();
        time
    }

    fn conduct(&mut self, lane: &LaneName, now: N) -> &mut Conduct<N> {
        let memory = self.policy.memory;
        if !self.conduct.contains_key(lane) && self.conduct.len() >= MOST_REMEMBERED {
            let oldest = self.conduct.iter().min_by_key(|(_, conduct)| conduct.last).map(|(lane, _)| lane.clone());
            oldest.map(|lane| self.conduct.remove(&lane));
        }
        let fresh = || Conduct { poisons: VecDeque::new(), reports: VecDeque::new(), times: 0, muted: None, last: now };
        let conduct = self.conduct.entry(lane.clone()).or_insert_with(fresh);
        if conduct.last + memory <= now {
            *conduct = fresh();
        }
        conduct.last = now;
        conduct
    }

    /// Ends all mutes for one place.
    fn acquit(&mut self, place: &str) -> Vec<LaneName> {
        let for_it = |conduct: &Conduct<N>| matches!(&conduct.muted, Some((_, Reason::Poison(of))) if of == place);
        let mut heard = Vec::new();
        for (lane, conduct) in self.conduct.iter_mut().filter(|(_, conduct)| for_it(conduct)) {
            (conduct.muted, conduct.times) = (None, 0);
            heard.push(lane.clone());
        }
        heard
    }

    /// Who is muted now.
    pub(in crate::plugin) fn muted(&self, now: N) -> Vec<Mute<N>> {
        let mute = |(lane, conduct): (&LaneName, &Conduct<N>)| {
            let (until, reason) = conduct.muted.clone().filter(|(until, _)| *until > now)?;
            Some(Mute { lane: lane.clone(), until, times: conduct.times, reason })
        };
        self.conduct.iter().filter_map(mute).collect()
    }

    /// Mutes a peer again as it was before the node ended.
    pub(in crate::plugin) fn restore(&mut self, mute: Mute<N>, now: N) {
        let conduct = self.conduct(&mute.lane, now);
        (conduct.times, conduct.muted) = (mute.times, Some((mute.until, mute.reason)));
    }

    /// The operator hears a peer again, and what it did is forgotten: on which protocols it was muted.
    pub(in crate::plugin) fn forgive(&mut self, peer: &PeerId, now: N) -> Vec<LaneName> {
        let muted = self.muted(now).into_iter().map(|mute| mute.lane).filter(|(of, _)| of == peer).collect();
        self.conduct.retain(|(of, _), _| of != peer);
        self.places.values_mut().for_each(|senders| senders.retain(|of, _| of != peer));
        muted
    }

    /// Another revision runs: what made the old one fail may be nothing to the new one. Who was muted.
    pub(in crate::plugin) fn begin_anew(&mut self, policy: MutePolicy, now: N) -> Vec<LaneName> {
        let muted = self.muted(now).into_iter().map(|mute| mute.lane).collect();
        *self = Self::new(policy);
        muted
    }
}

/// Adds a moment to those within the window, the latest `most` of them.
fn recent<N: Copy + Ord + std::ops::Add<Duration, Output = N>>(
    all: &mut VecDeque<N>,
    window: Duration,
    now: N,
    most: usize,
) {
    all.push_back(now);
    while all.len() > most || all.front().is_some_and(|at| *at + window <= now) {
        all.pop_front();
    }
}

#[cfg(test)]
#[path = "muting_tests.rs"]
mod tests;
