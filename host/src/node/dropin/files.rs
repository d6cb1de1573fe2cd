//! The plugin folder on the disk: listing it, reading a plugin with what lies beside it, and saving one. All of it blocks.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::state::{Content, Problem, Seen, Stamp};
use crate::config::{ConfigError, PluginOverrides, format_size, read_plugin_file};
use crate::folder::{FolderError, write_atomically};
use crate::node::{MAX_PLUGIN_FILE, PluginRequest};
use crate::plugin::{Digest, is_cut_off};

/// Largest file of settings or signature that is looked at, in bytes.
const MAX_BESIDE: u64 = 1 << 20;

/// A plugin's file as it was read, and what the state is to know of it.
pub(in crate::node) struct ReadFile {
    pub(in crate::node) content: Content,
    pub(in crate::node) request: PluginRequest,
}

/// The file with a plugin's signature: `ping.wasm.sig` for `ping.wasm`.
pub(in crate::node) fn signature_of(plugin: &Path) -> PathBuf {
    let mut name = plugin.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// All plugin files. Hidden ones are what programs write before they give a file its name.
pub(in crate::node) fn list(folder: &Path) -> io::Result<BTreeMap<PathBuf, Seen>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || path.extension() != Some(OsStr::new("wasm")) {
            continue;
        }
        // It may be gone again.
        if let Some(seen) = look(&path) {
            files.insert(path, seen);
        }
    }
    Ok(files)
}

/// A plugin's file and what lies beside it, as they are now. None when there is no such file.
pub(in crate::node) fn look(plugin: &Path) -> Option<Seen> {
    let found = |path: &Path| fs::metadata(path).ok().filter(Metadata::is_file).map(|found| stamp(&found));
    let (settings, signature) = (found(&plugin.with_extension("toml")), found(&signature_of(plugin)));
    found(plugin).map(|plugin| Seen { plugin, settings, signature })
}

/// What tells a file from what it was, without reading it.
pub(crate) fn stamp(metadata: &Metadata) -> Stamp {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = modified.map_or(0, |since| since.as_nanos());
    Stamp { size: metadata.len(), modified, inode: metadata.ino() }
}

/// Reads a plugin's file, its settings and its signature.
pub(in crate::node) fn read(plugin: &Path) -> Result<ReadFile, Problem> {
    let unreadable = |path: &Path| {
        let shown = path.display().to_string();
        move |error: io::Error| {
            let next_step = format!("let the node read {shown}; it tries again by itself");
            Problem::new("plugin-unreadable", format!("cannot read {shown}: {error}"), next_step)
        }
    };
    let size = fs::metadata(plugin).map_err(unreadable(plugin))?.len();
    if size > MAX_PLUGIN_FILE as u64 {
        let (size, limit) = (format_size(size), format_size(MAX_PLUGIN_FILE as u64));
        let message = format!("{size} is more than a plugin may have ({limit})");
        return Err(Problem::new("plugin-too-large", message, "strip it: `strip = true` in the release profile"));
    }
    let bytes = fs::read(plugin).map_err(unreadable(plugin))?;
    let beside_it = plugin.with_extension("toml");
    let wrong = |error: ConfigError| {
        Problem::new(error.code(), error.to_string(), format!("correct or remove {}", beside_it.display()))
    };
    let settings = read_plugin_file(plugin).map_err(wrong)?;
    let signature = beside(&signature_of(plugin)).map_err(unreadable(&signature_of(plugin)))?;
    let described = serde_json::to_vec(&(&settings, &signature)).unwrap_or_default();
    let content = Content { digest: Digest::of(&bytes), beside: Digest::of(&described), cut_off: is_cut_off(&bytes) };
    let settings = settings.unwrap_or_default();
    let request =
        PluginRequest { bytes, file: Some(plugin.to_owned()), settings, signature, ..PluginRequest::default() };
    Ok(ReadFile { content, request })
}

/// The text of a small file, if there is one.
pub(in crate::node) fn beside(path: &Path) -> io::Result<Option<String>> {
    match fs::metadata(path) {
        Ok(found) if found.len() > MAX_BESIDE => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large")),
        Ok(_) => fs::read(path).map(|bytes| Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes settings and signature first: a plugin must not be found without what it needs.
pub(in crate::node) fn save(folder: &Path, target: &Path, request: &PluginRequest) -> Result<(), String> {
    let write = |path: &Path, content: &[u8]| {
        write_atomically(path, content).map_err(|e| FolderError::io("write", path)(e).to_string())
    };
    fs::create_dir_all(folder).map_err(|e| FolderError::io("create", folder)(e).to_string())?;
    if request.settings != PluginOverrides::default() {
        let text = toml::to_string(&request.settings).map_err(|e| format!("its settings do not fit TOML: {e}"))?;
        write(&target.with_extension("toml"), text.as_bytes())?;
    }
    let signature = signature_of(target);
    match &request.signature {
        Some(text) => write(&signature, text.as_bytes())?,
        // That of the file before says nothing about this one.
        None => match fs::remove_file(&signature) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FolderError::io("remove", &signature)(error).to_string());
            }
            _ => {}
        },
    }
    write(target, &request.bytes)
}

/// Gives the file a name under which it is not loaded.
pub(in crate::node) fn put_away(file: &Path) -> Result<PathBuf, String> {
    let away = file.with_extension("wasm.unloaded");
    fs::rename(file, &away).map_err(|error| FolderError::io("rename", file)(error).to_string())?;
    Ok(away)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_wrong_with_a_file_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let plugin = folder.path().join("ping.wasm");
        let problem = || read(&plugin).err().expect("a problem");
        assert_eq!((problem().code.as_str(), problem().next_step.is_empty()), ("plugin-unreadable", false));
        fs::write(&plugin, b"\0asm").expect("written");
        fs::write(folder.path().join("ping.toml"), "grant = []").expect("written");
        assert!(problem().next_step.contains("ping.toml"), "{:?}", problem());
        fs::write(folder.path().join("ping.toml"), "").expect("written");
        fs::File::create(&plugin).expect("made").set_len(MAX_PLUGIN_FILE as u64 + 1).expect("long");
        assert_eq!((problem().code.as_str(), problem().next_step.is_empty()), ("plugin-too-large", false));
    }
}
