//! Builds a collection anew with other settings, beside the live version, and puts it in its place.
//!
//! ```text
//!   live   v40 ─────── v41 ── v42 ─────────────────┐
//!           └ all       └──────└ what has changed  │   v43: settings and segments of the new one, offsets of v42,
//!              ▼                     ▼             ▼        put if absent; where a writer was first, once more
//!   new    s1 s2 s3 …               s9 ─────────► v43
//! ```
//!
//! The live version serves and grows meanwhile, and one manifest replaces all of it: a rebuild that dies has changed
//! nothing. A document is known by its id and by where it was read, so what has changed is found whatever compactions
//! made of the segments. From then on vectors of the old settings are refused to writers ([`Settings::accept`]), and so is
//! what was cut by other sizes ([`Beside`](crate::Beside)); the older versions stay readable until they are swept.
//!
//! Where writers were first again and again, a version that changes nothing asks them to wait ([`Reason::Held`]): putting it
//! takes no longer than putting one of theirs, and what is still to be made is little by then. They wait for twice the time
//! that the round before took, half a minute at most: where what comes in such a while takes longer to make, the rebuild
//! still fails.
//!
//! Until the swap no manifest names the new segments: a draft does, which is written again with each of them and every few
//! minutes while the next one is made, so that a sweep spares them however long the rebuild takes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use lunapark_stores::ArtifactStore;

use crate::cache::Cache;
use crate::clock::{Watch, now, random};
use crate::document::{Action, Change, Document, Source};
use crate::history::{History, LONGEST_HOLD, Put, Version};
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest, Reason, SegmentEntry};
use crate::segment::{Documents, build};
use crate::snapshot::Snapshot;
use crate::writer::name;
use crate::{IndexError, Settings, names, reader};

/// How often writers may be first. Each round makes only what came meanwhile, so the next one is shorter.
const MAX_ROUNDS: u32 = 64;
/// From this round on writers are asked to wait.
const HOLD_FROM: u32 = 8;
/// Long enough for a slow store.
const SHORTEST_HOLD: Duration = Duration::from_secs(5);
/// How long a put whose answer was lost is made again.
const PATIENCE: Duration = Duration::from_secs(30);
/// See the writer's.
const LATE: Duration = Duration::from_secs(60);
/// Sections of the live version that are held: its tables of documents are read again in each round.
const CACHE_BYTES: u64 = 256 << 20;
/// Texts of a new segment: small beside the memory that their vectors take, large beside a request to the store.
const SEGMENT_TEXT_BYTES: usize = 8 << 20;
/// A draft says so often that its rebuild is alive: many times in the two hours after which a sweep takes it for dead.
const HEARTBEAT: Duration = Duration::from_secs(300);
/// What a rebuild that took too long is told.
const SWEPT: &str = "it was swept before the rebuild was done, and the live version is as it was: reindex again";
/// Documents of a new segment.
const SEGMENT_DOCUMENTS: usize = 4096;

/// Makes documents anew.
pub trait Remake {
    /// What can go wrong.
    type Error: From<IndexError>;

    /// So many documents are to be made now: all of them at first, then what has changed meanwhile.
    fn begins(&mut self, documents: u64);

    /// The same documents in the same order, cut and embedded as the new settings say. Those given have no vectors;
    /// their parents follow one another, and together are the text.
    fn make(&mut self, documents: Vec<Document>) -> Result<Vec<Document>, Self::Error>;

    /// How often the draft is written again while documents are made.
    fn heartbeat(&self) -> Duration {
        HEARTBEAT
    }
}

/// Gives a collection other settings; none where its vectors have these already.
///
/// Writers that put versions faster than their changes are made anew are asked to wait. It fails where they bring more in
/// half a minute than can be made in one: run it again when there is less to do.
pub fn rebuild<R: Remake>(
    store: &Arc<ArtifactStore>,
    collection: &str,
    settings: &Settings,
    instance: &str,
    remake: &mut R,
) -> Result<Option<Manifest>, R::Error> {
    settings.check()?;
    let history = History::new(Arc::clone(store), collection)?;
    let base = history.newest()?.ok_or_else(|| history.missing())?.settings;
    if base.makes_the_same(settings) {
        return Ok(None);
    }
    let draft = names::draft(collection, &random());
    let cache = Arc::new(Cache::new(CACHE_BYTES));
    let (segments, made) = (Vec::new(), HashMap::new());
    let mut rebuild = Rebuild { history, cache, settings, base, instance, draft, segments, made };
    let done = rebuild.run(remake);
    if let Err(error) = store.delete_named(&rebuild.draft) {
        tracing::warn!("{}: {error}; a sweep removes it", rebuild.draft);
    }
    done.map(Some)
}

/// A collection under construction.
struct Rebuild<'a> {
    history: History,
    cache: Arc<Cache>,
    settings: &'a Settings,
    /// What the live version is made with.
    base: Settings,
    instance: &'a str,
    /// Name of the object that lists the segments.
    draft: String,
    segments: Vec<SegmentEntry>,
    /// Where each document was read that the segments have.
    made: HashMap<String, Source>,
}

