//! The traits of a log. Two implementations, one contract suite (`tests/contract`).
//!
//! All calls block; a stream thread is a thread, not a task, so nothing here is async.

use std::sync::Arc;
use std::time::Duration;

use lunapark_schemas::{Messages, Position, Record, TopicPartition};

use crate::catalog::{Cleanup, TopicSpec};
use crate::error::{LogError, LogErrorKind};

/// A log: topics, groups, transactions. Cheap to share between threads.
pub trait Log: Send + Sync {
    /// What and where, for people: `kafka 127.0.0.1:9092`, `embedded log ./lunapark-data`.
    fn describe(&self) -> String;

    /// Creates a topic; one that exists already with the same partitions and policy is left alone, one that
    /// differs is `TopicMismatch`.
    fn create_topic(&self, spec: &TopicSpec) -> Result<Created, LogError>;

    /// Deletes a topic and its records.
    fn delete_topic(&self, topic: &str) -> Result<(), LogError>;

    /// All topics that users see, by name.
    fn topics(&self) -> Result<Vec<TopicInfo>, LogError>;

    /// One topic; `TopicMissing` where it does not exist.
    fn topic(&self, topic: &str) -> Result<TopicInfo, LogError>;

    /// What tells a topic from another one of its name, made after this one was deleted; none where the log cannot say.
    fn identity(&self, topic: &str) -> Result<Option<String>, LogError>;

    /// First offset still there, and the end of what `read_committed` readers may see.
    fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, LogError>;

    /// The end of each partition, records of open transactions included: what a reader has to get past to be sure that
    /// it has seen everything which was decided until now. A log without open transactions in it ends at its watermark.
    fn ends(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>, LogError> {
        partitions.iter().map(|partition| Ok(self.watermarks(partition)?.high)).collect()
    }

    /// Offset of the first record at or after this time (milliseconds since 1970); the high watermark where none is.
    fn offset_for_time(&self, partition: &TopicPartition, millis: i64) -> Result<i64, LogError>;

    /// Names of consumer groups that have committed or have members.
    fn groups(&self) -> Result<Vec<String>, LogError>;

    /// The next offset that the group will read, per partition in the order asked; `None` where it never committed.
    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError>;

    /// Reads given partitions from given offsets, committed records only, without a group.
    fn reader(&self, from: &[Position]) -> Result<Box<dyn Reader>, LogError>;

    /// Produces outside any transaction, idempotently.
    fn writer(&self) -> Result<Box<dyn Writer>, LogError>;

    /// Produces outside any transaction what may come twice, as signs of life and reports may: ready sooner than a
    /// [`writer`](Self::writer), which has to get its producer id first.
    fn announcer(&self) -> Result<Box<dyn Writer>, LogError> {
        self.writer()
    }

    /// Produces atomically under a transactional id, without consuming. Whoever opens the same id later fences this.
    fn transaction(&self, transactional_id: &str) -> Result<Box<dyn Transaction>, LogError>;

    /// Consumes with a group and produces: one stream thread's hands on the log.
    fn stream(&self, spec: &StreamSpec) -> Result<Box<dyn Stream>, LogError>;
}

/// Whether `create_topic` did anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is new.
    New,
    /// It was there, as asked.
    Existed,
}

/// A topic as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Name.
    pub name: Arc<str>,
    /// Number of partitions.
    pub partitions: i32,
    /// Largest record batch that the topic takes, in bytes.
    pub max_message_bytes: usize,
    /// How long records are kept; `None` is for ever.
    pub retention: Option<Duration>,
    /// Delete or compact.
    pub cleanup: Cleanup,
    /// Bytes on disk, where the log can say.
    pub bytes: Option<u64>,
    /// False where the log does not tell us the topic's settings (no permission DescribeConfigs): sizes, retention and
    /// clean-up are then Kafka's defaults.
    pub described: bool,
}

/// Ends of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// First offset still there.
    pub low: i64,
    /// Last stable offset: where the next committed record that a reader sees may stand.
    pub high: i64,
}

/// How much one poll may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At most so many messages.
    pub messages: usize,
    /// Stop after the message that passes so many bytes.
    pub bytes: usize,
}

/// Reads committed records of assigned partitions in offset order per partition.
pub trait Reader: Send {
    /// Appends messages to `into`, waiting at most `wait` for the first one; the number appended.
    fn poll(&mut self, into: &mut Messages, limit: Limit, wait: Duration) -> Result<usize, LogError>;

    /// The next offset to be read of this partition; moves past transaction markers and aborted records too.
    fn position(&self, partition: &TopicPartition) -> Result<i64, LogError>;
}

