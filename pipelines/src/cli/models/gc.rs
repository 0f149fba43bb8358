//! `lunapark models gc`: removes artifacts that nothing names, checkpoints of requests that have ended, and cuts of events
//! that have expired.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use lunapark_stores::catalog::Catalog;
use lunapark_stores::catalog::mongo::MongoCatalog;
use lunapark_stores::{ArtifactStore, Listed};
use lunapark_topics::{LogError, LogErrorKind};
use serde_json::json;

use super::Shelf;
use crate::audit::scan;
use crate::catalog::artifact_store;
use crate::cli::output::{Output, number, size};
use crate::cli::time::parse_duration;
use crate::jobs::{Leftovers, leftovers};
use crate::swap::expired;

/// Removes artifacts that nothing names, checkpoints of requests that have ended, and cuts of expired events
///
/// An artifact stays where a record of models, cuts or training names it, an entry of the catalog, or a trial that waits
/// for its search. Young artifacts stay: their records may be on the way. An artifact that is put again counts as young.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models gc --dry-run\n  lunapark models gc --older-than 7d")]
pub struct Args {
    /// Only artifacts that were written longer ago than this; at least 2 h
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = age)]
    older_than: Duration,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Twice the age at which an artifact that is put again is written again.
const LEAST: Duration = Duration::from_secs(2 * 3600);

fn age(text: &str) -> Result<Duration, String> {
    let age = parse_duration(text)?;
    if age < LEAST {
        Err("a younger artifact may have its record on the way; write 2h or more".into())
    } else {
        Ok(age)
    }
}

pub(super) fn run(out: &mut Output<'_>, args: &Args, shelf: &Shelf<'_>) -> anyhow::Result<ExitCode> {
    let store = artifact_store(shelf.config)?;
    let cuts = expire_cuts(shelf, args.dry_run)?;
    // By the store's clock, as the times of its objects are.
    let before = store.now()? - i64::try_from(args.older_than.as_millis()).unwrap_or(i64::MAX);
    // Listed before the records are read: what is named later than that was put again, and is young.
    let listed = store.list()?;
    // A trial's model is named by what the trial saved until its search has registered it: so that is read first.
    let checkpoints = leftovers(&*shelf.log, &shelf.topics, &store)?;
    let mut named = named(shelf)?;
    named.extend(checkpoints.made.iter().flat_map(|saved| digests(saved)));
    let unnamed = |found: &&Listed| found.modified < before && !named.contains(&found.name);
    let (mut removed, mut bytes) = (0_u64, 0);
    for found in listed.iter().filter(unnamed) {
        if remove(&store, found, before, args.dry_run)? {
            removed += 1;
            bytes += found.bytes;
        }
    }
    if !args.dry_run {
        checkpoints.ended.iter().try_for_each(|object| store.delete_named(&object.name))?;
    }
    let artifacts = Swept { removed, bytes, kept: listed.len() as u64 - removed };
    tell(out, args.dry_run, &artifacts, &Swept::of(&checkpoints), cuts)?;
    Ok(ExitCode::SUCCESS)
}

/// Cuts that no event needs any more; how many. What they name is spared until the topic is compacted.
fn expire_cuts(shelf: &Shelf<'_>, dry_run: bool) -> Result<u64, LogError> {
    let topic = shelf.topics.model_cuts.name();
    let cuts = expired::find(&*shelf.log, topic)?;
    if !dry_run {
        expired::take_away(&*shelf.log, topic, &cuts)?;
    }
    Ok(cuts.len() as u64)
}

/// What became of the objects of a kind.
struct Swept {
    removed: u64,
    bytes: u64,
    kept: u64,
}

impl Swept {
    fn of(checkpoints: &Leftovers) -> Self {
        let Leftovers { ended, kept, .. } = checkpoints;
        Self { removed: ended.len() as u64, bytes: ended.iter().map(|object| object.bytes).sum(), kept: *kept }
    }
}

fn tell(out: &mut Output<'_>, dry_run: bool, artifacts: &Swept, checkpoints: &Swept, cuts: u64) -> anyhow::Result<()> {
    if out.json {
        let Swept { removed, bytes, kept } = artifacts;
        let saved = json!({ "removed": checkpoints.removed, "bytes": checkpoints.bytes, "kept": checkpoints.kept });
        let told = json!({
            "removed": removed, "bytes": bytes, "kept": kept, "checkpoints": saved, "cuts": cuts, "dry_run": dry_run
        });
        return Ok(out.document(&told)?);
    }
    let verb = if dry_run { "would be removed" } else { "removed" };
    for (what, Swept { removed, bytes, kept }) in
        [("artifacts", artifacts), ("objects of training requests that have ended", checkpoints)]
    {
        out.line(format_args!("{} {what} ({}) {verb}, {} stay", number(*removed), size(*bytes), number(*kept)))?;
    }
    if cuts > 0 {
        out.line(format_args!("{} cuts of events that have expired {verb}", number(cuts)))?;
    }
    Ok(())
}

/// Looked at again at the last moment: it may have been put again meanwhile.
fn remove(store: &ArtifactStore, found: &Listed, before: i64, dry_run: bool) -> anyhow::Result<bool> {
    if store.modified(&found.name)?.is_none_or(|modified| modified >= before) {
        return Ok(false);
    }
    if !dry_run {
        store.delete(&found.name)?;
    }
    Ok(true)
}

/// All digests that occur anywhere in the records that may name artifacts, and in MongoDB's copy. Where one of these
/// cannot be read, nothing is removed.
fn named(shelf: &Shelf<'_>) -> anyhow::Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    for topic in shelf.topics.naming_artifacts() {
        let read = scan::whole(&*shelf.log, &topic, |message| {
            named.extend(digests(message.value.unwrap_or_default()));
            Ok::<(), LogError>(())
        });
        match read {
            Err(error) if error.kind == LogErrorKind::TopicMissing => {}
            read => read?,
        }
    }
    if let Some(uri) = &shelf.config.mongodb {
        let copy = MongoCatalog::open(uri, shelf.topics.prefix())?.with_patience(Duration::ZERO).list()?;
        named.extend(copy.into_iter().map(|version| version.digest));
    }
    Ok(named)
}

/// Every run of exactly 64 hex digits.
fn digests(bytes: &[u8]) -> impl Iterator<Item = String> {
    let runs = bytes.split(|byte| !byte.is_ascii_hexdigit()).filter(|run| run.len() == 64);
    runs.map(|run| String::from_utf8_lossy(run).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_wherever_they_stand() {
        let digest = "9f".repeat(32);
        let text = format!(r#"{{"digest":"{digest}","artifact":"file:///a/{digest}","other":"{digest}0"}}"#);
        assert_eq!(digests(text.as_bytes()).collect::<Vec<_>>(), [digest.clone(), digest.clone()]);
        assert_eq!(digests(digest.to_uppercase().as_bytes()).collect::<Vec<_>>(), [digest]);
    }

    #[test]
    fn a_young_artifact_is_never_asked_for() {
        assert!(age("1h").is_err() && age("2h").is_ok());
    }
}
