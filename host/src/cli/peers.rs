//! `weir peers`: see, add and remove peers.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::ask;
use super::failure::Failure;
use super::output::{Output, cell, rows, table};
use crate::admin::AdminRequest;
use crate::folder::Folder;
use crate::peer::{PeerAddr, PeerId};

#[derive(Debug, Args)]
pub(super) struct Peers {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a peer known, now and after a restart
    Add {
        /// Whose key must answer, and where
        #[arg(value_name = "PEER_ID@IP:PORT")]
        peer: PeerAddr,
        /// Keep it connected
        #[arg(long)]
        necessary: bool,
    },
    /// Forget a peer and close its connection
    Remove {
        /// Whom
        #[arg(value_name = "PEER_ID")]
        peer: PeerId,
    },
}

impl Peers {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        match self.command {
            None => {
                let document = ask(folder, AdminRequest::get("/v1/peers")).await?;
                output.show(&document, render);
            }
            Some(Command::Add { peer, necessary }) => {
                let body = json!({"address": peer, "necessary": necessary}).to_string();
                let document = ask(folder, AdminRequest::post("/v1/peers", body)).await?;
                let kept = if necessary { ", to be kept connected" } else { "" };
                output.show(&document, |_| format!("added {peer}{kept}"));
            }
            Some(Command::Remove { peer }) => {
                let document = ask(folder, AdminRequest::delete(format!("/v1/peers/{peer}"))).await?;
                output.show(&document, |removed| render_removed(&peer, removed));
            }
        }
        Ok(())
    }
}

fn render(document: &Value) -> String {
    let peers = rows(document, "peers");
    if peers.is_empty() {
        return "no peer is known; `weir peers add PEER_ID@IP:PORT` adds one".to_owned();
    }
    let keys = ["peer_id", "connected", "necessary", "connections", "known_addresses", "protocols", "last_error"];
    let text = |peer: &Value, key| match key {
        "known_addresses" => addresses(rows(peer, key)),
        _ => cell(peer, key),
    };
    let titles = ["PEER", "CONNECTED", "NECESSARY", "CONNECTIONS", "ADDRESSES", "PROTOCOLS", "LAST ERROR"];
    table(titles, peers.iter().map(|peer| keys.map(|key| text(peer, key))))
}

/// Each with who says so; the star is where the peer was reached last.
fn addresses(known: &[Value]) -> String {
    let one = |known: &Value| {
        let star = if known["worked"] == true { "*" } else { "" };
        format!("{}{star} ({})", cell(known, "address"), cell(known, "source"))
    };
    if known.is_empty() { "-".to_owned() } else { known.iter().map(one).collect::<Vec<_>>().join(", ") }
}

fn render_removed(peer: &PeerId, removed: &Value) -> String {
    let again = "; it stands in weir.toml and will be known again after a restart: remove its [[peers]] section";
    format!("removed {peer}{}", if removed["configured"] == true { again } else { "" })
}
