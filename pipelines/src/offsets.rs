//! Whether a collection and the topic of its documents have one history.
//!
//! A collection takes a record below its next offset for one that it has. Where the topic was deleted and made anew, or has
//! lost its end, that is wrong: new documents would be passed over in silence. The topic's identity tells it, and where the
//! log or an older collection has none, its ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use lunapark_index::{IndexError, Manifest, collection_names, newest};
use lunapark_schemas::TopicPartition;
use lunapark_stores::ArtifactStore;
use lunapark_topics::{Log, LogError};

/// A collection of another history than its topic.
#[derive(Debug, thiserror::Error)]
pub enum OtherHistory {
    /// It has read what the topic has not.
    #[error(
        "collection `{collection}` has the records of {at} below offset {next}, and there the topic ends at {end}: it was \
         deleted and made anew, or has lost records, and new documents would be passed over. Remove the collection \
         (`lunapark collections drop {collection} --yes`) and ingest its documents again"
    )]
    Ahead {
        /// The collection.
        collection: String,
        /// Where.
        at: TopicPartition,
        /// Its next offset.
        next: i64,
        /// The topic's.
        end: i64,
    },
    /// It has read another topic of that name.
    #[error(transparent)]
    Topic(IndexError),
}

/// What is known of the topic.
pub struct History {
    topic: Arc<str>,
    /// Identity, where the log has one.
    pub identity: Option<String>,
    ends: Vec<i64>,
}

impl History {
    /// As the log has it now.
    pub fn of(log: &dyn Log, topic: &Arc<str>) -> Result<Self, LogError> {
        let partitions = log.topic(topic)?.partitions;
        let known: Vec<_> = (0..partitions).map(|number| TopicPartition::new(topic.clone(), number)).collect();
        Ok(Self { topic: topic.clone(), identity: log.identity(topic)?, ends: log.ends(&known)? })
    }

    /// What is wrong with a collection; none where its offsets are of this topic.
    pub fn refuse(&self, collection: &str, manifest: &Manifest) -> Option<OtherHistory> {
        let topic = manifest.check_topic(collection, self.identity.as_deref()).err().map(OtherHistory::Topic);
        self.ahead(collection, &manifest.next).or(topic)
    }

    fn ahead(&self, collection: &str, next: &BTreeMap<i32, i64>) -> Option<OtherHistory> {
        next.iter().find_map(|(&partition, &next)| {
            let end = usize::try_from(partition).ok().and_then(|number| self.ends.get(number)).copied().unwrap_or(0);
            let at = || TopicPartition::new(self.topic.clone(), partition);
            (next > end).then(|| OtherHistory::Ahead { collection: collection.to_owned(), at: at(), next, end })
        })
    }

    /// The first of all collections that is of another history. One that cannot be read is left to who reads it.
    pub fn refuse_any(&self, store: &Arc<ArtifactStore>) -> Result<Option<OtherHistory>, IndexError> {
        for name in collection_names(store)? {
            let found = match newest(store, &name) {
                Ok(manifest) => self.refuse(&name, &manifest),
                Err(error) if error.passes() => return Err(error),
                Err(_) => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
