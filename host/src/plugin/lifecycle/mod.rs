//! The lives of revisions: which states they have, who follows whom, what is kept of them, and how they come back.
//!
//! `state`, `probation` and `succession` decide and do no I/O. `archive` and `shelf` keep; `change` is the actor's part,
//! `handle` the operator's. `docs/lifecycle.md` says what an operator sees of it.

mod archive;
mod change;
mod handle;
mod lineage;
mod options;
mod probation;
mod record;
mod shelf;
mod stage;
mod state;
mod succession;

pub(super) use self::archive::Archive;
pub(super) use self::change::Plan;
pub(super) use self::lineage::Lineage;
pub use self::options::{ChangeOptions, KeptPlugin, LifecycleConfig, Rollback};
pub(super) use self::probation::{Probation, Ruling};
pub(super) use self::record::{KeptRecord, LayoutRecord};
pub(super) use self::shelf::Shelf;
pub use self::state::{Event as RevisionEvent, NotAllowed, PluginState};
pub(super) use self::succession::Layouts;
