//! Reading the topic `models`.

use std::collections::BTreeMap;

use lunapark_schemas::catalog::CatalogRecord;
use lunapark_schemas::{Event, Message, TopicPartition};
use lunapark_stores::catalog::State;
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
