//! Opens versions of a collection for reading.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lunapark_stores::ArtifactStore;

use crate::IndexError;
use crate::cache::Cache;
use crate::history::{History, Version};
use crate::manifest::{Manifest, SegmentEntry};
use crate::segment::Segment;
use crate::snapshot::Snapshot;

/// Reads one collection; shared by all who ask it.
pub struct Reader {
    history: History,
    cache: Arc<Cache>,
    newest: Mutex<Arc<Snapshot>>,
}

impl Reader {
    /// Opens the newest version of a collection; sections of segments are held in memory up to `budget` bytes.
    pub fn open(store: Arc<ArtifactStore>, collection: &str, budget: u64) -> Result<Self, IndexError> {
        Self::open_sharing(store, collection, Arc::new(Cache::new(budget)))
    }

    /// The same with a cache that readers of other collections of this store have, too.
    pub fn open_sharing(store: Arc<ArtifactStore>, collection: &str, cache: Arc<Cache>) -> Result<Self, IndexError> {
        let history = History::new(store, collection)?;
        let snapshot = newest(&history, |manifest| snapshot(&history, &cache, manifest, None))?;
        Ok(Self { history, cache, newest: Mutex::new(snapshot) })
    }

    /// The newest version that was seen.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.lock())
    }

    /// Looks for a newer version: one listing where there is none. Only segments that are new are read.
    pub fn refresh(&self) -> Result<Arc<Snapshot>, IndexError> {
        let before = self.snapshot();
        let found = self.history.newest_after(&Version::of(before.manifest()))?;
        let Some(manifest) = found else { return Ok(before) };
        let after = match snapshot(&self.history, &self.cache, manifest, Some(&before)) {
            // A compaction and a sweep may have passed between the manifest and its segments.
            Err(_) => newest(&self.history, |manifest| snapshot(&self.history, &self.cache, manifest, Some(&before)))?,
            Ok(after) => after,
        };
        let mut newest = self.lock();
        // Where nobody was here meanwhile, it is newer whatever its number: the collection may have been made anew.
        if Arc::ptr_eq(&newest, &before) || newest.version() < after.version() {
            self.cache.keep(&self.history.collection, &after.segments);
            *newest = Arc::clone(&after);
        }
        Ok(after)
    }

    /// The collection as it was at a version that is still kept.
    pub fn at(&self, version: u64) -> Result<Arc<Snapshot>, IndexError> {
        let manifest = self.history.get(version)?;
        let manifest = manifest.ok_or_else(|| IndexError::NoVersion {
            collection: self.history.collection.clone(),
            version,
            newest: self.snapshot().version(),
        })?;
        snapshot(&self.history, &self.cache, manifest, Some(&self.snapshot()))
    }

    /// Numbers of the versions that are kept, ascending.
    pub fn versions(&self) -> Result<Vec<u64>, IndexError> {
        Ok(self.history.kept()?.into_iter().map(|(number, _)| number).collect())
    }

    /// Bytes of sections in memory, those of others that share the cache included.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Bytes of vectors in memory, with their codes and lists.
    pub fn cached_vector_bytes(&self) -> u64 {
        self.cache.vector_bytes()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Snapshot>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is made of the newest manifest; where that fails and there is a newer one by now, of that.
pub(crate) fn newest<T>(history: &History, make: impl Fn(Manifest) -> Result<T, IndexError>) -> Result<T, IndexError> {
    let mut manifest = history.newest()?.ok_or_else(|| history.missing())?;
    loop {
        let seen = Version::of(&manifest);
        let error = match make(manifest) {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        manifest = history.newest_after(&seen)?.ok_or(error)?;
    }
}

/// A snapshot of a manifest, which takes over what it shares with another.
pub(crate) fn snapshot(
    history: &History,
    cache: &Arc<Cache>,
    manifest: Manifest,
    before: Option<&Snapshot>,
) -> Result<Arc<Snapshot>, IndexError> {
    let open: HashMap<&str, &Arc<Segment>> = before
        .iter()
        .flat_map(|snapshot| snapshot.segments.iter().map(|segment| (segment.entry.name.as_str(), segment)))
        .collect();
    let dimension = manifest.settings.dimension;
    let segment = |entry: &SegmentEntry| match open.get(entry.name.as_str()) {
        Some(segment) if segment.entry == *entry => Ok(Arc::clone(segment)),
        _ => Segment::open(&history.store, &history.collection, dimension, entry).map(Arc::new),
    };
    let segments = manifest.segments.iter().map(segment).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Snapshot::new(history.collection.clone(), manifest, segments, Arc::clone(cache), before)?))
}
