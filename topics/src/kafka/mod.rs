//! Apache Kafka behind the log traits, by librdkafka.
//!
//! librdkafka's threads do the network; each of our clients is used by one thread. Three of its defaults are traps
//! (see `config.rs`), and its `poll`, `flush` and `commit` wait in coarse steps, so queues are emptied by own short
//! polls before they are called (see `producer.rs`).

mod admin;
mod close;
mod commit;
mod config;
mod context;
mod error;
mod led;
mod native;
mod orphans;
mod patience;
mod producer;
mod properties;
mod reader;
mod stream;
mod tags;
#[cfg(test)]
mod tests_refused;

use std::sync::Arc;
use std::time::Duration;

use lunapark_schemas::{Position, TopicPartition};
use rdkafka::admin::AdminClient;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

pub use config::KafkaOptions;
use context::PlainContext;
use error::log_error;
pub use native::bootstrap_again;

use crate::catalog::TopicSpec;
use crate::error::{LogError, LogErrorKind};
use crate::log::{Created, Log, Reader, Stream, StreamSpec, TopicInfo, Transaction, Watermarks, Writer};

/// A topic that nobody has: asking for it costs least.
const NOBODYS: &str = "__lunapark_probe";
/// Events that a client without messages may have gathered: some for each broker of a large cluster.
const MAX_EVENTS: usize = 100;

/// A Kafka cluster.
pub struct KafkaLog {
    options: KafkaOptions,
    admin: AdminClient<PlainContext>,
    metadata: BaseConsumer<PlainContext>,
}

impl KafkaLog {
    /// Connects, and fails with a reason where no broker answers in time.
    pub fn open(options: &KafkaOptions) -> Result<Arc<dyn Log>, LogError> {
        Ok(Arc::new(Self::connect(options)?))
    }

    fn connect(options: &KafkaOptions) -> Result<Self, LogError> {
        options.check()?;
        let doing = format!("kafka {}", options.bootstrap);
        let failed = |e| log_error(&doing, &e, None);
        let admin = options.admin().create_with_context(PlainContext::default()).map_err(failed)?;
        let metadata: BaseConsumer<_> =
            options.consumer().create_with_context(PlainContext::default()).map_err(failed)?;
        let log = Self { options: options.clone(), admin, metadata };
        log.metadata().fetch_metadata(Some(NOBODYS), options.request_timeout).map_err(|e| log.error("", &e))?;
        Ok(log)
    }

    /// An error of an administrative call, with what the client last complained about.
    fn error(&self, doing: &str, error: &rdkafka::error::KafkaError) -> LogError {
        self.hear();
        let detail = self.metadata.context().events.last_error();
        let error = log_error(format!("kafka {} {doing}", self.options.bootstrap).trim(), error, detail);
        if matches!(error.kind, LogErrorKind::Unreachable | LogErrorKind::Timeout) {
            self.bootstrap_again();
        }
        error
    }

    /// Errors of the connection arrive as events, of which one poll serves one, often without saying so.
    fn hear(&self) {
        for _ in 0..MAX_EVENTS {
            let _event = self.metadata.poll(Duration::ZERO);
        }
    }

    /// The client that asks. Nobody has looked after it since the last question.
    fn metadata(&self) -> &BaseConsumer<PlainContext> {
        self.hear();
        if self.metadata.context().events.take_down() {
            self.bootstrap_again();
        }
        &self.metadata
    }

    fn bootstrap_again(&self) {
        bootstrap_again(self.metadata.client(), &self.options.bootstrap);
        bootstrap_again(self.admin.inner(), &self.options.bootstrap);
    }

    fn timeout(&self) -> Duration {
        self.options.request_timeout
    }
}

impl Log for KafkaLog {
    fn describe(&self) -> String {
        format!("kafka {}", self.options.bootstrap)
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<Created, LogError> {
        admin::create(self, spec)
    }

    fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        admin::delete(self, topic)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        admin::list(self)
    }

    fn topic(&self, topic: &str) -> Result<TopicInfo, LogError> {
        admin::describe(self, topic)
    }

    fn identity(&self, topic: &str) -> Result<Option<String>, LogError> {
        admin::identity(self, topic)
    }

    fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, LogError> {
        let ask = || self.metadata().fetch_watermarks(&partition.topic, partition.partition, self.timeout());
        let found = led::ask(self.timeout(), ask);
        let (low, high) = found.map_err(|e| self.error("watermarks", &e).at(partition.clone()))?;
        Ok(Watermarks { low, high })
    }

