//! A message that was taken: its job runs on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Instant;

use lunapark_schemas::Position;
use lunapark_schemas::training::{SearchOrigin, TrainingRequest, TrialEnd, TrialPlace};
use lunapark_topics::{LogError, LogErrorKind};
use lunapark_train::Refusal;

use super::Shared;
use super::cancels::Cancels;
use super::desk::Held;
use super::searches::Ends;
use super::shelf::Folder;
use super::thread::JobThread;
use super::turns::Turn;
use crate::runner::{Ended, Work};

/// A message that was taken.
pub(super) struct Assignment {
    pub(super) task_id: String,
    pub(super) project: Option<String>,
    /// Where the message stands.
    pub(super) position: Position,
    /// Where its checkpoints lie.
    pub(super) folder: Folder,
    /// When the request was sent, milliseconds since 1970.
    pub(super) submitted: i64,
    /// What is to be done, or why it cannot be.
    pub(super) task: Result<Task, Refusal>,
}

impl Assignment {
    /// Whether it trains, and is not to end at once.
    pub(super) fn trains(&self, cancels: &Cancels) -> bool {
        let trains = matches!(self.task, Ok(Task::Train(_) | Task::Trial { .. }));
        let task_id = self.origin().map_or(&self.task_id, |origin| &origin.task_id);
        trains && !cancels.contains(task_id)
    }
}

/// What is to be done.
pub(super) enum Task {
    /// One model is trained.
    Train(Box<TrainingRequest>),
    /// The trials of a search are published.
    Search(Box<TrainingRequest>),
    /// A trial is trained up to an epoch.
    Trial { origin: Box<SearchOrigin>, at: TrialPlace },
    /// What comes after a trial was trained; with all that have been until then.
    Trained { origin: Box<SearchOrigin>, at: TrialPlace, end: TrialEnd, ends: Ends },
}

impl Assignment {
    /// The search that it belongs to.
    pub(super) fn origin(&self) -> Option<&SearchOrigin> {
        match &self.task {
            Ok(Task::Trial { origin, .. } | Task::Trained { origin, .. }) => Some(origin),
            _ => None,
        }
    }
}

/// The end of a job.
pub(super) struct Finish {
    pub(super) ended: Ended,
    /// Nothing follows for its task.
    pub(super) terminal: bool,
}

/// A job under way.
pub(super) struct Running {
    shared: Arc<Shared>,
    assignment: Arc<Assignment>,
    leave: Arc<AtomicBool>,
    /// Since when it is to leave.
    asked: Option<Instant>,
    /// The end; `None` where the job was left.
    end: Receiver<Result<Option<Finish>, LogError>>,
    terminal: bool,
    /// The project in whose seat it sits.
    seat: Option<String>,
    /// The desk's room for one training.
    _held: Option<Held>,
    /// No other message of its task is worked on until this one is over.
    _turn: Turn,
}

impl Running {
    pub(super) fn start(
        shared: Arc<Shared>,
        assignment: Assignment,
        turn: Turn,
        held: Option<Held>,
    ) -> Result<Self, LogError> {
        let seat = assignment.project.clone().filter(|_| held.is_some());
        let (tell, end) = sync_channel(1);
        let (assignment, leave) = (Arc::new(assignment), Arc::new(AtomicBool::new(false)));
        let (of_thread, assigned, left) = (shared.clone(), assignment.clone(), leave.clone());
        let run = move || {
            let end = JobThread::new(&of_thread, &assigned, &left).run();
            // Nobody waits any more where the job was left.
            let _ = tell.send(end);
        };
        let spawned = std::thread::Builder::new().name("job".into()).spawn(run);
        spawned.map_err(|e| LogError::new(LogErrorKind::Internal, format!("no thread for a job: {e}")))?;
        Ok(Self { shared, assignment, leave, asked: None, end, terminal: false, seat, _held: held, _turn: turn })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(project) = &self.seat {
            self.shared.seats.leave(project, &self.assignment.position.to_string());
        }
    }
}

impl Work for Running {
    fn ended(&mut self) -> Result<Option<Ended>, LogError> {
        if let Some(project) = &self.seat {
            self.shared.seats.renew(project, &self.assignment.position.to_string());
        }
        match self.end.try_recv() {
            Ok(end) => Ok(end?.map(|finish| {
                self.terminal = finish.terminal;
                finish.ended
            })),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(LogError::new(LogErrorKind::Internal, "the job's thread is gone")),
        }
    }

    fn ask_to_leave(&mut self) {
        self.leave.store(true, Ordering::Release);
        self.asked.get_or_insert_with(Instant::now);
    }

    /// A thread that a store or a trainer holds up is left to itself: nobody hears its end, it writes nothing that another
    /// try would not write as well, and it goes as soon as it looks up.
    fn leave(mut self: Box<Self>) {
        self.ask_to_leave();
        let waited = self.asked.map(|asked| asked.elapsed()).unwrap_or_default();
        let task_id = &self.assignment.task_id;
        match self.end.recv_timeout(self.shared.settings.leave_within.saturating_sub(waited)) {
            Err(RecvTimeoutError::Timeout) => tracing::warn!(task_id, "the job is held up; it is not waited for"),
            ended => tracing::debug!(task_id, in_time = ended.is_ok(), "the job is left"),
        }
    }

    /// Checkpoints of a trial stay until its search has ended.
    fn committed(self: Box<Self>) {
        let Assignment { task_id, position, folder, task, .. } = &*self.assignment;
        if let Ok(Task::Trained { origin, at, end, .. }) = task {
            self.shared.searches.note(position, &origin.folder, at, end);
        }
        self.shared.book.note(position, task_id, self.terminal);
        if self.terminal && !matches!(task, Ok(Task::Trial { .. })) {
            self.shared.janitor.forget(folder);
        }
    }
}
