//! What one turn staged: effects in order, with budgets, and how to take the last of them back. Pure but for the
//! store's reads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;

use super::store::{Mark, StagedWrites};
use crate::peer::PeerId;
use crate::protocol::{AskId, LaneStatus, ProtocolId, ProtocolSpec, RequestToken, SendError};
use crate::wire::{FRAME_OVERHEAD, Failure};

/// One accepted call, to be carried out at the commit.
#[derive(Debug)]
pub(super) enum Effect {
    Message {
        lane: usize,
        body: Bytes,
    },
    Messages {
        lanes: Vec<usize>,
        body: Bytes,
    },
    Ask {
        lane: usize,
        id: AskId,
        timeout: Duration,
        body: Bytes,
    },
    Cancel(AskId),
    Respond {
        token: RequestToken,
        outcome: Result<Bytes, Failure>,
    },
    Register {
        key: u32,
        spec: ProtocolSpec,
        before: Option<Option<ProtocolSpec>>,
    },
    Unregister {
        key: u32,
        id: ProtocolId,
        before: Option<Option<ProtocolSpec>>,
    },
    Pause {
        protocol: ProtocolId,
        paused: bool,
    },
    /// A verdict on a peer; named where it is muted for it if that happens too often.
    Report {
        abusive: Option<Box<(PeerId, ProtocolId)>>,
    },
    /// An accepted call that changes nothing: `keep` counts it all the same.
    Nothing,
    /// A write of the store, and the moment before it.
    Write(Mark),
    TimerSet {
        id: u64,
        after: Duration,
        before: Option<bool>,
    },
    TimerCancel {
        id: u64,
        before: Option<bool>,
    },
    Call {
        id: u64,
        plugin: String,
        name: String,
        timeout: Duration,
        body: Bytes,
    },
    Answer {
        command: u64,
        outcome: Result<Bytes, Failure>,
    },
}

impl Effect {
    /// Bytes it counts against the budget of the turn. Writes are counted by the store.
    fn bytes(&self) -> usize {
        match self {
            Self::Message { body, .. }
            | Self::Messages { body, .. }
            | Self::Ask { body, .. }
            | Self::Call { body, .. } => body.len(),
            _ => 0,
        }
    }
}

/// The turn staged all it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OverBudget;

/// A lane as it was when the turn first looked at it, and what the turn put on it.
#[derive(Debug)]
pub(super) struct StagedLane {
    pub(super) peer: PeerId,
    pub(super) protocol: ProtocolId,
    status: Result<LaneStatus, SendError>,
    used: usize,
    /// A send was refused as busy, so the plugin waits for `relieved`.
    refused: bool,
}

impl StagedLane {
    /// Bytes that a send would take now.
    pub(super) fn room(&self) -> usize {
        self.status.map_or(0, |status| status.room.saturating_sub(self.used))
    }

    /// Whether a body may go on it, when the turn sends `sent` bytes on all lanes. The last one may go above the soft
    /// limits.
    fn accept(&mut self, len: usize, sent: usize) -> Result<(), SendError> {
        let status = self.status?;
        if len > status.max_message as usize {
            return Err(SendError::TooLarge);
        }
        if self.used >= status.room || sent >= status.shared {
            self.refused = true;
            return Err(SendError::Busy);
        }
        Ok(())
    }

    /// A send was refused as busy by what the turn had seen of the lane. The lane itself may never have been full, so
    /// it must be asked for `relieved`.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }
}

/// The effects of the turn that runs.
#[derive(Debug)]
pub(super) struct Staged {
    most_effects: usize,
    most_bytes: usize,
    effects: Vec<Effect>,
    bytes: usize,
    /// What goes out on all lanes together, with what frames add to it.
    sent: usize,
    lanes: Vec<StagedLane>,
    lane_of: HashMap<(PeerId, u32), usize>,
    last_lane: Option<(PeerId, u32, usize)>,
    /// A key changed its meaning in this turn, so a lane that is not in `lane_of` may be in `lanes` all the same.
    rekeyed: bool,
    pub(super) writes: StagedWrites,
    keys: BTreeMap<u32, Option<ProtocolSpec>>,
    timers: BTreeMap<u64, bool>,
    answered: BTreeSet<RequestToken>,
    answered_commands: BTreeSet<u64>,
    open: usize,
    /// Calls by the plugin they are for.
    calls_to: BTreeMap<String, u32>,
}

