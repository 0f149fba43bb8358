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
#[expect(clippy::disallowed_methods, reason = "another process's start cannot be waited for; the loop has a deadline")]
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

    fn identity(&self, topic: &str) -> Result<Option<String>, LogError> {
        Ok(Some(self.owner.core().state(topic)?.stored.identity()))
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::Ordering;

    use lunapark_schemas::{Headers, Messages, Record};

    use super::*;
    use crate::log::Limit;

    fn record(value: &[u8]) -> Record<'_> {
        let headers = Headers::default();
        Record { topic: "t", partition: Some(0), key: None, value: Some(value), headers, timestamp: None }
    }

    fn values(log: &dyn Log) -> Vec<(i64, Vec<u8>)> {
        let mut reader = log.reader(&[TopicPartition::new("t", 0).at(0)]).unwrap();
        let mut messages = Messages::new();
        reader.poll(&mut messages, Limit { messages: 100, bytes: 1 << 20 }, Duration::from_secs(10)).unwrap();
        messages.iter().map(|message| (message.offset, message.value.unwrap().to_vec())).collect()
    }

    #[test]
    fn who_asks_while_the_log_closes_is_told_that_it_is_closed() {
        let (ended, ends) = std::sync::mpsc::sync_channel(4);
        for _ in 0..50 {
            let dir = tempfile::tempdir().unwrap();
            let log = EmbeddedLog::open(dir.path(), &EmbeddedOptions::default()).unwrap();
            log.create_topic(&TopicSpec::new("t", 1)).unwrap();
            for _ in 0..4 {
                let (core, ended) = (log.owner.core().clone(), ended.clone());
                std::thread::spawn(move || {
                    let trim = || core.ask(change::Change::Trim { topic: 1, partition: 0, below: 0 })?.wait();
                    while trim().is_ok() {}
                    ended.send(()).unwrap();
                });
            }
            drop(log);
            (0..4).for_each(|_| ends.recv_timeout(Duration::from_secs(30)).expect("it still waits for an answer"));
        }
    }

    #[test]
    fn a_full_disk_costs_the_write_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), &EmbeddedOptions::default()).unwrap();
        log.create_topic(&TopicSpec::new("t", 1)).unwrap();
        let mut transaction = log.transaction("id").unwrap();
        let mut commit = |value: &[u8]| {
            transaction.produce(&record(value)).unwrap();
            transaction.commit()
        };
        commit(b"before").unwrap();
        log.owner.core().store.disk_full.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            let failed = commit(b"meanwhile").unwrap_err();
            assert!(matches!(failed.kind, LogErrorKind::Internal | LogErrorKind::Unreachable), "{failed}");
        }
        assert_eq!(values(&log), [(0, b"before".to_vec())]);
        log.owner.core().store.disk_full.store(false, Ordering::Relaxed);
        commit(b"after").unwrap();
        let expected = [(0, b"before".to_vec()), (1, b"after".to_vec())];
        assert_eq!(values(&log), expected);
        drop((transaction, log));
        let log = EmbeddedLog::open(dir.path(), &EmbeddedOptions::default()).unwrap();
        assert_eq!(values(&log), expected);
    }

    #[test]
    fn a_long_path_has_a_socket_too() {
        let dir = tempfile::tempdir().unwrap();
        let long: PathBuf = dir.path().join("x".repeat(120)).join("y".repeat(120));
        let owner = open(&long, &EmbeddedOptions::default()).unwrap();
        owner.create_topic(&TopicSpec::new("t", 1)).unwrap();
        let remote = connect(&long).unwrap();
        assert_eq!(remote.topics().unwrap().len(), 1);
        drop(owner);
        assert_eq!(connect(&long).map(drop).unwrap_err().kind, LogErrorKind::Unreachable);
    }

    #[test]
    fn an_owner_ends_though_clients_wait_and_its_folder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let owner = open(dir.path(), &EmbeddedOptions::default()).unwrap();
        owner.create_topic(&TopicSpec::new("t", 1)).unwrap();
        let remote = connect(dir.path()).unwrap();
        let mut reader = remote.reader(&[TopicPartition::new("t", 0).at(0)]).unwrap();
        let waiting = std::thread::spawn(move || {
            let mut messages = Messages::new();
            reader.poll(&mut messages, Limit { messages: 1, bytes: 1 }, Duration::from_secs(60)).unwrap_err()
        });
        drop(dir);
        drop(owner);
        assert_eq!(waiting.join().unwrap().kind, LogErrorKind::Unreachable);
    }

    #[test]
    fn commits_that_wait_together_all_count() {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), &EmbeddedOptions::default()).unwrap();
        log.create_topic(&TopicSpec::new("t", 1)).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let log = &log;
                scope.spawn(move || {
                    let mut transaction = log.transaction(&format!("id-{thread}")).unwrap();
                    for _ in 0..50 {
                        transaction.produce(&record(b"v")).unwrap();
                        transaction.produce(&record(b"v")).unwrap();
                        transaction.commit().unwrap();
                    }
                });
            }
        });
        assert_eq!(log.watermarks(&TopicPartition::new("t", 0)).unwrap().high, 8 * 50 * 2);
    }

    #[test]
    fn a_member_that_commits_takes_no_part_in_anothers_fence() {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), &EmbeddedOptions::default()).unwrap();
        log.create_topic(&TopicSpec::new("t", 1)).unwrap();
        let mut first = log.transaction("first").unwrap();
        let mut second = log.transaction("second").unwrap();
        first.produce(&record(b"1")).unwrap();
        second.produce(&record(b"2")).unwrap();
        first.commit().unwrap();
        second.commit().unwrap();
        let _newer = log.transaction("first").unwrap();
        first.produce(&record(b"3")).unwrap();
        assert_eq!(first.commit().unwrap_err().kind, LogErrorKind::Fenced);
        second.produce(&record(b"4")).unwrap();
        second.commit().unwrap();
        let read: Vec<_> = values(&log).into_iter().map(|(_, value)| value).collect();
        assert_eq!(read, [b"1", b"2", b"4"]);
    }
}
