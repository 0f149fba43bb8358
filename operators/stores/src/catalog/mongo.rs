//! The catalog and job history in MongoDB, for those who query them there.
//!
//! The topics are the truth; [`MongoCatalog::project`] and [`MongoCatalog::project_tasks`] keep the documents equal to
//! them, in any order and however often. As a catalog of its own it needs no transaction: each decision is one document,
//! which a unique index lets only one make.

mod copy;

use std::time::Duration;

use futures::TryStreamExt;
use lunapark_schemas::catalog::{ModelVersion, Reservation, Stage};
use lunapark_schemas::training::TrainingStatus;
use mongodb::bson::{self, Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{ClientOptions, IndexOptions};
use mongodb::{Client, Collection, IndexModel};
use tokio::runtime::Runtime;

use super::document::{self, NO_OFFSET, SUBMITTED, TEXT};
use super::{Catalog, CatalogError, Registered, TaskFilter, decision_id, newest, search_words};
use crate::retry::with_back_off;

/// A server is looked for so long before an attempt counts as failed.
const ATTEMPT: Duration = Duration::from_secs(5);
/// A dropped connection, or a server that starts again, is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Two tasks that want the next number at the same moment meet at most as often as there are tasks.
const RESERVE_ATTEMPTS: usize = 1000;
/// As often may others be first between a look and a change.
const CHANGE_ATTEMPTS: usize = 100;
/// The database, where the address names none.
const DATABASE: &str = "lunapark";
/// MongoDB's code for a broken unique index.
const DUPLICATE_KEY: i32 = 11_000;

/// The catalog in collections: `models`, `reservations`, `tasks`, `changes` of stages, which a copy does not have, and
/// `positions`, which only a copy has: how far its followers are, and of which topic it is.
pub struct MongoCatalog {
    runtime: Runtime,
    versions: Collection<Document>,
    reservations: Collection<Document>,
    tasks: Collection<Document>,
    changes: Collection<Document>,
    positions: Collection<Document>,
    patience: Duration,
}

impl MongoCatalog {
    /// The catalog at a `mongodb://` address, its collections under a prefix. Connects when it is first used.
    pub fn open(uri: &str, prefix: &str) -> Result<Self, CatalogError> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("mongodb").enable_all().build();
        let runtime = runtime.map_err(|error| CatalogError::Unavailable(error.to_string()))?;
        let database = runtime.block_on(async {
            let mut options = ClientOptions::parse(uri).await?;
            options.app_name.get_or_insert_with(|| "lunapark".to_owned());
            options.server_selection_timeout.get_or_insert(ATTEMPT);
            options.connect_timeout.get_or_insert(ATTEMPT);
            // A single server without a replica set has none; what is tried again here is safe to be.
            options.retry_writes.get_or_insert(false);
            let client = Client::with_options(options)?;
            Ok::<_, Error>(client.default_database().unwrap_or_else(|| client.database(DATABASE)))
        });
        let database = database.map_err(unavailable)?;
        let [versions, reservations, tasks, changes, positions] =
            ["models", "reservations", "tasks", "changes", "positions"]
                .map(|name| database.collection(&format!("{prefix}{name}")));
        Ok(Self { runtime, versions, reservations, tasks, changes, positions, patience: PATIENCE })
    }

    /// With another patience for a server that does not answer.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Makes the index that keeps a number from being given twice; made already, it is left alone.
    pub fn prepare(&self) -> Result<(), CatalogError> {
        let unique = IndexOptions::builder().unique(true).name("number".to_owned()).build();
        let index = IndexModel::builder().keys(doc! { "name": 1, "version": 1 }).options(unique).build();
        self.again(async || self.reservations.create_index(index.clone()).await).map(drop)
    }

    fn all(&self, collection: &Collection<Document>, filter: Document) -> Result<Vec<Document>, CatalogError> {
        let order = doc! { "name": 1, "version": 1 };
        self.again(async || collection.find(filter.clone()).sort(order.clone()).await?.try_collect().await)
    }

    fn find(&self, filter: Document) -> Result<Vec<ModelVersion>, CatalogError> {
        let found = self.all(&self.versions, filter)?;
        found.into_iter().map(|found| document::version(found).map_err(unavailable)).collect()
    }

    fn highest(&self, name: &str) -> Result<u32, CatalogError> {
        let mut highest = 0;
        for collection in [&self.versions, &self.reservations] {
            let last =
                self.again(async || collection.find_one(doc! { "name": name }).sort(doc! { "version": -1 }).await)?;
            highest = highest.max(last.map_or(0, |document| version_of(&document)));
        }
        Ok(u32::try_from(highest).unwrap_or(u32::MAX))
    }

    /// The number of a task, where it has one.
    fn reserved(&self, name: &str, task_id: &str) -> Result<Option<u32>, CatalogError> {
        let id = doc! { "_id": format!("{name}/{task_id}") };
        let found = self.again(async || self.reservations.find_one(id.clone()).await)?;
        Ok(found.and_then(|document| u32::try_from(version_of(&document)).ok()))
    }

    /// False where the unique index or the `_id` says that somebody was first.
    fn insert(&self, collection: &Collection<Document>, document: &Document) -> Result<bool, CatalogError> {
        self.again(async || match collection.insert_one(document).await {
            Err(error) if is_duplicate(&error) => Ok(false),
            inserted => inserted.map(|_| true),
        })
    }

    fn again<T>(&self, attempt: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, CatalogError> {
        self.runtime.block_on(with_back_off(self.patience, passing, attempt)).map_err(unavailable)
    }
}

impl Catalog for MongoCatalog {
    fn list(&self) -> Result<Vec<ModelVersion>, CatalogError> {
        self.find(doc! {})
    }

    fn get(&self, name: &str, version: Option<u32>) -> Result<Option<ModelVersion>, CatalogError> {
        match version {
            Some(number) => Ok(self.find(doc! { "_id": format!("{name}/{number}") })?.pop()),
            None => Ok(newest(self.find(doc! { "name": name })?)),
        }
    }

    fn search(&self, text: &str) -> Result<Vec<ModelVersion>, CatalogError> {
        let words = search_words(text);
        let holds = |word: &String| doc! { TEXT: { "$regex": literal(word) } };
        match words.is_empty() {
            true => self.list(),
            false => self.find(doc! { "$and": words.iter().map(holds).collect::<Vec<_>>() }),
        }
    }

    fn reserve(&self, name: &str, task_id: &str) -> Result<u32, CatalogError> {
        Reservation::check(name, task_id)?;
        self.prepare()?;
        for _ in 0..RESERVE_ATTEMPTS {
            if let Some(version) = self.reserved(name, task_id)? {
                return Ok(version);
            }
            let version = self.highest(name)? + 1;
            let reservation = Reservation { name: name.to_owned(), version, task_id: task_id.to_owned() };
            if self.insert(&self.reservations, &document::of_reservation(&reservation, NO_OFFSET))? {
                return Ok(version);
            }
        }
        Err(CatalogError::Unavailable(format!("no number of {name} was free {RESERVE_ATTEMPTS} times")))
    }

    fn register(&self, version: &ModelVersion) -> Result<Registered, CatalogError> {
        version.check()?;
        let (reference, task_id) = (version.reference(), version.task_id.clone());
        if self.reserved(&version.name, &task_id)? != Some(version.version) {
            return Err(CatalogError::NotReserved { reference, task_id });
        }
        if self.insert(&self.versions, &document::of_version(version, NO_OFFSET).map_err(unavailable)?)? {
            return Ok(Registered::New);
        }
        match self.get(&version.name, Some(version.version))? {
            Some(found) if found.digest == version.digest => Ok(Registered::Existed),
            Some(found) => Err(CatalogError::Taken { reference, digest: found.digest }),
            None => Err(CatalogError::Missing(reference)),
        }
    }

    fn set_stage(&self, name: &str, version: u32, from: Stage, to: Stage) -> Result<ModelVersion, CatalogError> {
        let (reference, decision) = (format!("{name}/{version}"), decision_id());
        for _ in 0..CHANGE_ATTEMPTS {
            let found = self.get(name, Some(version))?.ok_or_else(|| CatalogError::Missing(reference.clone()))?;
            if found.stage != from {
                return Err(CatalogError::Conflict { reference, expected: from, found: found.stage });
            }
            let claimed = self.claim(&found, to, &decision)?;
            self.follow(&found, &claimed)?;
            if claimed.get_str("decision").is_ok_and(|winner| winner == decision) {
                return Ok(ModelVersion { stage: to, decision, ..found });
            }
        }
        Err(CatalogError::Unavailable(format!("{reference} was changed by others {CHANGE_ATTEMPTS} times")))
    }

    fn task(&self, task_id: &str) -> Result<Option<TrainingStatus>, CatalogError> {
        let found = self.again(async || self.tasks.find_one(doc! { "_id": task_id }).await)?;
        found.map(document::task).transpose().map_err(unavailable)
    }

    fn tasks(&self, filter: &TaskFilter, most: usize) -> Result<Vec<TrainingStatus>, CatalogError> {
        let most = match i64::try_from(most) {
            // Which a server would take for no limit.
            Ok(0) => return Ok(Vec::new()),
            most => most.unwrap_or(i64::MAX),
        };
        let (fits, order) = (of_filter(filter)?, doc! { SUBMITTED: -1, "_id": 1 });
        let find = || self.tasks.find(fits.clone()).sort(order.clone()).limit(most);
        let found: Vec<Document> = self.again(async || find().await?.try_collect().await)?;
        found.into_iter().map(|found| document::task(found).map_err(unavailable)).collect()
    }
}

/// Changes. Not every server of this protocol updates a document only if it is as expected when many try at once
/// (FerretDB 1 lets several succeed), but all keep an `_id` unique: so the one document that may follow a decision is
/// the change, and whoever finds it carries it out, in case its maker died.
impl MongoCatalog {
    /// The change that follows the decision of `found`: this one, or the one that was first.
    fn claim(&self, found: &ModelVersion, to: Stage, decision: &str) -> Result<Document, CatalogError> {
        let id = format!("{}/{}", found.reference(), found.decision);
        let change = doc! { "_id": &id, "stage": to.as_str(), "decision": decision };
        if self.insert(&self.changes, &change)? {
            return Ok(change);
        }
        let first = self.again(async || self.changes.find_one(doc! { "_id": &id }).await)?;
        first.ok_or_else(|| CatalogError::Unavailable(format!("the change {id} was removed by hand")))
    }

    fn follow(&self, found: &ModelVersion, change: &Document) -> Result<(), CatalogError> {
        let before = doc! { "_id": found.reference(), "decision": &found.decision };
        let set = doc! { "$set": { "stage": change.get("stage"), "decision": change.get("decision") } };
        self.again(async || self.versions.update_one(before.clone(), set.clone()).await).map(drop)
    }
}

/// The documents of these tasks.
fn of_filter(filter: &TaskFilter) -> Result<Document, CatalogError> {
    let mut fits = Document::new();
    if let Some(project) = &filter.project {
        fits.insert("project", project);
    }
    if let Some(status) = &filter.status {
        fits.insert("task_status", bson::serialize_to_bson(status).map_err(unavailable)?);
    }
    Ok(fits)
}

fn version_of(document: &Document) -> i64 {
    let number = document.get("version");
    number.and_then(|number| number.as_i64().or_else(|| number.as_i32().map(i64::from))).unwrap_or(0)
}

/// A regular expression for these very characters.
fn literal(word: &str) -> String {
    word.chars().fold(String::new(), |mut text, c| {
        if c.is_ascii_punctuation() {
            text.push('\\');
        }
        text.push(c);
        text
    })
}

fn is_duplicate(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        ErrorKind::Command(error) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}

/// Trouble of the connection; every attempt above may be made twice.
fn passing(error: &Error) -> bool {
    matches!(
        &*error.kind,
        ErrorKind::Io(_) | ErrorKind::ServerSelection { .. } | ErrorKind::ConnectionPoolCleared { .. }
    )
}

fn unavailable(error: impl std::fmt::Display) -> CatalogError {
    CatalogError::Unavailable(error.to_string())
}
