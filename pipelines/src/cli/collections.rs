//! `lunapark collections`: what is searched, and its upkeep.

mod overview;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use lunapark_index::{
    Compaction, Counts, IndexError, Reader, Settings, Sweep, Swept, Verified, compact, drop_collection, exists, list,
    newest, sweep, verify,
};
use lunapark_knowledge::Older;
use lunapark_knowledge::search::among;
use lunapark_stores::ArtifactStore;
use lunapark_topics::Catalog;
use serde::Serialize;

use super::output::{self, Output, Table, counted, number, size};
use crate::config::Config;
use crate::knowledge::{self, Library};
use crate::offsets::History;
use crate::service;

/// Sections of segments that are held while a collection is looked at.
const CACHE_BYTES: u64 = 256 << 20;

/// Lists, shows and keeps up collections
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark collections list\n  lunapark collections show papers\n  \
                        lunapark collections compact papers       merges segments, removes what no kept version needs\n  \
                        lunapark collections reindex papers       embeds it with the configured encoder\n  \
                        lunapark collections verify papers")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// All collections
    #[command(after_help = "Examples:\n  lunapark collections list\n  lunapark collections list --json")]
    List,
    /// Documents, passages, model and versions of one
    #[command(after_help = "Examples:\n  lunapark collections show papers")]
    Show(Named),
    /// Merge segments, and remove old versions with what only they need
    ///
    /// Segments whose words were cut by an older rule are written again, be it one alone. One merge reads segments of up to 1 GiB together and holds about three times as much in memory; --whole knows no bound.
    #[command(after_help = "Examples:\n  lunapark collections compact papers\n  \
                            lunapark collections compact papers --whole --keep 1h")]
    Compact(Compact),
    /// Give a collection the configured encoder and sizes ([documents]): its own texts, cut and embedded again
    ///
    /// The new version is built beside the live one, which serves and grows meanwhile, and takes its place at once. From
    /// then on a service needs the new encoder. Older versions stay readable (--as-of) until they are swept.
    #[command(after_help = "Examples:\n  lunapark collections reindex papers\n  \
                            lunapark --config with-e5.toml collections reindex papers")]
    Reindex(Named),
    /// Check every object against its checksum, and every row against its document
    ///
    /// Also whether the collection is ahead of its topic. That no record was passed over is not seen here, since other
    /// collections' records lie in between: `lunapark audit --deep --pipeline documents` proves it.
    #[command(after_help = "Examples:\n  lunapark collections verify papers")]
    Verify(Named),
    /// Remove a collection with all its versions
    #[command(after_help = "Examples:\n  lunapark collections drop papers --yes")]
    Drop(Drop),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// Collection
    #[arg(value_parser = super::ingest::collection)]
    name: String,
}

#[derive(Debug, clap::Args)]
struct Compact {
    /// Collection
    #[arg(value_parser = super::ingest::collection)]
    name: String,
    /// Merge everything into one segment; it takes about three times the collection's size in memory
    #[arg(long)]
    whole: bool,
    /// How long an old version can still be read (--as-of)
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = super::time::parse_duration)]
    keep: std::time::Duration,
}

#[derive(Debug, clap::Args)]
struct Drop {
    /// Collection
    #[arg(value_parser = super::ingest::collection)]
    name: String,
    /// It cannot be taken back: say so
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    version: u64,
    #[serde(flatten)]
    counts: Counts,
    settings: Settings,
    versions: Vec<u64>,
    /// Next offset of each partition of documents.ingest.
    next: std::collections::BTreeMap<i32, i64>,
    /// What of it was made by an older rule, and the command that mends it.
    older: Option<String>,
}

/// Runs the command.
pub fn run(config: &Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let store = Arc::new(knowledge::store(config)?);
    let done = output::on_stdout(json, |out| execute(config, &store, args, out));
    done.map_err(|error| with_names(&store, error))
}

fn execute(config: &Config, store: &Arc<ArtifactStore>, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let json = out.json;
    match &args.command {
        Command::List => overview::all(store, out, json),
        Command::Show(named) => show(store, &named.name, out, json),
        Command::Compact(args) => merge(store, args, &config.instance, out, json),
        Command::Reindex(named) => reindex(config, &named.name, out, json),
        Command::Verify(named) => check(config, store, &named.name, out, json),
        Command::Drop(args) => remove(store, args, out),
    }
}

/// Where a collection is missing, the names of those that are there say what was meant.
pub(super) fn with_names(store: &ArtifactStore, error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<IndexError>() {
        Some(IndexError::NoCollection(name)) => missing(store, name).unwrap_or(error),
        _ => error,
    }
}

