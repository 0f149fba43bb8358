//! Removes old versions, and segments that no kept version names.
//!
//! A version is removed when the next one is older than the time to keep; the newest one never. A segment goes when no
//! kept manifest names it *and* it is older than a writer may take between its segment and its manifest: a writer that
//! takes longer looks afterwards whether its manifest stands. What is old is so by the store's clock, not by this machine's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lunapark_stores::{ArtifactStore, Listed};

use crate::history::History;
use crate::manifest::Manifest;
use crate::{IndexError, names, rebuild};

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// How long a version can be read after the next one was written.
    pub keep: Duration,
    /// How long a segment that nothing names is left to its writer.
    pub spare: Duration,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { keep: Duration::from_secs(24 * 3600), spare: Duration::from_secs(2 * 3600) }
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// Versions.
    pub versions: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of the segments.
    pub bytes: u64,
}

impl Swept {
    /// Counts an object of a collection that was removed.
    pub(crate) fn add(&mut self, object: &Listed) {
        if names::segment_of(&object.name).is_some() {
            (self.segments, self.bytes) = (self.segments + 1, self.bytes + object.bytes);
        } else if names::number(&object.name).is_some() {
            self.versions += 1;
        }
    }
}

/// Removes what is too old.
pub fn sweep(store: &Arc<ArtifactStore>, collection: &str, sweep: &Sweep) -> Result<Swept, IndexError> {
    let history = History::new(Arc::clone(store), collection)?;
    // By the store's clock, as the times of its objects are.
    let now = store.now()?;
    // Before the manifests: a segment that is put after this is not looked at, and the segments of a draft that is gone
    // are in a manifest.
    let segments = store.list_named(&names::segments(collection))?;
    let mut named = drafted(store, collection, now, sweep.spare)?;
    let kept = history.kept()?;
    let old = kept.windows(2).take_while(|pair| is_before(pair[1].1, now, sweep.keep)).count();
    named.extend(named_by(&history, &kept[old..])?);
    let mut swept = Swept::default();
    for (number, _) in &kept[..old] {
        store.delete_named(&names::manifest(collection, *number))?;
        swept.versions += 1;
    }
    for found in segments {
        let loose = names::segment_of(&found.name).is_some_and(|name| !named.contains(name));
        if loose && is_before(found.modified, now, sweep.spare) {
            store.delete_named(&found.name)?;
            swept.add(&found);
        }
    }
    Ok(swept)
}

/// A kept version, and the segments that it names; none where another sweep was faster: they are nobody's then.
struct Version {
    number: u64,
    names: Option<BTreeSet<String>>,
}

impl Version {
    fn read(history: &History, number: u64) -> Result<Self, IndexError> {
        let entries = |manifest: Manifest| manifest.segments.into_iter().map(|entry| entry.name).collect();
        Ok(Self { number, names: history.get(number)?.map(entries) })
    }

    /// Whether a later version only added to this one. Each change adds one segment, a merge none; what exchanges all of
    /// them leaves none of the first; and a segment that was taken out does not come back. So the versions between name
    /// nothing that the later one does not.
    fn only_grew_to(&self, later: &Self) -> bool {
        let (Some(first), Some(last)) = (&self.names, &later.names) else { return false };
        let added = later.number - self.number;
        !first.is_empty() && first.len() as u64 + added == last.len() as u64 && first.is_subset(last)
    }
}

/// The segments that any of these versions names. Not all of them have to be read: between two compactions there may be
/// thousands.
fn named_by(history: &History, kept: &[(u64, i64)]) -> Result<BTreeSet<String>, IndexError> {
    let (Some((first, _)), Some((last, _))) = (kept.first(), kept.last()) else { return Ok(BTreeSet::new()) };
    let (first, last) = (Version::read(history, *first)?, Version::read(history, *last)?);
    let mut named = BTreeSet::new();
    add_between(history, kept, &first, &last, &mut named)?;
    named.extend([first, last].into_iter().filter_map(|version| version.names).flatten());
    Ok(named)
}

/// Adds what the versions between the first and the last of `kept` name; by halves, so that the depth is their logarithm.
fn add_between(
    history: &History,
    kept: &[(u64, i64)],
    first: &Version,
    last: &Version,
    named: &mut BTreeSet<String>,
) -> Result<(), IndexError> {
    if kept.len() <= 2 || first.only_grew_to(last) {
        return Ok(());
    }
    let at = kept.len() / 2;
    let middle = Version::read(history, kept[at].0)?;
    add_between(history, &kept[..=at], first, &middle, named)?;
    add_between(history, &kept[at..], &middle, last, named)?;
    named.extend(middle.names.into_iter().flatten());
    Ok(())
}

/// The segments of drafts. A draft that nobody has written to for long goes, and its segments with a later sweep: its
/// rebuild may be about to name them in a manifest.
fn drafted(store: &ArtifactStore, collection: &str, now: i64, spare: Duration) -> Result<BTreeSet<String>, IndexError> {
    let mut named = BTreeSet::new();
    for draft in store.list_named(&names::drafts(collection))? {
        named.extend(rebuild::read_draft(store, &draft.name)?);
        if is_before(draft.modified, now, spare) {
            store.delete_named(&draft.name)?;
        }
    }
    Ok(named)
}

fn is_before(time: i64, now: i64, age: Duration) -> bool {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    time <= now.saturating_sub(age)
}
