//! Records on their way: encoded at once into runs per partition, held in memory until they are sent together.

use std::sync::Arc;

use lunapark_schemas::{Record, TopicPartition};

use super::access::Access;
use super::batch::{Entry, MAX_RECORD_BYTES, RUN_BYTES, Run, RunBuilder};
use super::change::Lot;
use super::clock::now_millis;
use super::topics::StoredTopic;
use crate::error::{LogError, LogErrorKind};
use crate::partitioner::partition_of;

/// The buffer of one producer.
pub(crate) struct Outbox {
    access: Arc<dyn Access>,
    topics: Vec<Outgoing>,
    /// Full runs, in the order in which they were filled.
    full: Vec<Lot>,
    bytes: usize,
    records: usize,
    /// Where the next record without key and partition goes.
    turn: u32,
}

struct Outgoing {
    topic: StoredTopic,
    partitions: Vec<RunBuilder>,
}

impl Outbox {
    /// An empty buffer.
    pub fn new(access: Arc<dyn Access>) -> Self {
        Self { access, topics: Vec::new(), full: Vec::new(), bytes: 0, records: 0, turn: 0 }
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True where nothing waits.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Takes a record in; too large ones and unknown topics are refused at once.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), LogError> {
        let topic = self.outgoing(record.topic)?;
        let outgoing = &mut self.topics[topic];
        let stored = &outgoing.topic;
        let partition = home(stored, record, &mut self.turn)?;
        check_size(stored, partition, record.wire_size())?;
        check_key(stored, record.key.is_some())?;
        let builder = &mut outgoing.partitions[partition as usize];
        let timestamp = record.timestamp.filter(|time| *time >= 0).unwrap_or_else(now_millis);
        let (key, value, headers) = (record.key, record.value, record.headers);
        let mut entry = Entry { delta: builder.count(), timestamp, key, value, headers };
        if builder.is_full_for(&entry) {
            self.full.extend(builder.take().map(|run| Lot { topic: stored.id, partition, run }));
            entry.delta = 0;
        }
        let bytes = self.bytes + entry.len();
        if bytes > self.access.max_transaction_bytes() {
            return Err(too_much(self.access.max_transaction_bytes()));
        }
        builder.push(&entry);
        (self.bytes, self.records) = (bytes, self.records + 1);
        Ok(())
    }

    /// Everything that waits, in runs; the buffer is empty afterwards.
    pub fn take(&mut self) -> Vec<Lot> {
        let mut lots = std::mem::take(&mut self.full);
        for Outgoing { topic, partitions } in &mut self.topics {
            let runs = (0u32..).zip(partitions).filter_map(|(at, builder)| Some((at, builder.take()?)));
            lots.extend(runs.map(|(partition, run): (u32, Run)| Lot { topic: topic.id, partition, run }));
        }
        (self.bytes, self.records) = (0, 0);
        lots
    }

    /// Throws everything away. Topics are looked up anew, in case one was deleted and created again.
    pub fn clear(&mut self) {
        self.topics.clear();
        self.full.clear();
        (self.bytes, self.records) = (0, 0);
    }

    fn outgoing(&mut self, name: &str) -> Result<usize, LogError> {
        if let Some(index) = self.topics.iter().position(|outgoing| *outgoing.topic.name == *name) {
            return Ok(index);
        }
        let topic = self.access.topic(name)?;
        let partitions = (0..topic.partitions).map(|_| RunBuilder::default()).collect();
        self.topics.push(Outgoing { topic, partitions });
        Ok(self.topics.len() - 1)
    }
}

/// Sent early where that is allowed: about one page of the file.
pub(crate) const SEND_BYTES: usize = RUN_BYTES;

fn home(topic: &StoredTopic, record: &Record<'_>, turn: &mut u32) -> Result<u32, LogError> {
    match (record.partition, record.key) {
        (Some(asked), _) => match u32::try_from(asked).ok().filter(|asked| *asked < topic.partitions) {
            Some(partition) => Ok(partition),
            None => Err(no_partition(topic, asked)),
        },
        (None, Some(key)) => Ok(partition_of(key, topic.partitions as i32) as u32),
        (None, None) => {
            *turn = turn.wrapping_add(1);
            Ok(*turn % topic.partitions)
        }
    }
}

/// The error of a partition number that the topic does not have.
pub(crate) fn no_partition(topic: &StoredTopic, asked: i32) -> LogError {
    let message = format!("topic `{}` has {} partitions; number from 0", topic.name, topic.partitions);
    LogError::new(LogErrorKind::TopicMissing, message).at(TopicPartition::new(topic.name.clone(), asked))
}

/// Refuses a record that its topic does not take.
pub(crate) fn check_size(topic: &StoredTopic, partition: u32, size: usize) -> Result<(), LogError> {
    let most = topic.max_message_bytes.min(MAX_RECORD_BYTES);
    if size <= most {
        return Ok(());
    }
    let message = format!(
        "a record of {size} bytes, overhead included, is larger than the {most} that the topic takes; \
                           make it smaller, or the topic's max_message_bytes larger"
    );
    Err(LogError::new(LogErrorKind::TooLarge, message).at(TopicPartition::new(topic.name.clone(), partition as i32)))
}

/// Refuses a record without a key where only the newest of each key stays.
pub(crate) fn check_key(topic: &StoredTopic, has_key: bool) -> Result<(), LogError> {
    match topic.compact && !has_key {
        false => Ok(()),
        true => {
            let message = format!("topic `{}` is compacted: every record needs a key", topic.name);
            Err(LogError::new(LogErrorKind::Invalid, message))
        }
    }
}

fn too_much(most: usize) -> LogError {
    let message =
        format!("more than {most} bytes wait to be committed; commit more often, or raise max_transaction_bytes");
    LogError::new(LogErrorKind::Invalid, message)
}
