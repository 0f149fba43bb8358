//! Applies batches of changes exactly once.
//!
//! ```text
//!   batch ─ newest manifest ─ what of it is new? ─ nothing ──────────────────────────► answers
//!                 ▲                  │
//!                 │              segment, then manifest n+1 (put-if-absent) ─ ours ──► answers
//!                 └───────── another writer's ◄──────┘
//! ```
//!
//! **What it fences.** The manifest has the next offset of each partition, so a change is in the collection exactly once,
//! whoever sends it how often: a replay after a crash, a retry whose first try succeeded, or a writer that was declared
//! dead and wakes up (its batch was read again by its successor). Of a batch that is in by half, the other half is
//! applied. Two writers of one collection with other partitions go on from each other's manifests.
//!
//! **What it does not.** A topic holds records of many collections, so offsets between two batches of one collection are
//! no gap, and a batch that was *skipped* cannot be told from one that was of others. Batches of one partition must be
//! applied in order, and one that failed again, before the next; the order segment → manifest → offset of the topic
//! gives both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lunapark_stores::ArtifactStore;

use crate::clock::{Watch, now, random, wait};
use crate::document::{Applied, Batch, Change, Source};
use crate::history::{History, Put};
use crate::manifest::{Manifest, Reason, SegmentEntry, WriterName};
use crate::segment::{Built, build};
use crate::{IndexError, Settings};

/// How often another writer may be first. Each time one of the others gets on, so with fewer writers than this all do.
const MAX_TRIES: u32 = 64;
/// How long a put whose answer was lost is made again before the batch fails, to be applied again by the caller.
const PATIENCE: Duration = Duration::from_secs(30);
/// A manifest that was put later than this after the newest one was looked for is looked for afterwards: a process may
/// be stopped in between, for longer than old manifests and loose segments are kept.
const LATE: Duration = Duration::from_secs(60);

/// Writes to one collection.
pub struct Writer {
    history: History,
    instance: String,
    current: Manifest,
    patience: Duration,
}

impl Writer {
    /// Opens a collection, or makes it; one whose vectors cannot be compared with these is refused.
    pub fn open(
        store: Arc<ArtifactStore>,
        collection: &str,
        settings: &Settings,
        instance: &str,
    ) -> Result<Self, IndexError> {
        settings.check()?;
        let history = History::new(store, collection)?;
        let current = match history.newest()? {
            Some(manifest) => manifest,
            None => make(&history, settings, instance)?,
        };
        current.settings.accept(collection, settings)?;
        Ok(Self { history, instance: instance.to_owned(), current, patience: PATIENCE })
    }

    /// The same writer, which gives trouble of the store this long before it fails.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The newest manifest that this writer has seen.
    pub fn manifest(&self) -> &Manifest {
        &self.current
    }

    /// Applies what of a batch is new; gives the answer to each change, also to those that were applied before.
    ///
    /// After an error the batch may be in the collection or not: apply it again.
    pub fn apply(&mut self, batch: &Batch) -> Result<Vec<Applied>, IndexError> {
        batch.check(self.current.settings.dimension as usize)?;
        let mut put: Option<(Vec<Source>, Built)> = None;
        for tries in 0..MAX_TRIES {
            let watch = Watch::start();
            if let Some(newest) = self.history.newest_after(self.current.number)? {
                // It may have been dropped and made anew with another model.
                newest.settings.accept(&self.history.collection, &self.current.settings)?;
                self.current = newest;
            }
            let fresh = fresh(batch, &self.current);
            if fresh.is_empty() {
                return Ok(batch.answers());
            }
            let built = self.segment(&fresh, put.take())?;
            if self.put(batch, &built.1.entry, &watch)? {
                return Ok(batch.answers());
            }
            put = Some(built);
            back_off(tries);
        }
        Err(IndexError::Contended { collection: self.history.collection.clone(), tries: MAX_TRIES })
    }

    /// The segment of these changes, put on the store; the one of the last try where that has the same.
    fn segment(
        &self,
        fresh: &BTreeMap<&str, &Change>,
        before: Option<(Vec<Source>, Built)>,
    ) -> Result<(Vec<Source>, Built), IndexError> {
        let changes: Vec<_> = fresh.values().map(|change| change.source).collect();
        if let Some(before) = before.filter(|(put, _)| *put == changes) {
            return Ok(before);
        }
        let name = format!("{:013}-{}", now(), random());
        let built = build(name, self.current.settings.dimension, fresh, None)?;
        self.history.put_segment(&built.entry.name, &built.bytes)?;
        Ok((changes, built))
    }

    /// Puts the next manifest; false where another writer was first.
    fn put(&mut self, batch: &Batch, entry: &SegmentEntry, watch: &Watch) -> Result<bool, IndexError> {
        let mut next = self.current.successor(Reason::Changed, name(&self.instance), now());
        next.segments.push(entry.clone());
        for (partition, read) in &batch.read {
            let offset = next.next.entry(*partition).or_insert(0);
            *offset = (*offset).max(read.end);
        }
        if self.history.put(&next, self.patience)? == Put::Lost {
            return Ok(false);
        }
        if watch.elapsed() > LATE && !self.history.stands(&next)? {
            return Ok(false);
        }
        self.current = next;
        Ok(true)
    }
}

/// Makes a collection; where another writer was first, theirs counts.
fn make(history: &History, settings: &Settings, instance: &str) -> Result<Manifest, IndexError> {
    let first = Manifest::first(settings, name(instance), now());
    match history.put(&first, PATIENCE)? {
        Put::Ours => Ok(first),
        Put::Lost => history.newest()?.ok_or_else(|| history.missing()),
    }
}

/// The last new change of each document.
fn fresh<'a>(batch: &'a Batch, manifest: &Manifest) -> BTreeMap<&'a str, &'a Change> {
    let new = |change: &&Change| change.source.offset >= manifest.next_of(change.source.partition);
    batch.changes.iter().filter(new).map(|change| (change.document(), change)).collect()
}

pub(crate) fn name(instance: &str) -> WriterName {
    WriterName { instance: instance.to_owned(), attempt: random() }
}

/// A pause of chance length, so that two writers do not meet again.
fn back_off(tries: u32) {
    let most = 1 << tries.min(8);
    let chance = random().bytes().map(u64::from).sum::<u64>() % most;
    wait(Duration::from_millis(chance));
}
