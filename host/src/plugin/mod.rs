//! Plugins: WebAssembly components that handle protocols. The only module that names wasmtime.
//!
//! Each plugin is an actor with a bounded mailbox. A turn takes what waits, calls `handle` once, and carries out what
//! was staged only after the call returned ok: first the store, then what leaves. Anything else discards the turn
//! and the instance; a fresh one gets the batch again in parts, and loses only what fails alone (`poison`). How often
//! a plugin may crash is `supervision`'s.
//!
//! `poison/state`, `poison/muting`, `supervision/state`, `mailbox/state`, `mailbox/news`, `calls/state`, `turn`, `ledger`,
//! `timers`, `grants`, `manifest`, `crash`, `inspect`, `trust/*`, `lifecycle/state`, `lifecycle/probation` and
//! `lifecycle/succession` decide and do no I/O; `actor` and `commit` join them; `plugins` is the handle.
//! `harness` is instances without actors, for tests.

#[cfg_attr(feature = "simulation", allow(missing_docs, reason = "they are made of the WIT, which says them"))]
mod abi;
mod actor;
mod budgets;
mod cache;
mod calls;
mod commit;
mod compiler;
mod cpu;
mod crash;
mod ending;
mod engine;
mod engine_config;
mod error;
mod events;
mod grants;
#[cfg(feature = "simulation")]
pub mod harness;
mod home;
mod imports;
mod info;
mod inspect;
mod instance;
mod ledger;
mod lifecycle;
mod limiter;
mod log_budget;
mod logs;
mod mailbox;
mod manifest;
mod meter;
mod metrics;
mod next_step;
mod operate;
mod plugins;
mod poison;
mod policy;
mod records;
mod report;
mod revision;
mod staged_bodies;
mod staged_lanes;
mod supervision;
mod ticker;
mod timers;
mod transfer;
mod trust;
mod turn;
mod upgrade;
mod usage;
mod wasi;

pub mod store;

pub use self::budgets::PluginBudgets;
pub use self::cache::CacheConfig;
pub use self::calls::CallError;
pub use self::compiler::{CodeOrigin, CompileRefused, compile_program};
pub use self::crash::{CallFailure, CrashKind, CrashReport, PanicNote};
pub use self::engine_config::{Allocator, EngineConfig};
pub use self::error::PluginError;
pub use self::grants::Grants;
pub use self::info::{Counters, MutedPeer, PluginInfo, PreviousRevision, ProbationInfo, UpgradeReport};
pub use self::inspect::is_cut_off;
pub use self::lifecycle::{
    ChangeOptions, KeptPlugin, LifecycleConfig, NotAllowed, PluginState, RevisionEvent, Rollback,
};
pub(crate) use self::logs::most_logged;
pub use self::logs::{LogEntry, LogLevel, LogLine, LogPage, LogQuery, UnknownLevel};
pub use self::mailbox::Caller;
pub use self::metrics::Metric;
pub use self::plugins::{Plugins, PluginsConfig};
pub use self::poison::{DeadLetter, LetterEvent, MutePolicy};
pub use self::policy::{PluginPolicy, Preemption};
pub use self::revision::{PluginSettings, PluginSource};
pub use self::supervision::{CrashCause, Quarantine, SupervisionPolicy};
pub use self::transfer::{ImportOptions, StoreExport, StoreImport, TransferError};
pub use self::trust::{Digest, SignatureFile, SignaturePolicy, SignatureProblem, Trust};
pub use self::usage::{BudgetUnit, BudgetUse};

/// Signs with the node's key.
pub trait Signer: Send + Sync + 'static {
    /// An Ed25519 signature over the message as it is.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}
