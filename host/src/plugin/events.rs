//! Turns the items of a batch into the events of the ABI, with the keys of the revision that hears them.

use super::CallError;
use super::abi::types::{self, Event};
use super::instance::InstanceState;
use super::ledger::Ledger;
use super::mailbox::{Batch, Caller, Item, Place};
use crate::peer::PeerId;
use crate::protocol::{News, ProtocolId};

impl From<Place> for types::Span {
    fn from(place: Place) -> Self {
        Self { at: place.at, len: place.len }
    }
}

impl From<CallError> for types::CallError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::UnknownPlugin(_) => Self::UnknownPlugin,
            CallError::TimedOut => Self::TimedOut,
            CallError::Busy => Self::Busy,
            CallError::Gone => Self::Gone,
            CallError::Failed(failure) => Self::Failed(failure.into()),
        }
    }
}

/// The lanes of a batch as the ABI names them; None for those whose protocol the instance does not have.
pub(super) fn keys(lanes: &[(PeerId, ProtocolId)], state: &InstanceState) -> Vec<Option<types::Lane>> {
    let lane = |(peer, id): &(PeerId, ProtocolId)| Some(types::Lane { peer: peer.into(), protocol: state.key(id)? });
    lanes.iter().map(lane).collect()
}

/// Whether the instance that lives now may hear of an item: outcomes and withdrawals only of what it knows,
/// protocols only those it has. `lanes` are the batch's, by [`keys`].
pub(super) fn concerns(item: &Item, lanes: &[Option<types::Lane>], ledger: &Ledger, state: &InstanceState) -> bool {
    match item {
        Item::Message { lane, .. } | Item::Request { lane, .. } => {
            lanes.get(*lane as usize).is_some_and(Option::is_some)
        }
        Item::Response { ask, .. } => ledger.asks.contains(ask),
        Item::Called { call, .. } => ledger.calls.contains_key(call),
        Item::CommandWithdrawn(id) => ledger.commands.contains(id),
        Item::News(news) => match &**news {
            News::Withdrawn(token) => ledger.requests.contains(token),
            News::Supported { protocol, .. }
            | News::Unsupported { protocol, .. }
            | News::Congested { protocol, .. }
            | News::Relieved { protocol, .. }
            | News::Undelivered { protocol, .. }
            | News::Missed { protocol, .. } => state.key(protocol).is_some(),
        },
        Item::Command(..) | Item::Timer(_) | Item::Stopping => true,
    }
}

/// Writes the events of a batch whose items all concern the instance.
pub(super) fn write(batch: &Batch, state: &InstanceState) -> Vec<Event> {
    let lanes = keys(&batch.lanes, state);
    let mut events = Vec::with_capacity(batch.items.len());
    events.extend(batch.items.iter().filter_map(|item| event(item, &lanes, state)));
    events
}

fn event(item: &Item, lanes: &[Option<types::Lane>], state: &InstanceState) -> Option<Event> {
    let lane = |at: u32| lanes.get(at as usize).copied().flatten();
    Some(match item {
        Item::Message { lane: at, body } => {
            let types::Lane { peer, protocol } = lane(*at)?;
            Event::Message(types::Message { peer, protocol, body: (*body).into() })
        }
        Item::Request { lane: at, token, timeout_ms, body } => {
            let types::Lane { peer, protocol } = lane(*at)?;
            let (id, timeout_ms) = (token.0, *timeout_ms);
            Event::Request(types::Request { peer, protocol, id, timeout_ms, body: (*body).into() })
        }
        Item::Response { ask, outcome } => {
            let outcome = outcome.clone().map(Into::into).map_err(|error| (*error).into());
            Event::Response(types::Response { id: ask.0, outcome })
        }
        Item::Called { call, outcome } => {
            let outcome = outcome.clone().map(Into::into).map_err(|error| (*error).into());
            Event::Called(types::Called { id: *call, outcome })
        }
        Item::Command(head, body) => Event::Command(types::Command {
            id: head.id,
            caller: match &head.caller {
                Caller::Operator(name) => types::Caller::Operator(name.clone()),
                Caller::Plugin(name) => types::Caller::Plugin(name.clone()),
            },
            name: head.name.clone(),
            timeout_ms: head.timeout_ms,
            body: (*body).into(),
        }),
        Item::News(news) => event_of_news(news, state)?,
        Item::CommandWithdrawn(id) => Event::Withdrawn(*id),
        Item::Timer(id) => Event::Timer(*id),
        Item::Stopping => Event::Stopping,
    })
}

fn event_of_news(news: &News, state: &InstanceState) -> Option<Event> {
    let lane = |peer: &PeerId, id: &ProtocolId| Some(types::Lane { peer: peer.into(), protocol: state.key(id)? });
    let count = |peer: &PeerId, id: &ProtocolId, messages: u64| {
        Some(types::Count { peer: peer.into(), protocol: state.key(id)?, messages })
    };
    Some(match news {
        News::Supported { peer, protocol, max_message } => {
            let types::Lane { peer, protocol } = lane(peer, protocol)?;
            Event::PeerSupported(types::Reachable { peer, protocol, max_message: *max_message })
        }
        News::Unsupported { peer, protocol } => Event::PeerUnsupported(lane(peer, protocol)?),
        News::Congested { peer, protocol } => Event::Congested(lane(peer, protocol)?),
        News::Relieved { peer, protocol } => Event::Relieved(lane(peer, protocol)?),
        News::Undelivered { peer, protocol, messages } => Event::Undelivered(count(peer, protocol, *messages)?),
        News::Missed { peer, protocol, messages } => Event::Missed(count(peer, protocol, *messages)?),
        News::Withdrawn(token) => Event::Withdrawn(token.0),
    })
}
