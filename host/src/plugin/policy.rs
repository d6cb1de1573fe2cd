//! What a plugin may use, with the reason for every default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::poison::MutePolicy;
use super::store::Durability;
use super::supervision::SupervisionPolicy;

/// How running code is stopped when it takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preemption {
    /// A ticker thread; the budget is CPU time. What a real node uses.
    #[default]
    Epochs,
    /// The same, but a call that takes long is not moved away from the network's threads. For measuring what moving it
    /// is good for.
    EpochsInPlace,
    /// Counted instructions; runs are identical. What a simulation uses.
    Fuel,
}

/// The budgets of a plugin. All of them are checked by the host, none is left to the guest.
///
/// A node has one for all plugins; [`super::PluginBudgets`] changes it for one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginPolicy {
    /// CPU time of one `handle` or `snapshot`. One second is a thousand times what a full batch takes.
    pub turn_time: Duration,
    /// CPU time of `start` and of `describe`, which may have to read or build something large.
    pub start_time: Duration,
    /// Instructions in place of a second of CPU time, when [`Preemption::Fuel`] is used.
    pub fuel_per_second: u64,
    /// All memories and tables of one instance together, in bytes.
    pub memory: u64,
    /// Elements of all tables of one instance together; a large Python component has about 20,000.
    pub table_elements: usize,
    /// Events in the mailbox before senders feel it.
    pub mailbox_events: usize,
    /// Bytes of bodies in the mailbox before senders feel it.
    pub mailbox_bytes: usize,
    /// Commands and calls in the mailbox; beyond it the caller hears `busy`.
    pub mailbox_commands: usize,
    /// Events of one turn. More than this no longer makes the crossing cheaper.
    pub batch_events: usize,
    /// Bytes of bodies of one turn, unless a single message is larger. Never above an eighth of `memory`.
    pub batch_bytes: usize,
    /// Largest body of a message, in bytes, whatever a protocol asks for; never above the wire's own limit.
    pub message: u32,
    /// Effects one turn may stage.
    pub turn_effects: u32,
    /// Bytes one turn may stage; lanes keep at least as much between their soft and their hard limit.
    pub turn_bytes: u32,
    /// Bytes of memory that the writes of one turn may take; each counts its key, its value and 128 bytes. Four times
    /// the largest value.
    pub turn_writes: usize,
    /// Asks and calls open at once.
    pub open_asks: u32,
    /// Calls of one plugin to another that are open at once: a quarter of `mailbox_commands`, so that four plugins which
    /// call a fifth leave room for its operator.
    pub open_calls: u32,
    /// Calls of one plugin to another in a second; as many may come at once after a second without. Far more than people
    /// and protocols need, and a tenth of what a plugin answers.
    pub calls_per_second: u32,
    /// Longest time a call between plugins may take, whatever it asks for: what the admin API allows, too.
    pub call_timeout: Duration,
    /// Longest key of the store, in bytes.
    pub store_key: u32,
    /// Largest value of the store, in bytes.
    pub store_value: u32,
    /// Keys and values of the store together, in bytes.
    pub store_bytes: u64,
    /// When what a turn sends, asks, answers and calls may leave: at once, or when its writes are on the disk. Relaxed,
    /// because it is a hundred times faster and what a crash loses is 50 ms of turns, never a part of one; protocols
    /// that must not forget what they told a peer are made strict by the operator.
    pub durability: Durability,
    /// Timers set at once.
    pub timers: u32,
    /// Largest snapshot that is carried over an upgrade, in bytes. A larger one is left out; the store is the truth.
    pub snapshot: usize,
    /// Protocols one plugin may have registered.
    pub protocols: usize,
    /// Longest time `net.pause` holds; two plugins must not wait for each other for ever.
    pub pause: Duration,
    /// Largest file that is looked at, in bytes.
    pub file: usize,
    /// How long a new revision is watched after an upgrade: long enough to meet what it handles every few minutes.
    pub probation: Duration,
    /// Crashes in that time after which the revision before comes back. Not the first: one poisonous message of one
    /// peer says little about a revision.
    pub probation_crashes: usize,
    /// How many crashes quarantine it, and how long it waits before it is started again.
    pub supervision: SupervisionPolicy,
    /// When a peer is muted, and for how long.
    pub mute: MutePolicy,
    /// Dead letters that are kept; the oldest go. As many as a person looks through.
    pub dead_letters: usize,
    /// Bytes of them, with bodies and reports; the oldest go. Three of the largest messages and more.
    pub dead_letter_bytes: u64,
    /// Lines a plugin may log in a second; as many may come at once after a silence, the rest is counted. 256 is more
    /// than a person reads, and a plugin that logs that much all day writes a gigabyte.
    pub log_lines: u32,
    /// Lines of a plugin that can be read afterwards: some screens full.
    pub log_kept_lines: usize,
    /// Bytes of them, whatever they say.
    pub log_kept_bytes: usize,
    /// Bytes that one call of an import, or one result, may make the host allocate before it can refuse. The largest
    /// message and a list of a thousand peers are a quarter of the default.
    pub host_call: usize,
    /// Names of metrics a plugin may use.
    pub metrics: usize,
}

impl Default for PluginPolicy {
    fn default() -> Self {
        Self {
            turn_time: Duration::from_secs(1),
            start_time: Duration::from_secs(5),
            fuel_per_second: 1_000_000_000,
            memory: 64 << 20,
            table_elements: 100_000,
            mailbox_events: 4_096,
            mailbox_bytes: 4 << 20,
            mailbox_commands: 1_024,
            batch_events: 256,
            batch_bytes: 256 << 10,
            message: crate::wire::DEFAULT_MAX_MESSAGE,
            turn_effects: 4_096,
            turn_bytes: 1 << 20,
            turn_writes: 4 << 20,
            open_asks: 1_024,
            open_calls: 256,
            calls_per_second: 10_000,
            call_timeout: Duration::from_secs(600),
            store_key: 1_024,
            store_value: 1 << 20,
            store_bytes: 256 << 20,
            durability: Durability::Relaxed,
            timers: 4_096,
            snapshot: 16 << 20,
            protocols: 64,
            pause: Duration::from_secs(10),
            file: 64 << 20,
            probation: Duration::from_secs(300),
            probation_crashes: 3,
            supervision: SupervisionPolicy::default(),
            mute: MutePolicy::default(),
            dead_letters: 256,
            dead_letter_bytes: 4 << 20,
            log_lines: 256,
            log_kept_lines: 1_000,
            log_kept_bytes: 256 << 10,
            host_call: 4 << 20,
            metrics: 256,
        }
    }
}

impl PluginPolicy {
    /// The bytes of bodies one turn takes: an eighth of the memory at most, so that the copy inside the guest
    /// and what it makes of it have room.
    pub(super) fn batch_limit(&self) -> usize {
        self.batch_bytes.min(usize::try_from(self.memory / 8).unwrap_or(usize::MAX)).max(1)
    }

    /// The most that the node holds for one turn of the plugin outside of its memory, in bytes: the batch, or one larger
    /// message; what a call of an import carries; and what is staged, as effects and as writes.
    pub fn turn_memory(&self) -> u64 {
        let batch = self.batch_limit().max(self.message as usize) as u64;
        let staged = u64::from(self.turn_bytes).saturating_add(self.turn_writes as u64);
        batch.saturating_add(self.host_call as u64).saturating_add(staged)
    }
}
