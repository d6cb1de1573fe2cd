//! `weir protocols`: who handles what.

use clap::Args;
use serde_json::Value;

use super::client::ask;
use super::failure::Failure;
use super::output::{Output, cell, rows, table};
use crate::admin::AdminRequest;
use crate::folder::Folder;

#[derive(Debug, Args)]
pub(super) struct Protocols {}

impl Protocols {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let document = ask(folder, AdminRequest::get("/v1/protocols")).await?;
        output.show(&document, render);
        Ok(())
    }
}

fn render(document: &Value) -> String {
    let protocols = rows(document, "protocols");
    if protocols.is_empty() {
        return "no protocol is registered; `weir plugin load FILE` loads a plugin".to_owned();
    }
    let row = |protocol: &Value| ["id", "network", "handler", "peers"].map(|key| cell(protocol, key));
    table(["PROTOCOL", "NETWORK", "HANDLER", "PEERS"], protocols.iter().map(row))
}