/// Produces records outside transactions.
pub trait Writer: Send {
    /// Hands a record over; blocks while the queue is full. Delivery is only sure after [`flush`](Self::flush).
    fn produce(&mut self, record: &Record<'_>) -> Result<(), LogError>;

    /// Waits until every record is acknowledged; the first failure since the last flush is returned.
    fn flush(&mut self, within: Duration) -> Result<(), LogError>;
}

/// Atomic produce without consuming.
pub trait Transaction: Send {
    /// Adds a record to the open transaction, beginning one where none is.
    fn produce(&mut self, record: &Record<'_>) -> Result<(), LogError>;

    /// Makes everything produced since the last commit visible at once; `Fenced` where the id was taken over.
    fn commit(&mut self) -> Result<(), LogError>;

    /// Throws away what was produced since the last commit.
    fn abort(&mut self) -> Result<(), LogError>;
}

/// How results and offsets travel together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// One transaction per commit interval holds results, dead letters, ledger and offsets.
    ExactlyOnce,
    /// Results are sent at once; offsets follow once every delivery is acknowledged.
    AtLeastOnce,
}

/// Where a group without committed offsets starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first record still there.
    Earliest,
    /// At the records that come from now on.
    Latest,
}

/// What a stream thread joins and under which name.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// Consumer group, one per pipeline.
    pub group: String,
    /// Stable name of this thread (`pipeline-instance-thread`): static group member and transactional id.
    pub member: String,
    /// Topics to read.
    pub topics: Vec<Arc<str>>,
    /// Topics to write, so that size limits can be looked up at start.
    pub outputs: Vec<Arc<str>>,
    /// Exactly once or at least once.
    pub delivery: Delivery,
    /// Where a new group starts.
    pub start: Start,
}

/// What a poll of a stream met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// So many messages were appended (0 where none came in time).
    Messages(usize),
    /// These partitions are now ours; each position is the committed offset, or where a new group starts.
    Assigned(Vec<Position>),
    /// These partitions are to be given up: finish or abort, then call [`Stream::release`].
    Revoked(Vec<TopicPartition>),
    /// These partitions belong to somebody else already: abort, then call [`Stream::release`].
    Lost(Vec<TopicPartition>),
}

/// A topic that did not take a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which topic.
    pub topic: String,
    /// What kind of refusal.
    pub kind: LogErrorKind,
    /// In words.
    pub reason: String,
}

/// Reading on while a commit is under way.
pub trait Ahead {
    /// Appends messages that are at hand already to `into`; the number appended.
    fn poll(&mut self, into: &mut Messages, limit: Limit) -> Result<usize, LogError>;

    /// False once the commit is done, well or badly.
    fn committing(&self) -> bool;
}

/// One stream thread's consumer and producer.
///
/// Rebalances are events between messages, never callbacks: nothing happens behind the loop's back.
pub trait Stream: Send {
    /// Appends messages to `into`, waiting at most `wait` for the first one, or reports a rebalance.
    fn poll(&mut self, into: &mut Messages, limit: Limit, wait: Duration) -> Result<Polled, LogError>;

    /// Takes those positions of the last [`Polled::Assigned`] at which the group has committed nothing and starts with what
    /// comes from now on ([`Start::Latest`]). They are to be committed soon, so that a restart does not skip what has come
    /// since; it is left to the caller, who may have to say so elsewhere in the same transaction.
    fn started(&mut self) -> Vec<Position> {
        Vec::new()
    }

    /// Gives partitions up after [`Polled::Revoked`] or [`Polled::Lost`].
    fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;

    /// Brings nothing more of these partitions, which stay ours: long work goes on beside a stream that is polled. Others
    /// are read on. What was fetched of them but not handed out is forgotten, and read again after
    /// [`resume`](Self::resume). A partition that is released is paused no longer.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;

    /// Reads these partitions on where the last message handed out left them; those that are not paused are left alone.
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;

    /// Adds a record to what the next commit makes visible (exactly once), or sends it (at least once). `source` is
    /// the input message that it answers, which [`refused`](Self::refused) gives back.
    fn produce(&mut self, record: &Record<'_>, source: Option<(i32, i64)>) -> Result<(), LogError>;

    /// Commits what was produced together with `next`, the next offset to read per partition. A `TooLarge` error
    /// leaves the refused sources in [`refused`](Self::refused).
    fn commit(&mut self, next: &[Position]) -> Result<(), LogError>;

    /// As [`commit`](Self::commit). A log whose commit means waiting for others lets `meanwhile` read on; rebalances
    /// wait until the commit is done, so what is read then still belongs to this member.
    fn commit_while(
        &mut self,
        next: &[Position],
        meanwhile: &mut dyn FnMut(&mut dyn Ahead) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let _nothing_to_wait_for = meanwhile;
        self.commit(next)
    }

    /// Throws away what was produced since the last commit and reads on from these positions.
    fn abort(&mut self, rewind: &[Position]) -> Result<(), LogError>;

    /// Partition and offset of the input messages whose results the log refused as too large since the last call.
    fn refused(&mut self) -> Vec<(i32, i64)>;

    /// The topics whose records the log refused since the last call, for whatever reason: whose records they were decides
    /// what becomes of the transaction. Only of records that [`produce`](Self::produce) has taken; a log that refuses there
    /// already has none to tell of.
    fn refusals(&mut self) -> Vec<Refusal> {
        Vec::new()
    }

    /// Largest record that this output topic takes, in bytes; `None` for a topic not named in the spec.
    fn max_message_bytes(&self, topic: &str) -> Option<usize>;

    /// Leaves the group after a last commit or abort, so that others take over at once.
    fn close(&mut self) -> Result<(), LogError>;
}
