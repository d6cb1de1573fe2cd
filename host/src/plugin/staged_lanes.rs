//! The lanes that one turn looked at, and what it put on them. Pure.

use std::collections::HashMap;

use crate::peer::PeerId;
use crate::protocol::{LaneStatus, ProtocolId, SendError};
use crate::wire::FRAME_OVERHEAD;

/// A lane as it was when the turn first looked at it, and what the turn put on it.
#[derive(Debug)]
pub(super) struct StagedLane {
    pub(super) peer: PeerId,
    pub(super) protocol: ProtocolId,
    status: Result<LaneStatus, SendError>,
    used: usize,
    /// Messages and asks that go on it.
    pub(super) sends: usize,
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

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StagedLanes {
    all: Vec<StagedLane>,
    /// What goes out on all lanes together, with what frames add to it.
    sent: usize,
    by_key: HashMap<(PeerId, u32), usize>,
    last: Option<(PeerId, u32, usize)>,
    /// A key changed its meaning in this turn, so a lane that is not in `by_key` may be in `all` all the same.
    rekeyed: bool,
}

impl StagedLanes {
    /// The position of a lane that the turn looked at and whose key means the same still. Messages come in runs of one
    /// lane, so the last one is looked at first.
    pub(super) fn known(&mut self, peer: &PeerId, key: u32) -> Option<usize> {
        if let Some((of, by, lane)) = &self.last
            && of == peer
            && *by == key
        {
            return Some(*lane);
        }
        let lane = *self.by_key.get(&(*peer, key))?;
        self.last = Some((*peer, key, lane));
        Some(lane)
    }

    /// The position of a lane; `look` is asked once a turn.
    pub(super) fn position(
        &mut self,
        peer: PeerId,
        key: u32,
        look: impl FnOnce() -> (ProtocolId, Result<LaneStatus, SendError>),
    ) -> usize {
        if let Some(lane) = self.known(&peer, key) {
            return lane;
        }
        let lane = *self.by_key.entry((peer, key)).or_insert_with(|| {
            let (protocol, status) = look();
            let same = |lane: &StagedLane| lane.peer == peer && lane.protocol == protocol;
            let known = if self.rekeyed { self.all.iter().position(same) } else { None };
            known.unwrap_or_else(|| {
                self.all.push(StagedLane { peer, protocol, status, used: 0, sends: 0, refused: false });
                self.all.len() - 1
            })
        });
        self.last = Some((peer, key, lane));
        lane
    }

    /// Bytes that a send on this lane would take now, as far as lanes go.
    pub(super) fn room(&self, lane: usize) -> usize {
        let shared = |lane: &StagedLane| lane.status.map_or(0, |status| status.shared.saturating_sub(self.sent));
        self.all.get(lane).map_or(0, |lane| lane.room().min(shared(lane)))
    }

    /// Whether a body may go on this lane.
    pub(super) fn accept(&mut self, lane: usize, len: usize) -> Result<(), SendError> {
        let sent = self.sent;
        self.all.get_mut(lane).map_or(Err(SendError::Closed), |lane| lane.accept(len, sent))
    }

    /// A body of so many bytes goes on this lane.
    pub(super) fn put(&mut self, lane: usize, bytes: usize) {
        self.sent += bytes + FRAME_OVERHEAD;
        if let Some(lane) = self.all.get_mut(lane) {
            lane.used += bytes;
            lane.sends += 1;
        }
    }

    /// It does not go after all.
    pub(super) fn take_back(&mut self, lane: usize, bytes: usize) {
        self.sent = self.sent.saturating_sub(bytes + FRAME_OVERHEAD);
        if let Some(lane) = self.all.get_mut(lane) {
            lane.used = lane.used.saturating_sub(bytes);
            lane.sends = lane.sends.saturating_sub(1);
        }
    }

    /// A key means another protocol from here on.
    pub(super) fn rekey(&mut self, key: u32) {
        self.by_key.retain(|(_, of), _| *of != key);
        self.last = None;
        self.rekeyed = true;
    }

    /// Takes them all; the next turn begins with none.
    pub(super) fn take(&mut self) -> Vec<StagedLane> {
        (self.sent, self.last, self.rekeyed) = (0, None, false);
        // It keeps its room: there is a turn after this one.
        self.by_key.clear();
        std::mem::take(&mut self.all)
    }
}
