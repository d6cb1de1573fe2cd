//! What one plugin may use, as `[plugins.NAME]` says it: the keys, their ranges, and what they set.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::units::{format_duration, format_size};
use super::{parse_duration, parse_size};
use crate::plugin::PluginBudgets;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// One key: how its value is written, how large it may be, and what it sets.
struct Budget {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    Size(RangeInclusive<u64>, fn(&mut PluginBudgets, u64)),
    Count(RangeInclusive<u64>, fn(&mut PluginBudgets, u64)),
    Time(RangeInclusive<Duration>, fn(&mut PluginBudgets, Duration)),
}

use Kind::{Count, Size, Time};

/// A number that is within a range of 32 bits.
fn narrow<T: TryFrom<u64>>(value: u64) -> Option<T> {
    T::try_from(value).ok()
}

const BUDGETS: [Budget; 22] = [
    Budget {
        name: "turn_time",
        kind: Time(RangeInclusive::new(MS, Duration::from_secs(60)), |b, v| b.turn_time = Some(v)),
    },
    Budget {
        name: "start_time",
        kind: Time(RangeInclusive::new(MS, Duration::from_secs(300)), |b, v| b.start_time = Some(v)),
    },
    Budget { name: "memory", kind: Size(64 * KIB..=4 * GIB, |b, v| b.memory = Some(v)) },
    Budget { name: "tables", kind: Count(0..=10_000_000, |b, v| b.table_elements = narrow(v)) },
    Budget { name: "mailbox", kind: Size(4 * KIB..=256 * MIB, |b, v| b.mailbox_bytes = narrow(v)) },
    Budget { name: "mailbox_events", kind: Count(1..=1_000_000, |b, v| b.mailbox_events = narrow(v)) },
    Budget { name: "mailbox_commands", kind: Count(1..=65_536, |b, v| b.mailbox_commands = narrow(v)) },
    Budget { name: "batch", kind: Size(4 * KIB..=16 * MIB, |b, v| b.batch_bytes = narrow(v)) },
    Budget { name: "batch_events", kind: Count(1..=4_096, |b, v| b.batch_events = narrow(v)) },
    Budget { name: "turn_bytes", kind: Size(4 * KIB..=MIB, |b, v| b.turn_bytes = narrow(v)) },
    Budget { name: "turn_effects", kind: Count(1..=65_536, |b, v| b.turn_effects = narrow(v)) },
    Budget { name: "turn_writes", kind: Size(4 * KIB..=64 * MIB, |b, v| b.turn_writes = narrow(v)) },
    Budget { name: "host_call", kind: Size(64 * KIB..=128 * MIB, |b, v| b.host_call = narrow(v)) },
    Budget { name: "store", kind: Size(0..=1_024 * GIB, |b, v| b.store_bytes = Some(v)) },
    Budget { name: "snapshot", kind: Size(0..=256 * MIB, |b, v| b.snapshot = narrow(v)) },
    Budget { name: "timers", kind: Count(0..=1_000_000, |b, v| b.timers = narrow(v)) },
    Budget { name: "open_asks", kind: Count(0..=65_536, |b, v| b.open_asks = narrow(v)) },
    Budget { name: "open_calls", kind: Count(0..=65_536, |b, v| b.open_calls = narrow(v)) },
    Budget { name: "calls_per_second", kind: Count(0..=1_000_000, |b, v| b.calls_per_second = narrow(v)) },
    Budget { name: "protocols", kind: Count(0..=1_024, |b, v| b.protocols = narrow(v)) },
    Budget { name: "log_lines", kind: Count(0..=100_000, |b, v| b.log_lines = narrow(v)) },
    Budget { name: "metrics", kind: Count(0..=4_096, |b, v| b.metrics = narrow(v)) },
];

/// What becomes of plugins and peers that fail. These keys stand in `[plugins]`, too, for all plugins.
const FAULTS: [Budget; 15] = [
    Budget { name: "crashes", kind: Count(1..=1_000, |b, v| b.crashes = narrow(v)) },
    Budget { name: "crash_window", kind: Time(SECOND..=HOUR, |b, v| b.crash_window = Some(v)) },
    Budget { name: "backoff", kind: Time(MS..=HOUR, |b, v| b.backoff = Some(v)) },
    Budget { name: "longest_backoff", kind: Time(MS..=HOUR, |b, v| b.longest_backoff = Some(v)) },
    Budget { name: "quarantine", kind: Time(SECOND..=DAY, |b, v| b.quarantine = Some(v)) },
    Budget { name: "longest_quarantine", kind: Time(SECOND..=DAY, |b, v| b.longest_quarantine = Some(v)) },
    Budget { name: "calm", kind: Time(SECOND..=DAY, |b, v| b.calm = Some(v)) },
    Budget { name: "mute_poisons", kind: Count(1..=100, |b, v| b.mute_poisons = narrow(v)) },
    Budget { name: "mute_reports", kind: Count(1..=100, |b, v| b.mute_reports = narrow(v)) },
    Budget { name: "mute_window", kind: Time(SECOND..=HOUR, |b, v| b.mute_window = Some(v)) },
    Budget { name: "mute", kind: Time(SECOND..=DAY, |b, v| b.mute = Some(v)) },
    Budget { name: "longest_mute", kind: Time(SECOND..=DAY, |b, v| b.longest_mute = Some(v)) },
    Budget { name: "mute_memory", kind: Time(SECOND..=WEEK, |b, v| b.mute_memory = Some(v)) },
    Budget { name: "dead_letters", kind: Count(1..=10_000, |b, v| b.dead_letters = narrow(v)) },
    Budget { name: "dead_letter_bytes", kind: Size(0..=GIB, |b, v| b.dead_letter_bytes = Some(v)) },
];

