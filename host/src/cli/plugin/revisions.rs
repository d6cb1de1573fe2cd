//! What a list says of a plugin's revisions: that one is watched, which one could come back, why the node went back.

use serde_json::Value;

use crate::cli::output::{cell, printable};

/// The lines about one plugin, each with a line break before it.
pub(super) fn of(plugin: &Value) -> String {
    lines(plugin).iter().map(|line| format!("\n{}", printable(line))).collect()
}

fn lines(plugin: &Value) -> Vec<String> {
    let name = cell(plugin, "name");
    let (probation, previous) = (&plugin["probation"], &plugin["previous"]);
    let mut lines = Vec::new();
    if let (Some(crashes), Some(most)) = (probation["crashes"].as_u64(), probation["most_crashes"].as_u64()) {
        let then = if probation["reversible"] == true { "goes back" } else { "is quarantined" };
        lines.push(format!("{name} is on probation: {crashes} crashes, with {most} it {then}"));
    }
    if let Some(version) = previous["version"].as_str() {
        let restore = if previous["reads_store"] == true { "" } else { " --restore-store" };
        lines.push(format!("{name} can go back to {version}: weir plugin rollback {name}{restore}"));
    }
    lines.extend(plugin["fell_back"].as_str().map(|why| format!("{name} {why}")));
    lines
}
