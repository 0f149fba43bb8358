//! Merges segments, without what is hidden.
//!
//! ```text
//!   a  b │ c  d  e │          c, d, e small: one new segment in their place
//!   a  b │   cde   │ f        f, put by a writer meanwhile, stays behind it
//! ```
//!
//! The merged segments follow one another and the new one stands in their place, so the order of changes holds and
//! writers need not stop: whoever is first puts its manifest, the other one begins again on top. A deletion is dropped
//! when nothing older is left that it could hide. A segment whose words were cut by an older rule is merged though it be
//! alone, up to the bound of a merge: so an older collection comes up to date. One compactor per collection: a second one
//! does no harm, but its work is thrown away. The old segments stay for the old manifests until [`sweep`](crate::sweep).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::Array;
use lunapark_stores::ArtifactStore;

use crate::IndexError;
use crate::cache::Cache;
use crate::clock::{Watch, now, random};
use crate::document::{Action, Change, Source};
use crate::history::{History, Put};
use crate::manifest::{Manifest, Reason, SegmentEntry};
use crate::reader;
use crate::segment::{Documents, Listing, build};
use crate::snapshot::Snapshot;
use crate::writer::name;

/// How long a put whose answer was lost is made again.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where so many writers were first, one after another, the compaction is left to the next time.
const MAX_TRIES: u32 = 64;
/// See the writer's.
const LATE: Duration = Duration::from_secs(60);

/// What is merged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compaction {
    /// Segments are merged as long as an older one is at most so many times as large as all newer ones together: so a
    /// byte is written again a few times in all, and the number of segments grows with the logarithm of the size.
    pub ratio: f64,
    /// A segment more of whose documents are hidden is merged whatever its size.
    pub hidden_share: f64,
    /// A merge reads no more bytes than this, since it holds them in memory: about three times, as documents, as the columns
    /// of the new segment and as its bytes.
    pub max_bytes: u64,
    /// A merged segment of so many vectors, or more, has them sorted into lists as well: see [`Recall`](crate::Recall).
    pub lists_from: u32,
    /// Threads that sort vectors into lists; the lists are the same with any number.
    pub threads: usize,
}

/// Fewer vectors than this are scanned sooner than lists of them are looked for.
const LISTS_FROM: u32 = 50_000;

impl Default for Compaction {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
        Self { ratio: 2.0, hidden_share: 0.3, max_bytes: 1 << 30, lists_from: LISTS_FROM, threads }
    }
}

impl Compaction {
    /// Merges everything into one segment.
    pub fn whole() -> Self {
        Self { ratio: f64::INFINITY, hidden_share: 0.0, max_bytes: u64::MAX, ..Self::default() }
    }
}

/// Merges once what is due; gives the new manifest, or none where nothing was due.
pub fn compact(
    store: &Arc<ArtifactStore>,
    collection: &str,
    compaction: &Compaction,
    instance: &str,
) -> Result<Option<Manifest>, IndexError> {
    let history = History::new(Arc::clone(store), collection)?;
    // Each section is read once.
    let cache = Arc::new(Cache::new(0));
    let snapshot = reader::newest(&history, |manifest| reader::snapshot(&history, &cache, manifest, None))?;
    let Some(range) = due(&snapshot, compaction) else { return Ok(None) };
    let watch = Watch::start();
    let merged = merge(&history, &snapshot, range.clone(), compaction)?;
    let old = &snapshot.manifest().segments[range];
    for _ in 0..MAX_TRIES {
        let manifest = history.unheld(history.newest()?.ok_or_else(|| history.missing())?)?;
        let Some(segments) = replaced(&manifest.segments, old, merged.as_ref()) else { return Ok(None) };
        let mut next = manifest.successor(Reason::Compacted, name(instance), now());
        next.segments = segments;
        if history.put(&next, PATIENCE)? == Put::Ours && (watch.elapsed() < LATE || stands(&history, &next, &merged)?) {
            return Ok(Some(next));
        }
    }
    Err(IndexError::Contended { collection: collection.to_owned(), tries: MAX_TRIES })
}

/// After a long time in between: is the manifest part of the collection's history, or did it take a number that was swept?
fn stands(history: &History, next: &Manifest, merged: &Option<SegmentEntry>) -> Result<bool, IndexError> {
    if merged.is_some() { history.stands(next) } else { Ok(true) }
}

