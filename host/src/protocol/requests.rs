//! Requests of peers that wait for our answer.
//!
//! Pure. Invariant: every token that was opened leaves exactly once, by `take`, `withdraw`, `expire` or `drop_lane`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{ProtocolId, RequestToken};
use crate::peer::PeerId;
use crate::reached::{Reached, Scope, names};

/// Most unanswered requests of one peer by one protocol. Their answers always fit the lane, so this bounds it.
pub const MAX_REQUESTS: usize = 1024;
/// Most unanswered requests of one peer by all protocols, so that none takes all that the node has.
pub const MAX_REQUESTS_OF_PEER: usize = 4 * MAX_REQUESTS;
/// Most unanswered requests of all peers: what sixteen peers with a protocol each may have, and of each some hundred
/// bytes are held.
pub const MAX_REQUESTS_OF_NODE: usize = 32 * MAX_REQUESTS;
/// What one open ask or request holds at most besides its body, in bytes: its entries in three tables, and their slack.
pub const REQUEST_MEMORY: usize = 512;

/// Why a request is not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// Too many are open.
    Full(Reached),
    /// One with this id is.
    Twice,
}

/// Whose request it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Asker {
    pub peer: PeerId,
    pub protocol: ProtocolId,
}

#[derive(Debug)]
struct Request {
    asker: Asker,
    wire_id: u64,
    deadline: Instant,
}

/// The open requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    last: u64,
    open: BTreeMap<RequestToken, Request>,
    by_asker: BTreeMap<Asker, BTreeMap<u64, RequestToken>>,
    by_peer: BTreeMap<PeerId, usize>,
    deadlines: BTreeSet<(Instant, RequestToken)>,
}

impl Requests {
    /// Opens a request, unless the asker, its peer or the node has too many, or the asker one with this id, open.
    pub(super) fn open(&mut self, asker: &Asker, wire_id: u64, deadline: Instant) -> Result<RequestToken, NotOpened> {
        let of_asker = self.by_asker.get(asker);
        if of_asker.is_some_and(|open| open.contains_key(&wire_id)) {
            return Err(NotOpened::Twice);
        }
        let of_peer = self.by_peer.get(&asker.peer).copied().unwrap_or(0);
        let limits = [
            (Scope::Lane, of_asker.map_or(0, BTreeMap::len), MAX_REQUESTS),
            (Scope::Peer, of_peer, MAX_REQUESTS_OF_PEER),
            (Scope::Node, self.open.len(), MAX_REQUESTS_OF_NODE),
        ];
        if let Some((scope, taken, limit)) = limits.into_iter().find(|(_, taken, limit)| taken >= limit) {
            let full = Reached::new(scope, names::REQUESTS, taken, limit);
            return Err(NotOpened::Full(Reached { advice: "ask again later", ..full }));
        }
        self.last += 1;
        let token = RequestToken(self.last);
        self.by_asker.entry(asker.clone()).or_default().insert(wire_id, token);
        *self.by_peer.entry(asker.peer).or_default() += 1;
        self.deadlines.insert((deadline, token));
        self.open.insert(token, Request { asker: asker.clone(), wire_id, deadline });
        Ok(token)
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether somebody still waits for the answer. One whose time is over is not waited for, also when it was not
    /// looked for yet.
    pub(super) fn awaits(&self, token: RequestToken, now: Instant) -> bool {
        self.open.get(&token).is_some_and(|request| request.deadline > now)
    }

    /// Closes a request that is answered: who asked, and with which id.
    pub(super) fn take(&mut self, token: RequestToken) -> Option<(Asker, u64)> {
        let request = self.remove(token)?;
        Some((request.asker, request.wire_id))
    }

    /// The asker waits no longer.
    pub(super) fn withdraw(&mut self, asker: &Asker, wire_id: u64) -> Option<RequestToken> {
        let token = *self.by_asker.get(asker)?.get(&wire_id)?;
        self.remove(token).map(|_| token)
    }

    /// Requests whose time has run out, with the protocol they came by.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(RequestToken, ProtocolId)> {
        let mut expired = Vec::new();
        while let Some(&(deadline, token)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            let Some(request) = self.remove(token) else { break };
            expired.push((token, request.asker.protocol));
        }
        expired
    }

