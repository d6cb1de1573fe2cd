//! The socket file.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::net::UnixListener;

use crate::folder::FolderError;

/// Listens at `path`, for the owner only. Replaces what a crashed node left there; the caller holds the folder's
/// lock, so no living node is behind it.
///
/// The socket gets its mode under another name and is then moved to its place: nobody can connect in between.
pub(super) fn listen(path: &Path) -> Result<UnixListener, FolderError> {
    let staging = path.with_extension("new");
    let open = || -> io::Result<UnixListener> {
        match fs::remove_file(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&staging)?;
        fs::set_permissions(&staging, Permissions::from_mode(0o600))?;
        fs::rename(&staging, path)?;
        Ok(listener)
    };
    open().map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => {
            let short = "its path is too long for a socket: use a folder with a shorter path";
            FolderError::io("listen on", path)(io::Error::new(error.kind(), short))
        }
        _ => FolderError::io("listen on", path)(error),
    })
}

/// Removes the socket file when the node ends.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, "cannot remove {}", path.display());
    }
}
