//! What the owner keeps in memory of its topics: settings, ends, and the newest runs for readers that follow.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::clock;
use super::sync::lock;
use crate::catalog::{Cleanup, TopicSpec};
use crate::error::{LogError, LogErrorKind};
use crate::log::TopicInfo;

/// A topic as it is stored and sent over the socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredTopic {
    pub id: u32,
    pub name: Arc<str>,
    pub partitions: u32,
    pub retention_ms: Option<u64>,
    pub compact: bool,
    pub max_message_bytes: usize,
    /// When it was made, in milliseconds since 1970; 0 where that was before this was noted.
    #[serde(default)]
    pub made: i64,
}

impl StoredTopic {
    /// The stored form of what a caller wants; the id comes later.
    pub fn of(spec: &TopicSpec) -> Result<Self, LogError> {
        let invalid = |what: &str| {
            Err(LogError::new(LogErrorKind::Invalid, format!("topic `{}` cannot be created: {what}", spec.name)))
        };
        // Kafka's rule for names, so that a pipeline moves between the logs unchanged.
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if spec.name.is_empty()
            || spec.name.len() > 249
            || !spec.name.chars().all(legal)
            || [".", ".."].contains(&&*spec.name)
        {
            return invalid("names are 1 to 249 letters, digits, `.`, `_` or `-`");
        }
        if !(1..=MAX_PARTITIONS).contains(&spec.partitions) {
            return invalid(&format!("partitions are 1 to {MAX_PARTITIONS}"));
        }
        Ok(Self {
            id: 0,
            name: spec.name.clone(),
            partitions: spec.partitions as u32,
            retention_ms: spec.retention.map(|time| time.as_millis().min(u128::from(u64::MAX)) as u64),
            compact: spec.cleanup == Cleanup::Compact,
            max_message_bytes: spec.max_message_bytes,
            made: clock::now_millis(),
        })
    }

    /// Numbers are not given again in one file, and another file was made at another time.
    pub fn identity(&self) -> String {
        format!("{}-{}", self.id, self.made)
    }

    fn cleanup(&self) -> Cleanup {
        if self.compact { Cleanup::Compact } else { Cleanup::Delete }
    }

    /// As the catalog would say it.
    pub fn spec(&self) -> TopicSpec {
        TopicSpec {
            retention: self.retention_ms.map(Duration::from_millis),
            cleanup: self.cleanup(),
            max_message_bytes: self.max_message_bytes,
            ..TopicSpec::new(self.name.clone(), self.partitions as i32)
        }
    }

    /// What users see.
    pub fn info(&self, bytes: Option<u64>) -> TopicInfo {
        TopicInfo {
            name: self.name.clone(),
            partitions: self.partitions as i32,
            max_message_bytes: self.max_message_bytes,
            retention: self.retention_ms.map(Duration::from_millis),
            cleanup: self.cleanup(),
            bytes,
            described: true,
        }
    }
}

/// More partitions than threads could ever read are a typing error.
const MAX_PARTITIONS: i32 = 4096;

/// A topic with the state of its partitions.
#[derive(Debug)]
pub(crate) struct TopicState {
    pub stored: StoredTopic,
    pub partitions: Vec<PartitionState>,
}

impl TopicState {
    /// A topic whose partitions have these ends (low, next offset, bytes).
    pub fn new(stored: StoredTopic, ends: impl Fn(u32) -> Ends) -> Self {
        let partitions = (0..stored.partitions).map(|partition| PartitionState::new(ends(partition))).collect();
        Self { stored, partitions }
    }

    /// Stored bytes of all partitions.
    pub fn bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.bytes.load(Ordering::Relaxed)).sum()
    }
}

/// First offset still there, next offset, stored bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub low: i64,
    pub end: i64,
    pub bytes: u64,
}

/// What readers may see of a partition.
#[derive(Debug)]
pub(crate) struct PartitionState {
    low: AtomicI64,
    end: AtomicI64,
    bytes: AtomicU64,
    /// Where the last compaction ended.
    pub compacted_to: AtomicI64,
    tail: Mutex<VecDeque<Arc<Batch>>>,
}

