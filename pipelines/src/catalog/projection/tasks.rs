//! The copy of job history: of each task the status that says where it stands.
//!
//! Statuses are many, and most are never deleted: so a follower leaves word in MongoDB how far it is, and goes on there.
//! The word is its own. What another one has written vouches for nothing: of two that replace a document at the same
//! moment the one that is behind may come last on some servers, and then it is the one that must write on.
//!
//! The copy knows of which topic it is. Of one that was deleted and made anew the first statuses have low offsets, which
//! would never take the place of what the old one left: so the copy is made anew, too.

use std::time::{Duration, Instant};

use lunapark_schemas::{Messages, Position, TopicPartition};
use lunapark_stores::catalog::mongo::MongoCatalog;
use lunapark_stores::catalog::{CatalogError, Tasks};
use lunapark_topics::LogError;

use super::{LIMIT, Projection, ProjectionError, WAIT};
use crate::catalog::history::{Ends, read_tasks, take_status};
use crate::stop::Stop;

/// How soon a follower sees that the topic is another one, or has more partitions.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The topic of statuses as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    partitions: i32,
    /// Empty where the log has none.
    identity: String,
}

/// From where the partitions are read.
struct Starts {
    all: Vec<Position>,
    /// True where this follower has read what is not there.
    lost: bool,
}

impl Projection {
    pub(super) fn follow_tasks(&self, stop: &Stop, reached: &mut bool) -> Result<(), ProjectionError> {
        while !stop.requested() {
            self.follow_source(&self.source()?, stop, reached)?;
        }
        Ok(())
    }

    /// Until a stop, or until the topic is another one.
    fn follow_source(&self, source: &Source, stop: &Stop, reached: &mut bool) -> Result<(), ProjectionError> {
        // Each attempt of the driver has its own time-out; the loop around this is the patience.
        let mongo = MongoCatalog::open(&self.uri, &self.prefix)?.with_patience(Duration::ZERO);
        let follower = self.follower(source);
        let starts = self.renewed(&mongo, &follower, source)?;
        let mut reader = self.log.reader(&starts)?;
        tracing::info!(topic = %self.statuses.name(), "MongoDB's copy of job history follows");
        let (mut batch, mut looked) = (Messages::new(), Instant::now());
        while !stop.requested() {
            *reached = true;
            batch.clear();
            reader.poll(&mut batch, LIMIT, WAIT)?;
            if looked.elapsed() >= LOOK_EVERY && !source.identity.is_empty() {
                if self.source()? != *source {
                    return Ok(());
                }
                looked = Instant::now();
            }
            copy(&mongo, &follower, &batch)?;
        }
        Ok(())
    }

    fn source(&self) -> Result<Source, LogError> {
        let topic = self.statuses.name();
        // Asked for anew: what a client remembers of a topic that was missing may be old.
        let partitions = self.log.topic(topic)?.partitions;
        Ok(Source { partitions, identity: self.log.identity(topic)?.unwrap_or_default() })
    }

    /// The name of this instance as a follower of this very topic.
    fn follower(&self, source: &Source) -> String {
        format!("{}/{}/{}", self.instance, self.statuses.name(), source.identity)
    }

    /// From where to read on, once the copy is of this topic: of another one it is made anew.
    fn renewed(&self, mongo: &MongoCatalog, follower: &str, source: &Source) -> Result<Vec<Position>, ProjectionError> {
        let topic = self.statuses.name();
        let starts = self.starts(mongo, follower, source.partitions)?;
        let known = mongo.source(topic)?;
        if is_of_another(known.as_deref(), &source.identity, starts.lost) {
            tracing::warn!(%topic, "the topic was deleted and made anew, or has lost records: MongoDB's copy of job \
                            history is made anew from what it has");
            self.rebuild_tasks(mongo)?;
            return Ok(self.starts(mongo, follower, source.partitions)?.all);
        }
        if known.unwrap_or_default().is_empty() {
            mongo.set_source(topic, &source.identity)?;
        }
        Ok(starts.all)
    }

    fn starts(&self, mongo: &MongoCatalog, follower: &str, partitions: i32) -> Result<Starts, ProjectionError> {
        let mut starts = Starts { all: Vec::new(), lost: false };
        for partition in 0..partitions {
            let at = TopicPartition::new(self.statuses.name().clone(), partition);
            let (ends, next) = (self.log.watermarks(&at)?, mongo.position(&word(follower, partition))?);
            starts.lost |= next.is_some_and(|next| next > ends.high);
            // What lies outside is a word about records that are gone.
            let next = next.filter(|next| (ends.low..=ends.high).contains(next));
            starts.all.push(at.at(next.unwrap_or(ends.low)));
        }
        Ok(starts)
    }

    /// The number of tasks.
    pub(super) fn rebuild_tasks(&self, mongo: &MongoCatalog) -> Result<usize, ProjectionError> {
        let (topic, mut ends) = (self.statuses.name(), Ends::new());
        let identity = self.log.identity(topic);
        let tasks = read_tasks(&*self.log, topic, &mut ends)?;
        mongo.rebuild_tasks(&tasks)?;
        // A follower may have written what came meanwhile before it was taken for a stray.
        mongo.project_tasks(&read_tasks(&*self.log, topic, &mut ends)?)?;
        // Last: who is stopped before begins again. Where there is no topic there is nothing to be of.
        if let Ok(identity) = identity {
            mongo.set_source(topic, &identity.unwrap_or_default())?;
        }
        Ok(tasks.len())
    }
}

/// Whether a copy is of another topic than this one. Where the log has no identities, or had none, what was read and is not
/// there says so.
fn is_of_another(known: Option<&str>, identity: &str, lost: bool) -> bool {
    match known {
        Some(known) if !known.is_empty() && !identity.is_empty() => known != identity,
        _ => lost,
    }
}

/// Copies what a batch amounts to, and then says so.
fn copy(mongo: &MongoCatalog, follower: &str, batch: &Messages) -> Result<(), CatalogError> {
    let (mut tasks, mut ends) = (Tasks::default(), Ends::new());
    batch.iter().for_each(|message| take_status(&message, &mut tasks, &mut ends));
    mongo.project_tasks(&tasks)?;
    ends.iter().try_for_each(|(partition, next)| mongo.set_position(&word(follower, *partition), *next))
}

/// Under what a follower leaves word of a partition.
fn word(follower: &str, partition: i32) -> String {
    format!("{follower}/{partition}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_another_topic_is_told_from_its_own() {
        for (known, identity, lost, other) in [
            (Some("a"), "a", false, false),
            // A new leader may not have told yet how far it is.
            (Some("a"), "a", true, false),
            (Some("a"), "b", false, true),
            (Some(""), "", false, false),
            (Some(""), "", true, true),
            (Some("a"), "", false, false),
            (None, "b", false, false),
            (None, "b", true, true),
        ] {
            assert_eq!(is_of_another(known, identity, lost), other, "{known:?}, {identity}, {lost}");
        }
    }
}
