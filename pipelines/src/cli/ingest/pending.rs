//! Documents that are on the topic and not yet in the collection: what it has of them is not the last word.

use std::collections::HashSet;

use lunapark_schemas::TopicPartition;
use lunapark_schemas::documents::Ingest;
use lunapark_topics::{Log, LogError};

use crate::audit::scan::Scan;

/// Ids of the records that the group has not committed yet, of whatever collection.
pub(super) fn pending(log: &dyn Log, group: &str, topic: &str) -> Result<HashSet<String>, LogError> {
    let partitions = log.topic(topic)?.partitions;
    let partitions: Vec<_> = (0..partitions).map(|number| TopicPartition::new(topic, number)).collect();
    let committed = log.committed(group, &partitions)?;
    let mut ids = HashSet::new();
    for (at, next) in partitions.iter().zip(committed) {
        let ends = log.watermarks(at)?;
        let from = next.unwrap_or(ends.low);
        if from < ends.high {
            Scan::open(log, at, from)?.until(ends.high, |message| {
                ids.extend(Ingest::id_of(message));
                Ok::<(), LogError>(())
            })?;
        }
    }
    Ok(ids)
}