impl PartitionState {
    fn new(ends: Ends) -> Self {
        let state = Self {
            low: AtomicI64::new(0),
            end: AtomicI64::new(0),
            bytes: AtomicU64::new(0),
            compacted_to: AtomicI64::new(0),
            tail: Mutex::new(VecDeque::new()),
        };
        state.publish(ends);
        state
    }

    /// The ends that readers see.
    pub fn ends(&self) -> Ends {
        let bytes = self.bytes.load(Ordering::Relaxed);
        Ends { low: self.low.load(Ordering::Acquire), end: self.end.load(Ordering::Acquire), bytes }
    }

    /// Makes these ends visible.
    pub fn publish(&self, ends: Ends) {
        self.low.store(ends.low, Ordering::Release);
        self.bytes.store(ends.bytes, Ordering::Relaxed);
        self.end.store(ends.end, Ordering::Release);
    }

    /// Runs in memory from the one that holds `offset` to below `end`; `None` where memory does not reach back so far.
    pub fn recent(&self, offset: i64, end: i64, max_bytes: usize) -> Option<Vec<Arc<Batch>>> {
        let tail = lock(&self.tail);
        tail.front().filter(|first| first.base <= offset)?;
        let from = tail.partition_point(|batch| batch.last() < offset);
        let mut bytes = 0;
        let wanted = tail.range(from..).take_while(|batch| {
            let fits = bytes == 0 || bytes + batch.run.bytes().len() <= max_bytes;
            bytes += batch.run.bytes().len();
            fits && batch.base < end
        });
        Some(wanted.cloned().collect())
    }

    /// Forgets what is kept in memory, where the file has something newer.
    pub fn forget_tail(&self) {
        lock(&self.tail).clear();
    }
}

/// Keeps the newest runs of all partitions within one bound, oldest out first.
#[derive(Debug)]
pub(crate) struct Tail {
    max_bytes: usize,
    held: AtomicUsize,
    order: Mutex<VecDeque<Remembered>>,
}

/// A run in memory: whose, which partition, its base, and the memory that it holds.
type Remembered = (Arc<TopicState>, u32, i64, usize);

impl Tail {
    /// An empty memory of at most so many bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, held: AtomicUsize::new(0), order: Mutex::new(VecDeque::new()) }
    }

    /// Adds the newest run of a partition; only the writing thread calls this.
    pub fn push(&self, topic: &Arc<TopicState>, partition: u32, batch: Arc<Batch>) {
        let held = batch.run.held() + PER_RUN_BYTES;
        let mut order = lock(&self.order);
        order.push_back((topic.clone(), partition, batch.base, held));
        lock(&topic.partitions[partition as usize].tail).push_back(batch);
        let mut total = self.held.load(Ordering::Relaxed) + held;
        while total > self.max_bytes {
            let Some((topic, partition, base, held)) = order.pop_front() else { break };
            let mut tail = lock(&topic.partitions[partition as usize].tail);
            if tail.front().is_some_and(|front| front.base == base) {
                tail.pop_front();
            }
            total -= held;
        }
        self.held.store(total, Ordering::Relaxed);
    }
}

/// Bookkeeping of one run in memory.
const PER_RUN_BYTES: usize = 128;

/// All topics, by name and by id.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    pub by_name: BTreeMap<Arc<str>, Arc<TopicState>>,
    pub by_id: HashMap<u32, Arc<TopicState>>,
}

impl Topics {
    /// Adds or replaces a topic.
    pub fn insert(&mut self, topic: Arc<TopicState>) {
        self.by_id.insert(topic.stored.id, topic.clone());
        self.by_name.insert(topic.stored.name.clone(), topic);
    }

    /// Takes a topic out.
    pub fn remove(&mut self, id: u32) {
        if let Some(topic) = self.by_id.remove(&id) {
            self.by_name.remove(&topic.stored.name);
        }
    }
}

/// The error of a topic that is not there.
pub(crate) fn missing(topic: &str) -> LogError {
    let message = format!(
        "topic `{topic}` does not exist in the embedded log: create it with `lunapark topics create {topic}`, or check \
         the name and `topics.prefix`"
    );
    LogError::new(LogErrorKind::TopicMissing, message)
}
