//! Broadcast as a library in the plugin: every item reaches every node, by a tree that repairs itself.
//!
//! A [`Gossip`] is a state machine that a plugin embeds and hands its events to. It pushes items along a tree
//! (Plumtree: Leitão, Pereira, Rodrigues 2007, *Epidemic Broadcast Trees*), announces them beside it, asks for what was
//! announced and did not come, and reconciles sets with a peer that appears and, now and then, with a random one. It
//! forwards nothing that the plugin has not accepted.
//!
//! ```
//! use weir_sdk::gossip::{Decision, Gossip, Policy, StoreItems};
//! use weir_sdk::prelude::*;
//!
//! struct Chat {
//!     gossip: Gossip<StoreItems>,
//! }
//!
//! impl Plugin for Chat {
//!     fn manifest() -> Manifest {
//!         Manifest::new("chat", "0.1.0").protocol(Protocol::new(1, "/chat/1.0.0"))
//!     }
//!     fn start(init: Init, ctx: &Context) -> Result<Self> {
//!         let items = StoreItems::new("line/", 10_000);
//!         Ok(Self { gossip: Gossip::start(1, Policy::default(), items, &init, ctx)? })
//!     }
//!     fn on_command(&mut self, command: Command<'_>, ctx: &Context) -> Result {
//!         match command.name.as_str() {
//!             "say" => {
//!                 let id = self.gossip.broadcast(command.args::<&str>()?.as_bytes(), ctx)?;
//!                 command.answer(ctx, &id.to_string())
//!             }
//!             "count" => command.answer(ctx, &self.gossip.len()),
//!             _ => Err(command.unknown(&["say", "count"])),
//!         }
//!     }
//!     // Messages, requests, responses, news of peers, timers and the end of a turn go to `gossip`, then `judge` is called.
//!     weir_sdk::gossip_events!(gossip, judge);
//! }
//!
//! impl Chat {
//!     fn judge(&mut self, ctx: &Context) -> Result {
//!         while let Some(line) = self.gossip.next() {
//!             let good = std::str::from_utf8(&line.bytes).is_ok();
//!             self.gossip.decide(&line.id, if good { Decision::Accept } else { Decision::Reject }, ctx);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! // Twenty nodes, each connected with about six others.
//! use weir_sdk::testing::{Network, TestNet};
//! let mut net = TestNet::new(Network { nodes: 20, ..Network::default() });
//! net.install::<Chat>(());
//! net.random_mesh(6);
//! net.run_ms(1_000);
//! net.command(3, "say", &"hello".into())?;
//! net.run_ms(1_000);
//! assert!((0..20).all(|node| net.plugin::<Chat, _>(node, |chat| chat.gossip.len() == 1)));
//! # Ok::<(), weir_sdk::abi::Failure>(())
//! ```
//!
//! # What it promises
//!
//! While the graph of connections hangs together and every node accepts the same items, every node gets every item: by
//! the tree within its depth in hops, by a graft after [`Policy::graft_after_ms`] where a link of the tree broke, and by
//! a reconciliation in all other cases: the first within [`Policy::reconcile_soon_ms`] of a peer's appearance, later
//! ones every [`Policy::reconcile_every_ms`]. Nothing is promised about order.
//!
//! # What it costs
//!
//! Measured by `cargo test -p weir-sdk --release --test gossip_scale -- --ignored --nocapture` with the default view of
//! five: see the table in `docs/gossip.md`. Once a tree has formed, an item comes to each node about once, whatever the
//! number of nodes, and its hops grow with the logarithm of it. Beside it come the view's announcements, 32 bytes each.
//!
//! # What peers cannot do
//!
//! Everything a peer can make a node keep is bounded by a number in [`Policy`], and what it may send by quotas of its
//! own. One that announces what it does not have, sends what is rejected, cannot be read, or pushes what it was asked
//! not to push is reported to the host and ignored for a while. A busy lane is no queue: what it does not take is
//! announced when it is relieved, and asked for by whoever lacks it.

mod index;
mod item;
mod items;
mod missing;
mod peer;
mod pending;
mod policy;
mod quota;
mod seen;
mod session;
mod shell;
mod state;
mod stats;
mod wire;

