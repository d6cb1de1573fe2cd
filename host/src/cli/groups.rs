//! `weir groups`: see and change groups of peers, and send to one.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{ask, segment};
use super::failure::Failure;
use super::output::{Output, cell, rows, table};
use crate::admin::AdminRequest;
use crate::config::parse_duration;
use crate::folder::Folder;
use crate::peer::PeerId;
use crate::protocol::{GroupName, ProtocolId};

#[derive(Debug, Args)]
pub(super) struct Groups {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a group of these peers, whatever it was before, now and after a restart
    Set {
        /// What it is called
        name: GroupName,
        /// Who is in it
        #[arg(value_name = "PEER_ID")]
        peers: Vec<PeerId>,
    },
    /// Forget a group
    Remove {
        /// Which
        name: GroupName,
    },
    /// Send one message to every member, and show what became of each
    Send {
        /// To whom
        name: GroupName,
        /// By which protocol, which must be registered here
        protocol: ProtocolId,
        /// The message
        body: String,
        /// How long members that are busy are tried, for instance 500ms or 5m [default: 5s]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        timeout: Option<Duration>,
        /// Send to whom it fits now, and do not say what became of whom
        #[arg(long, conflicts_with = "timeout")]
        no_wait: bool,
    },
}

impl Groups {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        match self.command {
            None => {
                let document = ask(folder, AdminRequest::get("/v1/groups")).await?;
                output.show(&document, render);
            }
            Some(Command::Set { name, peers }) => {
                let body = json!({"name": name, "peers": peers}).to_string();
                let document = ask(folder, AdminRequest::post("/v1/groups", body)).await?;
                output.show(&document, |group| format!("{name} has {} members", rows(group, "peers").len()));
            }
            Some(Command::Remove { name }) => {
                let path = format!("/v1/groups/{}", segment(name.as_str()));
                let document = ask(folder, AdminRequest::delete(path)).await?;
                output.show(&document, |_| format!("removed {name}"));
            }
            Some(Command::Send { name, protocol, body, timeout, no_wait }) => {
                // The letters of a protocol id need no escape in a query, but for the plus sign.
                let protocol = protocol.as_str().replace('+', "%2B");
                let mut path = format!("/v1/groups/{}/send?protocol={protocol}", segment(name.as_str()));
                if no_wait {
                    path.push_str("&wait=false");
                }
                let mut request = AdminRequest::post(path.clone(), body.clone());
                if let Some(timeout) = timeout {
                    path.push_str(&format!("&timeout={}ms", timeout.as_millis()));
                    request = AdminRequest::post(path, body).timeout(timeout);
                }
                let document = ask(folder, request).await?;
                output.show(&document, render_sent);
            }
        }
        Ok(())
    }
}

fn render(document: &Value) -> String {
    let groups = rows(document, "groups");
    if groups.is_empty() {
        return "there is no group; `weir groups set NAME PEER_ID…` makes one".to_owned();
    }
    table(["GROUP", "MEMBERS"], groups.iter().map(|group| ["name", "peers"].map(|key| cell(group, key))))
}

fn render_sent(document: &Value) -> String {
    let outcomes = rows(document, "outcomes");
    if outcomes.is_empty() {
        return format!("sent to {} members", document["sent"]);
    }
    table(["PEER", "OUTCOME"], outcomes.iter().map(|one| ["peer_id", "outcome"].map(|key| cell(one, key))))
}
