//! Documents into collections: fetched, read, cut, embedded, indexed.
//!
//! ```text
//! batch ──▶ prepare, document by document ──▶ embed, all children at once ──▶ a segment and a manifest per collection
//!    └──── read before ───────────────────────────────────────────────────▶ what was answered then
//! ```

mod prepare;
mod rows;
mod said;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lunapark_documents::{ChunkOptions, Limits, PdfReader};
use lunapark_embed::{Embeddings, Encoder, Role};
use lunapark_index::{Action, Answers, Batch as Changes, Change, Document, IndexError, Settings, Source};
use lunapark_operator::{Batch, Operator, OperatorError, Retry};
use lunapark_schemas::documents::{IndexedRecord, IndexedStatus, IngestRecord};
use lunapark_schemas::{ErrorClass, Outcome, Position, Rejection};

use prepare::{Kitchen, Prepared, Unready, kind_name};
pub use rows::IngestRows;
use rows::{Row, rows_of};
use said::Said;

use crate::codec::{Json, JsonCodec};
use crate::collections::{Collections, Found};
use crate::content::Sources;
use crate::{later, passages, unembedded};

/// What a human has to mend is looked at again after so long; nothing is lost meanwhile.
const MENDED: Duration = Duration::from_secs(10);

/// Documents whose content is fetched at once: enough to keep the threads busy; each may be as large as one may be.
const FETCHED_AT_ONCE: usize = 8;

/// The codec of this operator.
pub type IngestCodec = JsonCodec<IngestRows>;

/// What an ingestor works with.
pub struct Ingestor {
    /// The text encoder.
    pub encoder: Arc<Encoder>,
    /// Where documents go.
    pub collections: Arc<Collections>,
    /// Where content comes from.
    pub sources: Box<dyn Sources>,
    /// Who reads PDFs.
    pub pdf: Box<dyn PdfReader + Send>,
    /// What a document may cost.
    pub limits: Limits,
    /// How the texts of new collections are cut.
    pub chunks: ChunkOptions,
    /// Documents are embedded and indexed once their texts have so many bytes; the rest of the batch comes after them.
    pub part_bytes: usize,
}

/// What a row has become so far.
enum Step {
    Ready(Box<Prepared>),
    Deleted(Box<IngestRecord>),
    Rejected(Rejection),
    /// It was read before, and this was the answer.
    Known(Said),
    /// Its collection is made with what this service has not.
    Closed,
}

impl Operator for Ingestor {
    type Out = Json<IndexedRecord>;

    fn name(&self) -> &'static str {
        "index"
    }

    async fn process(&self, batch: &Batch) -> Result<Vec<Outcome<Json<IndexedRecord>>>, OperatorError> {
        let mut rows = VecDeque::from(rows_of(batch).map_err(OperatorError::fatal)?);
        let mut outcomes = Vec::with_capacity(rows.len());
        while !rows.is_empty() {
            let part = self.part(&mut rows)?;
            outcomes.extend(self.finish(part)?.into_iter().map(Outcome::from));
        }
        Ok(outcomes)
    }

    fn committed(&self, next: &[Position]) {
        self.collections.settle(next);
    }
}

impl Ingestor {
    /// Makes rows ready, all of them as a rule: content that is fetched is not counted in the size of a batch.
    fn part(&self, rows: &mut VecDeque<Row>) -> Result<Part, OperatorError> {
        let all: Vec<Place> = rows.iter().map(Place::of).collect();
        let mut part = Part { shelves: self.shelves(&all)?, ..Part::default() };
        while !rows.is_empty() && part.bytes < self.part_bytes {
            let some: Vec<Row> = rows.drain(..at_once(rows)).collect();
            part.places.extend(some.iter().map(Place::of));
            let made = self.encoder.spread(some, |row| self.prepare(&part.shelves, row));
            for step in made {
                part.add(step?);
            }
        }
        Ok(part)
    }

    /// Embeds and indexes what is ready; what each row is answered.
    fn finish(&self, Part { shelves, places, steps, .. }: Part) -> Result<Vec<Said>, OperatorError> {
        let embedded = self.embed(&steps)?;
        let (mut said, read) = (self.said(&steps, &embedded), read_ranges(&places));
        // First, so that a collection which a bad deploy makes does not count as one that it serves.
        self.refuse_closed(&shelves, &steps, &places, &mut said)?;
        for (collection, work) in work(&steps, &places, &embedded) {
            self.index(&shelves, collection, work, (&places, &read), &mut said)?;
        }
        Ok(said)
    }

