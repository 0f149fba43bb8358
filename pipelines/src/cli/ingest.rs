//! `lunapark ingest`: files, folders and lists of documents on their way into a collection.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use lunapark_documents::{Kind, Source};
use lunapark_index::{Reader, Snapshot};
use lunapark_schemas::documents::{COLLECTION, DOCUMENT, IngestRecord, URI, check_collection};
use lunapark_schemas::headers::CONTENT_TYPE;
use lunapark_schemas::{Event as _, HeadersBuf, Record};
use lunapark_stores::digest_of;
use lunapark_topics::Writer;
use serde::Serialize;

use super::Context;
use super::output::{self, Output, Table, number};
use super::settled::wait_settled;
use crate::config::Config;
use crate::knowledge;

/// Every delivery must be acknowledged within this time.
const FLUSH: Duration = Duration::from_secs(300);
/// Room that key and headers need beside a file.
const HEADER_BYTES: usize = 4096;
/// Sections of segments that are held while looking for what has changed.
const CACHE_BYTES: u64 = 256 << 20;

/// Sends documents to a collection
///
/// Folders are walked; each file is a document whose id is its path below the folder. A file that ends in .ndjson or
/// .jsonl holds one ingest record per line (id, content or uri, title, metadata, …). What the collection has already,
/// byte for byte, is not sent again. Text, Markdown, HTML and PDF are read; what is skipped is listed with its reason.
/// The documents can be found once a service with documents.threads above 0 has indexed them: --wait waits for that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark ingest papers/ notes.md --collection papers --wait\n  \
                        lunapark ingest abstracts.ndjson --collection abstracts\n  \
                        lunapark ingest papers/ --collection papers --all      sends also what has not changed")]
pub struct Args {
    /// Files, folders, and NDJSON files of ingest records
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Collection; made when its first document is indexed
    #[arg(long, short, value_parser = collection)]
    collection: String,
    /// Send also what has not changed
    #[arg(long)]
    all: bool,
    /// Wait until everything that was sent is indexed
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this long
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = super::time::parse_duration)]
    timeout: Duration,
}

/// A collection's name, checked.
pub fn collection(text: &str) -> Result<String, String> {
    check_collection(text).map(|()| text.to_owned())
}

/// What came of the files.
#[derive(Debug, Default, Serialize)]
struct Report {
    collection: String,
    sent: u64,
    unchanged: u64,
    skipped: Vec<Skipped>,
    indexed: bool,
}

#[derive(Debug, Serialize)]
struct Skipped {
    path: String,
    reason: String,
}

/// Runs the command.
pub fn run(context: &Context, config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let mut sender = Sender::open(context, config, args)?;
    for path in &args.paths {
        sender.path(path)?;
    }
    sender.writer.flush(FLUSH).context("not every document reached the log")?;
    sender.bar.finish_and_clear();
    let mut report = sender.report;
    if args.wait {
        wait(context, config, args.timeout)?;
        report.indexed = true;
    }
    output::on_stdout(context.json, |out| print(out, context.json, &report))
}

struct Sender<'a> {
    args: &'a Args,
    topic: Arc<str>,
    max_bytes: usize,
    writer: Box<dyn Writer>,
    known: Option<Arc<Snapshot>>,
    bar: ProgressBar,
    report: Report,
}

impl<'a> Sender<'a> {
    fn open(context: &Context, config: &Config, args: &'a Args) -> anyhow::Result<Self> {
        let topic = context.catalog.documents_ingest.name().clone();
        if config.create_topics {
            for spec in context.catalog.document_specs() {
                context.log.create_topic(&spec)?;
            }
        }
        let max_bytes = context.log.topic(&topic)?.max_message_bytes;
        let writer = context.log.writer().context("cannot open a producer")?;
        let known = if args.all { None } else { known(config, &args.collection)? };
        let bar = output::progress(None, "{spinner} {pos} documents sent");
        let report = Report { collection: args.collection.clone(), ..Report::default() };
        Ok(Self { args, topic, max_bytes, writer, known, bar, report })
    }

    fn path(&mut self, path: &Path) -> anyhow::Result<()> {
        let found = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        if found.is_dir() {
            return self.folder(path);
        }
        let records = path.extension().is_some_and(|end| end == "ndjson" || end == "jsonl");
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if records { self.records(path) } else { self.file(path, &name) }
    }