/// What a turn staged, taken out to be carried out.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) effects: Vec<Effect>,
    pub(super) lanes: Vec<StagedLane>,
    /// Protocols by key as they are after the turn, where it changed them.
    pub(super) keys: BTreeMap<u32, Option<ProtocolSpec>>,
}

impl Staged {
    pub(super) fn new(most_effects: u32, most_bytes: u32, writes: StagedWrites) -> Self {
        Self {
            most_effects: most_effects as usize,
            most_bytes: most_bytes as usize,
            effects: Vec::new(),
            bytes: 0,
            sent: 0,
            lanes: Vec::new(),
            lane_of: HashMap::new(),
            last_lane: None,
            rekeyed: false,
            writes,
            keys: BTreeMap::new(),
            timers: BTreeMap::new(),
            answered: BTreeSet::new(),
            answered_commands: BTreeSet::new(),
            open: 0,
            calls_to: BTreeMap::new(),
        }
    }

    /// The position of a lane; `look` is asked once a turn.
    pub(super) fn lane(
        &mut self,
        peer: PeerId,
        key: u32,
        look: impl FnOnce() -> (ProtocolId, Result<LaneStatus, SendError>),
    ) -> usize {
        if let Some((of, by, lane)) = self.last_lane
            && (of, by) == (peer, key)
        {
            return lane;
        }
        let lane = *self.lane_of.entry((peer, key)).or_insert_with(|| {
            let (protocol, status) = look();
            let same = |lane: &StagedLane| lane.peer == peer && lane.protocol == protocol;
            let known = if self.rekeyed { self.lanes.iter().position(same) } else { None };
            known.unwrap_or_else(|| {
                self.lanes.push(StagedLane { peer, protocol, status, used: 0, refused: false });
                self.lanes.len() - 1
            })
        });
        self.last_lane = Some((peer, key, lane));
        lane
    }

    /// Bytes that a send on this lane would take now.
    pub(super) fn room(&self, lane: usize) -> usize {
        let shared = |lane: &StagedLane| lane.status.map_or(0, |status| status.shared.saturating_sub(self.sent));
        let room = self.lanes.get(lane).map_or(0, |lane| lane.room().min(shared(lane)));
        room.min(self.most_bytes.saturating_sub(self.bytes))
    }

    /// Whether a body may go on this lane.
    pub(super) fn accept(&mut self, lane: usize, len: usize) -> Result<(), SendError> {
        let sent = self.sent;
        self.lanes.get_mut(lane).map_or(Err(SendError::Closed), |lane| lane.accept(len, sent))
    }

    /// Stages one body for many lanes, for as many of these as take it: who was refused, by position in `to`.
    /// Nothing is staged when nobody takes it. The caller has asked [`Staged::fits`].
    pub(super) fn push_all<E: From<SendError>>(
        &mut self,
        to: impl IntoIterator<Item = Result<usize, E>>,
        body: Bytes,
    ) -> Result<Vec<(u32, E)>, OverBudget> {
        let (mut lanes, mut refused) = (Vec::new(), Vec::new());
        for (at, lane) in (0..).zip(to) {
            match lane.and_then(|lane| self.accept(lane, body.len()).map(|()| lane).map_err(E::from)) {
                Ok(lane) => {
                    // At once, because the next one named may be the same peer.
                    self.use_lane(lane, body.len(), true);
                    lanes.push(lane);
                }
                Err(error) => refused.push((at, error)),
            }
        }
        if !lanes.is_empty() {
            self.push(Effect::Messages { lanes, body })?;
        }
        Ok(refused)
    }

