//! Who handles which protocol, here and at every peer, and the way in and out for handlers.

mod asks;
mod exchange;
mod groups;
mod handler;
mod id;
mod inbound;
#[cfg(test)]
mod loopback_tests;
mod manager;
mod native;
mod network;
mod networks;
mod news_board;
mod outbound;
mod pairs;
mod registry;
mod requests;
mod state;
#[cfg(test)]
mod state_tests;

pub use news_board::NewsBoard;

#[cfg(test)]
use crate::peer::PeerId;
pub use groups::{
    Group, GroupError, GroupName, MAX_GROUP_MEMBERS, MAX_GROUP_NAME, MAX_GROUPS, MemberError, PeerGroups,
};
pub use handler::{Delivered, Handler, HandlerGone, InBatch, Inbound, News, RequestToken};
pub use id::{InvalidProtocolId, MAX_PROTOCOL_ID, ProtocolId};
pub use manager::{ProtocolManager, ProtocolPolicy, RegisteredProtocol, Streams};
pub use native::{Inbox, NativeEvent, NativeHandler, native};
pub use network::{
    AskError, AskId, AskReply, Delivery, LaneStatus, Network, Outgoing, ProtocolSpec, Reachable, RegisterError,
    SendError,
};
pub use networks::NetworkStatus;
