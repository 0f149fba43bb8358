//! What is sent, and what is not: unchanged documents, and what the service could not read.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use lunapark_documents::{Columns, Kind, Limits, Source, TableFormat, front_matter, is_front_matter_open};
use lunapark_index::{About, Reader, Snapshot, exists};
use lunapark_schemas::documents::{COLLECTION, DOCUMENT, IngestRecord, METADATA, URI};
use lunapark_schemas::headers::{CE_CORRELATIONID, CONTENT_TYPE};
use lunapark_schemas::{HeadersBuf, Record};
use lunapark_stores::digest_of;
use lunapark_topics::{Log, Writer};
use serde_json::{Map, Value};

use super::letters::Letters;
use super::pending::pending;
use super::prune::Unlooked;
use super::report::{Gone, Listed, Refused, Report, Skipped};
use super::{Args, FLUSH};
use crate::cli::output::{counted, number};
use crate::cli::{Context, lines, output};
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
/// Fields of front matter that would stand in place of what a filter sees of the document itself.
const OWN: [&str; 2] = ["id", "uri"];

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
    /// True where it was named itself, and not found in a folder.
    pub named: bool,
}

/// Sends documents to the topic.
pub(super) struct Sender<'a> {
    args: &'a Args,
    log: &'a dyn Log,
    topic: Arc<str>,
    max_bytes: usize,
    limits: Limits,
    writer: Box<dyn Writer>,
    known: Option<Arc<Snapshot>>,
    letters: Letters,
    bar: ProgressBar,
    report: Report,
    /// Ids of items that have no bytes.
    emptied: HashSet<String>,
    /// Ids of documents that are still to be indexed, by this run or one before: what the collection has of them says
    /// nothing.
    pending: HashSet<String>,
}

impl<'a> Sender<'a> {
    pub(super) fn open(context: &'a Context, config: &Config, args: &'a Args) -> anyhow::Result<Self> {
        let topic = context.catalog.documents_ingest.name().clone();
        if config.create_topics {
            for spec in context.catalog.document_specs() {
                context.log.create_topic(&spec)?;
            }
        }
        let max_bytes = context.log.topic(&topic)?.max_message_bytes;
        let writer = context.log.writer().context("cannot open a producer")?;
        let log = &*context.log;
        let (pending, known) = match args.all || !is_made(config, &args.collection)? {
            // Everything is sent, so nobody need read what is on the topic.
            true => (HashSet::new(), None),
            // Read before the collection: what is indexed in between is in both.
            false => (pending(log, &context.group_of_documents, &topic)?, known(config, &args.collection)?),
        };
        let catalog = &context.catalog;
        let letters = Letters::open(log, catalog.documents_ingest.dead().name(), catalog.ledger.name())?;
        let bar = output::progress(Some(0), "{spinner} {pos} of {len} looked at, {msg} sent");
        let report = Report { collection: args.collection.clone(), ..Report::default() };
        let limits = knowledge::limits(&config.documents);
        let emptied = HashSet::new();
        Ok(Self { args, log, topic, max_bytes, limits, writer, known, letters, bar, report, emptied, pending })
    }

    /// All that was sent is on the log. `left_out` is what was skipped while looking.
    pub(super) fn finish(mut self, left_out: Listed<Skipped>) -> anyhow::Result<(Report, Letters)> {
        self.writer.flush(FLUSH).context("not every document reached the log")?;
        self.bar.finish_and_clear();
        self.report.skipped.extend(left_out);
        Ok((self.report, self.letters))
    }

