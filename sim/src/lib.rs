//! Whole Weir nodes in a deterministic simulation: network, time, disks and chance come from a seed.
//!
//! A [`run::run`] is a scenario and a seed. It writes a trace, which is the same bytes whenever it is run again, and
//! ends with the first rule of [`invariants`] or [`oracle`] that is broken. How to run and replay, and why it is
//! deterministic, is in `docs/simulation.md`.

pub mod command;
pub mod courier;
pub mod entropy;
pub mod invariants;
pub mod look;
pub mod machine;
pub mod oracle;
pub mod run;
pub mod scenario;
pub mod trace;
pub mod violation;
pub mod world;
