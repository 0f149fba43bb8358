//! Looks after one collection, again and again: merges segments once some have come, removes what is too old.
//!
//! A look costs one listing where nothing has changed. What a look was at when its process died is done again by the next
//! one: a segment that nobody names is swept, a manifest was put whole or not at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_stores::ArtifactStore;

use crate::IndexError;
use crate::compact::{Compaction, compact};
use crate::history::{History, Version};
use crate::manifest::Manifest;
use crate::sweep::{Sweep, Swept, sweep};

/// What is due when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpkeepPlan {
    /// Merges are looked for once so many segments have come since the last ones.
    pub segments: usize,
    /// What is merged then.
    pub compaction: Compaction,
    /// What is kept.
    pub sweep: Sweep,
    /// Old versions and loose segments are looked for this often.
    pub sweep_every: Duration,
}

/// What one look did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Runs of segments that were merged.
    pub merges: u64,
    /// What was removed.
    pub swept: Swept,
}

/// Looks after one collection.
pub struct Upkeep {
    history: History,
    instance: String,
    plan: UpkeepPlan,
    /// The newest version that was seen.
    seen: Option<Version>,
    /// Segments that the last merges left.
    left: usize,
    swept: Option<Instant>,
}

impl Upkeep {
    /// Of a collection that need not exist yet.
    pub fn new(
        store: Arc<ArtifactStore>,
        collection: &str,
        instance: &str,
        plan: UpkeepPlan,
    ) -> Result<Self, IndexError> {
        let history = History::new(store, collection)?;
        Ok(Self { history, instance: instance.to_owned(), plan, seen: None, left: 0, swept: None })
    }

    /// Does what is due; between two steps it ends where `stop` says so.
    pub fn look(&mut self, stop: &dyn Fn() -> bool) -> Result<Done, IndexError> {
        let mut done = Done::default();
        let newest = self.newest()?;
        // A merge that fails, for want of room too, must not keep a sweep from making room.
        let merged = newest.map_or(Ok(()), |manifest| {
            self.merge(&manifest, stop, &mut done)?;
            self.seen = Some(Version::of(&manifest));
            Ok(())
        });
        if !stop() && self.swept.is_none_or(|swept| swept.elapsed() >= self.plan.sweep_every) {
            done.swept = sweep(&self.history.store, &self.history.collection, &self.plan.sweep)?;
            self.swept = Some(Instant::now());
        }
        merged.map(|()| done)
    }

    /// The newest version, where it has not been seen.
    fn newest(&self) -> Result<Option<Manifest>, IndexError> {
        match &self.seen {
            Some(seen) => self.history.newest_after(seen),
            None => self.history.newest()?.map(Some).ok_or_else(|| self.history.missing()),
        }
    }

    fn merge(&mut self, manifest: &Manifest, stop: &dyn Fn() -> bool, done: &mut Done) -> Result<(), IndexError> {
        let mut segments = manifest.segments.len();
        // Fewer than were left: another compactor was here.
        self.left = self.left.min(segments);
        if segments < self.left + self.plan.segments {
            return Ok(());
        }
        while !stop() {
            let (store, collection) = (&self.history.store, &self.history.collection);
            let Some(merged) = compact(store, collection, &self.plan.compaction, &self.instance)? else { break };
            segments = merged.segments.len();
            done.merges += 1;
        }
        self.left = segments;
        Ok(())
    }
}

impl Sweep {
    /// How often it is worth while: what is kept a little longer than it has to be costs space, and looking costs time.
    pub fn every(&self) -> Duration {
        (self.keep.min(self.spare) / 8).clamp(Duration::from_secs(60), Duration::from_secs(3600))
    }
}
