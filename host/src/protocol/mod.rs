//! Who handles which protocol, here and at every peer, and the way in and out for handlers.

mod asks;
mod connections;
mod effects;
mod exchange;
mod groups;
mod handler;
#[cfg(test)]
mod hostile_tests;
mod id;
mod inbound;
mod local;
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
#[cfg(test)]
mod scale_tests;
mod set;
mod state;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod testing;
mod traffic;
#[cfg(test)]
mod traffic_tests;
mod watch;

pub use news_board::NewsBoard;
pub use traffic::TrafficStats;
pub use watch::{PeerNews, Subscription};

#[cfg(test)]
use crate::peer::PeerId;
pub use asks::MAX_ASKS;
pub use exchange::{ExchangeStats, PUSH_TIMEOUT};
pub use groups::{
    Group, GroupError, GroupName, MAX_GROUP_MEMBERS, MAX_GROUP_NAME, MAX_GROUPS, MemberError, PeerGroups,
};
pub use handler::{Delivered, Handler, InBatch, Inbound, News, NotTaken, RequestToken};
pub use id::{InvalidProtocolId, MAX_PROTOCOL_ID, ProtocolId};
pub use manager::{ProtocolManager, ProtocolPolicy, ProtocolStats, RegisteredProtocol, Streams};
pub use native::{Inbox, NativeEvent, NativeHandler, native};
pub use network::{
    AskError, AskId, AskReply, Delivery, LaneStatus, Network, Outgoing, ProtocolSpec, Reachable, RegisterError,
    SendError,
};
pub use networks::NetworkStatus;
pub use outbound::LONGEST_ASK;
pub use requests::{MAX_REQUESTS, MAX_REQUESTS_OF_NODE, MAX_REQUESTS_OF_PEER, REQUEST_MEMORY};