/// A document of the live version that is not made, or not as it is now.
struct Stale {
    segment: usize,
    row: usize,
}

impl Rebuild<'_> {
    fn run<R: Remake>(&mut self, remake: &mut R) -> Result<Manifest, R::Error> {
        let mut before: Option<Arc<Snapshot>> = None;
        let mut watch = Watch::start();
        for round in 0..MAX_ROUNDS {
            if round >= HOLD_FROM {
                self.hold(watch.elapsed() * 2)?;
            }
            watch = Watch::start();
            let live = self.live(before.as_deref())?;
            self.catch_up(&live, remake)?;
            if let Some(manifest) = self.swap(live.manifest())? {
                return Ok(manifest);
            }
            before = Some(live);
        }
        Err(IndexError::Contended { collection: self.history.collection.clone(), tries: MAX_ROUNDS }.into())
    }

    /// Asks writers to wait until this rebuild is in its place, or has taken so long that it may be dead.
    fn hold(&self, within: Duration) -> Result<(), IndexError> {
        for _ in 0..MAX_ROUNDS {
            let newest = self.history.newest()?.ok_or_else(|| self.history.missing())?;
            let mut held = newest.successor(Reason::Held, name(self.instance), now());
            held.hold_millis = within.clamp(SHORTEST_HOLD, LONGEST_HOLD).as_millis() as u64;
            if newest.is_held() || self.history.put(&held, PATIENCE)? == Put::Ours {
                break;
            }
        }
        Ok(())
    }

    /// The newest version, which must still be the one that is rebuilt.
    fn live(&self, before: Option<&Snapshot>) -> Result<Arc<Snapshot>, IndexError> {
        let open = |manifest| reader::snapshot(&self.history, &self.cache, manifest, before);
        let live = reader::newest(&self.history, open)?;
        match *live.settings() == self.base {
            true => Ok(live),
            false => Err(IndexError::refused(
                format!("collection `{}`", self.history.collection),
                "it was given other settings meanwhile; look at them, and reindex again where they are not yours",
            )),
        }
    }

    /// Makes what the live version has and the new one has not, and takes out what it has no longer.
    fn catch_up<R: Remake>(&mut self, live: &Snapshot, remake: &mut R) -> Result<(), R::Error> {
        let Some((stale, gone)) = self.still(live, self.compared(live))? else { return Ok(()) };
        remake.begins(stale.len() as u64);
        let (mut some, mut bytes) = (Vec::new(), 0);
        for rows in stale.chunk_by(|a, b| a.segment == b.segment) {
            let Some(segment) = rows.first().map(|stale| stale.segment) else { continue };
            let Some(tables) = self.still(live, live.rows_without_vectors(segment))? else { return Ok(()) };
            for Stale { row, .. } in rows {
                let document = tables.document(*row);
                bytes += document.parents.iter().map(|parent| parent.text.len()).sum::<usize>();
                some.push((tables.source(*row), document));
                if bytes >= SEGMENT_TEXT_BYTES || some.len() >= SEGMENT_DOCUMENTS {
                    self.make(std::mem::take(&mut some), remake)?;
                    bytes = 0;
                }
            }
        }
        if !some.is_empty() {
            self.make(some, remake)?;
        }
        Ok(self.take_out(gone)?)
    }

    /// What a read of the live version gave; none where that version was swept meanwhile, for a newer one is there.
    fn still<T>(&self, live: &Snapshot, read: Result<T, IndexError>) -> Result<Option<T>, IndexError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(_) if self.history.newest_after(&Version::of(live.manifest()))?.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The documents that are not made as they are now, and those that are there no longer.
    fn compared(&self, live: &Snapshot) -> Result<(Vec<Stale>, Vec<Change>), IndexError> {
        let (mut stale, mut known) = (Vec::new(), HashSet::new());
        for segment in 0..live.segments.len() {
            let documents = live.table::<Documents>(segment)?;
            for row in live.live[segment].iter() {
                let source = Source { partition: documents.partition.value(row), offset: documents.offset.value(row) };
                let found = self.made.get_key_value(documents.id.value(row));
                known.extend(found.map(|(id, _)| id.as_str()));
                if found.is_none_or(|(_, made)| *made != source) {
                    stale.push(Stale { segment, row });
                }
            }
        }
        let gone = self.made.iter().filter(|(id, _)| !known.contains(id.as_str()));
        let gone = gone.map(|(id, source)| Change { source: *source, action: Action::Delete(id.clone()) });
        Ok((stale, gone.collect()))
    }

    fn make<R: Remake>(&mut self, documents: Vec<(Source, Document)>, remake: &mut R) -> Result<(), R::Error> {
        let (sources, documents): (Vec<Source>, Vec<Document>) = documents.into_iter().unzip();
        let ids: Vec<String> = documents.iter().map(|document| document.id.clone()).collect();
        let heartbeat = remake.heartbeat();
        let remade = self.alive(heartbeat, || remake.make(documents))?;
        if !remade.iter().map(|document| &document.id).eq(&ids) {
            return Err(IndexError::refused("documents made anew", "they are not those that were given").into());
        }
        let change = |(source, document): (Source, Document)| Change { source, action: Action::Put(document) };
        let changes: Vec<Change> = sources.iter().copied().zip(remade).map(change).collect();
        self.put(&changes)?;
        self.made.extend(ids.into_iter().zip(sources));
        Ok(())
    }

    /// Does long work while the draft is written again and again.
    fn alive<T>(&self, every: Duration, work: impl FnOnce() -> T) -> T {
        let (working, ended) = sync_channel::<()>(0);
        std::thread::scope(|scope| {
            scope.spawn(move || self.beat(every, &ended));
            let done = work();
            drop(working);
            done
        })
    }

    fn beat(&self, every: Duration, ended: &Receiver<()>) {
        while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            let written = match self.segments.is_empty() {
                true => Ok(()),
                false => self.check_draft().and_then(|()| self.write_draft()),
            };
            // Whether the draft is gone is asked again before it matters.
            if let Err(error) = written {
                tracing::warn!("{}: {error}; it is written again", self.draft);
            }
        }
    }

    fn take_out(&mut self, gone: Vec<Change>) -> Result<(), IndexError> {
        if gone.is_empty() {
            return Ok(());
        }
        self.put(&gone)?;
        for change in &gone {
            self.made.remove(change.document());
        }
        Ok(())
    }

    /// Puts a segment of these changes, and names it in the draft.
    fn put(&mut self, changes: &[Change]) -> Result<(), IndexError> {
        changes.iter().try_for_each(|change| change.check(self.settings.dimension as usize))?;
        let changes: BTreeMap<&str, &Change> = changes.iter().map(|change| (change.document(), change)).collect();
        // Too few vectors for lists: a compaction sorts them.
        let built = build(format!("{:013}-{}", now(), random()), self.settings.dimension, &changes, None)?;
        self.check_draft()?;
        self.history.put_segment(&built.entry.name, &built.bytes)?;
        self.segments.push(built.entry);
        self.write_draft()
    }

    fn write_draft(&self) -> Result<(), IndexError> {
        let names: Vec<&str> = self.segments.iter().map(|entry| entry.name.as_str()).collect();
        let list = serde_json::to_vec(&names).map_err(|error| IndexError::corrupt(&self.draft, error.to_string()))?;
        Ok(self.history.store.put_named(&self.draft, &list)?)
    }

    /// Puts the manifest behind the live one; none where another writer was first.
    fn swap(&self, live: &Manifest) -> Result<Option<Manifest>, IndexError> {
        self.check_draft()?;
        self.write_draft()?;
        self.check_segments()?;
        let watch = Watch::start();
        if self.history.newest_after(&Version::of(live))?.is_some() {
            return Ok(None);
        }
        let mut next = live.successor(Reason::Reindexed, name(self.instance), now());
        next.settings = self.settings.clone();
        next.segments = self.segments.clone();
        let ours = self.history.put(&next, PATIENCE)? == Put::Ours;
        let stands = ours && (watch.elapsed() < LATE || self.history.stands(&next)?);
        Ok(stands.then_some(next))
    }

    /// A process that was stopped for hours may find its draft swept; its segments are then nobody's. The draft must not
    /// come back: a sweep may be at work that did not see it.
    fn check_draft(&self) -> Result<(), IndexError> {
        let is_there = || self.history.store.get_named_within(&self.draft, MAX_MANIFEST_BYTES);
        match self.segments.is_empty() || is_there()?.is_some() {
            true => Ok(()),
            false => Err(IndexError::corrupt(&self.draft, SWEPT)),
        }
    }

    /// The same of its segments.
    fn check_segments(&self) -> Result<(), IndexError> {
        let listed = self.history.store.list_named(&names::segments(&self.history.collection))?;
        let there: BTreeSet<&str> = listed.iter().filter_map(|found| names::segment_of(&found.name)).collect();
        match self.segments.iter().find(|entry| !there.contains(entry.name.as_str())) {
            None => Ok(()),
            Some(entry) => Err(IndexError::corrupt(&names::segment(&self.history.collection, &entry.name), SWEPT)),
        }
    }
}

/// The segments that a draft names.
pub(crate) fn read_draft(store: &ArtifactStore, object: &str) -> Result<Vec<String>, IndexError> {
    let bytes = store.get_named_within(object, MAX_MANIFEST_BYTES)?;
    let read = bytes.map(|bytes| serde_json::from_slice(&bytes));
    Ok(read.transpose().map_err(|error| IndexError::corrupt(object, error.to_string()))?.unwrap_or_default())
}
