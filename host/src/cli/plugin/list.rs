//! `weir plugin list`: what is loaded, and what it uses of its budgets.

use serde_json::Value;

use super::faults;
use super::revisions;
use crate::cli::output::{cell, printable, rows, table};
use crate::config::format_size;

const TITLES: [&str; 12] = [
    "NAME",
    "VERSION",
    "STATE",
    "REVISION",
    "MEMORY",
    "MAILBOX",
    "EVENTS",
    "STORE",
    "TIMERS",
    "LOG/S",
    "DROPPED",
    "PROTOCOLS",
];

pub(super) fn render(document: &Value) -> String {
    let (plugins, failed) = (rows(document, "plugins"), rows(document, "failed"));
    let mut text = match plugins {
        [] => "no plugin is loaded; `weir plugin load FILE` loads one".to_owned(),
        plugins => table(TITLES, plugins.iter().map(row)),
    };
    plugins.iter().for_each(|plugin| text.push_str(&revisions::of(plugin)));
    for file in failed {
        let (path, why) = (cell(file, "file"), cell(&file["error"], "message"));
        text.push_str(&format!("\nnot loaded: {}: {}", printable(&path), printable(&why)));
    }
    if document["safe_mode"] == true {
        text.push_str("\nthe node runs in safe mode: nothing in the plugin folder was loaded");
    }
    plugins.iter().for_each(|plugin| text.push_str(&faults::of(plugin)));
    text
}

fn row(plugin: &Value) -> [String; 12] {
    let text = |key| cell(plugin, key);
    let used = |name: &str| used(&plugin["budgets"][name]);
    [
        text("name"),
        text("version"),
        text("state"),
        text("revision"),
        used("memory"),
        used("mailbox"),
        used("mailbox_events"),
        used("store"),
        used("timers"),
        used("log_lines"),
        dropped(&plugin["counters"]),
        text("protocols"),
    ]
}

/// `1.1 MiB/64 MiB`, `3/4096`.
fn used(budget: &Value) -> String {
    let (Some(used), Some(limit)) = (budget["used"].as_u64(), budget["limit"].as_u64()) else { return "-".to_owned() };
    match budget["unit"].as_str() {
        Some("bytes") => format!("{}/{}", format_size(used), format_size(limit)),
        _ => format!("{used}/{limit}"),
    }
}

/// Everything that was lost: events that failed, events nobody was there for any more, and log lines.
fn dropped(counters: &Value) -> String {
    let count = |key: &str| counters[key].as_u64().unwrap_or(0);
    let (events, lines) = (count("dropped") + count("purged"), count("log_lines_dropped"));
    match (events, lines) {
        (0, 0) => "-".to_owned(),
        (events, 0) => format!("{events} events"),
        (0, lines) => format!("{lines} lines"),
        (events, lines) => format!("{events} events, {lines} lines"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn use_stands_beside_its_budget() {
        let memory = json!({"unit": "bytes", "used": 1_114_112, "limit": 64 << 20});
        let timers = json!({"unit": "count", "used": 3, "limit": 4096});
        let counters = json!({"dropped": 1, "purged": 2, "log_lines_dropped": 4});
        let plugin = json!({"name": "ping", "budgets": {"memory": memory, "timers": timers}, "counters": counters});
        let text = render(&json!({"plugins": [plugin]}));
        for part in ["1.1 MiB/64 MiB", "3/4096", "3 events, 4 lines"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
