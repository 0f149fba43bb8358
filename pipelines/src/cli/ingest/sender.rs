//! What is sent, and what is not: unchanged documents, and what the service could not read.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use lunapark_documents::{Columns, Kind, Limits, Source, TableFormat};
use lunapark_index::{Reader, Snapshot};
use lunapark_schemas::documents::{COLLECTION, DOCUMENT, IngestRecord, URI};
use lunapark_schemas::headers::CONTENT_TYPE;
use lunapark_schemas::{Event as _, HeadersBuf, Record};
use lunapark_stores::digest_of;
use lunapark_topics::Writer;

use super::{Args, FLUSH, Report, Skipped};
use crate::cli::{Context, output};
use crate::config::Config;
use crate::knowledge;

/// Room that key and headers need beside a file.
const HEADER_BYTES: usize = 4096;
/// Sections of segments that are held while looking for what has changed.
const CACHE_BYTES: u64 = 256 << 20;
/// A table or a list of records is held whole while it is read.
pub(super) const MAX_TABLE_BYTES: u64 = 1 << 30;
/// What a document that was sent by its address was when it was listed, among its metadata.
const VERSION: &str = "etag";

/// A file or an object.
pub(super) struct Item<'a> {
    /// Id of its document.
    pub id: &'a str,
    /// Where it is.
    pub address: &'a str,
    /// What people call it.
    pub shown: &'a str,
    /// What changes with its bytes, where that is known without them.
    pub version: Option<&'a str>,
    /// Its size, where that is known without them.
    pub bytes: Option<u64>,
}

/// Sends documents to the topic.
pub(super) struct Sender<'a> {
    args: &'a Args,
    topic: Arc<str>,
    max_bytes: usize,
    limits: Limits,
    writer: Box<dyn Writer>,
    known: Option<Arc<Snapshot>>,
    bar: ProgressBar,
    report: Report,
}

impl<'a> Sender<'a> {
    pub(super) fn open(context: &Context, config: &Config, args: &'a Args) -> anyhow::Result<Self> {
        let topic = context.catalog.documents_ingest.name().clone();
        if config.create_topics {
            for spec in context.catalog.document_specs() {
                context.log.create_topic(&spec)?;
            }
        }
        let max_bytes = context.log.topic(&topic)?.max_message_bytes;
        let writer = context.log.writer().context("cannot open a producer")?;
        let known = if args.all { None } else { known(config, &args.collection)? };
        let bar = output::progress(None, "{spinner} {pos} looked at, {msg} sent");
        let report = Report { collection: args.collection.clone(), ..Report::default() };
        let limits = knowledge::limits(&config.documents);
        Ok(Self { args, topic, max_bytes, limits, writer, known, bar, report })
    }

    /// All that was sent is on the log.
    pub(super) fn finish(mut self) -> anyhow::Result<Report> {
        self.writer.flush(FLUSH).context("not every document reached the log")?;
        self.bar.finish_and_clear();
        Ok(self.report)
    }

    pub(super) fn collection(&self) -> &str {
        &self.args.collection
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// So many items more will come.
    pub(super) fn expect(&self, items: u64) {
        self.bar.set_length(self.bar.position() + items);
    }

    /// True where a file's name says that it is a list of ingest records.
    pub(super) fn has_records(&self, name: &str) -> bool {
        let listed = name.ends_with(".ndjson") || name.ends_with(".jsonl");
        listed && self.args.page_content_column.is_none()
    }

    /// Notes what is not sent, and goes on.
    pub(super) fn skip(&mut self, shown: &str, reason: String) -> anyhow::Result<()> {
        self.report.skipped.push(Skipped { path: shown.to_owned(), reason });
        Ok(())
    }

    /// Sends an item as it is asked for; `read` gives its bytes, if they are no more than so many.
    pub(super) fn item(
        &mut self,
        item: &Item<'_>,
        read: impl FnOnce(u64) -> Result<Vec<u8>, String>,
    ) -> anyhow::Result<()> {
        self.bar.inc(1);
        let args = self.args;
        let table = args.page_content_column.as_deref().zip(TableFormat::of(None, Some(item.id)));
        if let Some((content, format)) = table {
            let columns = Columns { content, id: args.id_column.as_deref(), title: args.title_column.as_deref() };
            return match read(MAX_TABLE_BYTES) {
                Ok(bytes) => super::tables::send(self, item, &bytes, format, &columns),
                Err(reason) => self.skip(item.shown, reason),
            };
        }
        if let Some(version) = item.version.filter(|_| args.by_uri) {
            if let Some(bytes) = item.bytes.filter(|bytes| *bytes > self.limits.max_bytes as u64) {
                let what = format!("{bytes} bytes; `documents.max_document_bytes` allows {}", self.limits.max_bytes);
                return self.skip(item.shown, what);
            }
            return self.address(item, Some(version));
        }
        match read(self.limits.max_bytes as u64).and_then(|bytes| self.readable(item, bytes)) {
            Ok(bytes) if self.is_unchanged(item.id, &bytes)? => Ok(()),
            Ok(_) if args.by_uri => self.address(item, None),
            Ok(bytes) => self.file(item, &bytes),
            Err(reason) => self.skip(item.shown, reason),
        }
    }

    /// The bytes of a file that the service can read, or why it cannot.
    fn readable(&self, item: &Item<'_>, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        if bytes.is_empty() {
            return Err("it is empty".to_owned());
        }
        let source = Source { bytes: &bytes, content_type: None, name: Some(item.id) };
        match Kind::of(&source).map_err(|error| error.to_string())? {
            Kind::Table => return Err("it is a table: name the column of its texts (--page-content-column)".to_owned()),
            Kind::Text | Kind::Markdown | Kind::Html | Kind::Pdf => {}
        }
        match bytes.len() + HEADER_BYTES > self.max_bytes && !self.args.by_uri {
            true => Err(self.too_large(bytes.len())),
            false => Ok(bytes),
        }
    }

