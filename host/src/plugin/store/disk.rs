//! The medium of a real node: a redb file.

use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use redb::{
    Builder, Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition,
    backends::FileBackend,
};

use super::backend::{Backend, NamespaceRow, Snapshot};
use super::error::{BackendError, StoreError};
use super::group::{Group, Part};
use super::scan::{ScanRange, Visit};

/// The number of the namespace, four bytes big-endian, and the key.
const DATA: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("data");
/// The full name of a namespace: its number and the bytes of its keys and values.
const NAMESPACES: TableDefinition<'_, &str, (u32, u64)> = TableDefinition::new("namespaces");
/// What describes the file itself.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The key of the format in `META`.
const FORMAT_KEY: &str = "format";
/// The format that this version reads and writes.
const FORMAT: u64 = 1;

/// An open database file.
pub(super) struct Disk(Database);

/// Turns any error of redb into ours.
fn failed(error: impl Into<redb::Error>) -> BackendError {
    BackendError::new(error.into())
}

impl Disk {
    /// Opens the file or makes it.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let open_error = |source| StoreError::Open { path: path.into(), source };
        let file = open_file(path).map_err(|error| open_error(BackendError::new(error)))?;
        let opened = FileBackend::new(file)
            .and_then(|backend| Builder::new().set_cache_size(cache_bytes).create_with_backend(backend));
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                StoreError::Held { path: path.into() }
            }
            other => open_error(failed(other)),
        })?;
        let disk = Self(database);
        match disk.format().map_err(open_error)? {
            FORMAT => Ok(disk),
            found => Err(StoreError::TooNew { path: path.into(), found, known: FORMAT }),
        }
    }

    /// Reads the format, and writes it with the empty tables into a new file.
    fn format(&self) -> Result<u64, BackendError> {
        let write = self.0.begin_write().map_err(failed)?;
        let found = write.open_table(META).map_err(failed)?.get(FORMAT_KEY).map_err(failed)?.map(|found| found.value());
        if let Some(found) = found {
            write.abort().map_err(failed)?;
            return Ok(found);
        }
        write.open_table(META).map_err(failed)?.insert(FORMAT_KEY, FORMAT).map_err(failed)?;
        write.open_table(DATA).map_err(failed)?;
        write.open_table(NAMESPACES).map_err(failed)?;
        write.commit().map_err(failed)?;
        Ok(FORMAT)
    }
}

/// Opens the file so that only its owner reads it, and makes sure that a new one is found after a power cut.
fn open_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

impl Backend for Disk {
    fn commit(&mut self, group: &Group) -> Result<(), BackendError> {
        let write = self.0.begin_write().map_err(failed)?;
        {
            let mut data = write.open_table(DATA).map_err(failed)?;
            let mut names = write.open_table(NAMESPACES).map_err(failed)?;
            for (id, part) in &group.parts {
                write_part(&mut data, *id, part).map_err(failed)?;
                let name = &*part.name;
                if part.exists {
                    names.insert(name, (*id, part.used)).map_err(failed)?;
                } else {
                    names.remove(name).map_err(failed)?;
                }
            }
        }
        write.commit().map_err(failed)
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, BackendError> {
        let read = self.0.begin_read().map_err(failed)?;
        Ok(Arc::new(DiskSnapshot(read.open_table(DATA).map_err(failed)?)))
    }

    fn namespaces(&self) -> Result<Vec<NamespaceRow>, BackendError> {
        let read = self.0.begin_read().map_err(failed)?;
        let table = read.open_table(NAMESPACES).map_err(failed)?;
        let rows = table.iter().map_err(failed)?.map(|row| {
            let (name, row) = row.map_err(failed)?;
            let (id, used) = row.value();
            Ok(NamespaceRow { name: name.value().to_owned(), id, used })
        });
        rows.collect()
    }
}

fn write_part(data: &mut Table<'_, &[u8], &[u8]>, id: u32, part: &Part) -> Result<(), redb::StorageError> {
    if part.purge {
        let (start, end) = bounds(id, ScanRange::default());
        data.retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |_, _| false)?;
    }
    let mut full = id.to_be_bytes().to_vec();
    for (key, value) in &part.writes {
        full.truncate(size_of_val(&id));
        full.extend_from_slice(key);
        match value {
            Some(value) => drop(data.insert(full.as_slice(), value.as_ref())?),
            None => drop(data.remove(full.as_slice())?),
        }
    }
    Ok(())
}

/// A key as it is on the disk.
fn full_key(namespace: u32, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(size_of_val(&namespace) + key.len());
    full.extend_from_slice(&namespace.to_be_bytes());
    full.extend_from_slice(key);
    full
}

/// The first key of a range and the one to stop before, as they are on the disk.
///
/// Namespaces are numbered from 0 and each takes memory while the node runs, so the last number is never in use.
fn bounds(namespace: u32, range: ScanRange<'_>) -> (Vec<u8>, Vec<u8>) {
    let end = match range.end {
        Some(end) => full_key(namespace, end),
        None => full_key(namespace.saturating_add(1), &[]),
    };
    (full_key(namespace, range.start), end)
}

/// A read transaction that lives until the next commit: opening one for each read costs a lock and two lookups.
struct DiskSnapshot(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl Snapshot for DiskSnapshot {
    fn get(&self, namespace: u32, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        let found = self.0.get(full_key(namespace, key).as_slice()).map_err(failed)?;
        Ok(found.map(|value| value.value().to_vec()))
    }

    fn value_len(&self, namespace: u32, key: &[u8]) -> Result<Option<usize>, BackendError> {
        let found = self.0.get(full_key(namespace, key).as_slice()).map_err(failed)?;
        Ok(found.map(|value| value.value().len()))
    }

    fn visit(
        &self,
        namespace: u32,
        range: ScanRange<'_>,
        out: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, BackendError> {
        let (start, end) = bounds(namespace, range);
        let mut entries = self.0.range::<&[u8]>(start.as_slice()..end.as_slice()).map_err(failed)?;
        while let Some(entry) = if range.reverse { entries.next_back() } else { entries.next() } {
            let (key, value) = entry.map_err(failed)?;
            let key = key.value().get(size_of_val(&namespace)..).unwrap_or_default();
            if out(key, value.value()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
