//! The node as one plugin sees it: what is staged, what is committed, a clock and seeded randomness.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::store::TestStore;
use super::{Asked, CallMade, Effect, LogLine, Random};
use crate::abi::{Limits, PeerId, Protocol, ProtocolKey, SendError, Verdict, WriteError};

/// What a lane takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Unlimited,
    /// So many messages.
    Messages(u32),
    /// Bytes that wait on it, and above how many it takes no more.
    Bytes {
        queued: usize,
        soft: usize,
    },
}

/// A peer's lane for one protocol.
#[derive(Debug)]
pub(crate) struct TestLane {
    pub max_message: u32,
    pub room: Room,
    /// A send was refused as busy, so the plugin waits for `relieved`.
    pub refused: bool,
}

/// Everything outside the plugin.
pub(crate) struct Node {
    pub id: PeerId,
    pub name: String,
    pub key: Rc<ed25519_dalek::SigningKey>,
    pub limits: Limits,
    pub granted: Vec<String>,
    pub now_us: u64,
    pub random: Random,
    next_id: u64,
    pub protocols: BTreeMap<ProtocolKey, Protocol>,
    pub lanes: BTreeMap<(PeerId, ProtocolKey), TestLane>,
    pub store: TestStore,
    staged: Vec<Effect>,
    staged_bytes: usize,
    staged_asks: usize,
    staged_writes: usize,
    /// By id, when it fires on this node's clock in milliseconds.
    pub timers: BTreeMap<u64, u64>,
    /// Requests and commands that nobody has answered yet, staged answers included.
    pub open: BTreeSet<u64>,
    pub asks: BTreeMap<u64, Asked>,
    pub calls: BTreeMap<u64, CallMade>,
    pub paused: BTreeSet<ProtocolKey>,
    pub reports: Vec<(PeerId, ProtocolKey, Verdict, String)>,
    pub logs: VecDeque<LogLine>,
    /// Older lines than so many are forgotten.
    pub most_logs: usize,
    pub counters: BTreeMap<String, u64>,
    pub gauges: BTreeMap<String, f64>,
    pub watch_failed_events: bool,
    pub changed_by_failed_event: Option<String>,
}

