//! A collection with another encoder, or cut in another way: its own texts, cut and embedded again.
//!
//! ```text
//! live version ──▶ texts of its documents ──▶ chunk ──▶ embed ──▶ new version beside it ──▶ in its place
//! ```
//!
//! No document is fetched or read again: a collection has the texts, with the places of headings and pages. So it is what
//! ingesting the same documents anew would make of it.

use std::sync::Arc;

use lunapark_documents::{ChunkOptions, Extracted};
use lunapark_embed::{Encoder, Role};
use lunapark_index::{Document, IndexError, Manifest, Remake, rebuild};

use crate::Collections;
use crate::passages::{self, Cut};

/// Texts of the documents that are embedded at once, longer ones alone: seconds of work, so that progress shows.
const BATCH_TEXT_BYTES: usize = 256 << 10;

/// What reindexes.
pub struct Reindexer {
    /// The text encoder.
    pub encoder: Arc<Encoder>,
    /// The collections, whose settings are those to be had.
    pub collections: Arc<Collections>,
    /// How texts are cut.
    pub chunks: ChunkOptions,
}

/// Why a collection cannot be reindexed; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReindexError {
    /// The collection or its store.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A document cannot be cut or embedded.
    #[error("document `{document}`: {what}; delete it, or ingest it again, and reindex then")]
    Document {
        /// Its id.
        document: String,
        /// What is wrong.
        what: String,
    },
    /// The encoder fails.
    #[error("the text encoder: {0}")]
    Encoder(String),
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Documents made.
    pub made: u64,
    /// Documents to be made, as far as is known: more come while the collection changes.
    pub all: u64,
}

impl Reindexer {
    /// Gives a collection the encoder and the sizes of this service; none where it has them. Until that is done, and
    /// where it fails, the collection is as it was; its indexers may go on meanwhile.
    pub fn run(&self, collection: &str, progress: impl FnMut(Progress)) -> Result<Option<Manifest>, ReindexError> {
        let (store, settings) = (self.collections.store(), self.collections.settings());
        let mut work = Work { reindexer: self, made: Progress::default(), progress };
        let manifest = rebuild(store, collection, settings, self.collections.instance(), &mut work)?;
        self.collections.forget(collection);
        Ok(manifest)
    }

    /// The same documents, cut and embedded anew.
    fn make(&self, documents: &[Document]) -> Result<Vec<Document>, ReindexError> {
        let cut = documents.iter().map(|document| self.cut(document)).collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<_> = cut.iter().flat_map(|(cut, extracted)| cut.texts(extracted)).collect();
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let embedded = self.encoder.embed(&texts, Role::Passage);
        let embedded = embedded.map_err(|error| ReindexError::Encoder(error.to_string()))?;
        let mut vectors = (0..texts.len()).map(|row| embedded.row(row));
        let make = |(document, (cut, extracted)): (&Document, &(Cut, Extracted))| Document {
            parents: passages::indexed(extracted, &cut.parents, &mut vectors),
            id: document.id.clone(),
            title: document.title.clone(),
            uri: document.uri.clone(),
            metadata: document.metadata.clone(),
            digest: document.digest.clone(),
        };
        Ok(documents.iter().zip(&cut).map(make).collect())
    }

    fn cut(&self, document: &Document) -> Result<(Cut, Extracted), ReindexError> {
        let failed = |what: String| ReindexError::Document { document: document.id.clone(), what };
        let extracted = passages::whole(document).map_err(|what| failed(what.to_owned()))?;
        let cut = Cut::of(&extracted, Some(&document.title), &self.encoder, &self.chunks);
        Ok((cut.map_err(|error| failed(format!("it cannot be cut: {error}")))?, extracted))
    }
}

struct Work<'a, P> {
    reindexer: &'a Reindexer,
    made: Progress,
    progress: P,
}

impl<P: FnMut(Progress)> Remake for Work<'_, P> {
    type Error = ReindexError;

    fn begins(&mut self, documents: u64) {
        self.made.all = self.made.made + documents;
        (self.progress)(self.made);
    }

    fn make(&mut self, documents: Vec<Document>) -> Result<Vec<Document>, ReindexError> {
        let mut made = Vec::with_capacity(documents.len());
        let mut rest = &documents[..];
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(batch(rest));
            made.extend(self.reindexer.make(batch)?);
            rest = others;
            self.made.made += batch.len() as u64;
            (self.progress)(self.made);
        }
        Ok(made)
    }
}

/// How many of these are embedded at once: one at least.
fn batch(documents: &[Document]) -> usize {
    let bytes = |document: &Document| document.parents.iter().map(|parent| parent.text.len()).sum::<usize>();
    let ends = documents.iter().scan(0, |end, document| {
        *end += bytes(document);
        Some(*end)
    });
    ends.take_while(|end| *end <= BATCH_TEXT_BYTES).count().max(1)
}
