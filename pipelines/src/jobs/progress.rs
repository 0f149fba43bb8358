//! Progress of a task on `training.status`, beside any transaction: a word that is lost is followed by the next.

use std::time::{Duration, Instant};

use lunapark_schemas::training::TrainingStatus;
use lunapark_topics::{LogError, Writer};

use super::Shared;

/// Not more often than this, however short the epochs are.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// A word that is not acknowledged by then is left to its fate: work does not wait for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Tells how far a task is.
pub(super) struct Teller<'a> {
    shared: &'a Shared,
    partition: i32,
    writer: Option<Box<dyn Writer>>,
    told: Option<Instant>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(shared: &'a Shared, partition: i32) -> Self {
        Self { shared, partition, writer: None, told: None }
    }

    /// Whether the last word is old enough for another one.
    pub(super) fn due(&self) -> bool {
        self.told.is_none_or(|told| told.elapsed() >= AT_MOST_EVERY)
    }

    /// Writes a status that is not the last one. That it cannot be written is no reason to stop working.
    pub(super) fn tell(&mut self, status: &TrainingStatus) {
        self.told = Some(Instant::now());
        if let Err(error) = self.write(status) {
            tracing::warn!(task_id = status.task_id, %error, "progress not written");
            self.writer = None;
        }
    }

    fn write(&mut self, status: &TrainingStatus) -> Result<(), LogError> {
        let at = self.shared.status_partition(self.partition);
        let event = self.shared.catalog.training_status.encode(status)?;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(self.shared.log.writer()?),
        };
        writer.produce(&event.record(Some(at.partition)))?;
        writer.flush(PATIENCE)
    }
}
