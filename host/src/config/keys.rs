//! The keys that exist, and where in a file a key stands.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Place};

/// What may stand at a place.
pub(super) enum Shape {
    /// A value; if it is a table, what is in it is not ours to check.
    Value,
    /// A table with these keys.
    Table(&'static [(&'static str, Shape)]),
    /// An array of tables with these keys.
    Tables(&'static [(&'static str, Shape)]),
    /// A table with these keys; any other key must be a table of the second shape.
    Open(&'static [(&'static str, Shape)], &'static Shape),
}

use Shape::{Open, Table, Tables, Value};

/// Keys, and behind them those that say what becomes of a plugin's faults: for one plugin, and as the default of all.
macro_rules! and_of_faults {
    ($($key:expr),* $(,)?) => {
        &[
            $($key,)*
            ("crashes", Value),
            ("crash_window", Value),
            ("backoff", Value),
            ("longest_backoff", Value),
            ("quarantine", Value),
            ("longest_quarantine", Value),
            ("calm", Value),
            ("mute_poisons", Value),
            ("mute_reports", Value),
            ("mute_window", Value),
            ("mute", Value),
            ("longest_mute", Value),
            ("mute_memory", Value),
            ("dead_letters", Value),
            ("dead_letter_bytes", Value),
        ]
    };
}

/// The keys of one plugin, in `weir.toml` and, but for the digest, in the file beside the plugin.
pub(super) const PLUGIN: Shape = Table(and_of_faults![
    ("grants", Value),
    ("durability", Value),
    ("config", Value),
    ("digest", Value),
    ("turn_time", Value),
    ("start_time", Value),
    ("memory", Value),
    ("tables", Value),
    ("mailbox", Value),
    ("mailbox_events", Value),
    ("mailbox_commands", Value),
    ("batch", Value),
    ("batch_events", Value),
    ("turn_bytes", Value),
    ("turn_effects", Value),
    ("turn_writes", Value),
    ("host_call", Value),
    ("store", Value),
    ("snapshot", Value),
    ("timers", Value),
    ("open_asks", Value),
    ("open_calls", Value),
    ("calls_per_second", Value),
    ("protocols", Value),
    ("log_lines", Value),
    ("metrics", Value),
]);

/// The keys of `weir.toml`.
pub(super) const NODE: Shape = Table(&[
    ("listen", Value),
    ("advertise", Value),
    (
        "limits",
        Table(&[
            ("max_peers", Value),
            ("connections_per_peer", Value),
            ("reserved_outbound", Value),
            ("eviction", Value),
            ("max_pending_handshakes", Value),
            ("max_pending_per_source", Value),
            ("max_connections_per_source", Value),
            ("max_streams", Value),
            ("stream_window", Value),
            ("send_buffer", Value),
            ("max_message", Value),
            ("native_handlers", Value),
            ("memory_limit", Value),
        ]),
    ),
    ("timeouts", Table(&[("idle", Value), ("keep_alive", Value), ("handshake", Value), ("spare_connection", Value)])),
    ("access", Table(&[("allow", Value), ("block", Value)])),
    (
        "reconnect",
        Table(&[("max_wait", Value), ("settled", Value), ("next_address", Value), ("remembered_peers", Value)]),
    ),
    ("peers", Tables(&[("address", Value), ("necessary", Value)])),
    (
        "plugins",
        Open(
            and_of_faults![
                ("max_plugins", Value),
                ("max_memory", Value),
                ("max_turn_time", Value),
                ("max_store", Value),
                ("max_mailbox", Value),
                ("probation", Value),
                ("probation_crashes", Value),
                ("signatures", Value),
                ("trusted_keys", Value),
                ("watch", Value),
                ("max_file", Value),
                ("compile_time", Value),
                ("compile_memory", Value),
                ("code_cache", Value),
            ],
            &PLUGIN,
        ),
    ),
    ("log", Table(&[("level", Value), ("format", Value)])),
]);

/// A TOML text that parsed, with what is needed to say where in it something is.
pub(super) struct Source<'a> {
    text: &'a str,
    file: PathBuf,
    table: Spanned<DeTable<'a>>,
}

impl<'a> Source<'a> {
    pub(super) fn parse(text: &'a str, file: &Path) -> Result<Self, ConfigError> {
        match DeTable::parse(text) {
            Ok(table) => Ok(Self { text, file: file.to_owned(), table }),
            Err(error) => {
                let line = error.span().map(|span| line_of(text, span.start));
                let place = Place { file: file.to_owned(), line };
                Err(ConfigError::Syntax { place, message: error.message().trim().replace('\n', "; ") })
            }
        }
    }

    /// Refuses the first key, from the top of the file, that `shape` does not have.
    pub(super) fn refuse_unknown(&self, shape: &Shape) -> Result<(), ConfigError> {
        let mut unknown = Vec::new();
        find_unknown(self.table.get_ref(), shape, "", &mut unknown);
        let Some((offset, key)) = unknown.into_iter().min() else { return Ok(()) };
        let hint = suggest(&key, shape).map_or(String::new(), |meant| format!("; did you mean {meant}?"));
        Err(ConfigError::UnknownKey { place: self.place_at(Some(offset)), key, hint })
    }