    /// The collections of a batch, as they are.
    fn shelves(&self, places: &[Place]) -> Result<BTreeMap<String, Shelf>, OperatorError> {
        let mut sources: BTreeMap<&str, Vec<Source>> = BTreeMap::new();
        for place in places {
            sources.entry(&place.collection).or_default().push(place.source);
        }
        let shelf = |(name, sources): (&str, Vec<Source>)| Ok((name.to_owned(), self.shelf(name, &sources)?));
        sources.into_iter().map(shelf).collect::<Result<_, IndexError>>().map_err(unindexed)
    }

    fn shelf(&self, name: &str, sources: &[Source]) -> Result<Shelf, IndexError> {
        let ours = self.collections.settings();
        let closed = |found: &Option<Found>| found.as_ref().and_then(|found| found.settings.accept(name, ours).err());
        let mut found = self.collections.find(name, sources, false)?;
        if closed(&found).is_some() {
            // It may have been reindexed since it was looked at.
            found = self.collections.find(name, sources, true)?;
        }
        let closed = closed(&found).map(|error| error.to_string());
        Ok(Shelf { settings: found.as_ref().map_or(ours, |found| &found.settings).clone(), found, closed })
    }

    fn prepare(&self, shelves: &BTreeMap<String, Shelf>, row: Row) -> Result<Step, OperatorError> {
        let place = Place::of(&row);
        let shelf = shelves.get(&place.collection);
        if let Some(known) = shelf.and_then(|shelf| shelf.found.as_ref()).and_then(|found| place.answer(found)) {
            return Ok(Step::Known(known));
        }
        if shelf.is_none_or(|shelf| shelf.closed.is_some()) {
            let was_read =
                shelf.and_then(|shelf| shelf.found.as_ref()).is_some_and(|found| found.has_read(place.source));
            let record = row.ingest.record;
            return Ok(match record.deleted && was_read {
                true => Step::Known(Said::Deleted(deleted(&record, self.collections.encoder_tag()))),
                false => Step::Closed,
            });
        }
        if row.ingest.record.deleted {
            return Ok(Step::Deleted(Box::new(row.ingest.record)));
        }
        let kitchen = Kitchen {
            sources: &*self.sources,
            pdf: &*self.pdf,
            limits: &self.limits,
            chunks: &shelf.and_then(|shelf| shelf.found.as_ref()).map_or(self.chunks, |found| chunks(&found.settings)),
            encoder: &self.encoder,
        };
        match kitchen.prepare(row.ingest) {
            Ok(prepared) => Ok(Step::Ready(Box::new(prepared))),
            Err(Unready::Rejected(rejection)) => Ok(Step::Rejected(rejection)),
            Err(Unready::Away(what)) => Err(later(what)),
        }
    }

    /// The vectors of all children of the batch, in its order.
    fn embed(&self, steps: &[Step]) -> Result<Embeddings, OperatorError> {
        let texts: Vec<_> = steps
            .iter()
            .filter_map(|step| if let Step::Ready(prepared) = step { Some(prepared) } else { None })
            .flat_map(|prepared| prepared.cut.texts(&prepared.extracted))
            .collect();
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        self.encoder.embed(&texts, Role::Passage).map_err(|error| unembedded(&error))
    }

    /// What each row is answered if it is new.
    fn said(&self, steps: &[Step], embedded: &Embeddings) -> Vec<Said> {
        let (mut at, model) = (0, self.collections.encoder_tag());
        let said = |step: &Step| match step {
            Step::Known(said) => said.clone(),
            Step::Rejected(rejection) => Said::Refused(rejection.clone()),
            Step::Closed => Said::Refused(Rejection::new(ErrorClass::Value, "its collection cannot be written")),
            Step::Deleted(record) => Said::Deleted(deleted(record, model.clone())),
            Step::Ready(prepared) => {
                let from = at;
                at += prepared.cut.children().count();
                Said::Indexed(indexed(prepared, embedded, from..at, model.clone()))
            }
        };
        steps.iter().map(said).collect()
    }