    fn too_large(&self, bytes: usize) -> String {
        format!("{bytes} bytes, and topic `{}` takes {}: send its address (--by-uri)", self.topic, self.max_bytes)
    }

    /// The file itself is the value.
    fn file(&mut self, item: &Item<'_>, bytes: &[u8]) -> anyhow::Result<()> {
        let mut headers = HeadersBuf::new();
        headers.push_str(COLLECTION, &self.args.collection);
        headers.push_str(DOCUMENT, item.id);
        headers.push_str(URI, item.address);
        headers.push_str(CONTENT_TYPE, "application/octet-stream");
        self.send(item.id, bytes, &headers)
    }

    /// The service fetches it.
    fn address(&mut self, item: &Item<'_>, version: Option<&str>) -> anyhow::Result<()> {
        let mut record = IngestRecord {
            id: item.id.to_owned(),
            collection: self.args.collection.clone(),
            uri: Some(item.address.to_owned()),
            ..IngestRecord::default()
        };
        if let Some(version) = version {
            if self.has_version(item.id, version)? {
                return Ok(());
            }
            record.metadata.insert(VERSION.to_owned(), version.into());
        }
        match record.check() {
            Ok(()) => self.json(&record),
            Err(reason) => self.skip(item.shown, reason),
        }
    }

    /// The lines of a list of records.
    pub(super) fn lines(&mut self, shown: &str, bytes: &[u8]) -> anyhow::Result<()> {
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let place = || format!("{shown}, line {}", number + 1);
            let line = std::str::from_utf8(line).with_context(place)?;
            if !line.trim().is_empty() {
                self.line(line).with_context(place)?;
            }
        }
        Ok(())
    }

    /// A line need not name the collection: --collection does.
    pub(super) fn line(&mut self, line: &str) -> anyhow::Result<()> {
        self.bar.inc(1);
        let mut value: serde_json::Value = serde_json::from_str(line)?;
        let Some(fields) = value.as_object_mut() else { bail!("not an object: write one ingest record per line") };
        fields.entry("collection").or_insert_with(|| self.args.collection.clone().into());
        let text = value.to_string();
        let record = IngestRecord::from_json(text.as_bytes()).map_err(anyhow::Error::msg)?;
        match record.collection == self.args.collection && self.has(&record)? {
            true => Ok(()),
            false => self.json(&record),
        }
    }

    /// Sends a record that has its content, or says why it is none for the topic.
    pub(super) fn record(&mut self, record: &IngestRecord) -> anyhow::Result<Option<String>> {
        if self.has(record)? {
            return Ok(None);
        }
        let bytes = serde_json::to_vec(record)?;
        match bytes.len() + HEADER_BYTES > self.max_bytes {
            true => Ok(Some(format!("{} bytes, and topic `{}` takes {}", bytes.len(), self.topic, self.max_bytes))),
            false => self.json(record).map(|()| None),
        }
    }

    fn json(&mut self, record: &IngestRecord) -> anyhow::Result<()> {
        let mut headers = HeadersBuf::new();
        headers.push_str(CONTENT_TYPE, "application/json");
        self.send(&record.key(), &serde_json::to_vec(record)?, &headers)
    }

    /// True where the collection has these bytes under this id.
    fn is_unchanged(&mut self, id: &str, bytes: &[u8]) -> anyhow::Result<bool> {
        let Some(known) = &self.known else { return Ok(false) };
        let found = known.digest(id)?.is_some_and(|digest| digest == digest_of(bytes));
        self.report.unchanged += u64::from(found);
        Ok(found)
    }

    /// True where the collection has a record's content, title and metadata.
    fn has(&mut self, record: &IngestRecord) -> anyhow::Result<bool> {
        let (Some(known), Some(content)) = (&self.known, &record.content) else { return Ok(false) };
        let found = known.about(&record.id)?.is_some_and(|about| {
            about.digest == digest_of(content.as_bytes())
                && record.title.as_ref().is_none_or(|title| *title == about.title)
                && record.metadata == about.metadata
        });
        self.report.unchanged += u64::from(found);
        Ok(found)
    }

    /// True where the collection has an object as it was listed.
    fn has_version(&mut self, id: &str, version: &str) -> anyhow::Result<bool> {
        let Some(known) = &self.known else { return Ok(false) };
        let about = known.about(id)?;
        let found = about.is_some_and(|about| about.metadata.get(VERSION).is_some_and(|had| had == version));
        self.report.unchanged += u64::from(found);
        Ok(found)
    }

    fn send(&mut self, id: &str, value: &[u8], headers: &HeadersBuf) -> anyhow::Result<()> {
        let record = Record {
            topic: &self.topic,
            partition: None,
            key: Some(id.as_bytes()),
            value: Some(value),
            headers: headers.view(),
            timestamp: None,
        };
        self.writer.produce(&record).with_context(|| format!("document `{id}`"))?;
        self.report.sent += 1;
        self.bar.set_message(self.report.sent.to_string());
        Ok(())
    }
}

/// The collection as it is now; none where there is no such collection yet.
fn known(config: &Config, collection: &str) -> anyhow::Result<Option<Arc<Snapshot>>> {
    let store = Arc::new(knowledge::store(config)?);
    match Reader::open(store, collection, CACHE_BYTES) {
        Ok(reader) => Ok(Some(reader.snapshot())),
        Err(lunapark_index::IndexError::NoCollection(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
