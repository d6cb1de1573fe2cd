//! (under construction)

pub mod store;
