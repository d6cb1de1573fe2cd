//! What becomes of a batch whose turn failed: everything but the culprits is handled exactly once, and in order.
//!
//! The batch runs again on fresh instances, in parts that `state` chooses, with the `now` of its first turn, fresh
//! randomness and tagged logs. What failed alone is a dead letter (`letter`, `letters`): kept on the disk before what
//! comes after it is handled, told to the plugin as `missed`, and to be tried again by hand (`retry`). Whose fault it is
//! is decided by `muting`, after a `trial` on an empty store; `mutes` carries it out, and `kept` remembers it.
//!
//! `state`, `pace`, `muting` and `letter` decide and do no I/O; the others join them.

mod bury;
mod kept;
mod letter;
mod letters;
mod mutes;
mod muting;
mod pace;
mod rescue;
mod retry;
mod state;
mod trial;

pub use self::letter::{DeadLetter, LetterEvent};
pub use self::muting::MutePolicy;

pub(super) use self::kept::forget_mutes;
pub(super) use self::letters::Letters;
pub(super) use self::muting::Muting;
pub(super) use self::pace::Pace;
pub(super) use self::rescue::Rescue;
pub(super) use self::retry::Retry;