/// Says that a collection is missing, and which ones are there; none where that cannot be read.
pub(super) fn missing(store: &ArtifactStore, name: &str) -> Option<anyhow::Error> {
    let names = list(store).ok()?;
    let there = match names.is_empty() {
        true => ", and no other one: `lunapark ingest` makes one".to_owned(),
        false => among(name, names.iter().map(String::as_str)),
    };
    Some(anyhow!("there is no collection `{name}`{there}"))
}

fn shown(store: &Arc<ArtifactStore>, name: &str) -> anyhow::Result<Shown> {
    let reader = Reader::open(store.clone(), name, CACHE_BYTES)?;
    let snapshot = reader.snapshot();
    Ok(Shown {
        name: name.to_owned(),
        version: snapshot.version(),
        counts: snapshot.counts(),
        settings: snapshot.settings().clone(),
        versions: reader.versions()?,
        next: snapshot.manifest().next.clone(),
        older: Older::of(snapshot.manifest()).told(name),
    })
}

/// One of the counts.
type Count = fn(&Counts) -> u64;

/// What `list` and `show` count, under the same names.
const COUNTED: [(&str, Count); 4] = [
    ("documents", |counts| counts.documents),
    ("hidden", |counts| counts.hidden),
    ("passages", |counts| counts.parents),
    ("vectors", |counts| counts.children),
];

fn explain_hidden<'a>(counts: impl IntoIterator<Item = &'a Counts>, out: &mut Output<'_>) -> anyhow::Result<()> {
    if counts.into_iter().any(|counts| counts.hidden > 0) {
        out.line(
            "\nhidden: documents that were replaced or taken out, and records of that; their passages and vectors count \
             until compaction removes them",
        )?;
    }
    Ok(())
}

