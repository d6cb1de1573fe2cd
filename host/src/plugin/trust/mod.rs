//! Which plugin files an operator trusts, and whom a plugin's store belongs to.
//!
//! `digest` names content, `signature` says who made it, `policy` decides whether it may run, `owner` whether it may
//! have a store that another file wrote. All of them decide and do no I/O.

mod digest;
mod owner;
mod policy;
mod signature;
#[cfg(test)]
mod testing;

pub use self::digest::Digest;
pub(super) use self::owner::{Owner, OwnerRecord};
pub(super) use self::policy::Identity;
pub use self::policy::{SignaturePolicy, Trust};
pub use self::signature::{SignatureFile, SignatureProblem};
