//! One document made ready: fetched, read, cut; its vectors are still to come.

use lunapark_documents::{ChunkOptions, ExtractError, Extracted, Kind, Limits, PdfReader, Source, TableFormat};
use lunapark_embed::Encoder;
use lunapark_schemas::documents::{Ingest, IngestRecord};
use lunapark_schemas::{ErrorClass, Rejection};
use lunapark_stores::digest_of;

use crate::content::{SourceError, Sources, bytes_of};
use crate::passages::Cut;

/// What making ready needs.
pub(crate) struct Kitchen<'a> {
    pub sources: &'a dyn Sources,
    pub pdf: &'a dyn PdfReader,
    pub limits: &'a Limits,
    pub chunks: &'a ChunkOptions,
    pub encoder: &'a Encoder,
}

/// A document, cut.
pub(crate) struct Prepared {
    pub record: IngestRecord,
    pub title: Option<String>,
    pub digest: String,
    pub extracted: Extracted,
    pub cut: Cut,
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
        let is_written = file.is_none() && record.content.is_some() && record.page_content_column.is_none();
        let inline = file.or(record.content.take().map(String::into_bytes));
        let bytes = bytes_of(inline, record.uri.as_deref(), self.sources, self.limits.max_bytes)?;
        let name = record.uri.as_deref().or(Some(&record.id));
        let written = is_written.then(|| Kind::of_written(&bytes, name));
        let content_type = record.content_type.as_deref().or(written);
        let source = Source { bytes: &bytes, content_type, name };
        let extracted = match &record.page_content_column {
            Some(column) => self.table(&source, column)?,
            None => lunapark_documents::extract(&source, self.limits, self.pdf)?,
        };
        let title = record.title.clone().or_else(|| extracted.title.clone());
        let cut = self.cut(&extracted, title.as_deref())?;
        Ok(Prepared { title, digest: digest_of(&bytes), extracted, cut, record })
    }

    /// A table's column as a text.
    fn table(&self, source: &Source<'_>, column: &str) -> Result<Extracted, ExtractError> {
        let format = TableFormat::of(source.content_type, source.name).ok_or_else(|| {
            let what = "it has a page_content_column, and neither content type nor name says a table: name one of \
                        application/json, application/x-ndjson, text/csv and application/vnd.apache.parquet";
            ExtractError::Unsupported(what.to_owned())
        })?;
        lunapark_documents::extract_table(source.bytes, format, column, self.limits)
    }

    fn cut(&self, extracted: &Extracted, title: Option<&str>) -> Result<Cut, Unready> {
        Cut::of(extracted, title, self.encoder, self.chunks).map_err(|error| {
            Unready::Rejected(Rejection::new(ErrorClass::Document, format!("it cannot be cut: {error}")))
        })
    }
}

pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Markdown => "markdown",
        Kind::Html => "html",
        Kind::Pdf => "pdf",
        Kind::Table => "table",
    }
}
