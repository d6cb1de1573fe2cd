//! What the plugins `staking` and `dividend` and the wallet share.
//!
//! Signed bytes ([`codec`], [`sign`], [`Signed`]), what an item is worth ([`Verdict`]), what their commands take and
//! answer alike ([`commands`]), the file that separates networks ([`Genesis`]), amounts as people write them ([`amount`]),
//! 32-byte names ([`Key`], [`Id`]), a hash over a set of keys that follows its changes ([`Buckets`]), and the store that
//! a pure ledger stands on ([`Ordered`]): a `BTreeMap` in tests, the plugin's own store on a node.

pub mod amount;
pub mod codec;
pub mod commands;
#[cfg(not(target_arch = "wasm32"))]
pub mod keys;
pub mod sign;
pub mod store;

mod buckets;
mod bytes;
mod genesis;
mod hash;
mod signed;
mod standing;
mod verdict;

pub use buckets::{BUCKETS, Buckets, GROUP, bucket_of};
pub use bytes::{Id, Key, ParseHexError, from_hex, to_hex};
pub use genesis::{Genesis, GenesisError, GenesisFile};
pub use hash::{Hash, hash};
pub use sign::Verify;
pub use signed::{Body, Signed};
pub use standing::Standing;
pub use store::{Memory, Ordered, PluginStore, Sums};
pub use verdict::Verdict;
