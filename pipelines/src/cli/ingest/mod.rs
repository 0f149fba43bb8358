//! `lunapark ingest`: files, folders, buckets, tables and lists of documents on their way into a collection.
//!
//! ```text
//!   folders ──files.rs──┐                      ┌ a table, with --page-content-column ── tables.rs ─▶ a record per row
//!                       ├─▶ an item: id, bytes ┤
//!   buckets ─bucket.rs──┘                      └ a document ─▶ its file, or its address with --by-uri
//!   .ndjson ─────────────────────────────────────────────────▶ its records
//!                                                              └─ sender.rs: what has changed, to documents.ingest
//! ```

mod bucket;
mod files;
mod sender;
mod tables;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lunapark_schemas::documents::check_collection;
use serde::Serialize;

use super::Context;
use super::output::{self, Output, Table, number};
use crate::config::Config;
use sender::Sender;

/// Every delivery must be acknowledged within this time.
const FLUSH: Duration = Duration::from_secs(300);

/// Sends documents to a collection
///
/// Folders and buckets are walked; each file or object is a document whose id is its path below them. A file that ends in
/// .ndjson or .jsonl holds one ingest record per line (id, content or uri, title, metadata, …). With
/// --page-content-column, JSON, CSV and Parquet files are tables: each row is a document, that column its text, the other
/// columns what searches can filter by. What the collection has already, byte for byte, is not sent again. Text,
/// Markdown, HTML and PDF are read; what is skipped is listed with its reason. The documents can be found once a service
/// with documents.threads above 0 has indexed them: --wait waits for that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark ingest papers/ notes.md --collection papers --wait\n  \
                        lunapark ingest abstracts.ndjson --collection abstracts\n  \
                        lunapark ingest s3://bucket/papers/ --collection papers        by the [store] settings\n  \
                        lunapark ingest table.csv -c papers --page-content-column abstract --id-column doi\n  \
                        lunapark ingest papers/ --collection papers --all      sends also what has not changed")]
pub struct Args {
    /// Files, folders, s3://bucket/prefix/, and NDJSON files of ingest records
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Collection; made when its first document is indexed
    #[arg(long, short, value_parser = collection)]
    collection: String,
    /// JSON, CSV and Parquet files are tables; this column is the text of each row's document
    #[arg(long, value_name = "COLUMN")]
    page_content_column: Option<String>,
    /// The column that names each row; the file's name and the row's number (table.csv#7) where none does
    #[arg(long, value_name = "COLUMN", requires = "page_content_column")]
    id_column: Option<String>,
    /// The column of titles; `title` where there is one
    #[arg(long, value_name = "COLUMN", requires = "page_content_column")]
    title_column: Option<String>,
    /// Send addresses; the service fetches the content, from where documents.sources allows
    #[arg(long)]
    by_uri: bool,
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
        match path.to_str().filter(|text| text.starts_with("s3://")) {
            Some(url) => bucket::walk(&mut sender, config, url)?,
            None => files::walk(&mut sender, path)?,
        }
    }
    let mut report = sender.finish()?;
    if args.wait {
        wait::wait(context, config, args.timeout)?;
        report.indexed = true;
    }
    output::on_stdout(context.json, |out| print(out, context.json, &report))
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
