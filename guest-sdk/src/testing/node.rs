//! The node behind a native plugin: what is staged, what is committed, a clock and seeded randomness.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::abi::{Failure, Level, Limits, Page, PeerId, Protocol, ProtocolKey, Range, SendError, Verdict, WriteError};

/// A message the plugin sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// To whom.
    pub to: PeerId,
    /// By which of its protocols.
    pub protocol: ProtocolKey,
    /// What.
    pub body: Vec<u8>,
}

/// A request the plugin made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What `ask` returned.
    pub id: u64,
    /// Whom it asked.
    pub to: PeerId,
    /// By which of its protocols.
    pub protocol: ProtocolKey,
    /// How long it waits, in milliseconds.
    pub timeout_ms: u32,
    /// What it asked.
    pub body: Vec<u8>,
}

/// A call to another plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallMade {
    /// What `call` returned.
    pub id: u64,
    /// Which plugin.
    pub plugin: String,
    /// Which command.
    pub name: String,
    /// How long it waits, in milliseconds.
    pub timeout_ms: u32,
    /// The arguments as JSON.
    pub body: Vec<u8>,
}

/// A line the plugin logged. Like the host's log it keeps what a failed turn wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How bad.
    pub level: Level,
    /// Which module wrote it.
    pub target: String,
    /// What it says.
    pub message: String,
}

/// One accepted call, in the order of the turn.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Send { to: Vec<PeerId>, protocol: ProtocolKey, body: Vec<u8> },
    Ask { id: u64, to: PeerId, protocol: ProtocolKey, timeout_ms: u32, body: Vec<u8> },
    CancelAsk(u64),
    Respond { request: u64, outcome: Result<Vec<u8>, Failure> },
    Register(Protocol),
    Unregister(ProtocolKey),
    Pause { protocol: ProtocolKey, paused: bool },
    Report { peer: PeerId, protocol: ProtocolKey, verdict: Verdict, why: String },
    Put { key: Vec<u8>, value: Vec<u8> },
    Remove { key: Vec<u8> },
    SetTimer { id: u64, after_ms: u64 },
    CancelTimer(u64),
    Call { id: u64, plugin: String, name: String, timeout_ms: u32, body: Vec<u8> },
    Answer { command: u64, outcome: Result<Vec<u8>, Failure> },
}

/// A peer's lane for one protocol.
pub(crate) struct TestLane {
    pub max_message: u32,
    /// Messages it still takes; none for no limit.
    pub room: Option<u32>,
    pub refused: bool,
}

/// Everything outside the plugin.
pub(crate) struct Node {
    pub id: PeerId,
    pub name: String,
    pub key: ed25519_dalek::SigningKey,
    pub limits: Limits,
    pub now: u64,
    seed: u64,
    next_id: u64,
    pub protocols: BTreeMap<ProtocolKey, Protocol>,
    pub lanes: BTreeMap<(PeerId, ProtocolKey), TestLane>,
    store: BTreeMap<Vec<u8>, Vec<u8>>,
    overlay: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    staged: Vec<Effect>,
    pub timers: BTreeMap<u64, u64>,
    /// Requests and commands that nobody has answered yet, staged answers included.
    pub open: BTreeSet<u64>,
    pub asks: BTreeMap<u64, Asked>,
    pub calls: BTreeMap<u64, CallMade>,
    pub sent: Vec<Sent>,
    pub settled: BTreeMap<u64, Result<Vec<u8>, Failure>>,
    pub paused: BTreeSet<ProtocolKey>,
    pub reports: Vec<(PeerId, ProtocolKey, Verdict, String)>,
    pub logs: Vec<LogLine>,
    pub counters: BTreeMap<String, u64>,
    pub gauges: BTreeMap<String, f64>,
    pub watch_failed_events: bool,
    pub changed_by_failed_event: Option<String>,
}

