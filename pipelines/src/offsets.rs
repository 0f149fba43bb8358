//! Whether a collection and the topic of its documents have one history.
//!
//! A collection takes a record below its next offset for one that it has. Where the topic was deleted and made anew, or has
//! lost its end, that is wrong: new documents would be passed over in silence.

use std::collections::BTreeMap;
use std::sync::Arc;

use lunapark_index::{IndexError, collection_names, next_offsets};
use lunapark_schemas::TopicPartition;
use lunapark_stores::ArtifactStore;
use lunapark_topics::{Log, LogError};

/// A collection that is ahead of its topic.
#[derive(Debug, thiserror::Error)]
#[error(
    "collection `{collection}` has the records of {at} below offset {next}, and there the topic ends at {end}: it was \
     deleted and made anew, or has lost records, and new documents would be passed over. Remove the collection (`lunapark \
     collections drop {collection} --yes`) and ingest its documents again"
)]
pub struct AheadOfTopic {
    collection: String,
    at: TopicPartition,
    next: i64,
    end: i64,
}

/// What is wrong with a collection that has these next offsets; none where they lie in the topic.
pub fn compare(
    log: &dyn Log,
    topic: &str,
    collection: &str,
    next: &BTreeMap<i32, i64>,
) -> Result<Option<AheadOfTopic>, LogError> {
    let partitions = log.topic(topic)?.partitions;
    let known: Vec<_> = (0..partitions).map(|number| TopicPartition::new(topic, number)).collect();
    let ends = log.ends(&known)?;
    let ahead = |(&partition, &next): (&i32, &i64)| {
        let end = usize::try_from(partition).ok().and_then(|number| ends.get(number)).copied().unwrap_or(0);
        let at = || TopicPartition::new(topic, partition);
        (next > end).then(|| AheadOfTopic { collection: collection.to_owned(), at: at(), next, end })
    };
    Ok(next.iter().find_map(ahead))
}

/// The first of all collections that is ahead of the topic. One that cannot be read is left to who reads it.
pub fn compare_all(
    log: &dyn Log,
    topic: &str,
    store: &Arc<ArtifactStore>,
) -> Result<Result<Option<AheadOfTopic>, LogError>, IndexError> {
    for name in collection_names(store)? {
        let next = match next_offsets(store, &name) {
            Ok(next) => next,
            Err(error) if error.passes() => return Err(error),
            Err(_) => continue,
        };
        match compare(log, topic, &name, &next) {
            Ok(None) => {}
            found => return Ok(found),
        }
    }
    Ok(Ok(None))
}