pub use self::item::{ItemId, Place};
pub use self::items::{Each, Items, StoreItems};
pub use self::pending::Incoming;
pub use self::policy::Policy;
pub use self::shell::{Gossip, TIMER};
pub use self::stats::Stats;
pub use self::wire::FIRST_OWN_BYTE;

/// What a plugin decides about an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is good: kept and passed on.
    Accept,
    /// It is nothing to keep, and nobody's fault: too late, too early, superseded. Not passed on, not taken again.
    Ignore,
    /// It is bad, and whoever sent it should have seen that: reported, not passed on. Better bytes under the same name
    /// are still taken.
    Reject,
}

/// Hands a plugin's events to its [`Gossip`], and calls a method of the plugin after each that may have brought items:
/// `weir_sdk::gossip_events!(field, method);` among the methods of `impl Plugin`.
///
/// A plugin that has messages or timers of its own names the events that gossip alone hears, and writes the methods of
/// the others itself: `weir_sdk::gossip_events!(field, method: on_message on_peer_supported …);`. Where none of those named
/// brings items, it needs no method: `weir_sdk::gossip_events!(field: on_relieved on_undelivered on_missed);`.
#[macro_export]
macro_rules! gossip_events {
    ($gossip:tt, $judge:ident) => {
        $crate::gossip_events!($gossip, $judge: on_message on_request on_response on_peer_supported
            on_peer_unsupported on_relieved on_undelivered on_missed on_timer on_turn_end);
    };
    ($gossip:tt, $judge:ident: $($event:ident)+) => {
        $($crate::__gossip_event!($gossip $judge $event);)+
    };
    ($gossip:tt: $($event:ident)+) => {
        $($crate::__gossip_event!($gossip no_method $event);)+
    };
}

/// One method of [`gossip_events!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __gossip_event {
    ($gossip:tt $judge:ident on_message) => {
        fn on_message(&mut self, message: $crate::Message<'_>, ctx: &$crate::Context) -> $crate::Result {
            self.$gossip.on_message(&message, ctx);
            self.$judge(ctx)
        }
    };
    ($gossip:tt $judge:ident on_request) => {
        fn on_request(&mut self, request: $crate::Request<'_>, ctx: &$crate::Context) -> $crate::Result {
            self.$gossip.on_request(&request, ctx);
            Ok(())
        }
    };
    ($gossip:tt $judge:ident on_response) => {
        fn on_response(&mut self, response: $crate::Response<'_>, ctx: &$crate::Context) -> $crate::Result {
            self.$gossip.on_response(&response, ctx);
            self.$judge(ctx)
        }
    };
    ($gossip:tt $judge:ident on_peer_supported) => {
        fn on_peer_supported(&mut self, there: $crate::abi::Reachable, ctx: &$crate::Context) -> $crate::Result {
            self.$gossip.on_peer_supported(&there, ctx);
            Ok(())
        }
    };
    ($gossip:tt $judge:ident on_peer_unsupported) => {
        fn on_peer_unsupported(&mut self, lane: $crate::abi::Lane, ctx: &$crate::Context) -> $crate::Result {
            self.$gossip.on_peer_unsupported(&lane, ctx);
            Ok(())
        }
    };
    ($gossip:tt $judge:ident on_relieved) => {
        fn on_relieved(&mut self, lane: $crate::abi::Lane, ctx: &$crate::Context) -> $crate::Result {
            self.$gossip.on_relieved(&lane, ctx);
            Ok(())
        }
    };
    ($gossip:tt $judge:ident on_undelivered) => {
        fn on_undelivered(&mut self, count: $crate::abi::Count, ctx: &$crate::Context) -> $crate::Result {
            self.$gossip.on_lost(&count, ctx);
            Ok(())
        }
    };
    ($gossip:tt $judge:ident on_missed) => {
        fn on_missed(&mut self, count: $crate::abi::Count, ctx: &$crate::Context) -> $crate::Result {
            self.$gossip.on_lost(&count, ctx);
            Ok(())
        }
    };
    ($gossip:tt $judge:ident on_timer) => {
        fn on_timer(&mut self, id: u64, _: &$crate::Context) -> $crate::Result {
            self.$gossip.on_timer(id);
            Ok(())
        }
    };
    ($gossip:tt $judge:ident on_turn_end) => {
        fn on_turn_end(&mut self, ctx: &$crate::Context) -> $crate::Result {
            self.$gossip.on_turn_end(ctx)
        }
    };
}