impl Node {
    /// A node with a key of its own.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let secret = std::array::from_fn(|_| random.number() as u8);
        let key = Rc::new(ed25519_dalek::SigningKey::from_bytes(&secret));
        let mut node = Self::with_key(key, 0);
        node.random = random;
        node
    }

    /// One more plugin on the node with this key.
    pub(crate) fn with_key(key: Rc<ed25519_dalek::SigningKey>, seed: u64) -> Self {
        Self {
            id: PeerId::from_bytes(key.verifying_key().to_bytes()),
            name: String::new(),
            key,
            limits: LIMITS,
            granted: Vec::new(),
            now_us: START_MS * 1_000,
            random: Random::new(seed),
            next_id: 1,
            protocols: BTreeMap::new(),
            lanes: BTreeMap::new(),
            store: TestStore::default(),
            staged: Vec::new(),
            staged_bytes: 0,
            staged_asks: 0,
            staged_writes: 0,
            timers: BTreeMap::new(),
            open: BTreeSet::new(),
            asks: BTreeMap::new(),
            calls: BTreeMap::new(),
            paused: BTreeSet::new(),
            reports: Vec::new(),
            logs: VecDeque::new(),
            most_logs: usize::MAX,
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            watch_failed_events: true,
            changed_by_failed_event: None,
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_us / 1_000
    }

    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A request or command that comes in; its id.
    pub(crate) fn open(&mut self) -> u64 {
        let id = self.new_id();
        self.open.insert(id);
        id
    }

    pub(crate) fn log(&mut self, line: LogLine) {
        if self.logs.len() >= self.most_logs {
            self.logs.pop_front();
        }
        self.logs.push_back(line);
    }

    /// Whether a lane takes a body of this length. One that is full is remembered: the plugin waits for `relieved`.
    fn accept(&mut self, to: PeerId, protocol: ProtocolKey, len: usize) -> Result<(), SendError> {
        let (room, max_message) = self.lane(to, protocol)?;
        if len > max_message as usize {
            return Err(SendError::TooLarge);
        }
        if room == 0 {
            self.refuse(to, protocol);
            return Err(SendError::Busy);
        }
        Ok(())
    }

    /// Whether a lane and the turn take this body; takes its room if so.
    pub(crate) fn admit(&mut self, to: PeerId, protocol: ProtocolKey, len: usize) -> Result<(), SendError> {
        self.accept(to, protocol, len)?;
        if !self.fits(len) {
            return Err(SendError::OverBudget);
        }
        match self.lanes.get_mut(&(to, protocol)).map(|lane| &mut lane.room) {
            Some(Room::Messages(left)) => *left -= 1,
            Some(Room::Bytes { queued, .. }) => *queued += len,
            _ => {}
        }
        Ok(())
    }

    /// A send was refused as busy.
    pub(crate) fn refuse(&mut self, to: PeerId, protocol: ProtocolKey) {
        if let Some(lane) = self.lanes.get_mut(&(to, protocol)) {
            lane.refused = true;
        }
    }

    /// What a lane takes, in bytes, and its largest body.
    pub(crate) fn lane(&self, to: PeerId, protocol: ProtocolKey) -> Result<(usize, u32), SendError> {
        if !self.protocols.contains_key(&protocol) {
            return Err(SendError::UnknownProtocol);
        }
        let connected = self.lanes.range((to, 0)..=(to, ProtocolKey::MAX)).next().is_some();
        let lane = self.lanes.get(&(to, protocol));
        let lane = lane.ok_or(if connected { SendError::Unsupported } else { SendError::NotConnected })?;
        let room = match lane.room {
            Room::Unlimited => usize::MAX,
            Room::Messages(left) => (left as usize).saturating_mul(lane.max_message as usize),
            Room::Bytes { queued, soft } => soft.saturating_sub(queued),
        };
        Ok((room, lane.max_message))
    }

    /// Whether another effect of so many bytes fits the budget of the turn.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        self.staged.len() < self.limits.turn_effects as usize
            && self.staged_bytes + bytes <= self.limits.turn_bytes as usize
    }

    pub(crate) fn room(&self, to: PeerId, protocol: ProtocolKey) -> u32 {
        let room = self.lane(to, protocol).map_or(0, |(room, _)| room);
        let left = (self.limits.turn_bytes as usize).saturating_sub(self.staged_bytes);
        u32::try_from(room.min(left)).unwrap_or(u32::MAX)
    }

    /// Whether one more ask or call may be open.
    pub(crate) fn may_ask(&self) -> bool {
        self.asks.len() + self.calls.len() + self.staged_asks < self.limits.open_asks as usize
    }

    /// Takes a request or command off the open ones; false when it was not open.
    pub(crate) fn settle(&mut self, id: u64) -> bool {
        self.open.remove(&id)
    }

    /// True, so that it can end a condition.
    ///
    /// # Panics
    /// With a [`Trap`], when the turn stages more than it may and the import has no way to say no.
    pub(crate) fn stage(&mut self, effect: Effect) -> bool {
        if !self.fits(effect.bytes()) {
            let most = self.limits.turn_effects;
            std::panic::panic_any(Trap(format!("a turn may stage at most {most} effects and this one staged more")));
        }
        match &effect {
            Effect::Put { key, value } => {
                self.staged_writes += write_bytes(key, value);
                self.store.stage(key.clone(), Some(value.clone()));
            }
            Effect::Remove { key } => {
                self.staged_writes += write_bytes(key, &[]);
                self.store.stage(key.clone(), None);
            }
            Effect::Ask { .. } | Effect::Call { .. } => self.staged_asks += 1,
            _ => {}
        }
        self.staged_bytes += effect.bytes();
        self.staged.push(effect);
        true
    }

    /// Forgets what was staged after the first `effects`.
    pub(crate) fn keep(&mut self, effects: usize) {
        let dropped = self.staged.split_off(effects.min(self.staged.len()));
        for effect in dropped {
            let len = effect.bytes();
            match effect {
                Effect::Respond { request: id, .. } | Effect::Answer { command: id, .. } => {
                    self.open.insert(id);
                }
                Effect::Send { to, protocol, .. } => to.iter().for_each(|peer| self.give_back(*peer, protocol, len)),
                Effect::Ask { to, protocol, .. } => self.give_back(to, protocol, len),
                _ => {}
            }
        }
        self.store.discard();
        (self.staged_bytes, self.staged_asks, self.staged_writes) = (0, 0, 0);
        for effect in std::mem::take(&mut self.staged) {
            self.stage(effect);
        }
    }

    fn give_back(&mut self, peer: PeerId, protocol: ProtocolKey, len: usize) {
        match self.lanes.get_mut(&(peer, protocol)).map(|lane| &mut lane.room) {
            Some(Room::Messages(left)) => *left += 1,
            Some(Room::Bytes { queued, .. }) => *queued = queued.saturating_sub(len),
            _ => {}
        }
    }

    /// Makes everything staged true, store first, and returns it as staged. What leaves the node is the caller's.
    pub(crate) fn commit(&mut self) -> Vec<Effect> {
        self.store.commit(self.now_us);
        (self.staged_bytes, self.staged_asks, self.staged_writes) = (0, 0, 0);
        let effects = std::mem::take(&mut self.staged);
        effects.iter().for_each(|effect| self.perform(effect));
        effects
    }

    fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::Ask { id, to, protocol, timeout_ms, body } => {
                let ask = Asked { id: *id, to: *to, protocol: *protocol, timeout_ms: *timeout_ms, body: body.to_vec() };
                self.asks.insert(*id, ask);
            }
            Effect::CancelAsk(id) => drop(self.asks.remove(id)),
            Effect::Call { id, plugin, name, timeout_ms, body } => {
                let (plugin, name, body) = (plugin.clone(), name.clone(), body.to_vec());
                self.calls.insert(*id, CallMade { id: *id, plugin, name, timeout_ms: *timeout_ms, body });
            }
            Effect::Register(protocol) => drop(self.protocols.insert(protocol.key, protocol.clone())),
            Effect::Unregister(key) => drop(self.protocols.remove(key)),
            Effect::Pause { protocol, paused: true } => drop(self.paused.insert(*protocol)),
            Effect::Pause { protocol, paused: false } => drop(self.paused.remove(protocol)),
            Effect::Report { peer, protocol, verdict, why } => {
                self.reports.push((*peer, *protocol, *verdict, why.clone()));
            }
            Effect::SetTimer { id, after_ms } => {
                let at_ms = self.now_ms().saturating_add(*after_ms);
                self.timers.insert(*id, at_ms);
            }
            Effect::CancelTimer(id) => {
                self.timers.remove(id);
            }
            // What these do is done by the store, or outside.
            Effect::Nothing
            | Effect::Put { .. }
            | Effect::Remove { .. }
            | Effect::Send { .. }
            | Effect::Respond { .. }
            | Effect::Answer { .. } => {}
        }
    }

    pub(crate) fn admit_write(&self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        if !self.fits(0) {
            Err(WriteError::OverBudget)
        } else if key.len() > self.limits.key as usize {
            Err(WriteError::KeyTooLong)
        } else if value.len() > self.limits.value as usize {
            Err(WriteError::ValueTooLarge)
        } else if !self.has_quota(key, value) {
            Err(WriteError::OverQuota)
        } else if self.staged_writes + write_bytes(key, value) > TURN_WRITES {
            Err(WriteError::OverBudget)
        } else {
            Ok(())
        }
    }

    /// Whether a write leaves the store within its limit, or makes it smaller.
    fn has_quota(&self, key: &[u8], value: &[u8]) -> bool {
        let before = self.store.get(key).map_or(0, |value| key.len() + value.len()) as u64;
        let after = (key.len() + value.len()) as u64;
        after <= before || self.store.bytes() - before + after <= self.limits.store
    }

    /// The instance is gone: what it waited for and what waited for it. Returns the latter.
    pub(crate) fn forget_instance(&mut self) -> Vec<u64> {
        self.asks.clear();
        self.calls.clear();
        std::mem::take(&mut self.open).into_iter().collect()
    }
}

/// What a plugin's code unwinds with where a host would trap it: no panic hook of the plugin hears of that.
pub(crate) struct Trap(pub String);

/// Memory that the writes of one turn may take on a host.
const TURN_WRITES: usize = 4 << 20;

/// What a write counts against it.
fn write_bytes(key: &[u8], value: &[u8]) -> usize {
    128 + key.len() + value.len()
}

/// The morning of a day long enough ago that no test can mistake it for its own.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// The host's defaults, but for a store that a test fills sooner.
const LIMITS: Limits = Limits {
    message: 1 << 20,
    turn_effects: 4_096,
    turn_bytes: 1 << 20,
    open_asks: 1_024,
    key: 1_024,
    value: 1 << 20,
    store: 64 << 20,
    memory: 64 << 20,
    timers: 4_096,
};
