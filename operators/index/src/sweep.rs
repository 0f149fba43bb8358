//! Removes old versions, and segments that no kept version names.
//!
//! A version is removed when the next one is older than the time to keep; the newest one never. A segment goes when no
//! kept manifest names it *and* it is older than a writer may take between its segment and its manifest: a writer that
//! takes longer looks afterwards whether its manifest stands.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lunapark_stores::ArtifactStore;

use crate::history::History;
use crate::{IndexError, clock, names, rebuild};

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

/// Removes what is too old.
pub fn sweep(store: &Arc<ArtifactStore>, collection: &str, sweep: &Sweep) -> Result<Swept, IndexError> {
    let history = History::new(Arc::clone(store), collection)?;
    let now = clock::now();
    // Before the manifests: a segment that is put after this is not looked at, and the segments of a draft that is gone
    // are in a manifest.
    let segments = store.list_named(&names::segments(collection))?;
    let mut named = drafted(store, collection, now, sweep.spare)?;
    let kept = history.kept()?;
    let old = kept.windows(2).take_while(|pair| is_before(pair[1].1, now, sweep.keep)).count();
    for (number, _) in &kept[old..] {
        // One that is gone was swept by another; its segments are then nobody's.
        let manifest = history.get(*number)?;
        named.extend(manifest.into_iter().flat_map(|manifest| manifest.segments).map(|entry| entry.name));
    }
    let mut swept = Swept::default();
    for (number, _) in &kept[..old] {
        store.delete_named(&names::manifest(collection, *number))?;
        swept.versions += 1;
    }
    for found in segments {
        let loose = names::segment_of(&found.name).is_some_and(|name| !named.contains(name));
        if loose && is_before(found.modified, now, sweep.spare) {
            store.delete_named(&found.name)?;
            (swept.segments, swept.bytes) = (swept.segments + 1, swept.bytes + found.bytes);
        }
    }
    Ok(swept)
}

/// The segments of drafts that are being worked on; the others go.
fn drafted(store: &ArtifactStore, collection: &str, now: i64, spare: Duration) -> Result<BTreeSet<String>, IndexError> {
    let mut named = BTreeSet::new();
    for draft in store.list_named(&names::drafts(collection))? {
        match is_before(draft.modified, now, spare) {
            true => store.delete_named(&draft.name)?,
            false => named.extend(rebuild::read_draft(store, &draft.name)?),
        }
    }
    Ok(named)
}

fn is_before(time: i64, now: i64, age: Duration) -> bool {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    time <= now.saturating_sub(age)
}
