//! `weir plugin rollback`: the revision that ran before comes back.

use clap::Args;
use serde_json::Value;

use super::name;
use crate::admin::{AdminRequest, PLUGIN_CHANGE_TIMEOUT};
use crate::cli::client::{ask, segment};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, cell, printable};
use crate::folder::Folder;

#[derive(Debug, Args)]
pub(super) struct RollbackCommand {
    /// The plugin's name
    name: String,
    /// Also bring back the copy of its store that was made before the upgrade; what was written since is gone
    #[arg(long)]
    restore_store: bool,
    /// Do not ask the running revision for its memory
    #[arg(long)]
    skip_snapshot: bool,
}

impl RollbackCommand {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        let Self { name, restore_store, skip_snapshot } = self;
        let name = segment(&name);
        let path = format!("/v1/plugins/{name}/rollback?restore_store={restore_store}&skip_snapshot={skip_snapshot}");
        let request = AdminRequest::post(path, Vec::new()).timeout(PLUGIN_CHANGE_TIMEOUT);
        let report = ask(folder, request).await?;
        output.show(&report, render);
        Ok(())
    }
}

fn render(report: &Value) -> String {
    let from = printable(&cell(report, "from_version")).into_owned();
    let restored = report["restored_bytes"].as_u64();
    let restored = restored.map_or(String::new(), |bytes| format!(", with a copy of its store of {bytes} bytes"));
    format!("rolled back from {from} to {}{restored}", name(&report["plugin"]))
}
