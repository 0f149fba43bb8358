//! `lunapark ingest`: files, folders, buckets, tables and lists of documents on their way into a collection.
//!
//! ```text
//!   folders ──files.rs──┐                      ┌ a table, with --page-content-column ── tables.rs ─▶ a record per row
//!              plan.rs ─┼─▶ an item: id, bytes ┤
//!   buckets ─bucket.rs──┘                      └ a document ─▶ its file, or its address with --by-uri
//!   .ndjson ─────────────────────────────────────────────────▶ its records
//!                                                              └─ sender.rs: what has changed, to documents.ingest
//!   letters.rs: what was refused, before and now               └─ prune.rs: what is gone
//!   pending.rs: what is sent and not indexed yet
//! ```

mod bucket;
mod files;
mod letters;
mod pending;
mod plan;
mod prune;
mod report;
mod sender;
mod tables;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lunapark_schemas::documents::check_collection;

use super::Context;
use super::output;
use crate::config::Config;
use plan::Plan;
use sender::Sender;

/// Every delivery must be acknowledged within this time.
const FLUSH: Duration = Duration::from_secs(300);

/// Sends documents to a collection
///
/// Folders and buckets are walked; each file or object is a document whose id is its path below them. Hidden files and
/// links that lead out of a folder are left out. A file that ends in .ndjson or .jsonl holds one ingest record per line
/// (id, content or uri, title, metadata, …). With --page-content-column, JSON, CSV and Parquet files are tables: each row
/// is a document, that column its text, the other columns what searches can filter by. What the collection has already,
/// byte for byte, is not sent again, nor what was refused before and has not changed since. Text, Markdown, HTML and PDF
/// are read; what is skipped is listed with its reason. The documents can be found once a service with documents.threads
/// above 0 has indexed them: --wait waits for that, and lists those that were refused. Simple fields of Markdown's front
/// matter (`year: 1957` between two lines of ---) are what searches can filter by, but for `id` and `uri`, which every
/// document has of its own. A file that has become empty is skipped, and told: its document stays until --prune.
///
/// Exit code: 1 where a document was refused, in this run or before, and has not changed since, or where all that was
/// found was skipped.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark ingest papers/ notes.md --collection papers --wait\n  \
                        lunapark ingest abstracts.ndjson --collection abstracts\n  \
                        lunapark ingest s3://bucket/papers/ --collection papers        by the [store] settings\n  \
                        lunapark ingest table.csv -c papers --page-content-column abstract --id-column doi\n  \
                        lunapark ingest papers/ --collection papers --all      sends also what has not changed\n  \
                        lunapark ingest papers/ -c papers --prune              shows what is gone; --yes takes it out")]
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
    /// Send also what was refused before and has not changed since: the service may read it now
    #[arg(long)]
    again: bool,
    /// Look for documents of these folders and prefixes whose files are gone or empty, and list them; --yes takes them out
    ///
    /// Rows of tables, records of lists and documents from elsewhere are not looked at, which is told.
    #[arg(long)]
    prune: bool,
    /// Take out what --prune finds
    #[arg(long, requires = "prune")]
    yes: bool,
    /// Wait until everything that was sent is indexed or refused
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

impl Args {
    /// True where a file's name says that it is a list of ingest records.
    fn is_list(&self, name: &str) -> bool {
        let listed = name.ends_with(".ndjson") || name.ends_with(".jsonl");
        listed && self.page_content_column.is_none()
    }
}

/// Runs the command.
pub fn run(context: &Context, config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let plan = Plan::of(config, args)?;
    let below = args.prune.then(|| plan.below(args)).transpose()?.unwrap_or_default();
    let mut sender = Sender::open(context, config, args)?;
    plan.send(&mut sender)?;
    if let Some(collection) = args.prune.then(|| sender::known(config, &args.collection)).transpose()?.flatten() {
        prune::prune(&mut sender, below, &collection)?;
    }
    let (mut report, letters) = sender.finish(plan.skipped)?;
    if args.wait {
        wait::wait(context, args.timeout)?;
        letters.since(&*context.log, &mut report)?;
        report.waited = true;
    }
    output::on_stdout(context.json, |out| report.print(out))
}
