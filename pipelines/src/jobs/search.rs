//! A search: its trials are published, each trained up to a rung, and after each the owner of the search's partition decides.
//!
//! ```text
//! training.requests ─► publish ─► trial, trial, … ─► training.trials, all partitions: any worker trains them
//!                                                        │ trained
//!                       training.trials, one partition ◄─┘
//!                           └─► conclude ─► the better half once more, or the end: version, terminal status
//! ```

use lunapark_schemas::training::{
    SearchOrigin, TaskStatus, TrainingRequest, TrialEnd, TrialPlace, TrialRecord, TrialReference,
};
use lunapark_topics::LogError;
use lunapark_train::{Job, Ladder, Refusal};

use super::board::{Board, Next};
use super::ending::{self, Made, Registered};
use super::job::Task;
use super::searches::Ends;
use super::shelf::Folder;
use super::storage;
use super::thread::{Halt, JobThread, Until};
use crate::runner::Other;

/// Name under which a trained trial is saved.
pub(super) const MADE: &str = "made";
/// Why a trial failed travels with each record of its search: a sentence, no more.
const MAX_ERROR: usize = 300;

impl JobThread<'_> {
    /// Publishes the first rung; the search goes on with what comes of it.
    pub(super) fn publish(&mut self, request: &TrainingRequest) -> Result<Vec<Other>, Halt> {
        self.look_up()?;
        let ladder = Ladder::of(request)?;
        storage::check(request)?;
        ending::check_save(self.shared, request)?;
        self.take_up()?;
        let assignment = self.assignment;
        let origin = SearchOrigin {
            task_id: assignment.task_id.clone(),
            request_position: assignment.position.to_string(),
            partition: assignment.position.partition,
            submitted: assignment.submitted,
            folder: assignment.folder.as_str().to_owned(),
            range: self.range(request)?,
            request: request.clone(),
        };
        self.status.search = Some(Board::new(&ladder, &Ends::new()).report());
        self.rung(&ladder, &origin, 0, &(0..ladder.trials(0)).collect::<Vec<_>>())
    }

    /// The trials of a rung, spread over all partitions.
    fn rung(&self, ladder: &Ladder, of: &SearchOrigin, rung: u32, trials: &[u32]) -> Result<Vec<Other>, Halt> {
        let partitions = self.shared.catalog.training_trials.spec.partitions;
        let record = |(nth, trial): (usize, &u32)| {
            let at =
                TrialPlace { trial: *trial, rung, epochs: ladder.epochs(rung), parameters: ladder.parameters(*trial) };
            let record = ending::trial(self.shared, &TrialRecord::Trial { of: Box::new(of.clone()), at })?;
            let partition = (of.partition + nth as i32 % partitions) % partitions;
            Ok(Other { record, partition: Some(partition) })
        };
        trials.iter().enumerate().map(record).collect()
    }

    /// Trains a trial up to its rung. The next rung goes on from its checkpoint; that of the last one is a model.
    pub(super) fn trial(&mut self, of: &SearchOrigin, at: &TrialPlace) -> Result<Vec<Other>, Halt> {
        self.status.trial = Some(TrialReference { search: of.task_id.clone(), trial: at.trial, rung: at.rung });
        self.look_up()?;
        let ladder = Ladder::of(&of.request)?;
        let request = ladder.request(&of.request, &at.parameters)?;
        self.take_up()?;
        let mut job = self.load(&request, of.range.as_ref())?;
        let last = at.rung + 1 >= ladder.rungs();
        self.work(&mut *job, &if last { Until::Done } else { Until::Epochs(at.epochs) })?;
        let score = self.score(&ladder, &*job, at)?;
        let artifact = match last {
            true => Some(self.make(job)?),
            false => {
                self.checkpoint(&*job);
                None
            }
        };
        self.status.task_status = TaskStatus::Succeeded;
        self.trained_trial(TrialEnd { score: Some(score), artifact, ..Default::default() }).map_err(Halt::Log)
    }

    /// A slice may have brought more epochs than the rung has: those do not count yet.
    fn score(&mut self, ladder: &Ladder, job: &dyn Job, at: &TrialPlace) -> Result<f64, Refusal> {
        let history = job.history();
        let within = &history[..history.len().min(at.epochs as usize)];
        self.status.history = within.to_vec();
        ladder.score(within)
    }

    /// Stores the model, and what is to be registered if it is the best; its digest.
    fn make(&mut self, job: Box<dyn Job>) -> Result<String, Halt> {
        let trained = job.finish()?;
        let made = self.made(&trained)?;
        self.status.evaluation.clone_from(&made.evaluation);
        let text = serde_json::to_vec(&made).map_err(|error| unreadable(&error))?;
        self.patiently(|| self.shared.shelf.save(&self.assignment.folder, MADE, &text))?;
        Ok(made.digest)
    }

    /// A trial that did not get to its rung has ended all the same: its search has to know.
    pub(super) fn halted_trial(&mut self) -> Result<Vec<Other>, LogError> {
        let cancelled = self.status.task_status == TaskStatus::Cancelled;
        let error = self.status.error.clone().map(|text| text.chars().take(MAX_ERROR).collect());
        self.trained_trial(TrialEnd { error, cancelled, ..Default::default() })
    }

    fn trained_trial(&self, end: TrialEnd) -> Result<Vec<Other>, LogError> {
        let Ok(Task::Trial { origin, at }) = &self.assignment.task else { return Ok(Vec::new()) };
        let record = TrialRecord::Trained { of: origin.clone(), at: at.clone(), end };
        let record = self.shared.catalog.training_trials.encode(&record)?;
        Ok(vec![Other { record, partition: Some(origin.partition) }])
    }

    /// Decides what follows once a trial has been trained.
    pub(super) fn conclude(&mut self, of: &SearchOrigin, ends: &Ends) -> Result<Vec<Other>, Halt> {
        let ladder = Ladder::of(&of.request)?;
        let board = Board::new(&ladder, ends);
        self.status.search = Some(board.report());
        match board.next() {
            Next::Wait => Ok(Vec::new()),
            Next::Rung { rung, trials } => self.rung(&ladder, of, rung, &trials),
            Next::Cancelled => Err(Halt::Cancelled),
            Next::Lost(rung) => Err(lost(rung).into()),
            Next::Failed(why) => Err(Refusal::training(format!("no trial could be trained: {why}")).into()),
            Next::Best(trial) => self.register_best(of, trial),
        }
    }

    fn register_best(&mut self, of: &SearchOrigin, trial: u32) -> Result<Vec<Other>, Halt> {
        let folder = Folder::named(&of.folder).map(|folder| folder.of_trial(trial));
        let folder = folder.ok_or_else(|| Refusal::request("the search's folder has no name of ours"))?;
        let saved = self.patiently(|| self.shared.shelf.saved(&folder, MADE))?;
        let made: Made = serde_json::from_slice(&saved.unwrap_or_default()).map_err(|error| unreadable(&error))?;
        let (task_id, request_position, request) = (&of.task_id, &of.request_position, &of.request);
        self.register(&Registered { task_id, request_position, request, range: of.range.as_ref() }, &made)
    }
}

fn lost(rung: u32) -> Refusal {
    Refusal::training(format!(
        "retention has deleted from `training.trials` what came of the trials of rung {}, so the best cannot be told; keep \
         that topic longer (`topics.jobs_retention`) and send the search again under another `task_id`",
        rung + 1
    ))
}

fn unreadable(error: &serde_json::Error) -> Refusal {
    Refusal::training(format!("the trained trial cannot be kept in the store: {error}"))
}
