//! One job on a thread of its own: data set, slices, checkpoints, end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lunapark_schemas::Position;
use lunapark_schemas::training::{TaskStatus, TrainingProgress, TrainingRequest, TrainingStats, TrainingStatus};
use lunapark_topics::catalog::Encoded;
use lunapark_topics::{LogError, LogErrorKind};
use lunapark_train::{Job, Progress, Refusal, RefusalKind, Tables};

use super::dataset::{self, Missing};
use super::progress::Teller;
use super::slices::Range;
use super::{Shared, ending};
use crate::clock;
use crate::runner::{Ended, Work};

/// A job works for so long before it looks at cancels and checkpoints again, and a stop waits for it.
const SLICE: Duration = Duration::from_millis(100);
/// Names under which a task's things are saved.
const STATE: &str = "state";
const RANGE: &str = "range";
const RESUMED: &str = "resumed";

/// A request that was taken.
pub(super) struct Assignment {
    pub(super) task_id: String,
    pub(super) position: Position,
    /// When it was sent, milliseconds since 1970.
    pub(super) submitted: i64,
    /// What is to be trained, or why it cannot be.
    pub(super) request: Result<TrainingRequest, Refusal>,
}

/// A job under way.
pub(super) struct Running {
    shared: Arc<Shared>,
    task_id: String,
    partition: i32,
    leave: Arc<AtomicBool>,
    /// The end; `None` where the job was left.
    end: Receiver<Result<Option<Ended>, LogError>>,
    thread: JoinHandle<()>,
}

impl Running {
    pub(super) fn start(shared: Arc<Shared>, assignment: Assignment) -> Result<Self, LogError> {
        let (tell, end) = sync_channel(1);
        let (task_id, partition) = (assignment.task_id.clone(), assignment.position.partition);
        let leave = Arc::new(AtomicBool::new(false));
        let (of_thread, left) = (shared.clone(), leave.clone());
        let run = move || {
            let end = JobThread::new(&of_thread, &assignment, &left).run();
            // Nobody waits any more where the job was left.
            let _ = tell.send(end);
        };
        let spawned = std::thread::Builder::new().name("job".into()).spawn(run);
        let thread = spawned.map_err(|e| LogError::new(LogErrorKind::Internal, format!("no thread for a job: {e}")))?;
        Ok(Self { shared, task_id, partition, leave, end, thread })
    }
}

impl Work for Running {
    fn ended(&mut self) -> Result<Option<Ended>, LogError> {
        match self.end.try_recv() {
            Ok(end) => end,
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(LogError::new(LogErrorKind::Internal, "the job's thread is gone")),
        }
    }

    fn leave(self: Box<Self>) {
        self.leave.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!(task_id = self.task_id, "the job's thread panicked");
        }
    }

    fn committed(self: Box<Self>) {
        self.shared.book.note(self.partition, &self.task_id);
        // Nobody reads them again: the task has ended.
        if let Err(error) = self.shared.shelf.forget(&self.task_id) {
            tracing::warn!(task_id = self.task_id, %error, "checkpoints left behind");
        }
    }
}

/// Why a job does not go on.
enum Halt {
    /// Somebody else goes on.
    Left,
    Cancelled,
    Refused(Refusal),
    Log(LogError),
}

impl From<LogError> for Halt {
    fn from(error: LogError) -> Self {
        Halt::Log(error)
    }
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Halt::Refused(refusal)
    }
}

impl From<Missing> for Halt {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Refused(refusal) => Halt::Refused(refusal),
            Missing::Log(error) => Halt::Log(error),
        }
    }
}

struct JobThread<'a> {
    shared: &'a Shared,
    assignment: &'a Assignment,
    left: &'a AtomicBool,
    teller: Teller<'a>,
    status: TrainingStatus,
    started: Instant,
}

impl<'a> JobThread<'a> {
    fn new(shared: &'a Shared, assignment: &'a Assignment, left: &'a AtomicBool) -> Self {
        let stats = TrainingStats {
            submitted: clock::rfc3339(assignment.submitted),
            started: Some(clock::rfc3339(clock::now_millis())),
            ..Default::default()
        };
        let status = TrainingStatus {
            task_id: assignment.task_id.clone(),
            project: assignment.request.as_ref().ok().and_then(|request| request.project.clone()),
            task_status: TaskStatus::Running,
            stats,
            ..Default::default()
        };
        let teller = Teller::new(shared, assignment.position.partition);
        Self { shared, assignment, left, teller, status, started: Instant::now() }
    }

    /// The end of the task; `None` where it was left.
    fn run(mut self) -> Result<Option<Ended>, LogError> {
        tracing::info!(task_id = self.status.task_id, position = %self.assignment.position, "task begins");
        let trained = catch_unwind(AssertUnwindSafe(|| self.train())).unwrap_or_else(|_| Err(panicked().into()));
        let others = match trained {
            Ok(version) => version.into_iter().collect(),
            Err(Halt::Left) => return Ok(None),
            Err(Halt::Log(error)) => return Err(error),
            Err(Halt::Cancelled) => {
                self.status.task_status = TaskStatus::Cancelled;
                Vec::new()
            }
            Err(Halt::Refused(refusal)) => {
                self.status.task_status = TaskStatus::Failed;
                self.status.error = Some(refusal.message);
                Vec::new()
            }
        };
        self.stamp();
        self.status.progress = None;
        self.status.stats.finished = Some(clock::rfc3339(clock::now_millis()));
        tracing::info!(task_id = self.status.task_id, status = ?self.status.task_status, "task ends");
        let result = ending::encode(&self.shared.catalog.training_status, self.status)?;
        Ok(Some(Ended { result, others }))
    }