    /// Whether another effect of so many bytes fits the budget.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.effects.len() < self.most_effects && self.bytes.saturating_add(bytes) <= self.most_bytes
    }

    /// Stages an effect.
    pub(super) fn push(&mut self, effect: Effect) -> Result<(), OverBudget> {
        if !self.fits(effect.bytes()) {
            return Err(OverBudget);
        }
        self.bytes += effect.bytes();
        self.note(&effect);
        self.effects.push(effect);
        Ok(())
    }

    fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::Message { lane, body } => self.use_lane(*lane, body.len(), true),
            Effect::Ask { lane, body, .. } => {
                self.use_lane(*lane, body.len(), true);
                self.open += 1;
            }
            Effect::Call { plugin, .. } => {
                self.open += 1;
                *self.calls_to.entry(plugin.clone()).or_default() += 1;
            }
            Effect::Respond { token, .. } => drop(self.answered.insert(*token)),
            Effect::Answer { command, .. } => drop(self.answered_commands.insert(*command)),
            Effect::Register { key, spec, .. } => {
                self.forget_lanes(*key);
                self.keys.insert(*key, Some(spec.clone()));
            }
            Effect::Unregister { key, .. } => {
                self.forget_lanes(*key);
                self.keys.insert(*key, None);
            }
            Effect::TimerSet { id, .. } => drop(self.timers.insert(*id, true)),
            Effect::TimerCancel { id, .. } => drop(self.timers.insert(*id, false)),
            // What `Messages` takes of its lanes was noted when they took it.
            Effect::Messages { .. }
            | Effect::Cancel(_)
            | Effect::Pause { .. }
            | Effect::Report { .. }
            | Effect::Nothing
            | Effect::Write(_) => {}
        }
    }

    /// A key means another protocol from here on.
    fn forget_lanes(&mut self, key: u32) {
        self.lane_of.retain(|(_, of), _| *of != key);
        self.last_lane = None;
        self.rekeyed = true;
    }

    fn use_lane(&mut self, lane: usize, bytes: usize, more: bool) {
        let change = |sum: usize, by: usize| if more { sum + by } else { sum.saturating_sub(by) };
        self.sent = change(self.sent, bytes + FRAME_OVERHEAD);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.used = change(lane.used, bytes);
        }
    }

    /// Keeps the first `count` effects and forgets the rest.
    pub(super) fn keep(&mut self, count: usize) {
        while self.effects.len() > count {
            if let Some(effect) = self.effects.pop() {
                self.bytes -= effect.bytes();
                self.take_back(effect);
            }
        }
    }

    fn take_back(&mut self, effect: Effect) {
        match effect {
            Effect::Message { lane, body } => self.use_lane(lane, body.len(), false),
            Effect::Messages { lanes, body } => lanes.iter().for_each(|lane| self.use_lane(*lane, body.len(), false)),
            Effect::Ask { lane, body, .. } => {
                self.use_lane(lane, body.len(), false);
                self.open -= 1;
            }
            Effect::Call { plugin, .. } => {
                self.open -= 1;
                if let Some(calls) = self.calls_to.get_mut(&plugin) {
                    *calls -= 1;
                }
            }
            Effect::Respond { token, .. } => drop(self.answered.remove(&token)),
            Effect::Answer { command, .. } => drop(self.answered_commands.remove(&command)),
            Effect::Register { key, before, .. } | Effect::Unregister { key, before, .. } => {
                self.forget_lanes(key);
                put_back(&mut self.keys, key, before);
            }
            Effect::TimerSet { id, before, .. } | Effect::TimerCancel { id, before } => {
                put_back(&mut self.timers, id, before);
            }
            Effect::Write(mark) => self.writes.rewind(mark),
            Effect::Cancel(_) | Effect::Pause { .. } | Effect::Report { .. } | Effect::Nothing => {}
        }
    }

    /// What the turn made of a key: None when it did not touch it.
    pub(super) fn key(&self, key: u32) -> Option<&Option<ProtocolSpec>> {
        self.keys.get(&key)
    }

    /// All keys the turn touched.
    pub(super) fn keys(&self) -> &BTreeMap<u32, Option<ProtocolSpec>> {
        &self.keys
    }

    /// What the turn made of a timer: None when it did not touch it.
    pub(super) fn timer(&self, id: u64) -> Option<bool> {
        self.timers.get(&id).copied()
    }

    /// How many timers the turn touched.
    pub(super) fn timer_changes(&self) -> usize {
        self.timers.len()
    }

    /// Timers the turn touched, and whether they are set after it.
    pub(super) fn timers(&self) -> impl Iterator<Item = (u64, bool)> {
        self.timers.iter().map(|(id, set)| (*id, *set))
    }

    /// Whether the turn answered this request.
    pub(super) fn answered(&self, token: RequestToken) -> bool {
        self.answered.contains(&token)
    }

    /// Whether the turn answered this command.
    pub(super) fn answered_command(&self, command: u64) -> bool {
        self.answered_commands.contains(&command)
    }

    /// Asks and calls the turn opened.
    pub(super) fn opened(&self) -> usize {
        self.open
    }

    /// Calls to a plugin that the turn opened.
    pub(super) fn calls_to(&self, plugin: &str) -> u32 {
        self.calls_to.get(plugin).copied().unwrap_or(0)
    }

    /// Takes everything but the writes; the next turn begins with nothing.
    pub(super) fn take(&mut self) -> Commit {
        self.bytes = 0;
        self.sent = 0;
        self.open = 0;
        self.calls_to.clear();
        self.lane_of.clear();
        self.last_lane = None;
        self.rekeyed = false;
        self.timers.clear();
        self.answered.clear();
        self.answered_commands.clear();
        Commit {
            effects: std::mem::take(&mut self.effects),
            lanes: std::mem::take(&mut self.lanes),
            keys: std::mem::take(&mut self.keys),
        }
    }
}

