//! One document made ready: fetched, read, cut; its vectors are still to come.

use std::ops::Range;

use lunapark_documents::{
    Child, ChunkOptions, ExtractError, Extracted, Kind, Limits, Parent, PdfReader, Source, Tokens,
};
use lunapark_embed::{Role, TextTokenizer};
use lunapark_schemas::documents::{Ingest, IngestRecord};
use lunapark_schemas::{ErrorClass, Rejection};
use lunapark_stores::digest_of;

use crate::content::{SourceError, Sources, bytes_of};

/// What making ready needs.
pub(crate) struct Kitchen<'a> {
    pub sources: &'a dyn Sources,
    pub pdf: &'a dyn PdfReader,
    pub limits: &'a Limits,
    pub chunks: &'a ChunkOptions,
    pub tokenizer: &'a TextTokenizer,
    pub max_tokens: usize,
}

/// A document, cut.
pub(crate) struct Prepared {
    pub record: IngestRecord,
    pub title: Option<String>,
    pub kind: &'static str,
    pub digest: String,
    pub text: String,
    pub parents: Vec<Parent>,
}

impl Prepared {
    /// Every child with its parent's number, in the document's order.
    pub fn children(&self) -> impl Iterator<Item = (usize, &Child)> {
        self.parents.iter().enumerate().flat_map(|(number, parent)| parent.children.iter().map(move |c| (number, c)))
    }

    /// The text of a span.
    pub fn slice(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }
}

/// Why a document is not ready.
pub(crate) enum Unready {
    /// It becomes a dead letter.
    Rejected(Rejection),
    /// Its content cannot be fetched now.
    Away(String),
}

impl From<ExtractError> for Unready {
    fn from(error: ExtractError) -> Self {
        let what = format!("{}: {error}", error.reason());
        Unready::Rejected(Rejection::new(ErrorClass::Document, what))
    }
}

impl From<SourceError> for Unready {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Refused(what) => Unready::Rejected(Rejection::new(ErrorClass::Document, what)),
            SourceError::Away(what) => Unready::Away(what),
        }
    }
}

impl Kitchen<'_> {
    /// Fetches, reads and cuts a document.
    pub fn prepare(&self, ingest: Ingest) -> Result<Prepared, Unready> {
        let Ingest { mut record, file } = ingest;
        let inline = file.or(record.content.take().map(String::into_bytes));
        let bytes = bytes_of(inline, record.uri.as_deref(), self.sources, self.limits.max_bytes)?;
        let name = record.uri.as_deref().or(Some(&record.id));
        let source = Source { bytes: &bytes, content_type: record.content_type.as_deref(), name };
        let extracted = lunapark_documents::extract(&source, self.limits, self.pdf)?;
        let parents = self.chunk(&extracted)?;
        let digest = digest_of(&bytes);
        let title = record.title.clone().or(extracted.title);
        Ok(Prepared { title, kind: kind_name(extracted.kind), digest, text: extracted.text, parents, record })
    }

    fn chunk(&self, extracted: &Extracted) -> Result<Vec<Parent>, Unready> {
        let counted = Counted { tokenizer: self.tokenizer, limit: self.max_tokens };
        lunapark_documents::chunk(extracted, &counted, self.chunks).map_err(|error| {
            Unready::Rejected(Rejection::new(ErrorClass::Document, format!("it cannot be cut: {error}")))
        })
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Markdown => "markdown",
        Kind::Html => "html",
        Kind::Pdf => "pdf",
    }
}

/// The encoder's tokenizer as what sizes are counted by.
struct Counted<'a> {
    tokenizer: &'a TextTokenizer,
    limit: usize,
}

impl Tokens for Counted<'_> {
    fn spans(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        self.tokenizer.spans(text).map_err(|error| error.to_string())
    }

    fn overhead(&self) -> usize {
        self.tokenizer.overhead(Role::Passage)
    }

    fn limit(&self) -> usize {
        self.limit
    }
}
