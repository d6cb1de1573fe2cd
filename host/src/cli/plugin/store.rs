//! `weir plugin store`: export, import and empty what a plugin keeps.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admin::{AdminClient, AdminRequest, BYTES_HEADER, STORE_TIMEOUT, UploadBody};
use crate::cli::client::{ask, explained, segment};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, cell, printable};
use crate::config::format_size;
use crate::folder::Folder;
use crate::plugin::store::{ArchiveLimits, ArchiveReader, ArchiveTotals};

/// How often long work says how far it is.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write what a plugin keeps into a file; the plugin may run
    Export {
        /// Its name
        name: String,
        /// The file to write; one that is there is replaced
        file: PathBuf,
    },
    /// Put a file that was exported in the place of what a plugin keeps; the plugin must not be loaded
    Import {
        /// Its name
        name: String,
        /// The file
        file: PathBuf,
        /// Replace what it keeps now
        #[arg(long)]
        replace: bool,
        /// Take the file of a plugin with another name
        #[arg(long)]
        other: bool,
    },
    /// Forget all that a plugin keeps; the plugin must not be loaded
    Purge {
        /// Its name
        name: String,
    },
}

impl Store {
    pub(super) async fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::Export { name, file } => {
                let totals = export(folder, output, &name, &file).await?;
                let document = json!({"plugin": name, "file": file, "entries": totals.entries, "bytes": totals.bytes});
                output.show(&document, |done| format!("exported {} to {}", size(done), cell(done, "file")));
            }
            Command::Import { name, file, replace, other } => {
                let query = format!("replace={replace}&other={other}");
                let document = import(folder, output, &name, &file, &query).await?;
                output.show(&document, |done| {
                    let name = printable(&name).into_owned();
                    format!("imported {}; `weir plugin load` {name} when you want it to run", size(done))
                });
            }
            Command::Purge { name } => {
                let request = AdminRequest::delete(path(&name)).timeout(STORE_TIMEOUT);
                let document = ask(folder, request).await?;
                output.show(&document, |done| {
                    format!("purged {} of plugin {}", size(done), printable(&cell(done, "plugin")))
                });
            }
        }
        Ok(())
    }
}

fn path(name: &str) -> String {
    format!("/v1/plugins/{}/store", segment(name))
}

/// `3 keys, 17 B`.
fn size(done: &Value) -> String {
    let bytes = format_size(done["bytes"].as_u64().unwrap_or_default());
    match done["entries"].as_u64() {
        Some(entries) => format!("{entries} keys, {bytes}"),
        None => bytes,
    }
}

/// Tells people how far it is, when it takes long.
struct Progress {
    quiet: bool,
    what: &'static str,
    told: Instant,
}

impl Progress {
    fn new(output: &Output, what: &'static str) -> Self {
        Self { quiet: output.is_json(), what, told: Instant::now() }
    }

    fn at(&mut self, bytes: u64, of: u64) {
        if !self.quiet && self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            let line = format!("{} {} of about {}", self.what, format_size(bytes), format_size(of));
            writeln!(io::stderr(), "{line}").ok();
        }
    }
}

fn unusable(file: &Path, doing: &str) -> impl Fn(io::Error) -> Failure {
    let place = format!("cannot {doing} {}", file.display());
    move |error| Failure::new("file-unusable", format!("{place}: {error}"))
}

/// Writes beside the file and checks on the way what comes: the file is there whole, or as it was.
async fn export(folder: &Folder, output: &Output, name: &str, file: &Path) -> Result<ArchiveTotals, Failure> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut to = File::create(&partial).map_err(unusable(&partial, "write"))?;
    let (mut reader, mut progress, mut sum) =
        (ArchiveReader::new(ArchiveLimits::NONE), Progress::new(output, "exported"), 0);
    let request = AdminRequest::get(path(name)).timeout(STORE_TIMEOUT);
    let client = AdminClient::new(folder.socket());
    let exported = client.download(request, BYTES_HEADER, |piece, total| {
        reader.push(piece).map_err(|error| error.to_string())?;
        to.write_all(piece).map_err(|error| format!("cannot write {}: {error}", partial.display()))?;
        sum += piece.len() as u64;
        progress.at(sum, total.unwrap_or_default());
        Ok(())
    });
    let exported = exported.await.map_err(|error| explained(folder, error));
    let totals = exported.and_then(|()| reader.finish().map_err(|error| Failure::new(error.code(), error.to_string())));
    let kept = totals.and_then(|totals| {
        to.sync_all().map_err(unusable(&partial, "write"))?;
        std::fs::rename(&partial, file).map_err(unusable(file, "write"))?;
        Ok(totals)
    });
    if kept.is_err() {
        std::fs::remove_file(&partial).ok();
    }
    kept
}

async fn import(folder: &Folder, output: &Output, name: &str, file: &Path, query: &str) -> Result<Value, Failure> {
    let from = File::open(file).map_err(unusable(file, "read"))?;
    let total = from.metadata().map_err(unusable(file, "read"))?.len();
    let mut progress = Progress::new(output, "imported");
    let body = UploadBody::new(from, move |sent| progress.at(sent, total));
    let request = AdminRequest::upload(format!("{}?{query}", path(name))).timeout(STORE_TIMEOUT);
    let answer = AdminClient::new(folder.socket()).upload(request, body).await;
    let answer = answer.map_err(|error| explained(folder, error))?;
    serde_json::from_slice(&answer).map_err(|error| Failure::new("unexpected-answer", error.to_string()))
}
