//! One job on its thread: data set, slices, checkpoints, end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lunapark_schemas::training::{
    TaskStatus, TopicRange, TrainingProgress, TrainingRequest, TrainingStats, TrainingStatus,
};
use lunapark_topics::{LogError, LogErrorKind};
use lunapark_train::{Job, Progress, Refusal, RefusalKind, Tables, Trained};

use super::claim::Claim;
use super::ending::{Made, Registered};
use super::fault::Fault;
use super::job::{Assignment, Finish, Task};
use super::progress::{Teller, seconds_left};
use super::{Shared, dataset, ending, storage};
use crate::clock;
use crate::runner::{Ended, Other};

/// A job works for so long before it looks at cancels and checkpoints again, and a stop waits for it.
const SLICE: Duration = Duration::from_millis(100);
/// A store that does not answer is asked again after this, then after twice as long, and so on.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Name under which a checkpoint is saved.
const STATE: &str = "state";

/// Why a job does not go on.
pub(super) enum Halt {
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
    /// A device that does not answer is not the task's fault: the stream thread is opened again, and the task waits.
    fn from(refusal: Refusal) -> Self {
        match refusal.kind {
            RefusalKind::Device => Halt::Log(LogError::new(LogErrorKind::Unreachable, refusal.message)),
            _ => Halt::Refused(refusal),
        }
    }
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(refusal) => refusal.into(),
            Fault::Away(what) => Halt::Log(LogError::new(LogErrorKind::Unreachable, what)),
            Fault::Log(error) => Halt::Log(error),
        }
    }
}

/// A job at work.
pub(super) struct JobThread<'a> {
    pub(super) shared: &'a Shared,
    pub(super) assignment: &'a Assignment,
    left: &'a AtomicBool,
    teller: Teller<'a>,
    pub(super) status: TrainingStatus,
    claim: Claim,
    /// When this try took the task, also in milliseconds since 1970; and how long before the first one did.
    started: Instant,
    taken_at: i64,
    earlier: Duration,
    /// SHA-256 of the data set, once it is loaded.
    pub(super) dataset_digest: Option<String>,
}

/// How far a job is trained.
pub(super) enum Until {
    /// Until nothing is left to do.
    Done,
    /// Until it has so many epochs.
    Epochs(u32),
}

impl<'a> JobThread<'a> {
    pub(super) fn new(shared: &'a Shared, assignment: &'a Assignment, left: &'a AtomicBool) -> Self {
        let taken_at = clock::now_millis();
        let stats = TrainingStats {
            submitted: clock::rfc3339(assignment.submitted),
            started: Some(clock::rfc3339(taken_at)),
            ..Default::default()
        };
        let status = TrainingStatus {
            task_id: assignment.task_id.clone(),
            project: assignment.project.clone(),
            task_status: TaskStatus::Running,
            stats,
            ..Default::default()
        };
        let teller = Teller::new(shared, assignment.position.partition);
        let (claim, started, earlier, dataset_digest) = (Claim::default(), Instant::now(), Duration::ZERO, None);
        Self { shared, assignment, left, teller, status, claim, started, taken_at, earlier, dataset_digest }
    }

    /// The end of the job; `None` where it was left.
    pub(super) fn run(mut self) -> Result<Option<Finish>, LogError> {
        tracing::info!(task_id = self.status.task_id, position = %self.assignment.position, "task begins");
        let done = catch_unwind(AssertUnwindSafe(|| self.work_off())).unwrap_or_else(|_| Err(panicked().into()));
        self.put_down();
        let others = match done {
            Ok(others) => others,
            Err(Halt::Left) => return Ok(None),
            Err(Halt::Log(error)) => return Err(error),
            Err(Halt::Cancelled) => self.halted(TaskStatus::Cancelled, None)?,
            Err(Halt::Refused(refusal)) => self.halted(TaskStatus::Failed, Some(refusal.message))?,
        };
        self.stamp();
        self.status.progress = None;
        let terminal = self.status.task_status.terminal();
        self.status.stats.finished = terminal.then(|| clock::rfc3339(clock::now_millis()));
        tracing::info!(task_id = self.status.task_id, status = ?self.status.task_status, "task ends");
        let result = ending::encode(&self.shared.catalog.training_status, self.status)?;
        Ok(Some(Finish { ended: Ended { result, others }, terminal }))
    }

    /// Does what is to be done, and gives the records that go with the answer; the status is filled on the way.
    fn work_off(&mut self) -> Result<Vec<Other>, Halt> {
        match self.assignment.task.as_ref().map_err(Refusal::clone)? {
            Task::Train(request) => self.train(request),
            Task::Search(request) => self.publish(request),
            Task::Trial { origin, at } => self.trial(origin, at),
            Task::Trained { origin, ends, .. } => self.conclude(origin, ends),
        }
    }