    pub(super) fn args(&self) -> &'a Args {
        self.args
    }

    pub(super) fn collection(&self) -> &str {
        &self.args.collection
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// So many items more will come.
    pub(super) fn expect(&self, items: u64) {
        self.bar.inc_length(items);
    }

    /// Notes what is not sent, and goes on.
    pub(super) fn skip(&mut self, shown: &str, reason: String) -> anyhow::Result<()> {
        self.report.skipped.push(Skipped::new(shown, reason));
        Ok(())
    }

    /// True for an item that was there, and had no bytes.
    pub(super) fn is_emptied(&self, id: &str) -> bool {
        self.emptied.contains(id)
    }

    /// Notes an item that is not sent; where the collection has an older content of it, that stays.
    fn leave(&mut self, item: &Item<'_>, reason: String) -> anyhow::Result<()> {
        let known = self.known.as_ref().map(|known| known.about(item.id)).transpose()?.flatten();
        let fate = known.map(|known| self.fate(item, &known)).unwrap_or_default();
        self.skip(item.shown, reason + &fate)
    }

    /// What becomes of the document that the collection has under an item's name; only what came from the very file goes
    /// with it.
    fn fate(&self, item: &Item<'_>, known: &About) -> String {
        if known.uri != item.address {
            return format!("; the document `{}` of {} stays as it is", item.id, place(&known.uri));
        }
        let fate = match self.is_emptied(item.id) {
            true if self.args.yes => "is taken out",
            true => "can still be found: --prune --yes on its folder takes that out",
            false => "can still be found",
        };
        format!("; what was sent of it before {fate}")
    }

    fn leave_empty(&mut self, item: &Item<'_>) -> anyhow::Result<()> {
        self.emptied.insert(item.id.to_owned());
        self.leave(item, "it is empty".to_owned())
    }

    /// Notes a document whose file is gone.
    pub(super) fn gone(&mut self, gone: Gone) {
        self.report.pruned = self.args.yes;
        self.report.gone.push(gone);
    }

    /// Notes what nobody looked at whether it is gone.
    pub(super) fn unlooked(&mut self, unlooked: Unlooked) {
        self.report.unlooked = unlooked;
    }

    /// Takes a document out of the collection.
    pub(super) fn take_out(&mut self, id: &str) -> anyhow::Result<()> {
        let (id, collection) = (id.to_owned(), self.args.collection.clone());
        let record = IngestRecord { id, collection, deleted: true, ..IngestRecord::default() };
        self.produce(&record.id, &serde_json::to_vec(&record)?, &mut json_headers())
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
            return match within(item.bytes, MAX_TABLE_BYTES, SPLIT).and_then(|()| read(MAX_TABLE_BYTES)) {
                Ok(bytes) => super::tables::send(self, item, &bytes, format, &columns),
                Err(reason) => self.skip(item.shown, reason),
            };
        }
        let most = self.limits.max_bytes as u64;
        if item.version.is_some() && item.bytes == Some(0) {
            return self.leave_empty(item);
        }
        if let Err(reason) = within(item.bytes, most, RAISE) {
            return self.leave(item, reason);
        }
        if let Some(version) = item.version.filter(|_| args.by_uri) {
            return self.address(item, Some(version), Map::new());
        }
        let (bytes, kind) = match read(most) {
            Ok(bytes) if bytes.is_empty() => return self.leave_empty(item),
            read => match read.and_then(|bytes| self.readable(item, bytes)) {
                Ok(readable) => readable,
                Err(reason) => return self.leave(item, reason),
            },
        };
        let said = match (kind, std::str::from_utf8(&bytes)) {
            (Kind::Markdown, Ok(text)) => self.said(item, text),
            _ => Map::new(),
        };
        match self.is_unchanged(item.id, &bytes, &said)? {
            true => Ok(()),
            false if args.by_uri => self.address(item, None, said),
            false => self.file(item, &bytes, said),
        }
    }

    /// What a document's front matter says of it, but for what the document has itself.
    fn said(&mut self, item: &Item<'_>, text: &str) -> Map<String, Value> {
        let mut said = front_matter(text);
        if OWN.map(|own| said.remove(own).is_some()).contains(&true) {
            self.report.shadowing.push(item.shown.to_owned());
        }
        if is_front_matter_open(text) {
            self.report.unclosed.push(item.shown.to_owned());
        }
        said
    }

    /// The bytes of a file that the service can read, or why it cannot.
    fn readable(&self, item: &Item<'_>, bytes: Vec<u8>) -> Result<(Vec<u8>, Kind), String> {
        let source = Source { bytes: &bytes, content_type: None, name: Some(item.id) };
        let kind = Kind::of(&source).map_err(|error| error.to_string())?;
        match kind {
            Kind::Table => return Err("it is a table: name the column of its texts (--page-content-column)".to_owned()),
            Kind::Text | Kind::Markdown | Kind::Html | Kind::Pdf => {}
        }
        match bytes.len() + HEADER_BYTES > self.max_bytes && !self.args.by_uri {
            true => Err(self.too_large(bytes.len())),
            false => Ok((bytes, kind)),
        }
    }

    fn too_large(&self, bytes: usize) -> String {
        format!(
            "{} bytes, and topic `{}` takes {}: send its address (--by-uri), which `documents.sources` of the service must \
             allow; or raise `topics.max_message_bytes`, which holds for a topic that is made anew",
            number(bytes as u64),
            self.topic,
            number(self.max_bytes as u64)
        )
    }

    /// The file itself is the value; what its front matter says of it goes beside it.
    fn file(&mut self, item: &Item<'_>, bytes: &[u8], said: Map<String, Value>) -> anyhow::Result<()> {
        let mut headers = HeadersBuf::new();
        headers.push_str(COLLECTION, &self.args.collection);
        headers.push_str(DOCUMENT, item.id);
        headers.push_str(URI, item.address);
        if !said.is_empty() {
            headers.push_str(METADATA, &Value::Object(said).to_string());
        }
        headers.push_str(CONTENT_TYPE, "application/octet-stream");
        match self.was_refused(item.id, item.shown, bytes)? {
            true => Ok(()),
            false => self.send(item.id, bytes, &mut headers),
        }
    }

    /// The service fetches it.
    fn address(&mut self, item: &Item<'_>, version: Option<&str>, said: Map<String, Value>) -> anyhow::Result<()> {
        let mut record = IngestRecord {
            id: item.id.to_owned(),
            collection: self.args.collection.clone(),
            uri: Some(item.address.to_owned()),
            metadata: said,
            ..IngestRecord::default()
        };
        if let Some(version) = version {
            if self.has_version(item.id, version)? {
                return Ok(());
            }
            record.metadata.insert(VERSION.to_owned(), version.into());
        }
        match record.check() {
            Ok(()) => self.json(&record, item.shown),
            Err(reason) => self.skip(item.shown, reason),
        }
    }

    /// The lines of a list of records.
    pub(super) fn lines(&mut self, shown: &str, bytes: &[u8]) -> anyhow::Result<()> {
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let place = format!("{shown}, line {}", number + 1);
            let line = std::str::from_utf8(line).with_context(|| place.clone())?;
            if !line.trim().is_empty() {
                self.line(line, &place)?;
            }
        }
        Ok(())
    }

    /// A line need not name the collection: --collection does.
    pub(super) fn line(&mut self, line: &str, place: &str) -> anyhow::Result<()> {
        self.bar.inc_length(1);
        self.bar.inc(1);
        let record = match self.read_line(line) {
            Ok(record) => record,
            Err(error) => return Err(self.stop(error.context(place.to_owned()))),
        };
        if record.collection != self.args.collection {
            let (other, ours) = (&record.collection, &self.args.collection);
            let what = format!("{place}: its collection is `{other}`, and --collection is `{ours}`; name one of them");
            return Err(self.stop(anyhow::anyhow!(what)));
        }
        match self.has(&record)? {
            true => Ok(()),
            false => self.json(&record, place),
        }
    }

    /// Nobody should have to guess how far it came.
    fn stop(&mut self, error: anyhow::Error) -> anyhow::Error {
        let sent = self.report.sent;
        match self.writer.flush(FLUSH) {
            Ok(()) if sent > 0 => error.context(format!("stopped after {} sent; the rest is not", were(sent))),
            Ok(()) => error.context("nothing was sent"),
            Err(lost) => error.context(format!("stopped, and not every document reached the log ({lost})")),
        }
    }

    fn read_line(&self, line: &str) -> anyhow::Result<IngestRecord> {
        let mut value: Value = serde_json::from_str(line).map_err(|error| {
            let (what, column) = lines::fault(&error);
            anyhow::anyhow!("{what}{column}; {RECORD}")
        })?;
        let Some(fields) = value.as_object_mut() else { bail!("this line is no JSON object; {RECORD}") };
        fields.entry("collection").or_insert_with(|| self.args.collection.clone().into());
        let record = IngestRecord::from_json(value.to_string().as_bytes());
        record.map_err(|what| anyhow::anyhow!("{}; {RECORD}", lines::plain(&what)))
    }

    /// Sends a record that has its content, or says why it is none for the topic.
    pub(super) fn record(&mut self, record: &IngestRecord, shown: &str) -> anyhow::Result<Option<String>> {
        if self.has(record)? {
            return Ok(None);
        }
        let bytes = serde_json::to_vec(record)?.len();
        match bytes + HEADER_BYTES > self.max_bytes {
            true => Ok(Some(self.too_large(bytes))),
            false => self.json(record, shown).map(|()| None),
        }
    }

    /// A record whose content is elsewhere may be another one by now, unless it says which version it was.
    fn json(&mut self, record: &IngestRecord, shown: &str) -> anyhow::Result<()> {
        let value = serde_json::to_vec(record)?;
        let told = record.content.is_some() || record.metadata.contains_key(VERSION);
        match told && self.was_refused(&record.id, shown, &value)? {
            true => Ok(()),
            false => self.send(&record.id, &value, &mut json_headers()),
        }
    }

    /// True where this was refused before: it would be again, so it is told and not sent.
    fn was_refused(&mut self, id: &str, shown: &str, value: &[u8]) -> anyhow::Result<bool> {
        if self.args.again || self.args.all {
            return Ok(false);
        }
        let Some(before) = self.letters.before(self.log, &self.args.collection, id, value)? else { return Ok(false) };
        self.report.refused.push(Refused {
            document: id.to_owned(),
            path: shown.to_owned(),
            reason: before.reason,
            dead_letter: before.dead_letter,
            sent: false,
        });
        Ok(true)
    }

    /// The collection, where what it has of a document is the last word.
    fn told_of(&self, id: &str) -> Option<&Snapshot> {
        self.known.as_deref().filter(|_| !self.pending.contains(id))
    }

    /// True where the collection has these bytes under this id, and what their front matter says.
    fn is_unchanged(&mut self, id: &str, bytes: &[u8], said: &Map<String, Value>) -> anyhow::Result<bool> {
        let Some(known) = self.told_of(id) else { return Ok(false) };
        let found = known.about(id)?.is_some_and(|about| {
            about.digest == digest_of(bytes) && said.iter().all(|(name, value)| about.metadata.get(name) == Some(value))
        });
        self.report.unchanged += u64::from(found);
        Ok(found)
    }

    /// True where the collection has a record's content, title and metadata.
    fn has(&mut self, record: &IngestRecord) -> anyhow::Result<bool> {
        let (Some(known), Some(content)) = (self.told_of(&record.id), &record.content) else { return Ok(false) };
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
        let Some(known) = self.told_of(id) else { return Ok(false) };
        let about = known.about(id)?;
        let found = about.is_some_and(|about| about.metadata.get(VERSION).is_some_and(|had| had == version));
        self.report.unchanged += u64::from(found);
        Ok(found)
    }

    fn send(&mut self, id: &str, value: &[u8], headers: &mut HeadersBuf) -> anyhow::Result<()> {
        self.produce(id, value, headers)?;
        self.report.sent += 1;
        self.bar.set_message(self.report.sent.to_string());
        Ok(())
    }

    fn produce(&mut self, id: &str, value: &[u8], headers: &mut HeadersBuf) -> anyhow::Result<()> {
        headers.push_str(CE_CORRELATIONID, self.letters.run());
        let record = Record {
            topic: &self.topic,
            partition: None,
            key: Some(id.as_bytes()),
            value: Some(value),
            headers: headers.view(),
            timestamp: None,
        };
        self.writer.produce(&record).with_context(|| format!("document `{id}`"))?;
        self.pending.insert(id.to_owned());
        Ok(())
    }
}

