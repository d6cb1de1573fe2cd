//! The ABI's types under one roof, without the module paths that the bindings have.

pub use crate::bindings::exports::weir::plugin::handler::{Cause, Init, Limits, Manifest, Predecessor};
pub use crate::bindings::weir::plugin::calls::CallRefused;
pub use crate::bindings::weir::plugin::log::Level;
pub use crate::bindings::weir::plugin::net::{RegisterError, SendError, Verdict};
pub use crate::bindings::weir::plugin::store::{Page, Range, WriteError};
pub use crate::bindings::weir::plugin::types::{
    AskError, CallError, Caller, Count, Delivery, Event, Failure, Lane, PeerId, Protocol, ProtocolKey, Reachable, Span,
};
