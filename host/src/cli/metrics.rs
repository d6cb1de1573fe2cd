//! `weir metrics`: what the node has counted.

use clap::Args;
use serde_json::Value;

use super::client::ask;
use super::failure::Failure;
use super::output::{Output, cell, rows, table};
use crate::admin::AdminRequest;
use crate::folder::Folder;

#[derive(Debug, Args)]
pub(super) struct Metrics {}

impl Metrics {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let document = ask(folder, AdminRequest::get("/v1/metrics")).await?;
        output.show(&document, render);
        Ok(())
    }
}

fn render(document: &Value) -> String {
    let row = |metric: &Value| {
        let of = metric["label"][1].as_str().unwrap_or_default().to_owned();
        [cell(metric, "name"), of, cell(metric, "value"), cell(metric, "help")]
    };
    table(["METRIC", "OF", "VALUE", "WHAT"], rows(document, "metrics").iter().map(row))
}
