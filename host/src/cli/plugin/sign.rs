//! `weir plugin sign`: a detached signature beside a plugin's file.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::folder::write_atomically;
use crate::identity::NodeKey;
use crate::plugin::{Digest, SignatureFile};

#[derive(Debug, Args)]
pub(super) struct Sign {
    /// The .wasm file
    file: PathBuf,
    /// The key, as `weir plugin keygen` made it
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
}

/// Where the signature of a file lies.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// The signature beside a file, if there is one. Whether it is one is for the node to say.
pub(super) fn read(file: &Path) -> Result<Option<String>, Failure> {
    let path = beside(file);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new("plugin-unreadable", format!("cannot read {}: {error}", path.display()))
}

impl Sign {
    pub(super) fn execute(self, output: &Output) -> Result<(), Failure> {
        let key = NodeKey::load(&self.key)?;
        let bytes = std::fs::read(&self.file).map_err(|error| unreadable(&self.file, &error))?;
        let digest = Digest::of(&bytes);
        let signature = SignatureFile::make(key.peer_id(), |message| key.sign(message), &digest);
        let path = beside(&self.file);
        write_atomically(&path, format!("{signature}\n").as_bytes())
            .map_err(|error| Failure::new("not-saved", format!("cannot write {}: {error}", path.display())))?;
        let document = json!({"signature": path, "digest": digest, "signer": key.peer_id()});
        output.show(&document, |_| format!("signed {digest} as {}: wrote {}", key.peer_id().short(), path.display()));
        Ok(())
    }
}
