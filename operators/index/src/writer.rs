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

use crate::answers::Answers;
use crate::clock::{Watch, now, random, wait};
use crate::document::{Applied, Batch, Change, Source};
use crate::history::{History, Put, Version};
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
    /// Identity of the topic that is read, where it is known.
    topic: Option<String>,
    current: Manifest,
    patience: Duration,
}

/// What goes with a batch beside its changes.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// By what the changes were made, where that is not what the writer has seen last.
    pub made_with: Option<Settings>,
    /// What the records are answered, those without a change too.
    pub answers: Answers,
    /// The offset of each partition before which the log is known to have the answers.
    pub settled: BTreeMap<i32, i64>,
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
        Ok(Self::on(history, instance, current))
    }

    /// Opens a collection where there is one, whatever it is made with.
    pub fn find(store: Arc<ArtifactStore>, collection: &str, instance: &str) -> Result<Option<Self>, IndexError> {
        let history = History::new(store, collection)?;
        let newest = history.newest()?;
        Ok(newest.map(|current| Self::on(history, instance, current)))
    }

    fn on(history: History, instance: &str, current: Manifest) -> Self {
        Self { history, instance: instance.to_owned(), topic: None, current, patience: PATIENCE }
    }

    /// The same writer, which gives trouble of the store this long before it fails.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same writer of batches from the topic of this identity. A collection of another one's offsets is refused; one
    /// that knows of none takes it on.
    pub fn of_topic(self, topic: Option<String>) -> Self {
        Self { topic, ..self }
    }

    /// The newest manifest that this writer has seen.
    pub fn manifest(&self) -> &Manifest {
        &self.current
    }

    /// Looks for a newer manifest.
    pub fn refresh(&mut self) -> Result<&Manifest, IndexError> {
        if let Some(newest) = self.history.newest_after(&Version::of(&self.current))? {
            self.current = newest;
        }
        Ok(&self.current)
    }

    /// Applies what of a batch is new; gives the answer to each change, also to those that were applied before.
    ///
    /// After an error the batch may be in the collection or not: apply it again.
    pub fn apply(&mut self, batch: &Batch) -> Result<Vec<Applied>, IndexError> {
        self.apply_beside(batch, &Beside::default())?;
        Ok(batch.answers())
    }

    /// As [`apply`](Self::apply), with the answers of its records, which the [manifest](Self::manifest) has from then on.
    /// Gives the next offset of each partition as it was before: what lies before it had been read already.
    pub fn apply_beside(&mut self, batch: &Batch, beside: &Beside) -> Result<BTreeMap<i32, i64>, IndexError> {
        let made_with = beside.made_with.clone().unwrap_or_else(|| self.current.settings.clone());
        batch.check(made_with.dimension as usize)?;
        let mut put: Option<(Vec<Source>, Built)> = None;
        for tries in 0..MAX_TRIES {
            let watch = Watch::start();
            self.refresh()?;
            self.let_rebuild_first()?;
            self.check(&made_with, beside)?;
            let (before, fresh) = (self.current.next.clone(), fresh(batch, &self.current));
            let answers = beside.answers.new_in(&batch.read, |partition| self.current.next_of(partition));
            if fresh.is_empty() && answers.is_empty() {
                return Ok(before);
            }
            if !fresh.is_empty() {
                put = Some(self.segment(&fresh, put.take())?);
            }
            let entry = put.as_ref().filter(|_| !fresh.is_empty()).map(|(_, built)| &built.entry);
            let next = self.next(batch, entry, answers, beside);
            if self.put(next, &watch)? {
                return Ok(before);
            }
            back_off(tries);
        }
        Err(IndexError::Contended { collection: self.history.collection.clone(), tries: MAX_TRIES })
    }

    fn let_rebuild_first(&mut self) -> Result<(), IndexError> {
        if self.current.is_held() {
            self.current = self.history.unheld(self.current.clone())?;
        }
        Ok(())
    }

    /// It may have been dropped and made anew with another model, or reindexed; and it must be of the topic that is read.
    fn check(&self, made_with: &Settings, beside: &Beside) -> Result<(), IndexError> {
        let collection = &self.history.collection;
        self.current.settings.accept(collection, made_with)?;
        if beside.made_with.is_some() && self.current.settings.chunking != made_with.chunking {
            return Err(IndexError::Remade(collection.clone()));
        }
        self.current.check_topic(collection, self.topic.as_deref())
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

    fn next(&self, batch: &Batch, entry: Option<&SegmentEntry>, answers: Answers, beside: &Beside) -> Manifest {
        let mut next = self.current.successor(Reason::Changed, name(&self.instance), now());
        next.segments.extend(entry.cloned());
        for (partition, read) in &batch.read {
            let offset = next.next.entry(*partition).or_insert(0);
            *offset = (*offset).max(read.end);
        }
        next.answers.go_on(answers, &beside.settled);
        next.topic = next.topic.or_else(|| self.topic.clone());
        next
    }

    /// Puts the next manifest; false where another writer was first.
    fn put(&mut self, next: Manifest, watch: &Watch) -> Result<bool, IndexError> {
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
