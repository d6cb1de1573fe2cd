//! `weir plugin`: see, load, upgrade and unload plugins. What is more than a request with a file has a file of its own.

mod keygen;
mod revisions;
mod rollback;
mod sign;

mod dead_letters;
mod dev;
mod faults;
mod list;
mod logs;
mod sources;
mod store;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{ask, segment};
use super::failure::Failure;
use super::output::{Output, cell, printable};
use crate::admin::{AdminRequest, PLUGIN_CHANGE_TIMEOUT};
use crate::config::{format_size, read_plugin_file};
use crate::folder::Folder;
use crate::node::MAX_PLUGIN_FILE;

#[derive(Debug, Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is loaded
    List,
    /// Load a plugin, with grants and configuration from NAME.toml beside it
    Load {
        /// The .wasm file
        file: PathBuf,
        /// Copy it into the plugin folder, so that it is loaded again after a restart
        #[arg(long)]
        save: bool,
        /// Let it have a store that belongs to another signer
        #[arg(long)]
        adopt: bool,
        /// Bring back the newest copy of its store that it can read
        #[arg(long)]
        restore_store: bool,
    },
    /// End a plugin
    Unload {
        /// Its name
        name: String,
        /// Rename its file in the plugin folder, so that it is not loaded again after a restart
        #[arg(long)]
        save: bool,
    },
    /// Show what a plugin logged last
    Logs(logs::Logs),
    /// Build a plugin whenever its source is saved, and put it into the running node
    Dev(dev::Dev),
    /// Replace a running plugin without losing a message
    Upgrade {
        /// Its name
        name: String,
        /// The .wasm file of the new revision
        file: PathBuf,
        /// Copy it into the plugin folder, so that it is loaded again after a restart
        #[arg(long)]
        save: bool,
        /// Do not ask the old revision for its memory: the new one starts from the store alone
        #[arg(long)]
        skip_snapshot: bool,
        /// Let it have a store that belongs to another signer
        #[arg(long)]
        adopt: bool,
    },
    /// Put the revision that ran before in the place of the running one
    Rollback(rollback::RollbackCommand),
    /// Sign a plugin file: writes FILE.sig
    Sign(sign::Sign),
    /// Make a key to sign plugin files with
    Keygen(keygen::Keygen),
    /// Show events that a plugin failed on, try one again or drop it
    DeadLetters(dead_letters::DeadLetters),
    /// Try a quarantined plugin now, before its time
    Lift(faults::Lift),
    /// Show peers of which a plugin takes nothing for a while
    Muted(faults::Muted),
    /// Hear a muted peer again
    Unmute(faults::Unmute),
    /// Export, import or purge what a plugin keeps
    Store(store::Store),
}

impl Plugin {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::List => {
                let document = ask(folder, AdminRequest::get("/v1/plugins")).await?;
                output.show(&document, list::render);
            }
            Command::Load { file, save, adopt, restore_store } => {
                let said = [("save", save), ("adopt", adopt), ("restore_store", restore_store)];
                let document = ask(folder, upload("/v1/plugins", &file, &said)?).await?;
                output.show(&document, render_loaded);
            }
            Command::Unload { name, save } => {
                let path = format!("/v1/plugins/{}?save={save}", segment(&name));
                let document = ask(folder, AdminRequest::delete(path)).await?;
                output.show(&document, render_unloaded);
            }
            Command::Logs(command) => return command.execute(folder, output).await,
            Command::Dev(command) => return command.execute(folder, output).await,
            Command::Upgrade { name, file, save, skip_snapshot, adopt } => {
                let path = format!("/v1/plugins/{}/upgrade", segment(&name));
                let said = [("save", save), ("skip_snapshot", skip_snapshot), ("adopt", adopt)];
                let document = ask(folder, upload(&path, &file, &said)?).await?;
                output.show(&document, render_upgraded);
            }
            Command::Rollback(command) => command.execute(folder, output).await?,
            Command::Sign(command) => command.execute(output)?,
            Command::Keygen(command) => command.execute(output)?,
            Command::DeadLetters(command) => command.execute(folder, output).await?,
            Command::Lift(command) => command.execute(folder, output).await?,
            Command::Muted(command) => command.execute(folder, output).await?,
            Command::Unmute(command) => command.execute(folder, output).await?,
            Command::Store(command) => command.execute(folder, output).await?,
        }
        Ok(())
    }
}

/// The file with the settings and the signature beside it. Read here, because the node may not be allowed to read where
/// we are.
fn upload(path: &str, file: &Path, said: &[(&str, bool)]) -> Result<AdminRequest, Failure> {
    let said = said.iter().filter(|(_, on)| *on).map(|(key, _)| format!("&{key}=true"));
    upload_as(path, file, file, &said.collect::<String>())
}

/// The same for a file that is called otherwise, with the settings beside that, and with more in the query.
fn upload_as(path: &str, file: &Path, called: &Path, more: &str) -> Result<AdminRequest, Failure> {
    let unreadable =
        |e: std::io::Error| Failure::new("plugin-unreadable", format!("cannot read {}: {e}", file.display()));
    let size = std::fs::metadata(file).map_err(unreadable)?.len();
    if size > MAX_PLUGIN_FILE as u64 {
        let (size, limit) = (format_size(size), format_size(MAX_PLUGIN_FILE as u64));
        let message = format!("{} has {size}, which is more than a plugin may have ({limit})", file.display());
        return Err(Failure::new("plugin-too-large", message));
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    if bytes.is_empty() {
        return Err(Failure::new("not-wasm", format!("{} is empty: build the plugin again", file.display())));
    }
    let settings = read_plugin_file(called)?.map(|settings| serde_json::to_string(&settings)).transpose();
    let settings = settings.map_err(|e| Failure::new("config-value", e.to_string()))?;
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let query = format!("{path}?file={}{more}", segment(&absolute.to_string_lossy()));
    let signature = sign::read(file)?;
    Ok(AdminRequest::post(query, bytes).wasm(settings).signature(signature).timeout(PLUGIN_CHANGE_TIMEOUT))
}

fn name(plugin: &Value) -> String {
    printable(&format!("{} {}", cell(plugin, "name"), cell(plugin, "version"))).into_owned()
}

fn render_loaded(loaded: &Value) -> String {
    let plugin = &loaded["plugin"];
    let quarantined = if plugin["state"] == "quarantined" {
        let name = printable(&cell(plugin, "name")).into_owned();
        format!("; it is still quarantined for its crashes: `weir plugin lift {name}` tries it now")
    } else {
        String::new()
    };
    format!("loaded {}{}{quarantined}", name(plugin), saved(loaded))
}

fn saved(document: &Value) -> String {
    match document["saved"].as_str() {
        Some(file) => format!(" and saved it as {file}"),
        None => " until the node ends; with --save it is loaded again after a restart".to_owned(),
    }
}

fn render_upgraded(report: &Value) -> String {
    let pause = report["pause_us"].as_u64().map_or(String::new(), |us| format!(", held for {us} µs"));
    let from = printable(&cell(report, "from_version")).into_owned();
    format!("upgraded from {from} to {}{pause}{}", name(&report["plugin"]), saved(report))
}

fn render_unloaded(unloaded: &Value) -> String {
    let again = |file: &str| format!("; {file} is loaded again at the next start: move it away to prevent that");
    let away = |file: &str| format!("; its file is {file} now and is not loaded again");
    let file = unloaded["file"].as_str().map(again).or_else(|| unloaded["put_away"].as_str().map(away));
    format!("unloaded {}{}", name(&unloaded["plugin"]), file.unwrap_or_default())
}
