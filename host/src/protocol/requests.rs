//! Requests of peers that wait for our answer.
//!
//! Pure. Invariant: every token that was opened leaves exactly once, by `take`, `withdraw`, `expire` or `drop_lane`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{ProtocolId, RequestToken};
use crate::peer::PeerId;

/// Most unanswered requests of one peer by one protocol. Their answers always fit the lane, so this bounds it.
pub(super) const MAX_REQUESTS: usize = 1024;

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
    deadlines: BTreeSet<(Instant, RequestToken)>,
}

impl Requests {
    /// Opens a request; `None` when the asker has too many, or one with this id, open.
    pub(super) fn open(&mut self, asker: &Asker, wire_id: u64, deadline: Instant) -> Option<RequestToken> {
        let of_asker = self.by_asker.entry(asker.clone()).or_default();
        if of_asker.len() >= MAX_REQUESTS || of_asker.contains_key(&wire_id) {
            return None;
        }
        self.last += 1;
        let token = RequestToken(self.last);
        of_asker.insert(wire_id, token);
        self.deadlines.insert((deadline, token));
        self.open.insert(token, Request { asker: asker.clone(), wire_id, deadline });
        Some(token)
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
        let tokens: Vec<_> = (0..MAX_REQUESTS as u64).filter_map(|id| requests.open(&asker(1), id, now)).collect();
        assert_eq!(tokens.len(), MAX_REQUESTS);
        assert_eq!(requests.open(&asker(1), 5000, now), None);
        assert!(requests.open(&asker(2), 5000, now).is_some());
        assert_eq!(requests.take(tokens[3]), Some((asker(1), 3)));
        assert_eq!(requests.open(&asker(1), 4, now), None, "an id that is open");
        assert!(requests.open(&asker(1), 3, now + Duration::from_secs(1)).is_some());
        let (soon, later) = (now - Duration::from_millis(1), now + Duration::from_millis(1));
        assert!(requests.awaits(tokens[5], soon) && !requests.awaits(tokens[5], later), "until its deadline");
        assert_eq!(requests.withdraw(&asker(1), 5), Some(tokens[5]));
        assert!(!requests.awaits(tokens[5], soon), "withdrawn");
        assert_eq!(requests.withdraw(&asker(1), 5), None);
        assert_eq!(requests.expire(now).len(), MAX_REQUESTS - 1);
        assert_eq!(requests.drop_lane(&asker(1)).len(), 1);
        assert!(requests.open.is_empty() && requests.by_asker.is_empty() && requests.deadlines.is_empty());
    }
}
