//! Where effects go: to the host by the ABI's imports on wasm, to the running `TestHost` natively.
//!
//! Both have the same functions under the same paths, so nothing above knows which one it speaks to.

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::weir::plugin::{calls, clock, crypto, log, metrics, net, random, store, timers, turn};

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{
    calls, clock, crypto, enter, log, metrics, net, note_changed_by_failed_event, random, store, timers, turn,
    watches_failed_events,
};
