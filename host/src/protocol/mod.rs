//! Who handles which protocol, here and at every peer, and the way in and out for handlers.

mod handler;
mod id;
mod network;

pub use handler::{Delivered, Handler, HandlerGone, InBatch, Inbound, News, RequestToken};
pub use id::{InvalidProtocolId, MAX_PROTOCOL_ID, ProtocolId};
pub use network::{
    AskError, AskId, AskReply, Delivery, LaneStatus, Network, Outgoing, ProtocolSpec, Reachable, RegisterError,
    SendError,
};
