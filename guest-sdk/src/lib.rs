//! Write a Weir protocol in fifteen lines.
//!
//! A plugin is a state machine: events in, effects staged. This one answers every request with a
//! greeting and counts whom it greeted:
//!
//! ```
//! use weir_sdk::prelude::*;
//!
//! struct Hello(u64);
//! impl Plugin for Hello {
//!     fn manifest() -> Manifest {
//!         Manifest::new("hello", "0.1.0").protocol(Protocol::new(1, "/hello/1.0.0"))
//!     }
//!     fn start(_: Init, _: &Context) -> Result<Self> {
//!         Ok(Hello(0))
//!     }
//!     fn on_request(&mut self, request: Request<'_>, ctx: &Context) -> Result {
//!         self.0 += 1;
//!         request.respond(ctx, &format!("hello, {}", request.decode::<&str>()?))
//!     }
//! }
//! weir_sdk::export!(Hello);
//!
//! // And its test, natively:
//! let mut host = weir_sdk::testing::TestHost::new::<Hello>(());
//! let peer = host.peer(1);
//! let answer: String = host.ask(peer, 1, &"you").expect("an answer");
//! assert_eq!(answer, "hello, you");
//! ```
//!
//! Messages between peers are postcard by default ([`Context::send`], [`Message::decode`]), raw bytes
//! where you want them ([`Context::send_bytes`], `message.body`). Commands and their answers are JSON,
//! because people type them.
//!
//! # What is different in here
//!
//! On `wasm32-unknown-unknown` the clock of `std` panics: use [`Context::now_ms`]. `println!` prints
//! nothing: use [`info!`] and its like, or the feature `tracing`. The maps of `std` hash with a constant
//! seed: use [`collections::HashMap`]. SHA-256 is the host's: [`sha256`]. For a dependency that wants
//! `getrandom`, see the README.

// The generated bindings and `export!` name this crate by its outside name.
extern crate self as weir_sdk;

pub mod abi;
#[doc(hidden)]
pub mod bindings;
pub mod collections;
pub mod gossip;
pub mod log;
pub mod renamable;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

mod backend;
mod context;
mod error;
mod event;
#[doc(hidden)]
pub mod guest;
mod hash;
mod init;
mod manifest;
mod peer;
mod plugin;
mod runner;
mod store;
#[cfg(feature = "tracing")]
mod trace;
mod words;

pub use context::Context;
pub use error::{Error, Result};
pub use event::{Called, Command, Extension, Message, Request, Response};
pub use hash::{Sha256, sha256};
pub use peer::ParsePeerIdError;
pub use plugin::Plugin;
pub use store::{Scan, Store};

pub use postcard;
pub use serde;
pub use serde_json;
#[doc(hidden)]
pub use wit_bindgen as __wit_bindgen;

/// What a plugin needs nearly always.
pub mod prelude {
    pub use crate::abi::{
        AskError, Caller, Count, Init, Lane, Manifest, PeerId, Protocol, ProtocolKey, Reachable, SendError,
    };
    pub use crate::collections::{HashMap, HashSet};
    pub use crate::{Called, Command, Context, Error, Message, Plugin, Request, Response, Result};
}

/// A value as postcard, the encoding of [`Context::send`].
pub fn encode<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    Ok(postcard::to_allocvec(value)?)
}

/// A value from postcard. Bytes behind it are ignored, so a later version may append fields.
pub fn decode<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    Ok(postcard::from_bytes(bytes)?)
}

/// Random bytes without a [`Context`], for dependencies that bring their own idea of randomness.
pub fn random_bytes(len: u32) -> Vec<u8> {
    backend::random::bytes(len)
}

/// Makes a [`Plugin`] the plugin of this crate: `weir_sdk::export!(MyPlugin);`, once, anywhere in it.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        const _: () = {
            // Natively there is nobody to export to; the type is checked all the same.
            #[allow(dead_code, reason = "only wasm exports it")]
            type __WeirExported = $crate::guest::Guest<$plugin>;
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::__export_plugin!(__WeirExported with_types_in $crate::bindings);
        };
    };
}
