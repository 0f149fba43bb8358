//! What lies among the checkpoints: of requests that have ended, where a worker died before it removed them, and models that
//! await their registration.

use std::collections::HashSet;

use lunapark_stores::{ArtifactStore, Listed};
use lunapark_topics::{Catalog, Log, LogError, LogErrorKind};

use super::book::Book;
use super::search::MADE;
use super::shelf::{CHECKPOINTS, Folder};
use super::task_of;
use crate::audit::scan;

/// The objects below `checkpoints/`.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Of requests that have ended: nobody reads them any more.
    pub ended: Vec<Listed>,
    /// How many others there are: of requests that may go on, or that this log does not have. Another Lunapark may share
    /// the store.
    pub kept: u64,
    /// What trials have saved for the registration of their models: it names their artifacts.
    pub made: Vec<Vec<u8>>,
}

/// Looks through the checkpoints. What is listed is listed before the log is asked, so that a request which begins
/// meanwhile is not among it.
pub fn leftovers(log: &dyn Log, catalog: &Catalog, store: &ArtifactStore) -> anyhow::Result<Leftovers> {
    let listed = store.list_named(CHECKPOINTS)?;
    let mut found = Leftovers::default();
    for object in listed.iter().filter(|object| object.name.rsplit('/').next() == Some(MADE)) {
        found.made.extend(store.get_named(&object.name)?);
    }
    let ended = if listed.is_empty() { HashSet::new() } else { ended(log, catalog)? };
    let (ended, kept): (Vec<_>, Vec<_>) =
        listed.into_iter().partition(|object| folder(&object.name).is_some_and(|folder| ended.contains(folder)));
    Ok(Leftovers { ended, kept: kept.len() as u64, ..found })
}

/// The folder of a request or of its trials, in the name of an object.
fn folder(name: &str) -> Option<&str> {
    name.strip_prefix(CHECKPOINTS)?.strip_prefix('/')?.split('/').next()
}

/// Folders of the requests that are still in their topic and have ended.
fn ended(log: &dyn Log, catalog: &Catalog) -> Result<HashSet<String>, LogError> {
    let requests = catalog.training_requests.name();
    let partitions = match log.topic(requests) {
        Ok(topic) => topic.partitions,
        Err(error) if error.kind == LogErrorKind::TopicMissing => return Ok(HashSet::new()),
        Err(error) => return Err(error),
    };
    let (book, mut folders) = (Book::new(catalog.training_status.name().clone()), HashSet::new());
    (0..partitions).try_for_each(|number| book.read(log, number).map(drop))?;
    scan::whole(log, requests, |message| {
        if task_of(message).is_some_and(|task| book.finished(message.partition, &task)) {
            folders.insert(Folder::of(message).as_str().to_owned());
        }
        Ok::<(), LogError>(())
    })?;
    Ok(folders)
}
