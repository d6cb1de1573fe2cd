//! `weir limits`: every limit that is in force, and how much of it is in use.

use clap::Args;
use serde_json::Value;

use super::client::ask;
use super::failure::Failure;
use super::output::{Output, cell, rows, table};
use crate::admin::AdminRequest;
use crate::config::format_size;
use crate::folder::Folder;

#[derive(Debug, Args)]
pub(super) struct Limits {}

impl Limits {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let document = ask(folder, AdminRequest::get("/v1/limits")).await?;
        output.show(&document, render);
        Ok(())
    }
}

fn render(document: &Value) -> String {
    let titles = ["LIMIT", "EACH", "VALUE", "IN USE", "KEY", "WHY"];
    let row = |limit: &Value| {
        let [name, scope, key, why] = ["name", "scope", "key", "why"].map(|key| cell(limit, key));
        [name, scope, amount(limit, "value"), amount(limit, "in_use"), key, why]
    };
    table(titles, rows(document, "limits").iter().map(row))
}

fn amount(limit: &Value, key: &str) -> String {
    match (limit["unit"].as_str(), limit[key].as_u64()) {
        (Some("bytes"), Some(bytes)) => format_size(bytes),
        (Some("ms"), Some(ms)) => format!("{ms} ms"),
        _ => cell(limit, key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_their_unit() {
        let limits = serde_json::json!({"limits": [
            {"name": "memory", "scope": "node", "unit": "bytes", "value": 1 << 20, "in_use": 4096, "key": "k", "why": "w"},
            {"name": "drain", "scope": "connection", "unit": "ms", "value": 2000, "in_use": null, "key": null, "why": "w"},
            {"name": "eviction", "scope": "node", "unit": "choice", "value": "lifo", "in_use": null, "key": "k", "why": "w"},
        ]});
        let text = render(&limits);
        for part in ["1 MiB", "4 KiB", "2000 ms", "lifo"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