    /// Reads the text as a `T`; a wrong value is named by line and key.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| {
            let offset = error.span().map(|span| span.start);
            let key = offset.map(|at| path_at(self.table.get_ref(), at)).unwrap_or_default();
            let problem = error.message().trim().replace('\n', "; ");
            ConfigError::Value { place: self.place_at(offset), key, problem }
        })
    }

    /// The value of `key` (like `limits.max_peers`) cannot be.
    pub(super) fn wrong(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let offset = key_span(self.table.get_ref(), key).map(|span| span.start);
        ConfigError::Value { place: self.place_at(offset), key: key.to_owned(), problem: problem.into() }
    }

    fn place_at(&self, offset: Option<usize>) -> Place {
        Place { file: self.file.clone(), line: offset.map(|at| line_of(self.text, at)) }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

fn find_unknown(table: &DeTable<'_>, shape: &Shape, prefix: &str, unknown: &mut Vec<(usize, String)>) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        match (shape_of(shape, key.get_ref(), value.get_ref()), value.get_ref()) {
            (None, _) => unknown.push((key.span().start, path)),
            (Some(Value), _) => {}
            (Some(inner), DeValue::Array(entries)) => {
                for entry in entries.iter().filter_map(|e| e.get_ref().as_table()) {
                    find_unknown(entry, inner, &path, unknown);
                }
            }
            (Some(inner), DeValue::Table(table)) => find_unknown(table, inner, &path, unknown),
            // A value where a table belongs: reading the file says so, with the expected type.
            (Some(_), _) => {}
        }
    }
}

fn shape_of<'a>(shape: &'a Shape, key: &str, value: &DeValue<'_>) -> Option<&'a Shape> {
    let known = |keys: &'a [(&str, Shape)]| keys.iter().find(|(name, _)| *name == key).map(|(_, shape)| shape);
    match shape {
        Value => None,
        Table(keys) | Tables(keys) => known(keys),
        Open(keys, inner) => known(keys).or_else(|| value.is_table().then_some(*inner)),
    }
}

/// The existing key that looks most like the unknown one: first among its siblings, then anywhere.
fn suggest(key: &str, shape: &Shape) -> Option<String> {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut all = Vec::new();
    list_keys(shape, "", &mut all);
    all.into_iter()
        .filter_map(|candidate| {
            let (home, candidate_name) = candidate.rsplit_once('.').unwrap_or(("", &candidate));
            let sibling = home == section || home == "plugins.NAME" && section.starts_with("plugins.");
            let likeness = strsim::jaro_winkler(name, candidate_name) + if sibling { 0.1 } else { 0.0 };
            let meant = if sibling { join(section, candidate_name) } else { candidate.clone() };
            (likeness >= 0.9).then_some((likeness, meant))
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, meant)| meant)
}

fn list_keys(shape: &Shape, prefix: &str, all: &mut Vec<String>) {
    let (Table(keys) | Tables(keys) | Open(keys, _)) = shape else { return };
    for (name, inner) in *keys {
        let path = join(prefix, name);
        all.push(path.clone());
        list_keys(inner, &path, all);
    }
    if let Open(_, inner) = shape {
        list_keys(inner, &join(prefix, "NAME"), all);
    }
}

/// All keys that exist, with `NAME` for the name of a plugin.
#[cfg(test)]
pub(crate) fn all_keys() -> Vec<String> {
    let mut all = Vec::new();
    list_keys(&NODE, "", &mut all);
    all
}

/// The key whose value contains the byte at `offset`, as deep as it goes.
fn path_at(table: &DeTable<'_>, offset: usize) -> String {
    let holds = |span: Range<usize>| span.contains(&offset);
    for (key, value) in table {
        let inner = match value.get_ref() {
            DeValue::Table(table) => path_at(table, offset),
            DeValue::Array(entries) => {
                let tables = entries.iter().filter_map(|entry| entry.get_ref().as_table());
                tables.map(|table| path_at(table, offset)).find(|path| !path.is_empty()).unwrap_or_default()
            }
            _ => String::new(),
        };
        if !inner.is_empty() || holds(key.span()) || holds(value.span()) {
            return if inner.is_empty() { key.get_ref().to_string() } else { join(key.get_ref(), &inner) };
        }
    }
    String::new()
}

/// Where the key stands; an array counts its first entry that has the rest of the key.
fn key_span(table: &DeTable<'_>, path: &str) -> Option<Range<usize>> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (name, index) = match first.strip_suffix(']').and_then(|f| f.split_once('[')) {
        Some((name, index)) => (name, index.parse::<usize>().ok()),
        None => (first, None),
    };
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    let inner = match (value.get_ref(), index) {
        (DeValue::Array(entries), Some(index)) => entries.get(index)?.get_ref().as_table(),
        (value, _) => value.as_table(),
    };
    match (rest, inner) {
        (Some(rest), Some(inner)) => key_span(inner, rest).or_else(|| Some(key.span())),
        _ => Some(key.span()),
    }
}