    fn halted(&mut self, task_status: TaskStatus, error: Option<String>) -> Result<Vec<Other>, LogError> {
        self.status.task_status = task_status;
        self.status.error = error;
        self.halted_trial()
    }

    /// Trains one model and registers it.
    fn train(&mut self, request: &TrainingRequest) -> Result<Vec<Other>, Halt> {
        self.look_up()?;
        storage::check(request)?;
        ending::check_save(self.shared, request)?;
        self.take_up()?;
        let range = self.range(request)?;
        let trained = self.trained(request, range.as_ref())?;
        self.look_up()?;
        let made = self.made(&trained)?;
        let position = self.assignment.position.to_string();
        let task_id = &self.assignment.task_id;
        self.register(&Registered { task_id, request_position: &position, request, range: range.as_ref() }, &made)
    }

    /// From data set to model.
    fn trained(&mut self, request: &TrainingRequest, range: Option<&TopicRange>) -> Result<Trained, Halt> {
        let mut job = self.load(request, range)?;
        self.work(&mut *job, &Until::Done)?;
        Ok(job.finish()?)
    }

    /// A job on its data set, at its last checkpoint.
    pub(super) fn load(&mut self, request: &TrainingRequest, range: Option<&TopicRange>) -> Result<Box<dyn Job>, Halt> {
        let shared = self.shared;
        let loaded = self.patiently(|| dataset::load(request, &shared.settings, range, &*shared.log))?;
        self.dataset_digest = Some(loaded.digest);
        self.start(request, loaded.tables)
    }

    /// Stores a model that was trained on the data set that is loaded.
    pub(super) fn made(&self, trained: &Trained) -> Result<Made, Halt> {
        self.patiently(|| Made::store(self.shared, trained, self.dataset_digest.as_deref()))
    }

    /// The task has become a version: the record of it, unless the catalog has it.
    pub(super) fn register(&mut self, task: &Registered<'_>, made: &Made) -> Result<Vec<Other>, Halt> {
        let (version, new) = self.patiently(|| ending::register(self.shared, task, made))?;
        self.status.history.clone_from(&made.history);
        self.status.evaluation.clone_from(&made.evaluation);
        self.status.dataset = Some(made.dataset.clone());
        let model = ending::reference(&version);
        let record = if new { Some(ending::record(self.shared, version)?) } else { None };
        self.status.model = Some(model);
        self.status.task_status = TaskStatus::Succeeded;
        Ok(record.into_iter().map(Other::by_key).collect())
    }

    /// Counts this try, and says that somebody is at it.
    pub(super) fn take_up(&mut self) -> Result<(), Halt> {
        self.claim = self.patiently(|| Claim::load(&self.shared.shelf, &self.assignment.folder))?;
        self.claim.take_up();
        let begun = self.claim.begun(&self.assignment.task_id, self.taken_at);
        self.earlier = Duration::from_millis(u64::try_from(self.taken_at - begun).unwrap_or_default());
        self.status.stats.started = Some(clock::rfc3339(begun));
        self.save_claim()?;
        self.status.stats.resumed = self.claim.resumed;
        self.claim.check(self.shared.settings.max_crashes)?;
        self.teller.tell(&self.status);
        Ok(())
    }

