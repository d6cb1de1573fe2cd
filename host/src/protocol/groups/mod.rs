//! Sends to a named group of peers: to all at once and on with it, or until every outcome is known.
//!
//! The groups are in `table.rs`. A group is a list of names and nothing else: its members need not be connected, and
//! what is sent to one of them does not wait for another.

mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::outbound::LONGEST_ASK;
use super::{AskError, AskId, Network, Outgoing, ProtocolId, SendError};
use crate::peer::PeerId;
use table::Table;
pub use table::{Group, GroupError, GroupName, MAX_GROUP_MEMBERS, MAX_GROUP_NAME, MAX_GROUPS};

/// How often members whose lanes were full are tried again. Room is told to a protocol's handler only, which whoever
/// sends to a group need not be.
const AGAIN: Duration = Duration::from_millis(10);
/// How long after the deadline of an ask its outcome, which always comes, may still be on the way.
const LATE: Duration = Duration::from_secs(1);

/// Why a member has not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// It was not asked.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It was asked.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// The groups of a node, and the way to send to them; cheap to clone.
///
/// ```
/// # async fn example(network: std::sync::Arc<dyn weir_host::protocol::Network>) -> anyhow::Result<()> {
/// use std::time::Duration;
/// use weir_host::{peer::PeerId, protocol::PeerGroups};
///
/// let groups = PeerGroups::new(network);
/// let validators = "validators".parse()?;
/// groups.set(&validators, [PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32])])?;
/// let votes = "/votes/1.0.0".parse()?;
/// let sent = groups.send_to_group(&validators, &votes, "aye".into())?;
/// println!("on its way to {sent} members");
/// let deadline = Duration::from_secs(5);
/// for (peer, outcome) in groups.send_to_group_collect(&validators, &votes, "aye".into(), deadline).await? {
///     println!("{peer}: {outcome:?}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PeerGroups {
    network: Arc<dyn Network>,
    table: Arc<Mutex<Table>>,
}

impl PeerGroups {
    /// No groups, on this network.
    pub fn new(network: Arc<dyn Network>) -> Self {
        Self { network, table: Arc::default() }
    }

    /// Makes a group of these peers, whatever it was before. Whoever is named twice is in it once.
    ///
    /// # Errors
    /// When there would be too many groups, or too many in it; nothing has changed then.
    pub fn set(&self, name: &GroupName, peers: impl IntoIterator<Item = PeerId>) -> Result<(), GroupError> {
        self.table().set(name.clone(), peers.into_iter().collect())
    }

    /// Adds a member; says whether it is new.
    ///
    /// # Errors
    /// When there is no such group, or it is full.
    pub fn add(&self, name: &GroupName, peer: PeerId) -> Result<bool, GroupError> {
        self.table().add(name, peer)
    }

    /// Removes a member; says whether it was there.
    ///
    /// # Errors
    /// When there is no such group.
    pub fn remove(&self, name: &GroupName, peer: &PeerId) -> Result<bool, GroupError> {
        self.table().remove(name, peer)
    }

    /// Forgets a group; says whether it was there.
    pub fn delete(&self, name: &GroupName) -> bool {
        self.table().delete(name)
    }

    /// All groups, by name.
    pub fn list(&self) -> Vec<Group> {
        self.table().list()
    }

    /// Who is in a group, in the order of their ids.
    ///
    /// # Errors
    /// When there is no such group.
    pub fn members(&self, name: &GroupName) -> Result<Vec<PeerId>, GroupError> {
        self.table().members(name)
    }

    /// Fire and forget: puts one message on the lane of every member that takes it now, and says how many did. Never
    /// waits. The body is shared, not copied.
    ///
    /// # Errors
    /// When there is no such group.
    pub fn send_to_group(&self, name: &GroupName, protocol: &ProtocolId, body: Bytes) -> Result<usize, GroupError> {
        let members = self.members(name)?;
        Ok(members.iter().filter(|peer| self.network.send(peer, protocol, body.clone()).is_ok()).count())
    }

