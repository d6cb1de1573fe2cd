//! `weir plugin lift`, `muted` and `unmute`: what the node did about a plugin or a peer that fails too often.

use clap::Args;
use serde_json::Value;

use crate::admin::{AdminRequest, PLUGIN_CHANGE_TIMEOUT};
use crate::cli::client::{ask, segment};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, cell, printable, rows, table};
use crate::folder::Folder;
use crate::peer::PeerId;

#[derive(Debug, Args)]
pub(super) struct Lift {
    /// The plugin
    name: String,
}

impl Lift {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let path = format!("/v1/plugins/{}/lift", segment(&self.name));
        let request = AdminRequest::post(path, "").timeout(PLUGIN_CHANGE_TIMEOUT);
        let document = ask(folder, request).await?;
        output.show(&document, |lifted| format!("{} is {} again", self.name, cell(&lifted["plugin"], "state")));
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct Muted {
    /// The plugin
    name: String,
}

impl Muted {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let path = format!("/v1/plugins/{}/muted", segment(&self.name));
        let document = ask(folder, AdminRequest::get(path)).await?;
        output.show(&document, render);
        Ok(())
    }
}

fn render(document: &Value) -> String {
    let muted = rows(document, "muted");
    if muted.is_empty() {
        return "nobody is muted".to_owned();
    }
    let keys = ["peer", "protocol", "seconds_left", "times", "reason"];
    let titles = ["PEER", "PROTOCOL", "SECONDS LEFT", "TIMES", "REASON"];
    table(titles, muted.iter().map(|peer| keys.map(|key| cell(peer, key))))
}

#[derive(Debug, Args)]
pub(super) struct Unmute {
    /// The plugin
    name: String,
    /// Whom to hear again
    #[arg(value_name = "PEER_ID")]
    peer: PeerId,
}

impl Unmute {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let path = format!("/v1/plugins/{}/muted/{}", segment(&self.name), self.peer);
        let document = ask(folder, AdminRequest::delete(path)).await?;
        output.show(&document, |unmuted| match unmuted["unmuted"].as_u64() {
            Some(0) => format!("{} was not muted", self.peer),
            _ => format!("{} is heard again", self.peer),
        });
        Ok(())
    }
}

/// What the list of plugins says below its table about one that is in trouble.
pub(super) fn of(plugin: &Value) -> String {
    let name = printable(&cell(plugin, "name")).into_owned();
    let mut text = String::new();
    if let Some(times) = plugin["quarantine"]["times"].as_u64() {
        let report = &plugin["quarantine"]["report"];
        let (reason, next) = (cell(report, "reason"), cell(report, "next_step"));
        text.push_str(&format!(
            "\n{name} is quarantined, {times} times in a row: {} Next: {}; then `weir plugin lift {name}`",
            printable(&reason),
            printable(&next)
        ));
    }
    if let Some(letters @ 1..) = plugin["counters"]["dead_letters"].as_u64() {
        text.push_str(&format!("\n{name} has {letters} dead letters: `weir plugin dead-letters {name}` shows them"));
    }
    if let [_, ..] = rows(plugin, "muted") {
        let muted = rows(plugin, "muted").len();
        text.push_str(&format!("\n{name} has {muted} muted peers: `weir plugin muted {name}` shows them"));
    }
    text
}
