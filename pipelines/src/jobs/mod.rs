//! Training jobs: what a request of `training.requests` goes through until its terminal status is committed.
//!
//! ```text
//! look ─► (broken: dead letter; ended before: filtered)
//!   └──► thread: data set ─► trainer ─► slices ─► artifact uploaded ─► version reserved ─► end
//!                                         ├─ checkpoints to the store
//!                                         ├─ progress to training.status, beside the transaction
//!                                         └─ cancels from `control`
//! ```
//!
//! The runner of long work commits the end (`runner/long.rs`); nothing here does.

mod board;
mod book;
mod cancels;
mod claim;
mod dataset;
mod desk;
mod ending;
mod fault;
mod janitor;
mod job;
mod joined;
mod leftovers;
mod progress;
mod search;
mod searches;
mod seats;
mod shelf;
mod slices;
mod storage;
#[cfg(test)]
mod tests;
mod thread;
mod trials;
mod turns;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use lunapark_schemas::catalog::{MAX_NAME_BYTES, Reservation};
use lunapark_schemas::training::{RequestError, TrainingRequest};
use lunapark_schemas::{ErrorClass, Message, Rejection, TopicPartition};
use lunapark_stores::S3Options;
use lunapark_topics::{Catalog, Log, LogError};
use lunapark_train::{Refusal, Trainer};

use crate::clock;
use crate::stop::Stop;
use book::Book;
pub use cancels::Cancels;
pub use dataset::Allowed;
pub use desk::{Desk, Side, Slot};
use janitor::Janitor;
use job::{Assignment, Task};
pub use leftovers::{Leftovers, leftovers};
use searches::Searches;
pub use seats::Bench;
use seats::Seats;
use shelf::Folder;
pub use shelf::{Shelf, picture};
use waiting::Waiting;

/// How jobs are run.
#[derive(Clone, Debug)]
pub struct JobSettings {
    /// A checkpoint is written this often.
    pub checkpoint_interval: Duration,
    /// Where data sets may lie.
    pub allowed: Allowed,
    /// Where copies of models may be written.
    pub save: Allowed,
    /// Bytes of a data set in memory, at most.
    pub max_dataset_bytes: u64,
    /// How to reach `s3://` data sets.
    pub s3: S3Options,
    /// Workers that a job may take with it.
    pub max_crashes: u32,
    /// Who runs jobs, and how many of one project at once.
    pub bench: Bench,
    /// A job that is left ends within this, or is not waited for.
    pub leave_within: Duration,
}

/// What all jobs of a process share.
pub struct Jobs {
    shared: Arc<Shared>,
}

/// What a job's thread needs.
pub(crate) struct Shared {
    log: Arc<dyn Log>,
    catalog: Catalog,
    settings: JobSettings,
    trainers: Vec<Box<dyn Trainer>>,
    shelf: Shelf,
    cancels: Arc<Cancels>,
    book: Book,
    searches: Searches,
    seats: Arc<Seats>,
    waiting: Waiting,
    janitor: Janitor,
}