    /// Sends one message to every member and collects what became of each: taken by its lane, from where it arrives
    /// unless the protocol's handler is told of an undelivered message; or why not. Members whose lanes are full are
    /// tried until the deadline and are then `Busy`; all others are decided at once.
    ///
    /// Cancel safe: dropped, it has sent to some and sends to no more.
    ///
    /// # Errors
    /// When there is no such group.
    pub async fn send_to_group_collect(
        &self,
        name: &GroupName,
        protocol: &ProtocolId,
        body: Bytes,
        deadline: Duration,
    ) -> Result<BTreeMap<PeerId, Result<(), SendError>>, GroupError> {
        let until = Instant::now() + deadline.min(LONGEST_ASK);
        let send = |peer: &PeerId| self.network.send(peer, protocol, body.clone());
        Ok(collect(self.members(name)?, until, send).await)
    }

    /// Asks every member and collects what became of each: its answer, or why there is none. One deadline holds for
    /// waiting for room and for the answer.
    ///
    /// Cancel safe: dropped, it tells the members that no answer is wanted.
    ///
    /// # Errors
    /// When there is no such group.
    pub async fn ask_group(
        &self,
        name: &GroupName,
        protocol: &ProtocolId,
        body: Bytes,
        deadline: Duration,
    ) -> Result<BTreeMap<PeerId, Result<Bytes, MemberError>>, GroupError> {
        let until = Instant::now() + deadline.min(LONGEST_ASK);
        let ask = |peer: &PeerId| self.ask(peer, protocol, body.clone(), until);
        let asked = collect(self.members(name)?, until, ask).await;
        let mut outcomes = BTreeMap::new();
        for (peer, asked) in asked {
            let outcome = match asked {
                Ok(pending) => pending.outcome(until + LATE).await.map_err(MemberError::Ask),
                Err(error) => Err(MemberError::Send(error)),
            };
            outcomes.insert(peer, outcome);
        }
        Ok(outcomes)
    }

    fn ask(&self, to: &PeerId, protocol: &ProtocolId, body: Bytes, until: Instant) -> Result<Pending, SendError> {
        let lane = self.network.lane(to, protocol)?;
        if body.len() > lane.max_message as usize {
            return Err(SendError::TooLarge);
        }
        if lane.room == 0 {
            return Err(SendError::Busy);
        }
        let (id, timeout) = (self.network.next_ask(), until.saturating_duration_since(Instant::now()));
        let (reply, answer) = oneshot::channel();
        let reply = Box::new(move |outcome| drop(reply.send(outcome)));
        self.network.commit(to, protocol, vec![Outgoing::Ask { id, timeout, body, reply }]);
        Ok(Pending { network: self.network.clone(), id, answer: Some(answer) })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does something with every member; with those that are busy again and again until the deadline.
async fn collect<T>(
    members: Vec<PeerId>,
    until: Instant,
    act: impl Fn(&PeerId) -> Result<T, SendError>,
) -> BTreeMap<PeerId, Result<T, SendError>> {
    let mut outcomes = BTreeMap::new();
    let mut open = members;
    loop {
        open.retain(|peer| {
            let outcome = act(peer);
            let busy = matches!(outcome, Err(SendError::Busy));
            outcomes.insert(*peer, outcome);
            busy
        });
        let now = Instant::now();
        if open.is_empty() || now >= until {
            return outcomes;
        }
        sleep_until(until.min(now + AGAIN)).await;
    }
}

/// An ask without an outcome. Dropped, it is withdrawn.
struct Pending {
    network: Arc<dyn Network>,
    id: AskId,
    answer: Option<oneshot::Receiver<Result<Bytes, AskError>>>,
}

impl Pending {
    async fn outcome(mut self, until: Instant) -> Result<Bytes, AskError> {
        let Some(answer) = &mut self.answer else { return Err(AskError::Closed) };
        let outcome = timeout_at(until, answer).await;
        if let Ok(outcome) = outcome {
            self.answer = None;
            return outcome.unwrap_or(Err(AskError::Closed));
        }
        Err(AskError::TimedOut)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.answer.is_some() {
            self.network.cancel(self.id);
        }
    }
}
