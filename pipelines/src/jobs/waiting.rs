//! Requests that wait: each is told its place in the queue of the worker that has taken it.

use std::sync::{Mutex, PoisonError};

use lunapark_schemas::training::{TaskStatus, TrainingStats, TrainingStatus};
use lunapark_topics::{LogError, Writer};

use super::job::Assignment;
use super::{Shared, progress};
use crate::clock;

/// The voice in which waiting requests are told of.
#[derive(Default)]
pub(super) struct Waiting {
    writer: Mutex<Option<Box<dyn Writer>>>,
}

impl Waiting {
    /// Writes the place of a request in the queue, 1 is next. That it cannot be written is no reason to stop.
    pub(super) fn tell(&self, shared: &Shared, assignment: &Assignment, place: u64) {
        let status = TrainingStatus {
            task_id: assignment.task_id.clone(),
            project: assignment.project.clone(),
            task_status: TaskStatus::Submitted,
            stats: TrainingStats { submitted: clock::rfc3339(assignment.submitted), ..Default::default() },
            queue_position: Some(place),
            ..Default::default()
        };
        if let Err(error) = self.write(shared, &status, assignment.position.partition) {
            tracing::warn!(task_id = status.task_id, %error, "place in the queue not written");
        }
    }

    fn write(&self, shared: &Shared, status: &TrainingStatus, partition: i32) -> Result<(), LogError> {
        let event = shared.catalog.training_status.encode(status)?;
        let mut kept = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has failed is not used again.
        let mut writer = match kept.take() {
            Some(writer) => writer,
            None => shared.log.writer()?,
        };
        writer.produce(&event.record(Some(partition)))?;
        writer.flush(progress::PATIENCE)?;
        *kept = Some(writer);
        Ok(())
    }
}
