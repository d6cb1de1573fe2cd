//! `weir init`: a new data folder.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::output::Output;
use crate::config::render_template;
use crate::folder::{Folder, FolderError};
use crate::identity::NodeKey;
use crate::runtime::SeededEntropy;

#[derive(Debug, Args)]
pub(super) struct Init {
    /// Where the node will listen, written into weir.toml [default: 0.0.0.0:4433]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
}

impl Init {
    pub(super) fn execute(self, folder: &Folder, output: &Output) -> Result<(), Failure> {
        for file in [folder.config(), folder.key()] {
            if file.symlink_metadata().is_ok() {
                return Err(FolderError::Exists(file).into());
            }
        }
        let no_randomness = |e| Failure::new("no-randomness", format!("the system gives no random numbers: {e}"));
        let entropy = SeededEntropy::from_system().map_err(no_randomness)?;
        make_folder(folder.path())?;
        make_folder(&folder.plugins())?;
        let key = NodeKey::create(&folder.key(), &entropy)?;
        if let Err(error) = write_new(&folder.config(), &render_template(self.listen)) {
            // A key without a configuration would make the next `weir init` refuse.
            fs::remove_file(folder.key()).ok();
            return Err(FolderError::io("write", &folder.config())(error).into());
        }
        let document = json!({
            "peer_id": key.peer_id(), "folder": folder.path(), "config": folder.config(), "key": folder.key(),
        });
        output.show(&document, |_| {
            format!(
                "peer id  {}\nconfig   {}\nkey      {} (secret: back it up, it is this node's identity)\n\n\
                 Start the node with: weir run --dir {}",
                key.peer_id(),
                folder.config().display(),
                folder.key().display(),
                folder.path().display(),
            )
        });
        Ok(())
    }
}

/// For the owner only: key and socket lie in it.
fn make_folder(path: &Path) -> Result<(), FolderError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FolderError::io("create", path))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
