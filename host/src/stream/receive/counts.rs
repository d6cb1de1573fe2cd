//! How many streams are open, and which bound a further one would break. Pure.
//!
//! Invariants, tested over random sequences:
//!
//! - what is counted of the node is the sum over its peers, and of each peer the sum over its connections;
//! - no count is above its bound;
//! - what was refused was never counted, so its end frees nothing.

use std::collections::BTreeMap;

use super::ReceivePolicy;
use crate::connection::ConnectionId;
use crate::peer::PeerId;
use crate::reached::{Reached, Scope, names};

/// Streams refused since the start, by the bound that was reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusedBy {
    /// [`ReceivePolicy::per_connection`].
    pub connection: u64,
    /// [`ReceivePolicy::per_peer`].
    pub peer: u64,
    /// [`ReceivePolicy::per_node`].
    pub node: u64,
}

impl RefusedBy {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.connection + self.peer + self.node
    }
}

/// Open streams, and what became of others.
#[derive(Debug, Default)]
pub(super) struct Counts {
    node: usize,
    peers: BTreeMap<PeerId, usize>,
    connections: BTreeMap<ConnectionId, usize>,
    pub(super) accepted: u64,
    pub(super) refused: RefusedBy,
}

impl Counts {
    /// Takes a place, unless one of the bounds is reached: the narrowest of those that are.
    pub(super) fn take(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        policy: &ReceivePolicy,
    ) -> Result<(), Reached> {
        let of_peer = self.peers.get(&peer).copied().unwrap_or(0);
        let of_connection = self.connections.get(&connection).copied().unwrap_or(0);
        if of_connection >= policy.per_connection {
            self.refused.connection += 1;
            return Err(full(Scope::Connection, of_connection, policy.per_connection));
        }
        if of_peer >= policy.per_peer {
            self.refused.peer += 1;
            return Err(full(Scope::Peer, of_peer, policy.per_peer));
        }
        if self.node >= policy.per_node {
            self.refused.node += 1;
            return Err(full(Scope::Node, self.node, policy.per_node));
        }
        self.node += 1;
        self.accepted += 1;
        self.peers.insert(peer, of_peer + 1);
        self.connections.insert(connection, of_connection + 1);
        Ok(())
    }

    /// Gives a taken place back.
    pub(super) fn give_back(&mut self, peer: PeerId, connection: ConnectionId) {
        self.node = self.node.saturating_sub(1);
        release(&mut self.peers, peer);
        release(&mut self.connections, connection);
    }

    /// Streams of the node.
    pub(super) fn node(&self) -> usize {
        self.node
    }

    /// Streams of every peer that has one.
    pub(super) fn peers(&self) -> impl Iterator<Item = (PeerId, usize)> {
        self.peers.iter().map(|(peer, count)| (*peer, *count))
    }

    /// Streams of every connection that has one.
    pub(super) fn connections(&self) -> impl Iterator<Item = (ConnectionId, usize)> {
        self.connections.iter().map(|(connection, count)| (*connection, *count))
    }
}

fn full(scope: Scope, taken: usize, limit: usize) -> Reached {
    Reached::new(scope, names::RECEIVE_STREAMS, taken, limit).key("limits.max_streams", "read faster, or raise")
}

fn release<K: Ord + Copy>(counts: &mut BTreeMap<K, usize>, of: K) {
    if let Some(count) = counts.get_mut(&of) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&of);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(number: u64) -> PeerId {
        PeerId::from_bytes([number as u8; 32])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Streams of six connections of three peers come and go, connections close with all they have, and whatever
        /// was refused ends, too.
        #[test]
        fn counts_are_exact_under_churn(
            steps in proptest::collection::vec((0..6_u64, 0..10_u8, any::<usize>()), 0..300),
            per_connection in 1..6_usize, per_peer in 1..8_usize, per_node in 1..16_usize,
        ) {
            let policy = ReceivePolicy { per_connection, per_peer, per_node, ..ReceivePolicy::default() };
            let mut counts = Counts::default();
            let mut open: Vec<u64> = Vec::new();
            let mut refused = 0;
            for (connection, what, at) in steps {
                let of = |wanted: &dyn Fn(u64) -> bool| open.iter().filter(|other| wanted(**other)).count();
                let of_connection = of(&|other| other == connection);
                let of_peer = of(&|other| other / 2 == connection / 2);
                match what {
                    0..=5 => {
                        let expected = if of_connection >= per_connection {
                            Err(Scope::Connection)
                        } else if of_peer >= per_peer {
                            Err(Scope::Peer)
                        } else if open.len() >= per_node {
                            Err(Scope::Node)
                        } else {
                            Ok(())
                        };
                        let taken = counts.take(peer(connection / 2), ConnectionId(connection), &policy);
                        let taken = taken.map_err(|full| full.scope);
                        prop_assert_eq!(&taken, &expected);
                        match taken {
                            Ok(()) => open.push(connection),
                            Err(_) => refused += 1,
                        }
                    }
                    6..=8 if !open.is_empty() => {
                        let connection = open.swap_remove(at % open.len());
                        counts.give_back(peer(connection / 2), ConnectionId(connection));
                    }
                    9 => {
                        let gone: Vec<_> = open.extract_if(.., |other| *other == connection).collect();
                        gone.iter().for_each(|_| counts.give_back(peer(connection / 2), ConnectionId(connection)));
                    }
                    _ => {}
                }
                prop_assert_eq!(counts.node(), open.len());
                prop_assert_eq!(counts.peers().map(|(_, count)| count).sum::<usize>(), open.len());
                for (id, count) in counts.connections() {
                    prop_assert_eq!(count, open.iter().filter(|other| **other == id.0).count());
                }
                prop_assert_eq!(counts.refused.total(), refused);
            }
        }
    }

    #[test]
    fn a_refused_stream_takes_no_place() {
        let policy = ReceivePolicy { per_connection: 2, per_peer: 3, per_node: 4, ..ReceivePolicy::default() };
        let mut counts = Counts::default();
        let take = |counts: &mut Counts, of, connection| {
            counts.take(peer(of), ConnectionId(connection), &policy).map_err(|full| full.scope)
        };
        let taken = [1, 1, 1, 2, 2].map(|connection| take(&mut counts, 1, connection));
        assert_eq!(taken, [Ok(()), Ok(()), Err(Scope::Connection), Ok(()), Err(Scope::Peer)]);
        assert_eq!(take(&mut counts, 2, 3), Ok(()));
        assert_eq!(take(&mut counts, 3, 4), Err(Scope::Node));
        counts.give_back(peer(2), ConnectionId(3));
        assert_eq!(take(&mut counts, 3, 4), Ok(()));
        assert_eq!((counts.node(), counts.accepted, counts.refused.total()), (4, 5, 3));
        assert_eq!(counts.peers().collect::<Vec<_>>(), [(peer(1), 3), (peer(3), 1)]);
    }
}
