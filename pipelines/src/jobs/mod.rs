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

mod book;
mod cancels;
mod dataset;
mod ending;
mod job;
mod joined;
mod progress;
mod shelf;
mod slices;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use lunapark_schemas::catalog::{MAX_NAME_BYTES, Reservation};
use lunapark_schemas::training::{RequestError, TrainingRequest};
use lunapark_schemas::{ErrorClass, Message, Position, Rejection, SkipReason, TopicPartition};
use lunapark_stores::S3Options;
use lunapark_topics::{Catalog, Log, LogError};
use lunapark_train::{Refusal, Trainer};

use crate::clock;
use crate::runner::{Begun, LongWork};
use crate::stop::Stop;
use book::Book;
pub use cancels::Cancels;
pub use dataset::Allowed;
use job::{Assignment, Running};
pub use shelf::{Shelf, picture};

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
        let cancels = Cancels::listen(&log, catalog, stop)?;
        let book = Book::new(catalog.training_status.name().clone());
        let catalog = catalog.clone();
        Ok(Self { shared: Arc::new(Shared { log, catalog, settings, trainers, shelf, cancels, book }) })
    }
}

impl LongWork for Jobs {
    fn name(&self) -> &'static str {
        "train"
    }

    fn assigned(&self, starts: &[Position]) -> Result<(), LogError> {
        starts.iter().try_for_each(|start| self.shared.book.read(&*self.shared.log, start.partition))
    }

    fn begin(&self, message: &Message<'_>) -> Result<Begun, LogError> {
        let position = message.position();
        let (named, request) = match read(message) {
            Ok(request) => (request.task_id.clone(), Ok(request)),
            Err(Unreadable::Broken(rejection)) => return Ok(Begun::Reject(rejection)),
            Err(Unreadable::Invalid { task_id, refusal }) => (task_id, Err(refusal)),
        };
        if let Some(rejection) = named.as_deref().and_then(unfit) {
            return Ok(Begun::Reject(rejection));
        }
        let task_id = named.unwrap_or_else(|| position.to_string());
        if self.shared.book.ended(position.partition, &task_id) {
            tracing::info!(task_id, %position, "this task has ended before");
            return Ok(Begun::Skip(SkipReason::Repeated));
        }
        let submitted = if message.timestamp >= 0 { message.timestamp } else { clock::now_millis() };
        let request = request.and_then(|request| checked(request, &task_id));
        let assignment = Assignment { task_id, position, submitted, request };
        Ok(Begun::Work(Box::new(Running::start(self.shared.clone(), assignment)?)))
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

impl Shared {
    /// The partition of the status topic that answers requests of this partition.
    fn status_partition(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.catalog.training_status.name().clone(), partition)
    }
}