    fn ends(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>, LogError> {
        // The isolation level of the asking client decides which end a broker names.
        let mut config = self.options.consumer();
        config.set("isolation.level", "read_uncommitted");
        let asking: BaseConsumer<PlainContext> =
            config.create_with_context(PlainContext::default()).map_err(|e| self.error("ends", &e))?;
        let end = |at: &TopicPartition| {
            let ask = || asking.fetch_watermarks(&at.topic, at.partition, self.timeout());
            match led::ask(self.timeout(), ask) {
                Ok((_, end)) => Ok(end),
                Err(e) => Err(self.error("ends", &e).at(at.clone())),
            }
        };
        partitions.iter().map(end).collect()
    }

    fn offset_for_time(&self, partition: &TopicPartition, millis: i64) -> Result<i64, LogError> {
        let doing = |e| self.error("offset for time", &e).at(partition.clone());
        let mut query = TopicPartitionList::new();
        let at = Offset::Offset(millis.max(0));
        query.add_partition_offset(&partition.topic, partition.partition, at).map_err(doing)?;
        let ask = || self.metadata().offsets_for_times(query.clone(), self.timeout());
        let found = led::ask(self.timeout(), ask).map_err(doing)?;
        match found.elements().first().map(|e| e.offset()) {
            Some(Offset::Offset(offset)) => Ok(offset),
            _ => Ok(self.watermarks(partition)?.high),
        }
    }

    fn groups(&self) -> Result<Vec<String>, LogError> {
        let list = self.metadata().fetch_group_list(None, self.timeout()).map_err(|e| self.error("groups", &e))?;
        let mut names: Vec<String> = list.groups().iter().map(|g| g.name().to_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let doing = |e| self.error(&format!("committed offsets of group `{group}`"), &e);
        let mut config = self.options.consumer();
        config.set("group.id", group);
        let consumer: BaseConsumer<PlainContext> =
            config.create_with_context(PlainContext::default()).map_err(doing)?;
        let found = consumer.committed_offsets(partition_list(partitions), self.timeout()).map_err(doing)?;
        let offset = |p: &TopicPartition| match found.find_partition(&p.topic, p.partition).map(|e| e.offset()) {
            Some(Offset::Offset(offset)) => Some(offset),
            _ => None,
        };
        Ok(partitions.iter().map(offset).collect())
    }

    fn reader(&self, from: &[Position]) -> Result<Box<dyn Reader>, LogError> {
        let mut topics: Vec<_> = from.iter().map(|position| &position.topic).collect();
        topics.dedup();
        topics.into_iter().try_for_each(|topic| admin::require(self, topic))?;
        Ok(Box::new(reader::KafkaReader::open(&self.options, from)?))
    }

    fn writer(&self) -> Result<Box<dyn Writer>, LogError> {
        Ok(Box::new(producer::KafkaWriter::open(&self.options)?))
    }

    fn announcer(&self) -> Result<Box<dyn Writer>, LogError> {
        Ok(Box::new(producer::KafkaWriter::announcing(&self.options)?))
    }

    fn transaction(&self, transactional_id: &str) -> Result<Box<dyn Transaction>, LogError> {
        Ok(Box::new(producer::KafkaTransaction::open(&self.options, transactional_id)?))
    }

    fn stream(&self, spec: &StreamSpec) -> Result<Box<dyn Stream>, LogError> {
        for topic in spec.topics.iter().chain(&spec.outputs) {
            admin::describe(self, topic)?;
        }
        let limits = spec.outputs.iter().map(|t| Ok((t.clone(), admin::describe(self, t)?.max_message_bytes)));
        let limits = limits.collect::<Result<Vec<_>, LogError>>()?;
        Ok(Box::new(stream::KafkaStream::open(&self.options, spec, limits)?))
    }
}

/// The partitions without offsets.
fn partition_list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for p in partitions {
        list.add_partition(&p.topic, p.partition);
    }
    list
}

/// The partitions with offsets.
fn offset_list(positions: &[Position]) -> Result<TopicPartitionList, LogError> {
    let mut list = TopicPartitionList::new();
    for p in positions {
        let added = list.add_partition_offset(&p.topic, p.partition, Offset::Offset(p.offset));
        added.map_err(|e| LogError::new(LogErrorKind::Invalid, format!("{p}: {e}")))?;
    }
    Ok(list)
}
