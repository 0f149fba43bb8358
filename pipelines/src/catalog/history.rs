//! Reading the topics `models` and `training.status`.

use std::collections::BTreeMap;
use std::sync::Arc;

use lunapark_schemas::catalog::CatalogRecord;
use lunapark_schemas::training::TrainingStatus;
use lunapark_schemas::{Event, Message, TopicPartition};
use lunapark_stores::catalog::{State, Tasks};
use lunapark_topics::{Log, LogError, LogErrorKind};

use super::PARTITION;
use crate::audit::scan::Scan;

/// Keys that the catalog's state is made of; promotions and fences are others'.
const KINDS: [&[u8]; 2] = [b"version/", b"task/"];

/// The catalog's records, read to some offset.
pub struct History {
    /// What they amount to.
    pub state: State,
    scan: Option<Scan>,
    at: TopicPartition,
}

impl History {
    /// From the first record that is still there.
    pub(super) fn open(log: &dyn Log, topic: &str) -> Result<Self, LogError> {
        let at = TopicPartition::new(topic, PARTITION);
        Ok(Self { state: State::default(), scan: Some(Scan::open(log, &at, 0)?), at })
    }

    /// All that is committed; nothing where there is no topic.
    pub fn read(log: &dyn Log, topic: &str) -> Result<Self, LogError> {
        // Asked for anew: what a client remembers of a topic that was missing may be old.
        match log.topic(topic).and_then(|_| Self::open(log, topic)) {
            Ok(mut history) => {
                history.read_on(log, b"")?;
                Ok(history)
            }
            Err(error) if error.kind == LogErrorKind::TopicMissing => {
                Ok(Self { state: State::default(), scan: None, at: TopicPartition::new(topic, PARTITION) })
            }
            Err(error) => Err(error),
        }
    }

    /// Reads on to the end; true where a record of this key came by.
    pub(super) fn read_on(&mut self, log: &dyn Log, key: &[u8]) -> Result<bool, LogError> {
        let Some(scan) = &mut self.scan else { return Ok(false) };
        let (state, mut seen) = (&mut self.state, false);
        scan.until(log.watermarks(&self.at)?.high, |message| {
            seen |= message.key == Some(key);
            if let Some(record) = read_record(message)? {
                state.apply(record);
            }
            Ok::<(), LogError>(())
        })?;
        Ok(seen)
    }
}

/// Offset and record of the last entry of each key, by offset; none where there is no topic. And where the topic ends.
pub fn last_records(log: &dyn Log, topic: &str) -> Result<(Vec<(i64, CatalogRecord)>, i64), LogError> {
    let at = TopicPartition::new(topic, PARTITION);
    let end = match log.topic(topic).and_then(|_| log.watermarks(&at)) {
        Ok(ends) => ends.high,
        Err(error) if error.kind == LogErrorKind::TopicMissing => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let mut last = BTreeMap::new();
    Scan::open(log, &at, 0)?.until(end, |message| {
        if let Some(record) = read_record(message)? {
            last.insert(record.key(), (message.offset, record));
        }
        Ok::<(), LogError>(())
    })?;
    let mut records: Vec<_> = last.into_values().collect();
    records.sort_by_key(|(offset, _)| *offset);
    Ok((records, end))
}

/// The catalog's record in a message; `None` for fences and what is not the catalog's. A record that cannot be read
/// stops every reader: who passes it by might give its number away again.
pub fn read_record(message: &Message<'_>) -> Result<Option<CatalogRecord>, LogError> {
    let key = message.key.unwrap_or_default();
    let (Some(value), true) = (message.value, KINDS.iter().any(|kind| key.starts_with(kind))) else { return Ok(None) };
    serde_json::from_slice(value).map(Some).map_err(|cause| {
        let what =
            format!("{} is no record of a catalog ({cause}); did a newer lunapark write it?", message.position());
        LogError::new(LogErrorKind::Corrupt, what)
    })
}

/// Of each partition what follows the last record that was read.
pub type Ends = BTreeMap<i32, i64>;

/// Where the tasks stand of which something is committed at these ends or behind them, which move on; none where there is
/// no topic.
pub fn read_tasks(log: &dyn Log, topic: &Arc<str>, ends: &mut Ends) -> Result<Tasks, LogError> {
    let mut tasks = Tasks::default();
    // Asked for anew: what a client remembers of a topic that was missing may be old.
    let partitions = match log.topic(topic) {
        Err(error) if error.kind == LogErrorKind::TopicMissing => return Ok(tasks),
        found => found?.partitions,
    };
    for partition in 0..partitions {
        let at = TopicPartition::new(topic.clone(), partition);
        let (from, high) = (ends.get(&partition).copied().unwrap_or_default(), log.watermarks(&at)?.high);
        Scan::open(log, &at, from)?.until(high, |message| {
            take_status(message, &mut tasks, ends);
            Ok::<(), LogError>(())
        })?;
    }
    Ok(tasks)
}

/// Takes a message in. What is no status is passed by: no task hangs on it, and the audit names it.
pub(super) fn take_status(message: &Message<'_>, tasks: &mut Tasks, ends: &mut Ends) {
    let status = message.value.and_then(|value| serde_json::from_slice::<TrainingStatus>(value).ok());
    if let Some(status) = status {
        tasks.apply(status, message.offset);
    }
    ends.insert(message.partition, message.offset + 1);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lunapark_schemas::training::TaskStatus;
    use lunapark_schemas::{Headers, Record};
    use lunapark_topics::embedded::{self, EmbeddedOptions};
    use lunapark_topics::{Topic, TopicSpec};

    use super::*;

    fn write(log: &dyn Log, topic: &str, partition: i32, value: &[u8]) {
        let (partition, value, headers) = (Some(partition), Some(value), Headers::default());
        let mut writer = log.writer().unwrap();
        writer.produce(&Record { topic, partition, key: None, value, headers, timestamp: None }).unwrap();
        writer.flush(Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn tasks_are_read_on_from_where_they_were_left() {
        let dir = tempfile::tempdir().unwrap();
        let log = embedded::open(dir.path(), &EmbeddedOptions::default()).unwrap();
        let topic = Topic::<TrainingStatus>::new(TopicSpec::new("statuses", 2));
        let tell = |task: &str, task_status, partition| {
            let status = TrainingStatus { task_id: task.into(), task_status, ..Default::default() };
            write(&*log, topic.name(), partition, &serde_json::to_vec(&status).unwrap());
        };
        let mut ends = Ends::new();
        assert!(read_tasks(&*log, topic.name(), &mut ends).unwrap().is_empty(), "no topic, no tasks");
        log.create_topic(&topic.spec).unwrap();
        tell("a", TaskStatus::Running, 0);
        tell("b", TaskStatus::Submitted, 1);
        write(&*log, topic.name(), 0, b"no status");
        let tasks = read_tasks(&*log, topic.name(), &mut ends).unwrap();
        assert_eq!((tasks.len(), ends.clone()), (2, Ends::from([(0, 2), (1, 1)])));
        tell("a", TaskStatus::Succeeded, 0);
        tell("a", TaskStatus::Running, 0);
        let news = read_tasks(&*log, topic.name(), &mut ends).unwrap();
        assert_eq!((news.len(), news.get("a").map(|task| task.task_status)), (1, Some(TaskStatus::Succeeded)));
        assert_eq!(ends, Ends::from([(0, 4), (1, 1)]));
    }
}
