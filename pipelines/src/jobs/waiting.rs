//! Requests that wait: each is told its place in the queue of the worker that has taken it, by a thread of its own, so that
//! a log that is slow to answer keeps nobody from polling.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use lunapark_schemas::training::{TaskStatus, TrainingStats, TrainingStatus};
use lunapark_topics::{Log, LogError, LogErrorKind, Topic, Writer};

use super::job::Assignment;
use super::progress;
use crate::clock;

/// Words that wait to be written, at most: what has no room is said again later.
const QUEUE: usize = 64;

/// A status, and the partition that it goes to.
type Word = (TrainingStatus, i32);

/// The voice in which waiting requests are told of.
pub(super) struct Waiting {
    words: SyncSender<Word>,
}

impl Waiting {
    pub(super) fn open(log: Arc<dyn Log>, topic: Topic<TrainingStatus>) -> Result<Self, LogError> {
        let (words, heard) = sync_channel(QUEUE);
        let speak = move || Voice { log, topic, writer: None }.speak(&heard);
        let spawned = std::thread::Builder::new().name("queue-places".into()).spawn(speak);
        spawned.map_err(|e| LogError::new(LogErrorKind::Internal, format!("no thread to tell places: {e}")))?;
        Ok(Self { words })
    }

    /// Has the place of a request in the queue told, 1 is next; false where that has to be asked for again.
    pub(super) fn tell(&self, assignment: &Assignment, place: u64) -> bool {
        let status = TrainingStatus {
            task_id: assignment.task_id.clone(),
            project: assignment.project.clone(),
            task_status: TaskStatus::Submitted,
            stats: TrainingStats { submitted: clock::rfc3339(assignment.submitted), ..Default::default() },
            queue_position: Some(place),
            ..Default::default()
        };
        self.words.try_send((status, assignment.position.partition)).is_ok()
    }
}

struct Voice {
    log: Arc<dyn Log>,
    topic: Topic<TrainingStatus>,
    writer: Option<Box<dyn Writer>>,
}

impl Voice {
    /// Until nobody is there to say anything. That a place cannot be written is no reason to stop.
    fn speak(mut self, words: &Receiver<Word>) {
        for (status, partition) in words {
            if let Err(error) = self.write(&status, partition) {
                tracing::warn!(task_id = status.task_id, %error, "place in the queue not written");
            }
        }
    }

    fn write(&mut self, status: &TrainingStatus, partition: i32) -> Result<(), LogError> {
        let event = self.topic.encode(status)?;
        // One that has failed is not used again.
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.log.writer()?,
        };
        writer.produce(&event.record(Some(partition)))?;
        writer.flush(progress::PATIENCE)?;
        self.writer = Some(writer);
        Ok(())
    }
}