    /// The requests that the end of a lane leaves without an answer.
    pub(super) fn drop_lane(&mut self, asker: &Asker) -> Vec<RequestToken> {
        let tokens: Vec<RequestToken> =
            self.by_asker.get(asker).map(|of| of.values().copied().collect()).unwrap_or_default();
        tokens.into_iter().filter(|token| self.remove(*token).is_some()).collect()
    }

    fn remove(&mut self, token: RequestToken) -> Option<Request> {
        let request = self.open.remove(&token)?;
        self.deadlines.remove(&(request.deadline, token));
        if let Some(of_peer) = self.by_peer.get_mut(&request.asker.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                self.by_peer.remove(&request.asker.peer);
            }
        }
        if let Some(of_asker) = self.by_asker.get_mut(&request.asker) {
            of_asker.remove(&request.wire_id);
            if of_asker.is_empty() {
                self.by_asker.remove(&request.asker);
            }
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_peer_cannot_open_more_than_its_share() {
        let now = Instant::now();
        let asker = |byte| Asker { peer: PeerId::from_bytes([byte; 32]), protocol: "/a/1".parse().expect("an id") };
        let mut requests = Requests::default();
        let tokens: Vec<_> = (0..MAX_REQUESTS as u64).filter_map(|id| requests.open(&asker(1), id, now).ok()).collect();
        assert_eq!(tokens.len(), MAX_REQUESTS);
        let Err(NotOpened::Full(full)) = requests.open(&asker(1), 5000, now) else { panic!("no more of this asker") };
        assert_eq!(full.to_string(), "lane has 1024 of 1024 unanswered requests; ask again later");
        assert!(requests.open(&asker(2), 5000, now).is_ok());
        assert_eq!(requests.take(tokens[3]), Some((asker(1), 3)));
        assert_eq!(requests.open(&asker(1), 4, now), Err(NotOpened::Twice), "an id that is open");
        assert!(requests.open(&asker(1), 3, now + Duration::from_secs(1)).is_ok());
        let (soon, later) = (now - Duration::from_millis(1), now + Duration::from_millis(1));
        assert!(requests.awaits(tokens[5], soon) && !requests.awaits(tokens[5], later), "until its deadline");
        assert_eq!(requests.withdraw(&asker(1), 5), Some(tokens[5]));
        assert!(!requests.awaits(tokens[5], soon), "withdrawn");
        assert_eq!(requests.withdraw(&asker(1), 5), None);
        assert_eq!(requests.expire(now).len(), MAX_REQUESTS - 1);
        assert_eq!(requests.drop_lane(&asker(1)).len(), 1);
        assert!(requests.open.is_empty() && requests.by_asker.is_empty() && requests.deadlines.is_empty());
        assert!(requests.by_peer.is_empty());
    }

    #[test]
    fn no_peer_takes_all_that_the_node_has_and_all_together_no_more_than_that() {
        let now = Instant::now();
        let asker = |byte, protocol: usize| {
            let protocol = format!("/a-{protocol}/1").parse().expect("an id");
            Asker { peer: PeerId::from_bytes([byte; 32]), protocol }
        };
        let mut requests = Requests::default();
        let mut open = |byte: u8| {
            let ids = 0..2 * MAX_REQUESTS_OF_PEER;
            let mut full = None;
            let opened = ids.filter(|id| match requests.open(&asker(byte, id / MAX_REQUESTS), *id as u64, now) {
                Ok(_) => true,
                Err(NotOpened::Full(reached)) => {
                    full.get_or_insert(reached.scope);
                    false
                }
                Err(NotOpened::Twice) => panic!("ids differ"),
            });
            (opened.count(), full)
        };
        let peers = (MAX_REQUESTS_OF_NODE / MAX_REQUESTS_OF_PEER) as u8;
        for byte in 0..peers {
            assert_eq!(open(byte), (MAX_REQUESTS_OF_PEER, Some(Scope::Peer)));
        }
        assert_eq!(open(peers), (0, Some(Scope::Node)));
        assert_eq!(requests.expire(now).len(), MAX_REQUESTS_OF_NODE);
        assert!(requests.by_peer.is_empty());
    }
}