impl Jobs {
    /// The jobs of a process; hears cancels until a stop is asked for.
    pub fn open(
        log: Arc<dyn Log>,
        catalog: &Catalog,
        settings: JobSettings,
        trainers: Vec<Box<dyn Trainer>>,
        shelf: Shelf,
        stop: &Stop,
    ) -> Result<Self, LogError> {
        let seats = Arc::new(Seats::new(&settings.bench, log.clone(), catalog.control.clone()));
        let cancels = Cancels::listen(&log, catalog, seats.clone(), stop)?;
        let waiting = Waiting::open(log.clone(), catalog.training_status.clone())?;
        let removes = shelf.clone();
        let janitor = Janitor::start(move |folder| removes.forget(folder))?;
        let book = Book::new(catalog.training_status.name().clone());
        let searches = Searches::default();
        let catalog = catalog.clone();
        let shared =
            Shared { log, catalog, settings, trainers, shelf, cancels, book, searches, seats, waiting, janitor };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where the jobs of one topic are worked on; of all that share the slot one trains at a time.
    pub fn desk(&self, slot: Arc<Slot>, side: Side) -> Desk {
        Desk::new(self.shared.clone(), slot, side)
    }
}

impl Shared {
    fn request(&self, message: &Message<'_>) -> Result<Assignment, Rejection> {
        let position = message.position();
        let (named, request) = match read(message) {
            Ok(request) => (request.task_id.clone(), Ok(request)),
            Err(Unreadable::Broken(rejection)) => return Err(rejection),
            Err(Unreadable::Invalid { task_id, refusal }) => (task_id, Err(refusal)),
        };
        if let Some(rejection) = named.as_deref().and_then(unfit) {
            return Err(rejection);
        }
        let task_id = named.unwrap_or_else(|| position.to_string());
        let submitted = if message.timestamp >= 0 { message.timestamp } else { clock::now_millis() };
        let request = request.and_then(|request| checked(request, &task_id));
        let project = request.as_ref().ok().and_then(|request| request.project.clone());
        let task = request.map(Box::new).map(|request| match request.search {
            Some(_) => Task::Search(request),
            None => Task::Train(request),
        });
        Ok(Assignment { task_id, project, position, folder: Folder::of(message), submitted, task })
    }
}

/// What is wrong with a message.
enum Unreadable {
    Broken(Rejection),
    Invalid { task_id: Option<String>, refusal: Refusal },
}

fn read(message: &Message<'_>) -> Result<TrainingRequest, Unreadable> {
    let Some(value) = message.value.filter(|value| !value.is_empty()) else {
        let what = "the payload is empty; send a training request as JSON";
        return Err(Unreadable::Broken(Rejection::new(ErrorClass::Empty, what)));
    };
    TrainingRequest::from_json(value).map_err(|error| match error {
        RequestError::Broken(_) => Unreadable::Broken(Rejection::new(ErrorClass::Malformed, error.to_string())),
        RequestError::Invalid { ref task_id, .. } => {
            Unreadable::Invalid { task_id: task_id.clone(), refusal: Refusal::request(error.to_string()) }
        }
    })
}

/// Why nobody can be answered under this name: it is the key of every record of the task, and of its number.
pub(crate) fn unfit(task_id: &str) -> Option<Rejection> {
    let what = if task_id.is_empty() || task_id.len() > MAX_NAME_BYTES {
        format!("has {} bytes; use 1 to {MAX_NAME_BYTES}", task_id.len())
    } else if task_id.contains(char::is_control) {
        "has control characters; leave them out".to_owned()
    } else if task_id.starts_with("sha256:") {
        "begins with `sha256:`, as the names of added models do; choose another".to_owned()
    } else {
        return None;
    };
    Some(Rejection::new(ErrorClass::Value, format!("`task_id` {what}")))
}

/// Refuses names that no key, path or header can hold.
fn checked(request: TrainingRequest, task_id: &str) -> Result<TrainingRequest, Refusal> {
    let invalid = |error: lunapark_schemas::catalog::InvalidEntry| match error.field {
        "name" => Refusal::request(format!("`model.name` is `{}`: {}", request.model.name, error.what)),
        _ => Refusal::request(error.to_string()),
    };
    Reservation::check(&request.model.name, task_id).map_err(invalid)?;
    Ok(request)
}

/// Under which name a request is answered; `None` where it is answered as a dead letter.
pub(crate) fn task_of(message: &Message<'_>) -> Option<String> {
    let named = match read(message) {
        Ok(request) => request.task_id,
        Err(Unreadable::Invalid { task_id, .. }) => task_id,
        Err(Unreadable::Broken(_)) => return None,
    };
    Some(named.unwrap_or_else(|| message.position().to_string()))
}

impl Shared {
    /// The partition of the status topic that answers requests of this partition.
    fn status_partition(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.catalog.training_status.name().clone(), partition)
    }
}