/// Where a document came from, for people.
fn place(uri: &str) -> &str {
    if uri.is_empty() { "a record of its own" } else { uri.strip_prefix("file://").unwrap_or(uri) }
}

fn were(count: u64) -> String {
    format!("{} {}", counted(count, "document"), if count == 1 { "was" } else { "were" })
}

fn json_headers() -> HeadersBuf {
    let mut headers = HeadersBuf::new();
    headers.push_str(CONTENT_TYPE, "application/json");
    headers
}

/// What a line should be.
const RECORD: &str = "write one ingest record per line, {\"id\": \"…\", \"content\": \"…\"}, with \"uri\" or \"deleted\": true \
                      in place of content, and with \"title\" and \"metadata\" as you like";
/// What to do about a table that is too large.
const SPLIT: &str = "are held while a table is read: split it";
/// What to do about a document that is too large.
const RAISE: &str =
    "are read of a document: raise `documents.max_document_bytes`, here and for the service, or split it";

/// Refuses what is known to be too large before it is read.
fn within(bytes: Option<u64>, most: u64, what: &str) -> Result<(), String> {
    match bytes.filter(|bytes| *bytes > most) {
        Some(bytes) => Err(format!("{} bytes, and at most {} {what}", number(bytes), number(most))),
        None => Ok(()),
    }
}

fn is_made(config: &Config, collection: &str) -> anyhow::Result<bool> {
    Ok(exists(&knowledge::store(config)?, collection)?)
}

/// The collection as it is now; none where there is no such collection yet.
pub(super) fn known(config: &Config, collection: &str) -> anyhow::Result<Option<Arc<Snapshot>>> {
    let store = Arc::new(knowledge::store(config)?);
    match Reader::open(store, collection, CACHE_BYTES) {
        Ok(reader) => Ok(Some(reader.snapshot())),
        Err(lunapark_index::IndexError::NoCollection(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