fn show(store: &Arc<ArtifactStore>, name: &str, out: &mut Output<'_>, json: bool) -> anyhow::Result<ExitCode> {
    let found = shown(store, name)?;
    if json {
        out.document(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (settings, counts) = (&found.settings, &found.counts);
    let chunks = settings.chunking;
    let mut table = Table::new(&["what", "value"]);
    let mut row = |what: &str, value: String| {
        table.row([what.to_owned(), value]);
    };
    COUNTED.iter().for_each(|(title, of)| row(title, number(of(counts))));
    row("segments", number(counts.segments));
    row("size", size(counts.bytes));
    row("model", format!("{} ({}, {} numbers)", settings.model, settings.precision, settings.dimension));
    row("model's digest", settings.model_digest.clone());
    let cut = format!("{} tokens, {} repeated, in {}", chunks.child_tokens, chunks.child_overlap, chunks.parent_tokens);
    row("cut into", cut);
    let oldest = found.versions.first().copied().unwrap_or(found.version);
    row("versions", format!("{oldest} to {}", found.version));
    let next: Vec<_> = found.next.iter().map(|(partition, next)| format!("{partition}: {next}")).collect();
    row("next offsets", next.join(", "));
    out.table(&table)?;
    explain_hidden([counts], out)?;
    tell_older(name, found.older.as_deref(), out)?;
    Ok(ExitCode::SUCCESS)
}

fn tell_older(name: &str, older: Option<&str>, out: &mut Output<'_>) -> anyhow::Result<()> {
    older.map_or(Ok(()), |older| Ok(out.line(format_args!("\n{name}: {older}"))?))
}

#[derive(Debug, Serialize)]
struct Merged {
    merged: bool,
    swept: Swept,
}

fn merge(
    store: &Arc<ArtifactStore>,
    args: &Compact,
    instance: &str,
    out: &mut Output<'_>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let plan = if args.whole { Compaction::whole() } else { Compaction::default() };
    let merged = compact(store, &args.name, &plan, instance)?.is_some();
    let swept = sweep(store, &args.name, &Sweep { keep: args.keep, ..Sweep::default() })?;
    let done = Merged { merged, swept };
    if json {
        out.document(&done)?;
        return Ok(ExitCode::SUCCESS);
    }
    let what = if merged { "segments merged" } else { "nothing to merge" };
    let Swept { versions, segments, bytes } = done.swept;
    out.line(format_args!(
        "{what}; {} and {} ({}) removed",
        counted(versions, "old version"),
        counted(segments, "segment"),
        size(bytes)
    ))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Serialize)]
struct Reindexed {
    reindexed: bool,
    version: Option<u64>,
    settings: Settings,
}

fn reindex(config: &Config, name: &str, out: &mut Output<'_>, json: bool) -> anyhow::Result<ExitCode> {
    let library = Library::open(config)?;
    let bar = output::progress(Some(0), "{spinner} {pos} of {len} documents, {eta} left");
    let manifest = library.reindexer(config)?.run(name, |progress| {
        bar.set_length(progress.all);
        bar.set_position(progress.made);
    })?;
    bar.finish_and_clear();
    let settings = library.collections.settings().clone();
    let done = Reindexed { reindexed: manifest.is_some(), version: manifest.map(|manifest| manifest.number), settings };
    if json {
        out.document(&done)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (model, chunks) = (&done.settings.model, done.settings.chunking);
    let cut = format!("{} tokens in {}", chunks.child_tokens, chunks.parent_tokens);
    match done.version {
        Some(version) => {
            out.line(format_args!("collection {name} is embedded by {model}, cut into {cut}, as of version {version}"))?
        }
        None => out.line(format_args!("collection {name} is embedded by {model} and cut into {cut} already"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The offsets are compared where there is a topic to compare them with.
fn compare_offsets(config: &Config, store: &Arc<ArtifactStore>, name: &str) -> anyhow::Result<Option<String>> {
    let manifest = newest(store, name)?;
    let log = service::reach_log(config)?;
    let history = History::of(log.as_ref(), Catalog::new(&config.topics).documents_ingest.name())?;
    Ok(history.refuse(name, &manifest).map(|other| other.to_string()))
}

/// What was found, and what is sound but older.
#[derive(Debug, Serialize)]
struct Checked {
    #[serde(flatten)]
    verified: Verified,
    older: Option<String>,
}

impl Checked {
    fn of(store: &Arc<ArtifactStore>, name: &str) -> anyhow::Result<Self> {
        let verified = verify(store, name)?;
        let manifest = verified.version.map(|_| newest(store, name)).transpose().unwrap_or_else(|error| {
            output::note(format_args!("whether an older rule made some of it is not known: {error:#}"));
            None
        });
        Ok(Self { verified, older: manifest.and_then(|manifest| Older::of(&manifest).told(name)) })
    }
}

fn check(
    config: &Config,
    store: &Arc<ArtifactStore>,
    name: &str,
    out: &mut Output<'_>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut checked = Checked::of(store, name)?;
    let verified = &mut checked.verified;
    // Without a version there are no offsets.
    match verified.version.map(|_| compare_offsets(config, store, name)).transpose() {
        Ok(ahead) => verified.problems.extend(ahead.flatten()),
        Err(error) => output::note(format_args!("its offsets are not compared with the topic's: {error:#}")),
    }
    let sound = verified.problems.is_empty();
    match json {
        true => out.document(&checked)?,
        false => tell_checked(name, &checked, out)?,
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell_checked(name: &str, Checked { verified, older }: &Checked, out: &mut Output<'_>) -> anyhow::Result<()> {
    out.line(verdict(name, verified))?;
    verified.problems.iter().try_for_each(|problem| out.line(format_args!("  {problem}")))?;
    tell_older(name, older.as_deref(), out)
}

fn verdict(name: &str, verified: &Verified) -> String {
    let how = if verified.problems.is_empty() { "sound" } else { "damaged" };
    let holds = verified.counts.map_or("how much is in it is not known".to_owned(), |counts| {
        let [documents, segments] = [(counts.documents, "document"), (counts.segments, "segment")];
        let [documents, segments] = [documents, segments].map(|(count, noun)| counted(count, noun));
        format!("{documents} in {segments} ({})", size(counts.bytes))
    });
    let version = verified.version.map(|version| format!(", version {version},")).unwrap_or_default();
    format!("collection {name}{version} is {how}: {holds}")
}

#[derive(Debug, Serialize)]
struct Dropped<'a> {
    name: &'a str,
    removed: Swept,
}

fn remove(store: &Arc<ArtifactStore>, args: &Drop, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    if !args.yes {
        if !exists(store, &args.name)? {
            return Err(IndexError::NoCollection(args.name.clone()).into());
        }
        bail!("collection {} would be removed for good; add --yes", args.name);
    }
    let removed = drop_collection(store, &args.name)?;
    if out.json {
        out.document(&Dropped { name: &args.name, removed })?;
        return Ok(ExitCode::SUCCESS);
    }
    let Swept { versions, segments, bytes } = removed;
    let (versions, segments) = (counted(versions, "version"), counted(segments, "segment"));
    out.line(format_args!("collection {} removed: {versions}, {segments} ({})", args.name, size(bytes)))?;
    Ok(ExitCode::SUCCESS)
}
