//! What a wallet can do, one file for each. Every action answers a document that serializes to JSON.

mod account;
mod dividend;
mod epoch;
mod genesis;
mod mint;
mod rotate;
mod show;

pub use account::OperationDone;
pub use dividend::{Claimed, Declared};
pub use epoch::EpochDone;
pub use genesis::{GenesisDone, GenesisOptions, write_genesis};
pub use mint::Minted;
pub use rotate::Rotated;
pub use show::{Role, Shown};
