//! `lunapark collections`: what is searched, and its upkeep.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use lunapark_index::{
    Compaction, Counts, IndexError, Reader, Settings, Sweep, Swept, collection_names, compact, drop_collection, list,
    newest, sweep, verify,
};
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
    /// Merge everything into one segment
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
}

/// Runs the command.
pub fn run(config: &Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let store = Arc::new(knowledge::store(config)?);
    output::on_stdout(json, |out| match &args.command {
        Command::List => all(&store, out, json),
        Command::Show(named) => show(&store, &named.name, out, json),
        Command::Compact(args) => merge(&store, args, &config.instance, out, json),
        Command::Reindex(named) => reindex(config, &named.name, out, json),
        Command::Verify(named) => check(config, &store, &named.name, out, json),
        Command::Drop(args) => remove(&store, args, out),
    })
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
    })
}

fn all(store: &Arc<ArtifactStore>, out: &mut Output<'_>, json: bool) -> anyhow::Result<ExitCode> {
    let found = list(store)?.iter().map(|name| shown(store, name)).collect::<Result<Vec<_>, _>>()?;
    if json {
        out.document(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["collection", "documents", "passages", "vectors", "model", "size", "version"]);
    for each in &found {
        table.row([
            each.name.clone(),
            number(each.counts.documents),
            number(each.counts.parents),
            number(each.counts.children),
            each.settings.model.clone(),
            size(each.counts.bytes),
            each.version.to_string(),
        ]);
    }
    out.table(&table)?;
    Ok(ExitCode::SUCCESS)
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
    row("documents", number(counts.documents));
    row("passages, hidden ones included", number(counts.parents));
    row("vectors, hidden ones included", number(counts.children));
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
    Ok(ExitCode::SUCCESS)
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

fn check(
    config: &Config,
    store: &Arc<ArtifactStore>,
    name: &str,
    out: &mut Output<'_>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut verified = verify(store, name)?;
    match compare_offsets(config, store, name) {
        Ok(ahead) => verified.problems.extend(ahead),
        Err(error) => output::note(format_args!("its offsets are not compared with the topic's: {error:#}")),
    }
    let sound = verified.problems.is_empty();
    if json {
        out.document(&verified)?;
    } else {
        let (counts, how) = (verified.counts, if sound { "sound" } else { "damaged" });
        out.line(format_args!(
            "collection {name}, version {}, is {how}: {} in {} ({})",
            verified.version,
            counted(counts.documents, "document"),
            counted(counts.segments, "segment"),
            size(counts.bytes),
        ))?;
        verified.problems.iter().try_for_each(|problem| out.line(format_args!("  {problem}")))?;
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn remove(store: &Arc<ArtifactStore>, args: &Drop, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    if !collection_names(store)?.contains(&args.name) {
        return Err(IndexError::NoCollection(args.name.clone()).into());
    }
    if !args.yes {
        bail!("collection {} would be removed for good; add --yes", args.name);
    }
    drop_collection(store, &args.name)?;
    out.line(format_args!("collection {} removed", args.name))?;
    Ok(ExitCode::SUCCESS)
}