    /// Trains, stores, and gives the record of the version unless the catalog has it; the status is filled on the way.
    fn train(&mut self) -> Result<Option<Encoded>, Halt> {
        let request = self.assignment.request.as_ref().map_err(Refusal::clone)?;
        self.look_up()?;
        ending::check_save(self.shared, request)?;
        self.teller.tell(&self.status);
        let range = self.range(request)?;
        let tables = dataset::load(request, &self.shared.settings, range.as_ref(), &*self.shared.log)?;
        let mut job = self.start(request, tables)?;
        self.work(&mut *job)?;
        let trained = job.finish()?;
        self.look_up()?;
        self.status.history.clone_from(&trained.history);
        self.status.evaluation.clone_from(&trained.evaluation);
        self.status.dataset = Some(trained.dataset.clone());
        let (version, new) = ending::store(self.shared, self.assignment, request, range.as_ref(), &trained)?;
        let model = ending::reference(&version);
        let record = if new { Some(ending::record(self.shared, version)?) } else { None };
        self.status.model = Some(model);
        self.status.task_status = TaskStatus::Succeeded;
        Ok(record)
    }

    /// The range that an earlier try decided on, or a new one.
    fn range(&self, request: &TrainingRequest) -> Result<Option<Range>, Halt> {
        let (shelf, task_id) = (&self.shared.shelf, &self.status.task_id);
        if !request.dataset.path.starts_with("topic://") {
            return Ok(None);
        }
        if let Some(saved) = shelf.saved(task_id, RANGE)?
            && let Ok(range) = serde_json::from_slice(&saved)
        {
            return Ok(Some(range));
        }
        let range = dataset::range_of(&request.dataset, &*self.shared.log)?;
        let text = serde_json::to_vec(&range).map_err(|e| LogError::new(LogErrorKind::Internal, e.to_string()))?;
        shelf.save(task_id, RANGE, &text)?;
        Ok(range)
    }

    /// From the last checkpoint, or from the beginning where there is none that fits.
    fn start(&mut self, request: &TrainingRequest, tables: Tables) -> Result<Box<dyn Job>, Halt> {
        let trainers = &self.shared.trainers;
        let trainer = trainers.iter().find(|trainer| trainer.accepts(request)).ok_or_else(|| unknown(request))?;
        let Some(state) = self.shared.shelf.saved(&self.status.task_id, STATE)? else {
            return Ok(trainer.start(request, tables, None)?);
        };
        match trainer.start(request, tables.clone(), Some(&state)) {
            Err(refusal) if refusal.kind == RefusalKind::Checkpoint => {
                tracing::warn!(task_id = self.status.task_id, %refusal, "begins again");
                Ok(trainer.start(request, tables, None)?)
            }
            started => {
                self.status.stats.resumed = self.count_resumed()?;
                Ok(started?)
            }
        }
    }

    fn count_resumed(&self) -> Result<u32, LogError> {
        let (shelf, task_id) = (&self.shared.shelf, &self.status.task_id);
        let before = shelf.saved(task_id, RESUMED)?.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
        let count = before.unwrap_or(0u32).saturating_add(1);
        shelf.save(task_id, RESUMED, count.to_string().as_bytes())?;
        Ok(count)
    }

    fn work(&mut self, job: &mut dyn Job) -> Result<(), Halt> {
        let mut saved = Instant::now();
        let mut epochs = job.history().len();
        loop {
            if self.left.load(Ordering::Acquire) {
                self.checkpoint(job)?;
                return Err(Halt::Left);
            }
            self.cancelled()?;
            let progress = job.step(SLICE)?;
            if progress.done {
                return Ok(());
            }
            if saved.elapsed() >= self.shared.settings.checkpoint_interval {
                self.checkpoint(job)?;
                saved = Instant::now();
            }
            let grown = job.history().len() > epochs;
            if self.teller.due() && (grown || self.started.elapsed() > SLICE) {
                epochs = job.history().len();
                self.tell(&progress, job);
            }
        }
    }

    fn checkpoint(&self, job: &dyn Job) -> Result<(), LogError> {
        self.shared.shelf.save(&self.status.task_id, STATE, &job.checkpoint())
    }

    /// Between slices, and before what takes a moment.
    fn look_up(&self) -> Result<(), Halt> {
        if self.left.load(Ordering::Acquire) {
            return Err(Halt::Left);
        }
        self.cancelled()
    }

    fn cancelled(&self) -> Result<(), Halt> {
        if self.shared.cancels.contains(&self.status.task_id) { Err(Halt::Cancelled) } else { Ok(()) }
    }

    /// The last epoch alone travels with progress: the whole history comes with the end.
    fn tell(&mut self, progress: &Progress, job: &dyn Job) {
        self.stamp();
        let left = progress.steps.saturating_sub(progress.step) as f64;
        let per_step = self.started.elapsed().as_secs_f64() / progress.step.max(1) as f64;
        self.status.progress = Some(TrainingProgress {
            epoch: progress.epoch,
            epochs: progress.epochs,
            step: progress.step,
            steps: progress.steps,
            samples_per_second: progress.samples_per_second,
            eta_seconds: left * per_step,
        });
        self.status.history = job.history().last().cloned().into_iter().collect();
        self.teller.tell(&self.status);
    }

    fn stamp(&mut self) {
        self.status.stats.elapsed_seconds = self.started.elapsed().as_secs_f64();
    }
}

fn unknown(request: &TrainingRequest) -> Refusal {
    let objective = &request.model.objective;
    Refusal::request(format!(
        "`model.objective` is `{objective}`, which no trainer here trains; write `classification`, `regression` or \
         `anomaly-detection`"
    ))
}

fn panicked() -> Refusal {
    Refusal::training("the trainer panicked; its message is in the worker's log; please report it")
}