    /// Puts the changes of a collection into it, with what their records are answered. Who was read before is answered by
    /// what stands.
    fn index(
        &self,
        shelves: &BTreeMap<String, Shelf>,
        collection: &str,
        Work { mut changes, rows }: Work,
        (places, read): (&[Place], &BTreeMap<i32, Range<i64>>),
        said: &mut [Said],
    ) -> Result<(), OperatorError> {
        let Some(shelf) = shelves.get(collection) else { return Ok(()) };
        if shelf.found.is_none() {
            // Nothing is made for the sake of what was refused, nor by a service that waits for a human.
            if changes.is_empty() {
                return Ok(());
            }
            self.refuse_bad_deploy(self.collections.any_closed().as_deref())?;
        }
        let (mut answers, sources) =
            (Answers::default(), rows.iter().map(|&row| places[row].source).collect::<Vec<_>>());
        for &row in &rows {
            if let Some(kept) = said[row].to_keep() {
                answers.keep(places[row].source, kept);
            }
        }
        changes.sort_by_key(|change| change.source);
        let batch = Changes { changes, read: read.clone() };
        let found = self.collections.apply(collection, &batch, (shelf.settings.clone(), answers), &sources);
        let found = found.map_err(unindexed)?;
        self.collections.note(collection, None);
        for row in rows.into_iter().filter(|&row| found.has_read(places[row].source)) {
            said[row] = self.as_before(&found, &places[row], said[row].clone()).map_err(unindexed)?;
        }
        Ok(())
    }

    /// The answer to a record that was read before.
    fn as_before(&self, found: &Found, place: &Place, said: Said) -> Result<Said, IndexError> {
        if let Some(known) = place.answer(found) {
            return Ok(known);
        }
        let snapshot = self.collections.newest(&place.collection)?;
        said.or_held(&snapshot, &place.id, place.source, &self.collections.encoder_tag())
    }

    /// Records of collections that this service cannot write become dead letters, so that their neighbours go on. A service
    /// that can write none at all is a bad deploy: it waits, or it would empty the topic into the dead letters.
    fn refuse_closed(
        &self,
        shelves: &BTreeMap<String, Shelf>,
        steps: &[Step],
        places: &[Place],
        said: &mut [Said],
    ) -> Result<(), OperatorError> {
        let mut why = None;
        for ((step, place), said) in steps.iter().zip(places).zip(said) {
            let closed = shelves.get(&place.collection).and_then(|shelf| shelf.closed.as_ref());
            let (Step::Closed, Some(closed)) = (step, closed) else { continue };
            self.collections.note(&place.collection, Some(closed));
            let what = format!("{closed}; redrive its dead letters afterwards (`lunapark dlq redrive`)");
            *said = Said::Refused(Rejection::new(ErrorClass::Value, what));
            why = Some(closed);
        }
        self.refuse_bad_deploy(why.map(String::as_str))
    }