fn put_back<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, before: Option<V>) {
    match before {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::store::{MemoryDisk, Store, StoreLimits};

    fn staged(effects: u32, bytes: u32) -> Staged {
        let store = Store::in_memory(&MemoryDisk::default());
        Staged::new(effects, bytes, StagedWrites::new(store.namespace("x"), StoreLimits::default()))
    }

    fn lane(staged: &mut Staged, room: usize) -> usize {
        let status = LaneStatus { room, shared: 1 << 20, max_message: 8 };
        staged.lane(PeerId::from_bytes([1; 32]), 0, || ("/a/1".parse().expect("an id"), Ok(status)))
    }

    fn message(staged: &mut Staged, lane: usize, body: &'static [u8]) -> Result<(), OverBudget> {
        staged.push(Effect::Message { lane, body: Bytes::from_static(body) })
    }

    #[test]
    fn the_last_message_may_go_above_the_soft_limit_and_the_next_is_busy() {
        let mut staged = staged(9, 100);
        let lane = lane(&mut staged, 5);
        assert_eq!(staged.accept(lane, 9), Err(SendError::TooLarge));
        for body in [b"abc", b"def"] {
            assert_eq!(staged.accept(lane, 3), Ok(()));
            message(&mut staged, lane, body).expect("fits");
        }
        assert_eq!((staged.accept(lane, 1), staged.room(lane)), (Err(SendError::Busy), 0));
    }

    #[test]
    fn what_all_lanes_share_is_not_promised_twice() {
        let mut staged = staged(9, 1000);
        let status = LaneStatus { room: 1000, shared: 100, max_message: 60 };
        let open = |staged: &mut Staged, peer| {
            staged.lane(PeerId::from_bytes([peer; 32]), 0, || ("/a/1".parse().expect("an id"), Ok(status)))
        };
        let lanes: Vec<_> = (1..=4).map(|peer| open(&mut staged, peer)).collect();
        let answers = lanes.iter().map(|lane| Ok::<_, SendError>(*lane));
        let answers = staged.push_all(answers, Bytes::from_static(&[0; 9]));
        assert_eq!(answers, Ok(vec![(3, SendError::Busy)]));
        assert_eq!((staged.accept(lanes[0], 1), staged.room(lanes[0])), (Err(SendError::Busy), 0));
        staged.keep(0);
        assert_eq!(staged.room(lanes[0]), 100);
        let refused: Vec<_> = staged.take().lanes.iter().map(StagedLane::was_refused).collect();
        assert_eq!(refused, [true, false, false, true]);
    }

    #[test]
    fn the_budgets_of_a_turn_hold() {
        let mut staged = staged(3, 5);
        let lane = lane(&mut staged, 100);
        assert_eq!(message(&mut staged, lane, b"abc"), Ok(()));
        assert_eq!(message(&mut staged, lane, b"def"), Err(OverBudget));
        assert_eq!(message(&mut staged, lane, b"de"), Ok(()));
        assert_eq!(staged.push(Effect::Report { abusive: None }), Ok(()));
        assert_eq!(staged.push(Effect::Report { abusive: None }), Err(OverBudget));
    }

    #[test]
    fn keep_takes_everything_after_it_back() {
        let mut staged = staged(99, 100);
        let lane = lane(&mut staged, 3);
        staged.push(Effect::TimerSet { id: 1, after: Duration::ZERO, before: None }).expect("fits");
        let mark = staged.writes.mark();
        staged.writes.put(b"k".to_vec(), b"v".to_vec()).expect("staged");
        staged.push(Effect::Write(mark)).expect("fits");
        staged.push(Effect::TimerCancel { id: 1, before: Some(true) }).expect("fits");
        message(&mut staged, lane, b"abc").expect("fits");
        staged.push(Effect::Respond { token: RequestToken(7), outcome: Ok(Bytes::new()) }).expect("fits");
        assert_eq!(staged.accept(lane, 1), Err(SendError::Busy));
        staged.keep(1);
        assert_eq!((staged.timer(1), staged.room(lane), staged.answered(RequestToken(7))), (Some(true), 3, false));
        assert!(staged.writes.is_empty());
        let commit = staged.take();
        assert_eq!(commit.effects.len(), 1);
        assert!(commit.lanes[lane].was_refused());
    }

    #[test]
    fn a_key_that_is_registered_anew_has_lanes_of_its_own() {
        let mut staged = staged(9, 100);
        let first = lane(&mut staged, 5);
        let (id, status) = ("/a/1".parse().expect("an id"), LaneStatus { room: 5, shared: 1_000_000, max_message: 8 });
        staged.push(Effect::Unregister { key: 0, id, before: None }).expect("fits");
        let look = || ("/b/1".parse().expect("an id"), Ok(status));
        assert_ne!(staged.lane(PeerId::from_bytes([1; 32]), 0, look), first);
        staged.keep(0);
        assert_eq!(lane(&mut staged, 5), first);
    }

    fn push_all(staged: &mut Staged, to: &[usize], body: &'static [u8]) -> Vec<(u32, SendError)> {
        staged.push_all(to.iter().map(|lane| Ok(*lane)), Bytes::from_static(body)).expect("fits")
    }

    #[test]
    fn a_send_to_many_that_nobody_takes_is_no_effect() {
        let mut staged = staged(9, 100);
        let lane = lane(&mut staged, 0);
        assert_eq!(push_all(&mut staged, &[], b"abc"), []);
        assert_eq!(push_all(&mut staged, &[lane, lane], b"abc"), [(0, SendError::Busy), (1, SendError::Busy)]);
        assert_eq!(staged.take().effects.len(), 0);
    }

    #[test]
    fn a_peer_named_twice_takes_room_twice() {
        let mut staged = staged(9, 100);
        let lane = lane(&mut staged, 5);
        assert_eq!(push_all(&mut staged, &[lane, lane, lane], b"abc"), [(2, SendError::Busy)]);
        assert_eq!(staged.room(lane), 0);
        staged.keep(0);
        assert_eq!(staged.room(lane), 5);
    }
}