impl Node {
    pub(crate) fn new(seed: u64) -> Self {
        let mut node = Self {
            id: PeerId { a: 0, b: 0, c: 0, d: 0 },
            name: String::new(),
            key: ed25519_dalek::SigningKey::from_bytes(&[0; 32]),
            limits: LIMITS,
            // The morning of a day long enough ago that no test can mistake it for its own.
            now: 1_700_000_000_000,
            seed,
            next_id: 1,
            protocols: BTreeMap::new(),
            lanes: BTreeMap::new(),
            store: BTreeMap::new(),
            overlay: BTreeMap::new(),
            staged: Vec::new(),
            timers: BTreeMap::new(),
            open: BTreeSet::new(),
            asks: BTreeMap::new(),
            calls: BTreeMap::new(),
            sent: Vec::new(),
            settled: BTreeMap::new(),
            paused: BTreeSet::new(),
            reports: Vec::new(),
            logs: Vec::new(),
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            watch_failed_events: true,
            changed_by_failed_event: None,
        };
        let secret = std::array::from_fn(|_| node.random() as u8);
        node.key = ed25519_dalek::SigningKey::from_bytes(&secret);
        node.id = PeerId::from_bytes(node.key.verifying_key().to_bytes());
        node
    }

    /// SplitMix64: every seed gives a full period and a good first number.
    pub(crate) fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Whether a lane takes this body; takes one of its places if so.
    pub(crate) fn admit(&mut self, to: PeerId, protocol: ProtocolKey, len: usize) -> Result<(), SendError> {
        if !self.protocols.contains_key(&protocol) {
            return Err(SendError::UnknownProtocol);
        }
        if self.staged.len() >= self.limits.turn_effects as usize {
            return Err(SendError::OverBudget);
        }
        let connected = self.lanes.range((to, 0)..=(to, ProtocolKey::MAX)).next().is_some();
        let lane = self.lanes.get_mut(&(to, protocol));
        let lane = lane.ok_or(if connected { SendError::Unsupported } else { SendError::NotConnected })?;
        if len > lane.max_message as usize {
            return Err(SendError::TooLarge);
        }
        match &mut lane.room {
            Some(0) => {
                lane.refused = true;
                Err(SendError::Busy)
            }
            Some(room) => {
                *room -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn room(&self, to: PeerId, protocol: ProtocolKey) -> u32 {
        let lane = self.lanes.get(&(to, protocol));
        lane.map_or(0, |lane| lane.room.map_or(u32::MAX, |room| room.saturating_mul(lane.max_message)))
    }

    /// Takes a request or command off the open ones; false when it was not open.
    pub(crate) fn settle(&mut self, id: u64) -> bool {
        self.open.remove(&id)
    }

    /// True, so that it can end a condition.
    pub(crate) fn stage(&mut self, effect: Effect) -> bool {
        self.overlay_with(&effect);
        self.staged.push(effect);
        true
    }

    fn overlay_with(&mut self, effect: &Effect) {
        match effect {
            Effect::Put { key, value } => drop(self.overlay.insert(key.clone(), Some(value.clone()))),
            Effect::Remove { key } => drop(self.overlay.insert(key.clone(), None)),
            _ => {}
        }
    }

    /// Forgets what was staged after the first `effects`.
    pub(crate) fn keep(&mut self, effects: usize) {
        let dropped = self.staged.split_off(effects.min(self.staged.len()));
        for effect in dropped {
            match effect {
                Effect::Respond { request: id, .. } | Effect::Answer { command: id, .. } => {
                    self.open.insert(id);
                }
                Effect::Send { to, protocol, .. } => to.iter().for_each(|peer| self.give_back(*peer, protocol)),
                Effect::Ask { to, protocol, .. } => self.give_back(to, protocol),
                _ => {}
            }
        }
        self.overlay.clear();
        for effect in std::mem::take(&mut self.staged) {
            self.stage(effect);
        }
    }

    fn give_back(&mut self, peer: PeerId, protocol: ProtocolKey) {
        if let Some(TestLane { room: Some(room), .. }) = self.lanes.get_mut(&(peer, protocol)) {
            *room += 1;
        }
    }

    /// Makes everything staged true: store first, then the rest as staged.
    pub(crate) fn commit(&mut self) {
        for (key, value) in std::mem::take(&mut self.overlay) {
            match value {
                Some(value) => drop(self.store.insert(key, value)),
                None => drop(self.store.remove(&key)),
            }
        }
        for effect in std::mem::take(&mut self.staged) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, protocol, body } => {
                self.sent.extend(to.into_iter().map(|to| Sent { to, protocol, body: body.clone() }));
            }
            Effect::Ask { id, to, protocol, timeout_ms, body } => {
                self.asks.insert(id, Asked { id, to, protocol, timeout_ms, body });
            }
            Effect::CancelAsk(id) => drop(self.asks.remove(&id)),
            Effect::Respond { request: id, outcome } | Effect::Answer { command: id, outcome } => {
                self.settled.insert(id, outcome);
            }
            Effect::Register(protocol) => drop(self.protocols.insert(protocol.key, protocol)),
            Effect::Unregister(key) => drop(self.protocols.remove(&key)),
            Effect::Pause { protocol, paused: true } => drop(self.paused.insert(protocol)),
            Effect::Pause { protocol, paused: false } => drop(self.paused.remove(&protocol)),
            Effect::Report { peer, protocol, verdict, why } => self.reports.push((peer, protocol, verdict, why)),
            Effect::SetTimer { id, after_ms } => drop(self.timers.insert(id, self.now + after_ms)),
            Effect::CancelTimer(id) => drop(self.timers.remove(&id)),
            Effect::Call { id, plugin, name, timeout_ms, body } => {
                self.calls.insert(id, CallMade { id, plugin, name, timeout_ms, body });
            }
            Effect::Put { .. } | Effect::Remove { .. } => {}
        }
    }

    pub(crate) fn read(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.overlay.get(key) {
            Some(staged) => staged.clone(),
            None => self.store.get(key).cloned(),
        }
    }

    pub(crate) fn admit_write(&self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        if key.len() > self.limits.key as usize {
            Err(WriteError::KeyTooLong)
        } else if value.len() > self.limits.value as usize {
            Err(WriteError::ValueTooLarge)
        } else if self.used() + (key.len() + value.len()) as u64 > self.limits.store {
            Err(WriteError::OverQuota)
        } else if self.staged.len() >= self.limits.turn_effects as usize {
            Err(WriteError::OverBudget)
        } else {
            Ok(())
        }
    }

    pub(crate) fn scan(&self, range: &Range, limit: usize, max_bytes: usize) -> Page {
        let end = range.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Page { entries: Vec::new(), more: false };
        }
        let bounds = (Bound::Included(range.start.clone()), end);
        let mut view: BTreeMap<_, _> =
            self.store.range(bounds.clone()).map(|(key, value)| (key, Some(value))).collect();
        view.extend(self.overlay.range(bounds).map(|(key, value)| (key, value.as_ref())));
        let mut entries: Vec<_> =
            view.into_iter().filter_map(|(key, value)| Some((key.clone(), value?.clone()))).collect();
        if range.reverse {
            entries.reverse();
        }
        let mut bytes = 0;
        let fits = entries.iter().take(limit.max(1)).take_while(|(key, value)| {
            bytes += key.len() + value.len();
            bytes <= max_bytes
        });
        let fits = fits.count().max(1).min(entries.len());
        let more = entries.len() > fits;
        entries.truncate(fits);
        Page { entries, more }
    }

    pub(crate) fn used(&self) -> u64 {
        let fresh = self.overlay.iter().filter_map(|(key, value)| Some(key.len() + value.as_ref()?.len()));
        let kept = self.store.iter().filter(|(key, _)| !self.overlay.contains_key(*key));
        (fresh.sum::<usize>() + kept.map(|(key, value)| key.len() + value.len()).sum::<usize>()) as u64
    }
}

/// The host's defaults, near enough for a test to run into them where a plugin would.
const LIMITS: Limits = Limits {
    message: 1 << 20,
    turn_effects: 16_384,
    turn_bytes: 4 << 20,
    open_asks: 1_024,
    key: 1_024,
    value: 1 << 20,
    store: 64 << 20,
    memory: 64 << 20,
    timers: 1_024,
};
