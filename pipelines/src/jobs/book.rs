//! Which tasks have ended: read from the topic of statuses when a partition is taken over, kept up to date since.
//!
//! A request whose task has ended is not trained again. Requests of one task have one key, so one partition, and only
//! the owner of a partition ends its tasks: what the book says of a partition that is ours is the whole truth.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lunapark_schemas::headers::SOURCE;
use lunapark_schemas::training::TrainingStatus;
use lunapark_schemas::{Message, TopicPartition};
use lunapark_topics::{Log, LogError};

use crate::audit::scan::Scan;

/// The tasks that have ended, by partition.
pub(crate) struct Book {
    topic: Arc<str>,
    pages: Mutex<HashMap<i32, Page>>,
}

/// What was read of one partition.
#[derive(Clone, Default)]
struct Page {
    /// Where to read on.
    next: i64,
    ended: HashSet<String>,
}

impl Book {
    pub(crate) fn new(topic: Arc<str>) -> Self {
        Self { topic, pages: Mutex::default() }
    }

    /// Reads a partition to its end, from where this process read it last; the number of records read. Open transactions
    /// are waited for: the markers of the last owner's may reach the group's offsets before they come here.
    pub(crate) fn read(&self, log: &dyn Log, partition: i32) -> Result<u64, LogError> {
        let at = TopicPartition::new(self.topic.clone(), partition);
        let end = log.ends(std::slice::from_ref(&at))?.first().copied().unwrap_or_default();
        // A topic that ends before what was read of it is another one of that name.
        let mut page = self.pages().get(&partition).filter(|page| page.next <= end).cloned().unwrap_or_default();
        let mut records = 0;
        let mut scan = Scan::open(log, &at, page.next)?;
        scan.until(end, |message| {
            records += 1;
            page.ended.extend(ended_task(message));
            Ok::<(), LogError>(())
        })?;
        page.next = scan.position();
        self.pages().insert(partition, page);
        Ok(records)
    }

    /// A task of this partition has ended, and that is committed.
    pub(crate) fn note(&self, partition: i32, task_id: &str) {
        self.pages().entry(partition).or_default().ended.insert(task_id.to_owned());
    }

    /// Whether a task of this partition has ended.
    pub(crate) fn ended(&self, partition: i32, task_id: &str) -> bool {
        self.pages().get(&partition).is_some_and(|page| page.ended.contains(task_id))
    }

    fn pages(&self) -> MutexGuard<'_, HashMap<i32, Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A search that has been answered goes on by itself: its request is not to be answered again.
fn ended_task(message: &Message<'_>) -> Option<String> {
    let status: TrainingStatus = serde_json::from_slice(message.value?).ok()?;
    let answer = status.task_status.terminal() || message.headers.get(SOURCE).is_some();
    answer.then_some(status.task_id)
}
