//! The embedded log: topics, groups and transactions in one file, for a machine without Kafka.
//!
//! One process owns the folder; its threads share the log, other processes come through its socket. Results and
//! offsets of a transaction are one write of the file, so there are no markers, nothing aborted is ever stored, and
//! offsets have no holes but those that compaction leaves.
//!
//! ```text
//! produce -> outbox (runs of records) -> writing thread -> log.redb -> tail in memory -> cursors -> poll
//!                                          shares syncs                 other readers: the file
//! ```
//!
//! What waits for what: commits share syncs and wait for the disk; readers that follow the end never touch the file;
//! shortening the file ([`EmbeddedLog::maintain_now`], or by itself) holds up everything else that needs the file.

mod access;
mod batch;
mod books;
mod change;
mod client;
mod clock;
mod compaction;
mod core;
mod cursors;
mod groups;
mod maintenance;
mod options;
mod outbox;
mod owner;
mod producers;
mod reader;
mod server;
mod socket;
mod store;
mod stream;
mod sync;
mod tables;
mod topics;
mod wire;
mod writing;
#[cfg(test)]
mod speed_tmp;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_schemas::{Position, TopicPartition};

pub use options::{EmbeddedOptions, Sync};

use self::access::{Access, Fetched, Want};
use self::change::{Fence, Lot, Ticket};
use self::client::RemoteLog;
use self::owner::Owner;
use self::producers::{LogTransaction, LogWriter};
use self::reader::LogReader;
use self::stream::LogStream;
use self::topics::StoredTopic;
use crate::catalog::TopicSpec;
use crate::error::{LogError, LogErrorKind};
use crate::log::{Created, Log, Reader, Stream, StreamSpec, TopicInfo, Transaction, Watermarks, Writer};

/// How long [`open_or_connect`] bears with an owner that is just starting or ending.
const PATIENCE: Duration = Duration::from_secs(10);

/// Becomes the owner of the log in this folder, creating it where there is none; `Owned`, with the first owner's
/// pid, where there is one already.
pub fn open(dir: &Path, options: &EmbeddedOptions) -> Result<Arc<dyn Log>, LogError> {
    Ok(Arc::new(EmbeddedLog::open(dir, options)?))
}

/// Uses the log of another process, through its socket; `Unreachable` where nobody serves one. Streams are refused
/// as `Invalid`: consumer groups live in the owner.
pub fn connect(dir: &Path) -> Result<Arc<dyn Log>, LogError> {
    Ok(Arc::new(RemoteLog::open(dir)?))
}

/// Whichever of the two is possible.
pub fn open_or_connect(dir: &Path, options: &EmbeddedOptions) -> Result<Arc<dyn Log>, LogError> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let owned = match open(dir, options) {
            Err(error) if error.kind == LogErrorKind::Owned => error,
            opened => return opened,
        };
        match connect(dir) {
            Err(error) if error.kind == LogErrorKind::Unreachable && Instant::now() < patience => {}
            Err(error) if error.kind == LogErrorKind::Unreachable => return Err(owned),
            connected => return connected,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The log of this process. Its threads end, and the folder is free, once the last handle, reader, producer and
/// stream is dropped.
#[derive(Clone, Debug)]
pub struct EmbeddedLog {
    owner: Arc<Owner>,
}

impl EmbeddedLog {
    /// As [`open`], for who needs more than the trait.
    pub fn open(dir: &Path, options: &EmbeddedOptions) -> Result<Self, LogError> {
        Ok(Self { owner: Owner::open(dir, options)? })
    }

    /// Applies retention and compaction now, and gives disk space back, instead of waiting for the next round.
    pub fn maintain_now(&self) -> Result<(), LogError> {
        self.owner.maintenance().round(self.owner.core(), true)
    }
}

/// The owner's readers and producers keep it alive.
impl Access for Owner {
    fn topic(&self, name: &str) -> Result<StoredTopic, LogError> {
        Access::topic(&**self.core(), name)
    }

    fn fetch(&self, wants: &[Want], max_bytes: usize, wait: Duration) -> Result<Vec<Fetched>, LogError> {
        self.core().fetch(wants, max_bytes, wait)
    }

    fn append(&self, lots: Vec<Lot>, fence: Option<Fence>) -> Result<Ticket, LogError> {
        self.core().append(lots, fence)
    }

    fn open_id(&self, id: &str) -> Result<Fence, LogError> {
        self.core().open_id(id)
    }

    fn max_transaction_bytes(&self) -> usize {
        self.core().max_transaction_bytes()
    }
}

impl Log for EmbeddedLog {
    fn describe(&self) -> String {
        format!("embedded log {}", self.owner.dir().display())
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<Created, LogError> {
        self.owner.core().create_topic(spec)
    }

    fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        self.owner.core().delete_topic(topic)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        Ok(self.owner.core().infos())
    }

    fn topic(&self, topic: &str) -> Result<TopicInfo, LogError> {
        self.owner.core().info(topic)
    }

    fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, LogError> {
        self.owner.core().watermarks(partition)
    }

    fn offset_for_time(&self, partition: &TopicPartition, millis: i64) -> Result<i64, LogError> {
        self.owner.core().offset_for_time(partition, millis)
    }

    fn groups(&self) -> Result<Vec<String>, LogError> {
        Ok(self.owner.core().group_names())
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.owner.core().committed(group, partitions)
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(LogReader::open(self.owner.clone(), from)?))
    }

    fn writer(&self) -> Result<Box<dyn Writer>, LogError> {
        Ok(Box::new(LogWriter::new(self.owner.clone())))
    }

    fn transaction(&self, transactional_id: &str) -> Result<Box<dyn Transaction>, LogError> {
        Ok(Box::new(LogTransaction::open(self.owner.clone(), transactional_id)?))
    }

    fn stream(&self, spec: &StreamSpec) -> Result<Box<dyn Stream>, LogError> {
        Ok(Box::new(LogStream::open(self.owner.clone(), spec)?))
    }
}
