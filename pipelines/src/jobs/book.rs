//! Which tasks have ended: read from the topic of statuses when a partition is taken over, kept up to date since.
//!
//! A request whose task has ended is not trained again. Requests of one task have one key, so one partition, and only
//! the owner of a partition ends its tasks: what the book says of a partition that is ours is the whole truth.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use lunapark_schemas::training::TrainingStatus;
use lunapark_schemas::{Message, TopicPartition};
use lunapark_topics::{Log, LogError};

use crate::audit::scan::Scan;

/// The tasks that have ended, by partition.
pub(crate) struct Book {
    topic: Arc<str>,
    ended: Mutex<HashMap<i32, HashSet<String>>>,
}

impl Book {
    pub(crate) fn new(topic: Arc<str>) -> Self {
        Self { topic, ended: Mutex::default() }
    }

    /// Reads a partition to its end. What the last owner committed is visible by then: this one was told where to read on
    /// from only after that.
    pub(crate) fn read(&self, log: &dyn Log, partition: i32) -> Result<(), LogError> {
        let at = TopicPartition::new(self.topic.clone(), partition);
        let mut ended = HashSet::new();
        Scan::open(log, &at, 0)?.until(log.watermarks(&at)?.high, |message| {
            ended.extend(ended_task(message));
            Ok::<(), LogError>(())
        })?;
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, ended);
        Ok(())
    }

    /// A task of this partition has ended, and that is committed.
    pub(crate) fn note(&self, partition: i32, task_id: &str) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.entry(partition).or_default().insert(task_id.to_owned());
    }

    /// Whether a task of this partition has ended.
    pub(crate) fn ended(&self, partition: i32, task_id: &str) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.get(&partition).is_some_and(|tasks| tasks.contains(task_id))
    }
}

fn ended_task(message: &Message<'_>) -> Option<String> {
    let status: TrainingStatus = serde_json::from_slice(message.value?).ok()?;
    status.task_status.terminal().then_some(status.task_id)
}
