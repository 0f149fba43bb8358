//! MongoDB kept equal to the topics, and made equal to them.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use lunapark_schemas::catalog::CatalogRecord;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};

use super::super::document::{self, Kind, NO_OFFSET, OFFSET, RANK};
use super::super::{CatalogError, Tasks};
use super::{MongoCatalog, is_duplicate, unavailable, version_of};

/// What one write meets: where others were first at that very moment, it is looked at once more.
const PUT_ATTEMPTS: usize = 2;

/// The field that says of which topic a copy is.
const IDENTITY: &str = "identity";

/// A document by its id, number and place: what has another one is another entry.
type Identity = (String, i64, i64);

impl MongoCatalog {
    /// Writes the record at this offset of the topic, unless a later one of its key is there.
    pub fn project(&self, record: &CatalogRecord, offset: i64) -> Result<(), CatalogError> {
        match document::of_record(record, offset).map_err(unavailable)? {
            Some((kind, document)) => self.put(self.collection(kind), &document, OFFSET),
            None => Ok(()),
        }
    }

    /// Writes where each of these tasks stands, unless what is there is a later status, or the end.
    pub fn project_tasks(&self, tasks: &Tasks) -> Result<(), CatalogError> {
        tasks.ranked().try_for_each(|(rank, status)| match document::of_task(status, rank) {
            Ok(document) => self.put(&self.tasks, &document, RANK),
            // No later try could make one of it, and other tasks are not to wait for it.
            Err(error) => {
                tracing::warn!(task_id = status.task_id, %error, "a status that no document can hold is left out");
                Ok(())
            }
        })
    }

    /// Writes a document, unless one of its id that has more in this field is there.
    fn put(&self, collection: &Collection<Document>, document: &Document, field: &str) -> Result<(), CatalogError> {
        let (id, place) = (document.get("_id").cloned().unwrap_or(Bson::Null), place_of(document, field));
        let older = doc! { "_id": &id, field: { "$lte": place } };
        for _ in 0..PUT_ATTEMPTS {
            let written = self.again(async || {
                let replaced = collection.replace_one(older.clone(), document).upsert(true).await;
                match replaced {
                    Err(error) if is_duplicate(&error) => Ok(false),
                    replaced => replaced.map(|_| true),
                }
            })?;
            if written || self.find_place(collection, &id, field)?.is_some_and(|found| found > place) {
                return Ok(());
            }
        }
        let what = format!("MongoDB has another entry in the place of {id}; run `lunapark catalog rebuild`");
        Err(CatalogError::Unavailable(what))
    }

    fn find_place(
        &self,
        collection: &Collection<Document>,
        id: &Bson,
        field: &str,
    ) -> Result<Option<i64>, CatalogError> {
        let found = self.again(async || collection.find_one(doc! { "_id": id }).await)?;
        Ok(found.and_then(|document| document.get_i64(field).ok()))
    }

    /// Makes the collections of versions and numbers what these records (offset and record, the last of each key) say, and
    /// nothing else. What the topic got meanwhile must be projected afterwards.
    pub fn rebuild(&self, records: &[(i64, CatalogRecord)]) -> Result<(), CatalogError> {
        self.prepare()?;
        let documents = records.iter().map(|(offset, record)| document::of_record(record, *offset));
        let documents: Vec<_> = documents.collect::<Result<Vec<_>, _>>().map_err(unavailable)?;
        let documents: Vec<_> = documents.into_iter().flatten().collect();
        for kind in [Kind::Version, Kind::Reservation] {
            let of_kind = documents.iter().filter(|(of, _)| *of == kind);
            let wanted = of_kind.map(|(_, document)| identity(document, OFFSET)).collect();
            self.keep_only(self.collection(kind), &wanted, OFFSET)?;
        }
        documents.iter().try_for_each(|(kind, document)| self.put(self.collection(*kind), document, OFFSET))
    }

    /// Makes job history what these tasks are, and nothing else. What the topic got meanwhile must be projected
    /// afterwards. Followers begin with the first record at their next start.
    pub fn rebuild_tasks(&self, tasks: &Tasks) -> Result<(), CatalogError> {
        self.again(async || self.positions.delete_many(doc! { OFFSET: { "$exists": true } }).await)?;
        let wanted = tasks.ranked().map(|(rank, status)| (status.task_id.clone(), 0, rank)).collect();
        self.keep_only(&self.tasks, &wanted, RANK)?;
        self.project_tasks(tasks)
    }

    /// Removes every document but these: what was never in the topic, and what is of a topic that was deleted since.
    fn keep_only(
        &self,
        collection: &Collection<Document>,
        wanted: &BTreeSet<Identity>,
        field: &str,
    ) -> Result<(), CatalogError> {
        let fields = doc! { "version": 1, field: 1 };
        let find = || collection.find(doc! {}).projection(fields.clone());
        let all: Vec<Document> = self.again(async || find().await?.try_collect().await)?;
        for found in all.iter().filter(|found| !wanted.contains(&identity(found, field))) {
            self.again(async || collection.delete_one(doc! { "_id": found.get("_id") }).await)?;
        }
        Ok(())
    }

    fn collection(&self, kind: Kind) -> &Collection<Document> {
        match kind {
            Kind::Version => &self.versions,
            Kind::Reservation => &self.reservations,
        }
    }

    /// How far this follower is: what it has to read next, where it has left a word of that.
    pub fn position(&self, follower: &str) -> Result<Option<i64>, CatalogError> {
        self.find_place(&self.positions, &follower.into(), OFFSET)
    }

    /// Leaves word that this follower has written all before this offset.
    pub fn set_position(&self, follower: &str, next: i64) -> Result<(), CatalogError> {
        let (of, position) = (doc! { "_id": follower }, doc! { "_id": follower, OFFSET: next });
        self.again(async || self.positions.replace_one(of.clone(), &position).upsert(true).await).map(drop)
    }

    /// The identity of the topic of this name that job history was copied from, where somebody has left word of it.
    pub fn source(&self, topic: &str) -> Result<Option<String>, CatalogError> {
        let found = self.again(async || self.positions.find_one(doc! { "_id": topic }).await)?;
        Ok(found.and_then(|document| document.get_str(IDENTITY).ok().map(str::to_owned)))
    }

    /// Leaves word that job history is that of the topic of this identity.
    pub fn set_source(&self, topic: &str, identity: &str) -> Result<(), CatalogError> {
        let (of, source) = (doc! { "_id": topic }, doc! { "_id": topic, IDENTITY: identity });
        self.again(async || self.positions.replace_one(of.clone(), &source).upsert(true).await).map(drop)
    }
}

fn identity(document: &Document, field: &str) -> Identity {
    (document.get_str("_id").unwrap_or_default().to_owned(), version_of(document), place_of(document, field))
}

fn place_of(document: &Document, field: &str) -> i64 {
    document.get_i64(field).unwrap_or(NO_OFFSET)
}
