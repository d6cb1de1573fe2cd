//! `weir status`: the running node.

use clap::Args;
use serde_json::Value;

use super::client::ask;
use super::failure::Failure;
use super::output::{Output, cell, printable};
use crate::admin::AdminRequest;
use crate::config::format_size;
use crate::folder::Folder;

#[derive(Debug, Args)]
pub(super) struct Status {}

impl Status {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let document = ask(folder, AdminRequest::get("/v1/status")).await?;
        output.show(&document, render);
        Ok(())
    }
}

fn render(status: &Value) -> String {
    let size = |key: &str| format_size(status["memory"][key].as_u64().unwrap_or(0));
    let mut lines = Vec::new();
    for (key, value) in status.as_object().into_iter().flatten() {
        let value = match value {
            Value::Object(_) if key == "memory" => format!("at most {} of {}", size("bound"), size("limit")),
            // What has parts of its own is for programs.
            Value::Object(_) => continue,
            _ => cell(status, key),
        };
        lines.push((key.replace('_', " "), printable(&value).into_owned()));
    }
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    lines.iter().map(|(key, value)| format!("{key:<width$}  {value}")).collect::<Vec<_>>().join("\n")
}