    /// Waits where a collection cannot be written, and no other can.
    fn refuse_bad_deploy(&self, closed: Option<&str>) -> Result<(), OperatorError> {
        match closed {
            Some(why) if !self.collections.serves_any().map_err(unindexed)? => {
                Err(OperatorError { retry: Retry::After(MENDED), message: why.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

/// Rows that are ready, to be embedded and indexed together.
#[derive(Default)]
struct Part {
    shelves: BTreeMap<String, Shelf>,
    places: Vec<Place>,
    steps: Vec<Step>,
    /// Of their texts.
    bytes: usize,
}

impl Part {
    fn add(&mut self, step: Step) {
        if let Step::Ready(prepared) = &step {
            self.bytes += prepared.extracted.text.len();
        }
        self.steps.push(step);
    }
}

/// A collection as a batch finds it.
struct Shelf {
    /// What its documents are made with: the collection's own, or what it will be made with.
    settings: Settings,
    /// None where there is no such collection yet.
    found: Option<Found>,
    /// Why it cannot be written.
    closed: Option<String>,
}

/// Whose record a row is, and where it was read.
struct Place {
    collection: String,
    id: String,
    source: Source,
}

impl Place {
    fn of(row: &Row) -> Self {
        let (record, source) = (&row.ingest.record, Source { partition: row.partition, offset: row.offset });
        Self { collection: record.collection.clone(), id: record.id.clone(), source }
    }

    /// What it was answered when it was read before, where that is kept.
    fn answer(&self, found: &Found) -> Option<Said> {
        Said::kept(found.answer(self.source)?, &self.id, &self.collection)
    }
}

/// What is to be done in one collection.
#[derive(Default)]
struct Work {
    changes: Vec<Change>,
    /// The rows that it is about, those without a change too.
    rows: Vec<usize>,
}

fn work<'a>(steps: &[Step], places: &'a [Place], embedded: &Embeddings) -> BTreeMap<&'a str, Work> {
    let mut all: BTreeMap<&str, Work> = BTreeMap::new();
    let mut vectors = (0..embedded.tokens.len()).map(|row| embedded.row(row));
    for (row, (step, place)) in steps.iter().zip(places).enumerate() {
        let action = match step {
            Step::Known(_) | Step::Closed => continue,
            Step::Rejected(_) => None,
            Step::Deleted(record) => Some(Action::Delete(record.id.clone())),
            Step::Ready(prepared) => Some(Action::Put(document(prepared, &mut vectors))),
        };
        let work = all.entry(&place.collection).or_default();
        work.rows.push(row);
        work.changes.extend(action.map(|action| Change { source: place.source, action }));
    }
    all
}

/// How a collection's documents are cut.
fn chunks(settings: &Settings) -> ChunkOptions {
    ChunkOptions {
        child_tokens: settings.chunking.child_tokens as usize,
        child_overlap: settings.chunking.child_overlap as usize,
        parent_tokens: settings.chunking.parent_tokens as usize,
    }
}

/// A document that the index refuses is found by halves; everything else waits for the store, or for a human.
fn unindexed(error: IndexError) -> OperatorError {
    match &error {
        IndexError::Refused { .. } | IndexError::Name(_) => OperatorError::fatal(error.to_string()),
        // It was given another encoder a moment ago: what that means is decided when it is tried again.
        IndexError::OtherSettings { .. } => later(error.to_string()),
        // It was dropped a moment ago: it is made anew when the batch is tried again.
        IndexError::NoCollection(_) => later(error.to_string()),
        _ if error.passes() => later(error.to_string()),
        _ => OperatorError { retry: Retry::After(MENDED), message: error.to_string() },
    }
}

/// First and next offset of each partition.
fn read_ranges(places: &[Place]) -> BTreeMap<i32, Range<i64>> {
    let mut read: BTreeMap<i32, Range<i64>> = BTreeMap::new();
    for Place { source: Source { partition, offset }, .. } in places {
        let range = read.entry(*partition).or_insert(*offset..*offset);
        *range = range.start.min(*offset)..range.end.max(offset + 1);
    }
    read
}

/// How many of these rows are made ready at once: up to a few whose content has to be fetched, since nobody knows how much
/// that is.
fn at_once(rows: &VecDeque<Row>) -> usize {
    let fetched = rows.iter().enumerate().filter(|(_, row)| row.ingest.record.uri.is_some());
    fetched.map(|(at, _)| at).nth(FETCHED_AT_ONCE).unwrap_or(rows.len())
}

/// The document as it is indexed; takes its vectors off the front.
fn document<'a>(prepared: &Prepared, vectors: &mut impl Iterator<Item = &'a [f32]>) -> Document {
    Document {
        id: prepared.record.id.clone(),
        title: prepared.title.clone().unwrap_or_default(),
        uri: prepared.record.uri.clone().unwrap_or_default(),
        metadata: prepared.record.metadata.clone(),
        digest: prepared.digest.clone(),
        parents: passages::indexed(&prepared.extracted, &prepared.cut.parents, vectors),
    }
}

fn deleted(record: &IngestRecord, model: String) -> IndexedRecord {
    IndexedRecord {
        id: record.id.clone(),
        collection: record.collection.clone(),
        status: IndexedStatus::Deleted,
        title: None,
        kind: None,
        parents: 0,
        children: 0,
        tokens: 0,
        truncated: 0,
        digest: String::new(),
        model,
    }
}

fn indexed(prepared: &Prepared, embedded: &Embeddings, rows: Range<usize>, model: String) -> IndexedRecord {
    let tokens = embedded.tokens.get(rows.clone()).unwrap_or_default();
    let truncated = embedded.truncated.get(rows.clone()).unwrap_or_default();
    IndexedRecord {
        id: prepared.record.id.clone(),
        collection: prepared.record.collection.clone(),
        status: IndexedStatus::Indexed,
        title: prepared.title.clone(),
        kind: Some(kind_name(prepared.extracted.kind).to_owned()),
        parents: prepared.cut.parents.len() as u32,
        children: rows.len() as u32,
        tokens: tokens.iter().map(|tokens| *tokens as u64).sum(),
        truncated: truncated.iter().filter(|truncated| **truncated).count() as u32,
        digest: prepared.digest.clone(),
        model,
    }
}
