//! The file: tables of a redb database, how it is opened, and the reads that need it.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
#[cfg(test)]
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, TableDefinition};

use super::batch::{Batch, Run};
use super::options::{EmbeddedOptions, Sync};
use super::sync::{read, write};
use crate::error::{LogError, LogErrorKind};

/// Runs of records by topic id, partition and offset of their first record.
pub(crate) const BATCHES: TableDefinition<(u32, u32, u64), &[u8]> = TableDefinition::new("batches");
/// Last offset, newest timestamp and bytes of each run: what retention and searches need without reading the run.
pub(crate) const INDEX: TableDefinition<(u32, u32, u64), (u64, i64, u64)> = TableDefinition::new("index");
/// Low watermark, next offset and stored bytes of each partition.
pub(crate) const ENDS: TableDefinition<(u32, u32), (u64, u64, u64)> = TableDefinition::new("ends");
/// Next offset by group, topic id and partition.
pub(crate) const OFFSETS: TableDefinition<(&str, u32, u32), u64> = TableDefinition::new("offsets");
/// How often each transactional id was opened.
pub(crate) const EPOCHS: TableDefinition<&str, u64> = TableDefinition::new("epochs");
/// Topic by name, as JSON.
pub(crate) const TOPICS: TableDefinition<&str, &[u8]> = TableDefinition::new("topics");
/// Deleted topics whose records are still to be removed: id and partitions.
pub(crate) const DOOMED: TableDefinition<u32, u32> = TableDefinition::new("doomed");
/// Format of the file and the next topic id.
pub(crate) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// Key in [`META`].
pub(crate) const NEXT_TOPIC: &str = "next topic id";
const FORMAT: &str = "format";
const FORMAT_VERSION: u64 = 1;
const FILE: &str = "log.redb";

/// The open database; `None` after a failed write, until it is opened again.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    sync: Sync,
    page_cache_bytes: usize,
    db: RwLock<Option<Database>>,
    /// Makes every write fail, as a full disk does.
    #[cfg(test)]
    pub disk_full: Arc<AtomicBool>,
}

impl Store {
    /// Opens the file of this folder, creating it where there is none.
    pub fn open(dir: &Path, options: &EmbeddedOptions) -> Result<Self, LogError> {
        let path = dir.join(FILE);
        let store = Self {
            path,
            sync: options.sync,
            page_cache_bytes: options.page_cache_bytes,
            db: RwLock::new(None),
            #[cfg(test)]
            disk_full: Arc::default(),
        };
        store.reopen()?;
        Ok(store)
    }

    /// Opens the file again after a failed write; what was not committed is gone.
    pub fn reopen(&self) -> Result<(), LogError> {
        let mut db = write(&self.db);
        *db = None;
        *db = Some(self.database()?);
        Ok(())
    }

    fn database(&self) -> Result<Database, LogError> {
        let cannot = |error: String| {
            let path = self.path.display();
            LogError::new(LogErrorKind::Unreachable, format!("the embedded log {path} cannot be opened: {error}"))
        };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path);
        let backend = Backend::new(file.map_err(|e| cannot(e.to_string()))?, self);
        let mut builder = Database::builder();
        builder.set_cache_size(self.page_cache_bytes);
        let db = builder
            .create_with_backend(backend.map_err(|e| cannot(e.to_string()))?)
            .map_err(|e| cannot(e.to_string()))?;
        if !is_prepared(&db)? {
            prepare(&db)?;
        }
        Ok(db)
    }

    /// Runs `work` on the open database, keeping others from closing or compacting it meanwhile.
    pub fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, LogError>) -> Result<T, LogError> {
        match read(&self.db).as_ref() {
            Some(db) => work(db),
            None => {
                Err(LogError::new(LogErrorKind::Internal, "the embedded log's file is closed after a failed write"))
            }
        }
    }

    /// Runs `work` in a read transaction.
    pub fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, LogError>) -> Result<T, LogError> {
        self.with(|db| work(&db.begin_read().map_err(disk)?))
    }

    /// Closes the file until [`reopen`](Self::reopen).
    pub fn close(&self) {
        *write(&self.db) = None;
    }

    /// Length of the file.
    pub fn file_len(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    /// Moves the last pages to free places and cuts the file; every other use of it waits meanwhile.
    pub fn shrink(&self) -> Result<(), LogError> {
        match write(&self.db).as_mut() {
            Some(db) => db.compact().map(drop).map_err(disk),
            None => Ok(()),
        }
    }

    /// Runs from the one that holds `offset` (or the first above it) to below `end`, up to `max_bytes` but at least
    /// one.
    pub fn batches(
        &self,
        (topic, partition): (u32, u32),
        offset: i64,
        end: i64,
        max_bytes: usize,
    ) -> Result<Vec<Arc<Batch>>, LogError> {
        self.read(|txn| {
            let first = base_of(txn, (topic, partition), offset)?;
            let table = txn.open_table(BATCHES).map_err(disk)?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            for row in table.range((topic, partition, first)..(topic, partition, end as u64)).map_err(disk)? {
                let (key, value) = row.map_err(disk)?;
                if bytes > 0 && bytes + value.value().len() > max_bytes {
                    break;
                }
                bytes += value.value().len();
                found.push(Arc::new(batch(key.value().2, value.value())?));
            }
            Ok(found)
        })
    }
}

