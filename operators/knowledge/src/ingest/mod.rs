//! Documents into collections: fetched, read, cut, embedded, indexed.
//!
//! ```text
//! batch ──▶ prepare, document by document ──▶ embed, all children at once ──▶ a segment and a manifest per collection
//! ```

mod prepare;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lunapark_documents::{ChunkOptions, Limits, PdfReader};
use lunapark_embed::{Embeddings, Encoder, Role};
use lunapark_index::{Action, Batch as Changes, Change, Document, IndexError, Source};
use lunapark_operator::{Batch, Operator, OperatorError, Retry};
use lunapark_schemas::documents::{IndexedRecord, IndexedStatus, IngestRecord};
use lunapark_schemas::{Outcome, Rejection};

use prepare::{Kitchen, Prepared, Unready, kind_name};
pub use rows::IngestRows;
use rows::{Row, rows_of};

use crate::codec::{Json, JsonCodec};
use crate::collections::Collections;
use crate::content::Sources;
use crate::{later, passages};

/// What a human has to mend is looked at again after so long; nothing is lost meanwhile.
const MENDED: Duration = Duration::from_secs(10);

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
    /// How texts are cut.
    pub chunks: ChunkOptions,
}

/// What a row has become so far.
enum Step {
    Ready(Box<Prepared>),
    Deleted(Box<IngestRecord>),
    Rejected(Rejection),
}

impl Operator for Ingestor {
    type Out = Json<IndexedRecord>;

    fn name(&self) -> &'static str {
        "index"
    }

    async fn process(&self, batch: &Batch) -> Result<Vec<Outcome<Json<IndexedRecord>>>, OperatorError> {
        let rows = rows_of(batch).map_err(OperatorError::fatal)?;
        let read = read_ranges(&rows);
        let sources: Vec<Source> =
            rows.iter().map(|row| Source { partition: row.partition, offset: row.offset }).collect();
        let steps = self.encoder.spread(rows, |row| self.prepare(row)).into_iter().collect::<Result<Vec<_>, _>>()?;
        let embedded = self.embed(&steps)?;
        self.index(&steps, &sources, &embedded, &read)?;
        Ok(self.outcomes(steps, &embedded))
    }
}

impl Ingestor {
    fn prepare(&self, row: Row) -> Result<Step, OperatorError> {
        if row.ingest.record.deleted {
            return Ok(Step::Deleted(Box::new(row.ingest.record)));
        }
        let kitchen = Kitchen {
            sources: &*self.sources,
            pdf: &*self.pdf,
            limits: &self.limits,
            chunks: &self.chunks,
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
        let texts: Vec<&str> = steps
            .iter()
            .filter_map(|step| if let Step::Ready(prepared) = step { Some(prepared) } else { None })
            .flat_map(|prepared| prepared.children().map(|(_, child)| prepared.slice(&child.span)))
            .collect();
        self.encoder.embed(&texts, Role::Passage).map_err(|error| OperatorError::fatal(error.to_string()))
    }

    fn index(
        &self,
        steps: &[Step],
        sources: &[Source],
        embedded: &Embeddings,
        read: &BTreeMap<i32, Range<i64>>,
    ) -> Result<(), OperatorError> {
        let mut changes: BTreeMap<&str, Vec<Change>> = BTreeMap::new();
        let mut vectors = (0..embedded.tokens.len()).map(|row| embedded.row(row));
        for (step, source) in steps.iter().zip(sources) {
            let (collection, action) = match step {
                Step::Rejected(_) => continue,
                Step::Deleted(record) => (&record.collection, Action::Delete(record.id.clone())),
                Step::Ready(prepared) => (&prepared.record.collection, Action::Put(document(prepared, &mut vectors))),
            };
            changes.entry(collection).or_default().push(Change { source: *source, action });
        }
        for (collection, mut changes) in changes {
            changes.sort_by_key(|change| change.source);
            self.collections.apply(collection, &Changes { changes, read: read.clone() }).map_err(unindexed)?;
        }
        Ok(())
    }

    fn outcomes(&self, steps: Vec<Step>, embedded: &Embeddings) -> Vec<Outcome<Json<IndexedRecord>>> {
        let (mut at, model) = (0, self.collections.encoder_tag());
        let outcome = |step| match step {
            Step::Rejected(rejection) => Outcome::Reject(rejection),
            Step::Deleted(record) => Outcome::Emit(Json(deleted(*record, model.clone()))),
            Step::Ready(prepared) => {
                let from = at;
                at += prepared.children().count();
                Outcome::Emit(Json(indexed(*prepared, embedded, from..at, model.clone())))
            }
        };
        steps.into_iter().map(outcome).collect()
    }
}

/// A document that the index refuses is found by halves; everything else waits for the store, or for a human.
fn unindexed(error: IndexError) -> OperatorError {
    match &error {
        IndexError::Refused { .. } | IndexError::Name(_) => OperatorError::fatal(error.to_string()),
        _ if error.passes() => later(error.to_string()),
        _ => OperatorError { retry: Retry::After(MENDED), message: error.to_string() },
    }
}

/// First and next offset of each partition in the batch.
fn read_ranges(rows: &[Row]) -> BTreeMap<i32, Range<i64>> {
    let mut read: BTreeMap<i32, Range<i64>> = BTreeMap::new();
    for row in rows {
        let range = read.entry(row.partition).or_insert(row.offset..row.offset);
        *range = range.start.min(row.offset)..range.end.max(row.offset + 1);
    }
    read
}

/// The document as it is indexed; takes its vectors off the front.
fn document<'a>(prepared: &Prepared, vectors: &mut impl Iterator<Item = &'a [f32]>) -> Document {
    Document {
        id: prepared.record.id.clone(),
        title: prepared.title.clone().unwrap_or_default(),
        uri: prepared.record.uri.clone().unwrap_or_default(),
        metadata: prepared.record.metadata.clone(),
        digest: prepared.digest.clone(),
        parents: passages::indexed(&prepared.extracted, &prepared.parents, vectors),
    }
}

fn deleted(record: IngestRecord, model: String) -> IndexedRecord {
    IndexedRecord {
        id: record.id,
        collection: record.collection,
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

fn indexed(prepared: Prepared, embedded: &Embeddings, rows: Range<usize>, model: String) -> IndexedRecord {
    let tokens = embedded.tokens.get(rows.clone()).unwrap_or_default();
    let truncated = embedded.truncated.get(rows.clone()).unwrap_or_default();
    IndexedRecord {
        parents: prepared.parents.len() as u32,
        children: rows.len() as u32,
        tokens: tokens.iter().map(|tokens| *tokens as u64).sum(),
        truncated: truncated.iter().filter(|truncated| **truncated).count() as u32,
        id: prepared.record.id,
        collection: prepared.record.collection,
        status: IndexedStatus::Indexed,
        title: prepared.title,
        kind: Some(kind_name(prepared.extracted.kind).to_owned()),
        digest: prepared.digest,
        model,
    }
}
