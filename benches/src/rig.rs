//! The topics of a measurement: filled once, results new for every run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use lunapark_schemas::{Record, TopicPartition};
use lunapark_topics::kafka::{KafkaLog, KafkaOptions};
use lunapark_topics::{Catalog, Log, LogErrorKind, TopicSpec};

use crate::job::{self, PARTITIONS};
use crate::process::nap;
use crate::workload::Workload;

/// A topic that is deleted stays known for some milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A log with the topics of the measurements.
pub struct Rig {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Its topics.
    pub catalog: Catalog,
}

impl Rig {
    /// On this log.
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log, catalog: job::catalog() }
    }

    /// On this cluster.
    pub fn kafka(bootstrap: &str) -> anyhow::Result<Self> {
        Ok(Self::new(KafkaLog::open(&KafkaOptions::new(bootstrap))?))
    }

    /// Partitions of the events topic.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        (0..PARTITIONS).map(|p| TopicPartition::new(self.catalog.inference_events.name().clone(), p)).collect()
    }

    /// Makes the events topic anew and writes `messages` messages to it.
    pub fn fill(&self, workload: &Workload, messages: u64) -> anyhow::Result<()> {
        self.fresh_events()?;
        let topic = self.catalog.inference_events.name().clone();
        let mut writer = self.log.writer()?;
        for index in 0..messages {
            writer.produce(&record(&topic, workload, index, &index.to_string()))?;
        }
        writer.flush(Duration::from_secs(60))?;
        let mut found = 0;
        for partition in self.partitions() {
            found += self.log.watermarks(&partition)?.high as u64;
        }
        ensure!(found == messages, "{found} messages in {topic}, {messages} were written");
        Ok(())
    }

    /// An empty events topic.
    pub fn fresh_events(&self) -> anyhow::Result<()> {
        self.fresh(&self.catalog.inference_events.spec)
    }

    /// Empty topics for whatever a run writes.
    pub fn fresh_outputs(&self) -> anyhow::Result<()> {
        let events = self.catalog.inference_events.name().clone();
        self.catalog.specs().iter().filter(|spec| spec.name != events).try_for_each(|spec| self.fresh(spec))
    }

    /// Removes every topic of the measurements.
    pub fn clear(&self) -> anyhow::Result<()> {
        self.catalog.specs().iter().try_for_each(|spec| self.delete(&spec.name))
    }

    fn fresh(&self, spec: &TopicSpec) -> anyhow::Result<()> {
        self.delete(&spec.name)?;
        self.log.create_topic(spec)?;
        Ok(())
    }

    fn delete(&self, topic: &str) -> anyhow::Result<()> {
        let missing = |kind: LogErrorKind| kind == LogErrorKind::TopicMissing;
        match self.log.delete_topic(topic) {
            Err(error) if missing(error.kind) => return Ok(()),
            deleted => deleted?,
        }
        let deadline = Instant::now() + PATIENCE;
        while !matches!(self.log.topic(topic), Err(error) if missing(error.kind)) {
            ensure!(Instant::now() < deadline, "topic {topic} was deleted and is still there");
            nap(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Message `index` of the events topic.
pub fn record<'a>(topic: &'a str, workload: &'a Workload, index: u64, key: &'a str) -> Record<'a> {
    Record {
        topic,
        partition: Some(job::place_of(index).0),
        key: Some(key.as_bytes()),
        value: Some(workload.value(index)),
        headers: workload.headers.view(),
        timestamp: None,
    }
}
