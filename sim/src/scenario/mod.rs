//! What is played: each scenario is a list of steps with parameters drawn from the seed.

mod busy;
mod churn;
mod crash;
mod cuts;
mod dials;
mod isolation;
mod links;
mod mixed;
mod places;
mod plugin;
mod poison;
mod storm;

pub use plugin::available as plugins_are_built;

use crate::trace::Trace;
use crate::world::{Outcome, World};

/// A scenario.
#[derive(Debug)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is about, in one line.
    pub about: &'static str,
    /// How often it is drawn when none is named, relative to the others.
    pub weight: u64,
    /// Whether it loads guests that have to be built first.
    pub needs_plugins: bool,
    /// Makes the machines.
    pub world: fn(u64, Trace) -> World,
    /// Plays it.
    pub play: fn(&mut World) -> Outcome,
}

/// All of them.
pub static SCENARIOS: &[Scenario] = &[
    links::LOSSY,
    links::JITTER,
    cuts::PARTITION,
    cuts::ONE_WAY,
    crash::CRASH,
    dials::SIMULTANEOUS,
    crash::CLOCK,
    churn::CHURN,
    busy::BUSY,
    places::CROWDED,
    isolation::STALLED,
    storm::STORM,
    plugin::UPGRADE,
    poison::POISON,
    mixed::MIXED,
];

/// The one of this name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