    /// Walks a folder in the order of names, links to folders left out: they may lead in a circle.
    fn folder(&mut self, root: &Path) -> anyhow::Result<()> {
        let mut todo = vec![root.to_owned()];
        while let Some(folder) = todo.pop() {
            let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
            let mut entries: Vec<_> = entries.collect::<Result<_, _>>()?;
            entries.sort_by_key(std::fs::DirEntry::file_name);
            let mut folders = Vec::new();
            for entry in entries {
                let (path, kind) = (entry.path(), entry.file_type()?);
                if kind.is_dir() {
                    folders.push(path);
                } else if path.is_file() {
                    let id = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                    self.file(&path, &id)?;
                }
            }
            todo.extend(folders.into_iter().rev());
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, id: &str) -> anyhow::Result<()> {
        match self.readable(path, id) {
            Ok(bytes) => self.send_file(path, id, &bytes),
            Err(reason) => {
                self.report.skipped.push(Skipped { path: path.display().to_string(), reason });
                Ok(())
            }
        }
    }

    /// The bytes of a file that the service can read, or why it cannot.
    fn readable(&self, path: &Path, id: &str) -> Result<Vec<u8>, String> {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        if bytes.is_empty() {
            return Err("it is empty".to_owned());
        }
        let source = Source { bytes: &bytes, content_type: None, name: Some(id) };
        Kind::of(&source).map_err(|error| error.to_string())?;
        match bytes.len() + HEADER_BYTES > self.max_bytes {
            true => Err(format!(
                "{} bytes, and topic `{}` takes {}: send a record with its `uri`",
                bytes.len(),
                self.topic,
                self.max_bytes
            )),
            false => Ok(bytes),
        }
    }

    fn send_file(&mut self, path: &Path, id: &str, bytes: &[u8]) -> anyhow::Result<()> {
        if self.unchanged(id, bytes)? {
            return Ok(());
        }
        let address = format!("file://{}", path.canonicalize().unwrap_or_else(|_| path.to_owned()).display());
        let mut headers = HeadersBuf::new();
        headers.push_str(COLLECTION, &self.args.collection);
        headers.push_str(DOCUMENT, id);
        headers.push_str(URI, &address);
        headers.push_str(CONTENT_TYPE, "application/octet-stream");
        self.send(id, bytes, &headers)
    }

    fn records(&mut self, path: &Path) -> anyhow::Result<()> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            if !line.trim().is_empty() {
                self.record(&line).with_context(|| format!("{}, line {}", path.display(), number + 1))?;
            }
        }
        Ok(())
    }

    /// A line need not name the collection: --collection does.
    fn record(&mut self, line: &str) -> anyhow::Result<()> {
        let mut value: serde_json::Value = serde_json::from_str(line)?;
        let Some(fields) = value.as_object_mut() else { bail!("not an object: write one ingest record per line") };
        fields.entry("collection").or_insert_with(|| self.args.collection.clone().into());
        let text = value.to_string();
        let record = IngestRecord::from_json(text.as_bytes()).map_err(anyhow::Error::msg)?;
        let content = record.content.as_deref().filter(|_| record.collection == self.args.collection);
        if content.map_or(Ok(false), |content| self.unchanged(&record.id, content.as_bytes()))? {
            return Ok(());
        }
        let mut headers = HeadersBuf::new();
        headers.push_str(CONTENT_TYPE, "application/json");
        self.send(&record.key(), text.as_bytes(), &headers)
    }

    fn unchanged(&mut self, id: &str, bytes: &[u8]) -> anyhow::Result<bool> {
        let Some(known) = &self.known else { return Ok(false) };
        let found = known.digest(id)?.is_some_and(|digest| digest == digest_of(bytes));
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
        self.bar.set_position(self.report.sent);
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

/// Until the pipeline has committed what is on the topic now.
fn wait(context: &Context, config: &Config, patience: Duration) -> anyhow::Result<()> {
    let topic = context.catalog.documents_ingest.name();
    let group = format!("{}{}", context.catalog.prefix(), config.documents.name);
    let bar = output::progress(None, "{spinner} {msg} documents left to index");
    let settled = wait_settled(&*context.log, &group, topic, patience, &mut |left| bar.set_message(left.to_string()))?;
    bar.finish_and_clear();
    match settled {
        Ok(()) => Ok(()),
        Err(left) => bail!(
            "{left} documents are not indexed after {patience:?}: is a service with documents.threads above 0 running? \
             (`lunapark topics describe {topic}` shows its lag)"
        ),
    }
}

fn print(out: &mut Output<'_>, json: bool, report: &Report) -> anyhow::Result<ExitCode> {
    if json {
        out.document(report)?;
        return Ok(ExitCode::SUCCESS);
    }
    let done = if report.indexed { "indexed" } else { "sent" };
    let (sent, unchanged) = (number(report.sent), number(report.unchanged));
    out.line(format_args!("{sent} documents {done} to collection {}, {unchanged} unchanged", report.collection))?;
    if !report.skipped.is_empty() {
        out.line(format_args!("\n{} skipped:", number(report.skipped.len() as u64)))?;
        let mut table = Table::new(&["path", "reason"]);
        for skipped in &report.skipped {
            table.row([skipped.path.clone(), skipped.reason.clone()]);
        }
        out.table(&table)?;
    }
    Ok(ExitCode::SUCCESS)
}
