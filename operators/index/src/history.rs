//! The manifests of a collection on the store: which is the newest, and how the next one is put.
//!
//! ```text
//!   newest = list what comes after the last one known        (a number may be swept: the next one being absent says nothing)
//!   put n+1 ─ created ─────────────────────► ours
//!           ─ exists, or an error ─ read back ─ our attempt ► ours
//!                                             ─ another's ──► lost: look at the newest, begin again
//!                                             ─ not there ──► put the same bytes again, until patience ends
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lunapark_stores::{ArtifactStore, Creation, Listed, StoreError};

use crate::clock::wait;
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest};
use crate::names;
use crate::{IndexError, Reason, WriterName};

/// First pause before a put whose answer was lost is made again.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// Writers wait no longer than this for a rebuild that holds them: it may have died, and their transactions have an end.
pub(crate) const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// Between two looks whether it is done.
const LOOK: Duration = Duration::from_millis(50);

/// The manifests of one collection.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) store: Arc<ArtifactStore>,
    pub(crate) collection: String,
    /// A manifest that was looked into, as it was listed then: where it is listed like that again, nothing is new.
    known: Arc<Mutex<Option<(Version, Listed)>>>,
}

/// Which manifest it is. Not its number alone: a collection that was dropped and made anew counts from the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) number: u64,
    pub(crate) writer: WriterName,
}

impl Version {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        Self { number: manifest.number, writer: manifest.writer.clone() }
    }
}

/// What came of a put.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Ours,
    Lost,
}

impl History {
    pub(crate) fn new(store: Arc<ArtifactStore>, collection: &str) -> Result<Self, IndexError> {
        names::check(collection)?;
        Ok(Self { store, collection: collection.to_owned(), known: Arc::default() })
    }

    /// Number and time of writing of all manifests that are kept, ascending.
    pub(crate) fn kept(&self) -> Result<Vec<(u64, i64)>, IndexError> {
        let listed = self.store.list_named(&names::manifests(&self.collection))?;
        let mut kept: Vec<_> =
            listed.iter().filter_map(|found| Some((names::number(&found.name)?, found.modified))).collect();
        kept.sort_unstable();
        Ok(kept)
    }

    /// The newest number of all, or of those from `known` on.
    fn newest_number(&self, known: Option<u64>) -> Result<Option<(u64, Listed)>, IndexError> {
        let folder = names::manifests(&self.collection);
        let listed = match known.and_then(|known| known.checked_sub(1)) {
            Some(before) => self.store.list_named_after(&folder, &names::manifest(&self.collection, before))?,
            None => self.store.list_named(&folder)?,
        };
        let numbered = listed.into_iter().filter_map(|found| Some((names::number(&found.name)?, found)));
        Ok(numbered.max_by_key(|(number, _)| *number))
    }

    /// The newest manifest.
    pub(crate) fn newest(&self) -> Result<Option<Manifest>, IndexError> {
        let mut listed = None;
        while let Some((number, _)) = self.newest_number(None)?.filter(|(number, _)| listed != Some(*number)) {
            if let Some(manifest) = self.get(number)? {
                return Ok(Some(manifest));
            }
            // Swept since it was listed: there is a newer one. Or dropped: then it is listed again, or nothing is.
            listed = Some(number);
        }
        Ok(None)
    }

    /// The newest manifest, where it is another than the one that was seen. The newest one is never swept, so where neither
    /// that one nor a newer one is left the collection was dropped; where there is one nevertheless, it was made anew.
    pub(crate) fn newest_after(&self, seen: &Version) -> Result<Option<Manifest>, IndexError> {
        let Some((number, listed)) = self.newest_number(Some(seen.number))? else { return self.anew() };
        if number == seen.number && self.is_known(seen, &listed) {
            return Ok(None);
        }
        let Some(manifest) = self.get(number)? else { return self.anew() };
        let found = Version::of(&manifest);
        let is_other = found != *seen;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((found, listed));
        Ok(is_other.then_some(manifest))
    }

    /// The newest manifest once no rebuild holds its writers; this one, where the rebuild takes longer than it said.
    pub(crate) fn unheld(&self, mut newest: Manifest) -> Result<Manifest, IndexError> {
        let seen = Instant::now();
        while newest.is_held() && seen.elapsed() < newest.hold() {
            wait(LOOK);
            if let Some(newer) = self.newest_after(&Version::of(&newest))? {
                newest = newer;
            }
        }
        Ok(newest)
    }

    fn is_known(&self, seen: &Version, listed: &Listed) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|(version, then)| version == seen && then == listed)
    }

    fn anew(&self) -> Result<Option<Manifest>, IndexError> {
        self.newest()?.map(Some).ok_or_else(|| self.missing())
    }

    /// The manifest of a number; none where it is not there.
    pub(crate) fn get(&self, number: u64) -> Result<Option<Manifest>, IndexError> {
        let name = names::manifest(&self.collection, number);
        let bytes = self.store.get_named_within(&name, MAX_MANIFEST_BYTES)?;
        bytes.map(|bytes| Manifest::decode(&name, number, &bytes)).transpose()
    }

    /// Puts a manifest where none of its number is; an answer that was lost is found out.
    pub(crate) fn put(&self, manifest: &Manifest, patience: Duration) -> Result<Put, IndexError> {
        let name = names::manifest(&self.collection, manifest.number);
        let bytes = manifest.encode().map_err(|error| IndexError::corrupt(&name, error.to_string()))?;
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(IndexError::refused(name, "there are too many segments; compact the collection"));
        }
        let (deadline, mut pause) = (Instant::now() + patience, FIRST_WAIT);
        loop {
            let trouble = match self.put_once(&name, &bytes, manifest) {
                Ok(put) => return Ok(put),
                Err(error) if error.passes() && Instant::now() + pause < deadline => error,
                Err(error) => return Err(error),
            };
            tracing::warn!("{name}: {trouble}; it is put again");
            wait(pause);
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    fn put_once(&self, name: &str, bytes: &[u8], manifest: &Manifest) -> Result<Put, IndexError> {
        let answer = self.store.create_named(name, bytes);
        if let Ok(Creation::Created) = answer {
            return Ok(Put::Ours);
        }
        match (self.get(manifest.number)?, answer) {
            (Some(found), _) if found.writer == manifest.writer => Ok(Put::Ours),
            (Some(_), _) => Ok(Put::Lost),
            (None, Err(error)) => Err(error.into()),
            // It was there and is swept: the collection is far ahead of us.
            (None, Ok(_)) => Ok(Put::Lost),
        }
    }

    /// True where a manifest that was put late still stands: a put that hung for longer than manifests are kept may have
    /// taken a number that was swept.
    pub(crate) fn stands(&self, manifest: &Manifest) -> Result<bool, IndexError> {
        let Some(newest) = self.newest()? else { return Ok(false) };
        let covered = manifest.next.iter().all(|(partition, next)| newest.next_of(*partition) >= *next);
        Ok(match manifest.reason {
            _ if newest.number < manifest.number => false,
            Reason::Changed | Reason::Created | Reason::Held => covered,
            Reason::Reindexed => newest.settings == manifest.settings,
            Reason::Compacted => manifest.segments.iter().any(|entry| newest.segments.contains(entry)),
        })
    }

    pub(crate) fn missing(&self) -> IndexError {
        IndexError::NoCollection(self.collection.clone())
    }

    /// Puts a segment; its name is of this writer alone, so one that is there is ours.
    pub(crate) fn put_segment(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.put_named(&names::segment(&self.collection, name), bytes)
    }
}
