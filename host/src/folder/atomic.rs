//! Replaces a file as a whole: after a crash it has its old or its new content, never half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes `content` beside `path`, makes it durable and moves it there. Readable by the owner only.
///
/// # Errors
/// What the system says; the old file is still there then.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The half-written file is of no use to anyone; the error that matters is the first one.
        fs::remove_file(&new).ok();
    }
    written?;
    // The new name is durable only when the folder is.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
