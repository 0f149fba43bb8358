//! The copy of job history: of each task the status that says where it stands.
//!
//! Statuses are many, and most are never deleted: so a follower leaves word in MongoDB how far it is, and goes on there.
//! The word is its own. What another one has written vouches for nothing: of two that replace a document at the same
//! moment the one that is behind may come last on some servers, and then it is the one that must write on.

use std::time::Duration;

use lunapark_schemas::{Messages, Position, TopicPartition};
use lunapark_stores::catalog::mongo::MongoCatalog;
use lunapark_stores::catalog::{CatalogError, Tasks};

use super::{LIMIT, Projection, ProjectionError, WAIT};
use crate::catalog::history::{Ends, read_tasks, take_status};
use crate::stop::Stop;

impl Projection {
    pub(super) fn follow_tasks(&self, stop: &Stop, reached: &mut bool) -> Result<(), ProjectionError> {
        let topic = self.statuses.name();
        // Asked for anew: what a client remembers of a topic that was missing may be old.
        let partitions = self.log.topic(topic)?.partitions;
        let follower = self.follower()?;
        // Each attempt of the driver has its own time-out; the loop around this is the patience.
        let mongo = MongoCatalog::open(&self.uri, &self.prefix)?.with_patience(Duration::ZERO);
        let starts = (0..partitions).map(|partition| self.start(&mongo, &follower, partition));
        let mut reader = self.log.reader(&starts.collect::<Result<Vec<_>, _>>()?)?;
        tracing::info!(%topic, "MongoDB's copy of job history follows");
        let mut batch = Messages::new();
        while !stop.requested() {
            *reached = true;
            batch.clear();
            reader.poll(&mut batch, LIMIT, WAIT)?;
            copy(&mongo, &follower, &batch)?;
        }
        Ok(())
    }

    /// The name of this instance as a follower of this very topic: one that was made anew is read from its beginning.
    fn follower(&self) -> Result<String, ProjectionError> {
        let topic = self.statuses.name();
        let identity = self.log.identity(topic)?.unwrap_or_default();
        Ok(format!("{}/{topic}/{identity}", self.instance))
    }

    fn start(&self, mongo: &MongoCatalog, follower: &str, partition: i32) -> Result<Position, ProjectionError> {
        let at = TopicPartition::new(self.statuses.name().clone(), partition);
        let (ends, next) = (self.log.watermarks(&at)?, mongo.position(&word(follower, partition))?);
        // What lies outside is a word about records that are gone.
        let next = next.filter(|next| (ends.low..=ends.high).contains(next));
        Ok(at.at(next.unwrap_or(ends.low)))
    }

    /// The number of tasks.
    pub(super) fn rebuild_tasks(&self, mongo: &MongoCatalog) -> Result<usize, ProjectionError> {
        let (topic, mut ends) = (self.statuses.name(), Ends::new());
        let tasks = read_tasks(&*self.log, topic, &mut ends)?;
        mongo.rebuild_tasks(&tasks)?;
        // A follower may have written what came meanwhile before it was taken for a stray.
        mongo.project_tasks(&read_tasks(&*self.log, topic, &mut ends)?)?;
        Ok(tasks.len())
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