    /// Tries until the store answers, and looks up in between; what it refuses is the task's failure.
    pub(super) fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T, Fault>) -> Result<T, Halt> {
        let mut wait = FIRST_WAIT;
        loop {
            match attempt() {
                Err(Fault::Away(what)) => tracing::warn!(task_id = self.status.task_id, what, ?wait, "tried again"),
                ended => return Ok(ended?),
            }
            self.rest(wait)?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn rest(&self, time: Duration) -> Result<(), Halt> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look_up()?;
            std::thread::park_timeout(SLICE.min(time));
        }
        self.look_up()
    }

    /// This worker is no longer at it: whatever ends it from now on is not the task's fault.
    fn put_down(&mut self) {
        if std::mem::take(&mut self.claim.open)
            && let Err(fault) = self.claim.save(&self.shared.shelf, &self.assignment.folder)
        {
            tracing::warn!(task_id = self.status.task_id, ?fault, "the task's claim stays open");
        }
    }

    /// The range that an earlier try decided on for this path, or a new one.
    pub(super) fn range(&mut self, request: &TrainingRequest) -> Result<Option<TopicRange>, Halt> {
        let path = &request.dataset.path;
        if let Some(range) = self.claim.range(path) {
            return Ok(Some(range.clone()));
        }
        let Some(range) = dataset::range_of(&request.dataset, &*self.shared.log)? else { return Ok(None) };
        self.claim.decide(path, &range);
        self.save_claim()?;
        Ok(Some(range))
    }

    fn save_claim(&self) -> Result<(), Halt> {
        self.patiently(|| self.claim.save(&self.shared.shelf, &self.assignment.folder))
    }

    /// From the last checkpoint, or from the beginning where there is none that fits.
    fn start(&mut self, request: &TrainingRequest, tables: Tables) -> Result<Box<dyn Job>, Halt> {
        let trainers = &self.shared.trainers;
        let trainer = trainers.iter().find(|trainer| trainer.accepts(request)).ok_or_else(|| unknown(request))?;
        let Some(state) = self.patiently(|| self.shared.shelf.saved(&self.assignment.folder, STATE))? else {
            return Ok(trainer.start(request, tables, None)?);
        };
        match trainer.start(request, tables.clone(), Some(&state)) {
            Err(refusal) if refusal.kind == RefusalKind::Checkpoint => {
                tracing::warn!(task_id = self.status.task_id, %refusal, "begins again");
                Ok(trainer.start(request, tables, None)?)
            }
            started => {
                // A device that does not answer resumes nothing.
                let job = started?;
                self.claim.resumed = self.claim.resumed.saturating_add(1);
                self.status.stats.resumed = self.claim.resumed;
                self.save_claim()?;
                Ok(job)
            }
        }
    }

    pub(super) fn work(&mut self, job: &mut dyn Job, until: &Until) -> Result<(), Halt> {
        let began = Instant::now();
        let mut saved = began;
        let mut epochs = job.history().len();
        loop {
            if self.left.load(Ordering::Acquire) {
                self.checkpoint(job);
                return Err(Halt::Left);
            }
            self.cancelled()?;
            let progress = job.step(SLICE)?;
            if progress.done || until.reached(job) {
                return Ok(());
            }
            if saved.elapsed() >= self.shared.settings.checkpoint_interval {
                self.checkpoint(job);
                saved = Instant::now();
            }
            let grown = job.history().len() > epochs;
            if self.teller.due() && (grown || self.started.elapsed() > SLICE) {
                epochs = job.history().len();
                self.tell(&progress, job, began.elapsed());
            }
        }
    }

    /// A checkpoint that cannot be saved is no reason to stop: the last one holds until the next.
    pub(super) fn checkpoint(&mut self, job: &dyn Job) {
        let (shelf, folder) = (&self.shared.shelf, &self.assignment.folder);
        let saved = job.checkpoint().map_err(Fault::from).and_then(|state| shelf.save(folder, STATE, &state));
        let saved = saved.and_then(|()| {
            // It got further: whatever ended the workers before was not the work done since.
            match std::mem::take(&mut self.claim.crashes) {
                0 => Ok(()),
                _ => self.claim.save(shelf, folder),
            }
        });
        if let Err(fault) = saved {
            tracing::warn!(task_id = self.status.task_id, ?fault, "the checkpoint is not saved");
        }
    }

    /// Between slices, and before what takes a moment.
    pub(super) fn look_up(&self) -> Result<(), Halt> {
        if self.left.load(Ordering::Acquire) {
            return Err(Halt::Left);
        }
        self.cancelled()
    }

    /// A trial is cancelled with its search.
    fn cancelled(&self) -> Result<(), Halt> {
        let task_id = self.assignment.origin().map_or(&self.assignment.task_id, |origin| &origin.task_id);
        if self.shared.cancels.contains(task_id) { Err(Halt::Cancelled) } else { Ok(()) }
    }

    /// The last epoch alone travels with progress: the whole history comes with the end.
    fn tell(&mut self, progress: &Progress, job: &dyn Job, worked: Duration) {
        self.stamp();
        self.status.progress = Some(TrainingProgress {
            epoch: progress.epoch,
            epochs: progress.epochs,
            step: progress.step,
            steps: progress.steps,
            samples_per_second: progress.samples_per_second,
            eta_seconds: seconds_left(progress, worked),
        });
        self.status.history = job.history().last().cloned().into_iter().collect();
        self.teller.tell(&self.status);
    }

    fn stamp(&mut self) {
        self.status.stats.elapsed_seconds = (self.earlier + self.started.elapsed()).as_secs_f64();
    }
}

impl Until {
    fn reached(&self, job: &dyn Job) -> bool {
        matches!(self, Until::Epochs(epochs) if job.history().len() >= *epochs as usize)
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