/// Every key that `[plugins.NAME]` may have for a budget.
fn all() -> impl Iterator<Item = &'static Budget> {
    BUDGETS.iter().chain(&FAULTS)
}

/// Whether the key may also stand in `[plugins]`.
pub(super) fn is_of_all_plugins(key: &str) -> bool {
    FAULTS.iter().any(|budget| budget.name == key)
}

/// What is wrong with one of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetProblem {
    /// Which, without its section.
    pub key: String,
    /// What is wrong and what to write.
    pub problem: String,
}

/// The keys as they were written. They are kept that way, so that what is saved is what somebody wrote.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BudgetKeys(BTreeMap<String, Value>);

impl BudgetKeys {
    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What `self` does not say is taken from `other`.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for (key, value) in &other.0 {
            self.0.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// The budgets that the keys set.
    ///
    /// # Errors
    /// The first key that does not exist, or whose value cannot be.
    pub fn read(&self) -> Result<PluginBudgets, BudgetProblem> {
        let mut budgets = PluginBudgets::default();
        for (key, value) in &self.0 {
            let problem = |problem| BudgetProblem { key: key.clone(), problem };
            let budget = all().find(|budget| budget.name == key).ok_or_else(|| problem(no_such_key()))?;
            budget.kind.set(&mut budgets, value).map_err(problem)?;
        }
        Ok(budgets)
    }
}

fn no_such_key() -> String {
    let names: Vec<_> = all().map(|budget| budget.name).collect();
    format!("there is no such key; there are grants, config, {}", names.join(", "))
}

impl Kind {
    fn set(&self, budgets: &mut PluginBudgets, value: &Value) -> Result<(), String> {
        match self {
            Size(range, set) => {
                let bytes = value.as_u64().map_or_else(|| parse_size(&text(value)), Ok)?;
                set(budgets, within(bytes, range, |n| format_size(*n))?);
            }
            Count(range, set) => {
                let number = value.as_u64().ok_or_else(|| format!("`{}` is no whole number", text(value)))?;
                set(budgets, within(number, range, u64::to_string)?);
            }
            Time(range, set) => {
                let time = parse_duration(&text(value))?;
                set(budgets, within(time, range, |t| format_duration(*t))?);
            }
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn within<T: PartialOrd, S: Display>(value: T, range: &RangeInclusive<T>, show: impl Fn(&T) -> S) -> Result<T, String> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(format!("{} is outside {} to {}", show(&value), show(range.start()), show(range.end())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::PluginPolicy;

    fn keys(value: Value) -> BudgetKeys {
        serde_json::from_value(value).expect("an object")
    }

    fn problem(value: Value) -> String {
        let BudgetProblem { key, problem } = keys(value).read().expect_err("refused");
        format!("{key}: {problem}")
    }

    #[test]
    fn numbers_and_texts_are_read() {
        let written = json!({"memory": "128 MiB", "turn_bytes": 65_536, "timers": 5, "turn_time": "20ms"});
        let budgets = keys(written.clone()).read().expect("good");
        let policy = budgets.apply(&PluginPolicy::default());
        assert_eq!((policy.memory, policy.turn_bytes, policy.timers), (128 << 20, 65_536, 5));
        assert_eq!(policy.turn_time, Duration::from_millis(20));
        assert_eq!(serde_json::to_value(keys(written.clone())).expect("JSON"), written);
    }

    #[test]
    fn a_key_and_its_range_are_named() {
        assert!(problem(json!({"memry": 1})).starts_with("memry: there is no such key; there are grants, config"));
        assert_eq!(problem(json!({"memory": 1})), "memory: 1 B is outside 64 KiB to 4 GiB");
        assert_eq!(problem(json!({"timers": "many"})), "timers: `many` is no whole number");
        assert_eq!(
            problem(json!({"turn_time": 1})),
            "turn_time: `1` is no duration: write a whole number and a unit, for instance 500ms, 30s or 5m"
        );
        assert!(problem(json!({"store": {}})).contains("`{}` is no size"));
    }

    #[test]
    fn the_first_word_counts() {
        let both = keys(json!({"timers": 1})).or(&keys(json!({"timers": 2, "metrics": 3})));
        assert_eq!(both, keys(json!({"timers": 1, "metrics": 3})));
    }

    #[test]
    fn every_key_sets_something_of_its_own() {
        let mut seen = Vec::new();
        for Budget { name, kind } in all() {
            let value = match kind {
                Size(range, _) | Count(range, _) => json!(range.end()),
                Time(range, _) => json!(format_duration(*range.end())),
            };
            let budgets = keys(json!({ *name: value })).read().expect("its own end");
            assert_ne!(budgets, PluginBudgets::default(), "{name} is not narrowed away");
            assert!(!seen.contains(&budgets), "{name}");
            seen.push(budgets);
        }
    }
}
