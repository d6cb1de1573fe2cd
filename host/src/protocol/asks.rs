//! Requests of ours that wait for an answer.
//!
//! Pure. Invariant: every ask that was opened leaves exactly once, by `take`, `cancel`, `expire` or `drop_lane`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{AskId, AskReply, ProtocolId};
use crate::peer::PeerId;

/// Most asks open at once on a node; 64 thousand small ones are some 10 MiB.
pub const MAX_ASKS: usize = 1 << 16;

struct Ask {
    peer: PeerId,
    protocol: ProtocolId,
    deadline: Instant,
    reply: AskReply,
}

/// The open asks.
#[derive(Default)]
pub(super) struct Asks {
    open: BTreeMap<AskId, Ask>,
    by_lane: BTreeMap<(PeerId, ProtocolId), BTreeSet<AskId>>,
    deadlines: BTreeSet<(Instant, AskId)>,
}

impl Asks {
    /// Opens an ask; gives the reply back when there are too many.
    pub(super) fn open(
        &mut self,
        id: AskId,
        peer: PeerId,
        protocol: ProtocolId,
        deadline: Instant,
        reply: AskReply,
    ) -> Result<(), AskReply> {
        if self.open.len() >= MAX_ASKS {
            return Err(reply);
        }
        self.deadlines.insert((deadline, id));
        self.by_lane.entry((peer, protocol.clone())).or_default().insert(id);
        self.open.insert(id, Ask { peer, protocol, deadline, reply });
        Ok(())
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The reply of an ask that this peer answers by this protocol.
    pub(super) fn take(&mut self, id: AskId, peer: &PeerId, protocol: &ProtocolId) -> Option<AskReply> {
        let ask = self.open.get(&id)?;
        if ask.peer != *peer || ask.protocol != *protocol {
            return None;
        }
        self.remove(id).map(|ask| ask.reply)
    }

    /// Forgets an ask; whom to tell that no answer is wanted.
    pub(super) fn cancel(&mut self, id: AskId) -> Option<(PeerId, ProtocolId)> {
        self.remove(id).map(|ask| (ask.peer, ask.protocol))
    }

    /// The asks whose time has run out.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(AskId, PeerId, ProtocolId, AskReply)> {
        let mut expired = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            let Some(ask) = self.remove(id) else { break };
            expired.push((id, ask.peer, ask.protocol, ask.reply));
        }
        expired
    }

    /// The asks that the end of a lane leaves without an answer.
    pub(super) fn drop_lane(&mut self, peer: &PeerId, protocol: &ProtocolId) -> Vec<AskReply> {
        let ids = self.by_lane.get(&(*peer, protocol.clone())).cloned().unwrap_or_default();
        ids.into_iter().filter_map(|id| self.remove(id)).map(|ask| ask.reply).collect()
    }

    fn remove(&mut self, id: AskId) -> Option<Ask> {
        let ask = self.open.remove(&id)?;
        self.deadlines.remove(&(ask.deadline, id));
        let lane = (ask.peer, ask.protocol.clone());
        if let Some(of_lane) = self.by_lane.get_mut(&lane) {
            of_lane.remove(&id);
            if of_lane.is_empty() {
                self.by_lane.remove(&lane);
            }
        }
        Some(ask)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_ask_leaves_once_and_only_for_its_peer() {
        let replies = Arc::new(AtomicU32::new(0));
        let now = Instant::now();
        let (peer, other) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let protocol: ProtocolId = "/a/1".parse().expect("a protocol id");
        let mut asks = Asks::default();
        for id in 0..4 {
            let replies = replies.clone();
            let reply: AskReply = Box::new(move |_| {
                replies.fetch_add(1, Ordering::Relaxed);
            });
            let deadline = now + Duration::from_secs(id);
            assert!(asks.open(AskId(id), peer, protocol.clone(), deadline, reply).is_ok());
        }
        assert!(asks.take(AskId(0), &other, &protocol).is_none(), "another peer answers");
        assert!(asks.take(AskId(0), &peer, &protocol).is_some());
        assert!(asks.take(AskId(0), &peer, &protocol).is_none(), "answered twice");
        assert_eq!(asks.cancel(AskId(1)), Some((peer, protocol.clone())));
        assert_eq!(asks.expire(now + Duration::from_secs(2)).len(), 1);
        assert_eq!(asks.drop_lane(&peer, &protocol).len(), 1);
        assert!(asks.open.is_empty() && asks.by_lane.is_empty() && asks.deadlines.is_empty());
    }
}