/// The run stored under this base.
pub(crate) fn batch(base: u64, bytes: &[u8]) -> Result<Batch, LogError> {
    Ok(Batch { base: base as i64, run: Run::parse(bytes.to_vec())? })
}

/// Where to begin to look for `offset`: the base of the run that holds it, or the offset itself.
fn base_of(txn: &ReadTransaction, (topic, partition): (u32, u32), offset: i64) -> Result<u64, LogError> {
    let offset = offset.max(0) as u64;
    let index = txn.open_table(INDEX).map_err(disk)?;
    let mut before = index.range((topic, partition, 0)..=(topic, partition, offset)).map_err(disk)?;
    match before.next_back() {
        Some(row) => {
            let (key, value) = row.map_err(disk)?;
            Ok(if value.value().0 >= offset { key.value().2 } else { offset })
        }
        None => Ok(offset),
    }
}

/// Whether the tables are there, in the format that this program knows.
fn is_prepared(db: &Database) -> Result<bool, LogError> {
    let txn = db.begin_read().map_err(disk)?;
    let meta = match txn.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(false),
        meta => meta.map_err(disk)?,
    };
    match meta.get(FORMAT).map_err(disk)?.map(|value| value.value()) {
        Some(FORMAT_VERSION) => Ok(true),
        other => {
            let message = format!(
                "the embedded log has format {other:?}, this program reads {FORMAT_VERSION}: use the program that \
                 wrote it"
            );
            Err(LogError::new(LogErrorKind::Corrupt, message))
        }
    }
}

/// Creates the tables, so that readers always find them.
fn prepare(db: &Database) -> Result<(), LogError> {
    let mut txn = db.begin_write().map_err(disk)?;
    txn.set_quick_repair(true);
    txn.open_table(META).map_err(disk)?.insert(FORMAT, FORMAT_VERSION).map_err(disk)?;
    txn.open_table(BATCHES).map_err(disk)?;
    txn.open_table(INDEX).map_err(disk)?;
    txn.open_table(ENDS).map_err(disk)?;
    txn.open_table(OFFSETS).map_err(disk)?;
    txn.open_table(EPOCHS).map_err(disk)?;
    txn.open_table(TOPICS).map_err(disk)?;
    txn.open_table(DOOMED).map_err(disk)?;
    txn.commit().map_err(disk)
}

/// A failure of the file as callers see it.
pub(crate) fn disk(error: impl Into<redb::Error>) -> LogError {
    let error = error.into();
    let kind = match error {
        redb::Error::Corrupted(_) => LogErrorKind::Corrupt,
        _ => LogErrorKind::Internal,
    };
    LogError::new(kind, format!("the embedded log's file failed: {error}; check the disk's space and health"))
}

/// The file with or without waiting for the disk. redb hands every page of a commit to `write` before it returns, so
/// that without the wait the operating system still has all of it when the process is killed.
#[derive(Debug)]
struct Backend {
    file: FileBackend,
    sync: Sync,
    #[cfg(test)]
    disk_full: Arc<AtomicBool>,
}

impl Backend {
    fn new(file: File, store: &Store) -> Result<Self, redb::DatabaseError> {
        Ok(Self {
            file: FileBackend::new(file)?,
            sync: store.sync,
            #[cfg(test)]
            disk_full: store.disk_full.clone(),
        })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        match self.sync {
            Sync::Disk => self.file.sync_data(),
            Sync::Os => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        #[cfg(test)]
        if self.disk_full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, redb::BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.unlock_range(start, end)
    }
}
