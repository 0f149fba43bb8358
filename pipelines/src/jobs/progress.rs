//! Progress of a task on `training.status`, beside any transaction: a word that is lost is followed by the next.

use std::time::{Duration, Instant};

use lunapark_schemas::training::TrainingStatus;
use lunapark_topics::{LogError, Writer};
use lunapark_train::Progress;

use super::Shared;

/// Not more often than this, however short the epochs are.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// A word that is not acknowledged by then is left to its fate: work does not wait for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Seconds to the last step at the pace of this try, which has worked for so long: the steps of those before it took time
/// that is not counted here.
pub(super) fn seconds_left(progress: &Progress, worked: Duration) -> f64 {
    let made = progress.step.saturating_sub(progress.steps_before).max(1) as f64;
    let left = progress.steps.saturating_sub(progress.step) as f64;
    left * worked.as_secs_f64() / made
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_after_a_resume_takes_the_time_of_the_steps_since() {
        let progress = |step, steps_before| Progress { step, steps: 1000, steps_before, ..Default::default() };
        let worked = Duration::from_secs(10);
        assert_eq!(seconds_left(&progress(200, 0), worked), 40.0);
        // 10 seconds for the last hundred of 900.
        assert_eq!(seconds_left(&progress(900, 800), worked), 10.0);
        assert_eq!(seconds_left(&progress(800, 800), worked), 2000.0, "not one step yet: no faster than this");
        assert_eq!(seconds_left(&progress(1000, 800), worked), 0.0);
    }
}