/// The newest run of segments that is due.
fn due(snapshot: &Snapshot, compaction: &Compaction) -> Option<Range<usize>> {
    let entries = &snapshot.manifest().segments;
    let alone = |at: usize| hidden(snapshot, at, compaction) || entries[at].has_older_words();
    let worth = |range: &Range<usize>| range.len() > 1 || range.clone().any(alone);
    (1..=snapshot.segments.len()).rev().map(|end| run(snapshot, compaction, end)).find(worth)
}

/// The longest run before `end` whose oldest segment is small beside the others, has too much hidden, or words by an older
/// rule.
fn run(snapshot: &Snapshot, compaction: &Compaction, end: usize) -> Range<usize> {
    let entries = &snapshot.manifest().segments;
    let (mut start, mut bytes) = (end, 0_u64);
    for at in (0..end).rev() {
        let entry = &entries[at];
        let small = bytes > 0 && entry.bytes as f64 <= compaction.ratio * bytes as f64;
        bytes = bytes.saturating_add(entry.bytes);
        if bytes > compaction.max_bytes {
            break;
        }
        if small || hidden(snapshot, at, compaction) || entry.has_older_words() {
            start = at;
        }
    }
    start..end
}

/// True where more of a segment is hidden than may be; deletions at the very beginning hide nothing.
fn hidden(snapshot: &Snapshot, segment: usize, compaction: &Compaction) -> bool {
    let (live, entry) = (&snapshot.live[segment], &snapshot.manifest().segments[segment]);
    let needed = if segment == 0 { 0 } else { entry.deletions as usize };
    let useless = live.rows().saturating_sub(live.count() + needed);
    useless > 0 && useless as f64 >= compaction.hidden_share * live.rows() as f64
}

/// The list with a new segment in the place of the old ones; none where they are no longer all there.
fn replaced(
    segments: &[SegmentEntry],
    old: &[SegmentEntry],
    merged: Option<&SegmentEntry>,
) -> Option<Vec<SegmentEntry>> {
    let start = segments.windows(old.len()).position(|window| window == old)?;
    let (before, after) = (&segments[..start], &segments[start + old.len()..]);
    Some(before.iter().chain(merged).chain(after).cloned().collect())
}

/// Puts the segment that has what counts of these; none where nothing does.
fn merge(
    history: &History,
    snapshot: &Snapshot,
    range: Range<usize>,
    compaction: &Compaction,
) -> Result<Option<SegmentEntry>, IndexError> {
    let mut changes = Vec::new();
    for segment in range.clone() {
        let put = &mut |source, document| changes.push(Change { source, action: Action::Put(document) });
        snapshot.segment_documents(segment, put)?;
    }
    if range.start > 0 {
        changes.extend(deletions(snapshot, range)?);
    }
    if changes.is_empty() {
        return Ok(None);
    }
    let by_document: BTreeMap<&str, &Change> = changes.iter().map(|change| (change.document(), change)).collect();
    let segment_name = format!("{:013}-{}", now(), random());
    let settings = snapshot.settings();
    let listing = Listing { from: compaction.lists_from, metric: settings.metric, threads: compaction.threads };
    let built = build(segment_name, settings.dimension, &by_document, Some(listing))?;
    // The store's client may copy the bytes: room for that.
    drop(changes);
    history.put_segment(&built.entry.name, &built.bytes)?;
    Ok(Some(built.entry))
}

/// The deletions that nothing newer in the version takes back.
fn deletions(snapshot: &Snapshot, range: Range<usize>) -> Result<Vec<Change>, IndexError> {
    let mut found: BTreeMap<String, Source> = BTreeMap::new();
    for segment in range {
        let documents = snapshot.table::<Documents>(segment)?;
        for row in 0..documents.id.len() {
            let id = documents.id.value(row);
            let source = Source { partition: documents.partition.value(row), offset: documents.offset.value(row) };
            if documents.deleted.value(row) {
                found.insert(id.to_owned(), source);
            } else {
                found.remove(id);
            }
        }
    }
    Ok(found.into_iter().map(|(id, source)| Change { source, action: Action::Delete(id) }).collect())
}
