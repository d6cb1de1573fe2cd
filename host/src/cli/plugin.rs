//! `weir plugin`: see, load, upgrade and unload plugins. What is more than a request with a file has a file of its own.

mod keygen;
mod rollback;
mod sign;

mod dead_letters;
mod faults;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{ask, segment};
use super::failure::Failure;
use super::output::{Output, cell, printable, rows, table};
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
}

impl Plugin {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::List => {
                let document = ask(folder, AdminRequest::get("/v1/plugins")).await?;
                output.show(&document, render);
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
        }
        Ok(())
    }
}

/// The file with the settings and the signature beside it. Read here, because the node may not be allowed to read where
/// we are.
fn upload(path: &str, file: &Path, said: &[(&str, bool)]) -> Result<AdminRequest, Failure> {
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
    let settings = read_plugin_file(file)?.map(|settings| serde_json::to_string(&settings)).transpose();
    let settings = settings.map_err(|e| Failure::new("config-value", e.to_string()))?;
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut query = format!("{path}?file={}", segment(&absolute.to_string_lossy()));
    said.iter().filter(|(_, on)| *on).for_each(|(key, _)| query.push_str(&format!("&{key}=true")));
    let signature = sign::read(file)?;
    Ok(AdminRequest::post(query, bytes).wasm(settings).signature(signature).timeout(PLUGIN_CHANGE_TIMEOUT))
}

fn render(document: &Value) -> String {
    let (plugins, failed) = (rows(document, "plugins"), rows(document, "failed"));
    let keys = ["name", "version", "state", "revision", "protocols"];
    let titles = ["NAME", "VERSION", "STATE", "REVISION", "PROTOCOLS"];
    let mut text = match plugins {
        [] => "no plugin is loaded; `weir plugin load FILE` loads one".to_owned(),
        plugins => table(titles, plugins.iter().map(|plugin| keys.map(|key| cell(plugin, key)))),
    };
    for plugin in plugins {
        lines_of(plugin).into_iter().for_each(|line| text.push_str(&format!("\n{}", printable(&line))));
    }
    for file in failed {
        let (path, why) = (cell(file, "file"), cell(&file["error"], "message"));
        text.push_str(&format!("\nnot loaded: {}: {}", printable(&path), printable(&why)));
    }
    if document["safe_mode"] == true {
        text.push_str("\nthe node runs in safe mode: nothing in the plugin folder was loaded");
    }
    plugins.iter().for_each(|plugin| text.push_str(&faults::of(plugin)));
    text
}

/// What does not fit the table: that a revision is watched, what could come back, and why the node went back.
fn lines_of(plugin: &Value) -> Vec<String> {
    let name = cell(plugin, "name");
    let mut lines = Vec::new();
    if let (Some(crashes), Some(most)) =
        (plugin["probation"]["crashes"].as_u64(), plugin["probation"]["most_crashes"].as_u64())
    {
        let then = if plugin["probation"]["reversible"] == true { "goes back" } else { "is quarantined" };
        lines.push(format!("{name} is on probation: {crashes} crashes, with {most} it {then}"));
    }
    if let Some(version) = plugin["previous"]["version"].as_str() {
        let restore = if plugin["previous"]["reads_store"] == true { "" } else { " --restore-store" };
        lines.push(format!("{name} can go back to {version}: weir plugin rollback {name}{restore}"));
    }
    lines.extend(plugin["fell_back"].as_str().map(|why| format!("{name} {why}")));
    lines
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
