//! `weir access`: see and change who may connect.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{ask, segment};
use super::failure::Failure;
use super::output::{Output, cell, rows, table};
use crate::admin::AdminRequest;
use crate::folder::Folder;
use crate::transport::AccessEntry;

#[derive(Debug, Args)]
pub(super) struct Access {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show both lists
    List,
    /// Keep somebody out, now and after a restart, and close what is open
    Block(Entry),
    /// Take an entry off the block list
    Unblock(Entry),
    /// Let somebody in; everybody else is kept out as soon as there is one entry
    Allow(Entry),
    /// Take an entry off the allow list
    Disallow(Entry),
}

#[derive(Debug, Args)]
struct Entry {
    /// Whom: PEER_ID, IP, IP/PREFIX, IP:PORT or [IPV6]:PORT
    #[arg(value_name = "ENTRY")]
    entry: AccessEntry,
}

impl Access {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let (request, done) = match self.command {
            None | Some(Command::List) => {
                let document = ask(folder, AdminRequest::get("/v1/access")).await?;
                output.show(&document, render);
                return Ok(());
            }
            Some(Command::Block(Entry { entry })) => (add("block", entry), format!("blocked {entry}")),
            Some(Command::Unblock(Entry { entry })) => (remove("block", entry), format!("unblocked {entry}")),
            Some(Command::Allow(Entry { entry })) => (add("allow", entry), format!("allowed {entry}")),
            Some(Command::Disallow(Entry { entry })) => {
                (remove("allow", entry), format!("took {entry} off the allow list"))
            }
        };
        let document = ask(folder, request).await?;
        output.show(&document, |changed| match changed["closed"].as_u64() {
            None | Some(0) => done,
            Some(closed) => format!("{done}, closed {closed} connections"),
        });
        Ok(())
    }
}

fn add(list: &str, entry: AccessEntry) -> AdminRequest {
    AdminRequest::post("/v1/access", json!({"list": list, "entry": entry}).to_string())
}

fn remove(list: &str, entry: AccessEntry) -> AdminRequest {
    AdminRequest::delete(format!("/v1/access/{list}/{}", segment(&entry.to_string())))
}

fn render(document: &Value) -> String {
    let lines: Vec<[String; 3]> = ["allow", "block"]
        .into_iter()
        .flat_map(|list| rows(document, list).iter().map(move |row| (list, row)))
        .map(|(list, row)| {
            let from = if row["configured"] == true { "weir.toml" } else { "access.json" };
            [list.to_owned(), cell(row, "entry"), from.to_owned()]
        })
        .collect();
    match lines.is_empty() {
        true => "everybody may connect; `weir access block ENTRY` keeps somebody out".to_owned(),
        false => table(["LIST", "ENTRY", "FROM"], lines),
    }
}
