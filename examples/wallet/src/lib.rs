//! A wallet for the plugins `staking` and `dividend`: an app beside a node, which speaks to nothing but its admin API.
//!
//! | | |
//! |---|---|
//! | [`book`] | what a key has signed, and what to sign or send next: pure |
//! | [`book_file`] | the same on the disk, written before anything is sent |
//! | [`key_file`] | a secret key in a file that only its owner can read |
//! | [`api`] | one request to a node's admin API |
//! | [`node`] | the commands of the two plugins, typed |
//! | [`wallet`] | a key, its book and a node together; `actions` has one file for each thing that can be done |
//! | [`cli`] | the command line |
//!
//! README.md walks through it.

pub mod actions;
pub mod api;
pub mod book;
pub mod book_file;
pub mod cli;
pub mod error;
pub mod key_file;
pub mod node;
pub mod wallet;

pub use error::WalletError;
pub use wallet::Wallet;
