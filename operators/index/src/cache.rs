//! Sections of segments, and blocks of them, in memory, up to a number of bytes: the ones that were not used for longest
//! go first.
//!
//! What a search holds stays in memory while it runs, whatever the budget says.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::IndexError;
use crate::quick::QuickMap;
use crate::segment::{Section, Segment, Table};

/// A section, or a block of it.
type Key = (Arc<str>, Section, Option<u64>);

struct Held {
    table: Arc<dyn Any + Send + Sync>,
    bytes: u64,
    used: u64,
}

#[derive(Default)]
struct State {
    held: QuickMap<Key, Held>,
    bytes: u64,
    clock: u64,
}

/// Sections in memory; shared by the snapshots of a reader.
pub(crate) struct Cache {
    budget: u64,
    state: Mutex<State>,
}

impl Cache {
    pub(crate) fn new(budget: u64) -> Self {
        Self { budget, state: Mutex::default() }
    }

    /// A section of a segment, from memory or from the store.
    pub(crate) fn get<T: Table>(&self, segment: &Segment) -> Result<Arc<T>, IndexError> {
        let key = (Arc::clone(&segment.name), T::SECTION, None);
        if let Some(table) = self.lock().find(&key).and_then(|table| table.downcast().ok()) {
            return Ok(table);
        }
        // Not under the lock: others go on meanwhile.
        let table = Arc::new(segment.load::<T>()?);
        let bytes = T::held_bytes(segment.bytes_of(T::SECTION));
        self.lock().insert(key, Arc::clone(&table) as _, bytes, self.budget);
        Ok(table)
    }

    /// A block of a section, from memory or from the store.
    pub(crate) fn block(&self, segment: &Segment, section: Section, number: u64) -> Result<Arc<Vec<u8>>, IndexError> {
        let key = (Arc::clone(&segment.name), section, Some(number));
        if let Some(block) = self.lock().find(&key).and_then(|block| block.downcast().ok()) {
            return Ok(block);
        }
        let block = Arc::new(segment.block(section, number)?);
        let bytes = block.len() as u64;
        self.lock().insert(key, Arc::clone(&block) as _, bytes, self.budget);
        Ok(block)
    }

    /// Those of some blocks of a section that are in memory, looked up at once: whoever reads dozens of rows for each of many
    /// questions would otherwise wait for others that do the same.
    pub(crate) fn held_blocks(&self, segment: &Segment, section: Section, numbers: &[u64]) -> Vec<Option<Arc<Vec<u8>>>> {
        let mut key = (Arc::clone(&segment.name), section, None);
        let mut state = self.lock();
        let mut find = |&number: &u64| {
            key.2 = Some(number);
            state.find(&key).and_then(|block| block.downcast().ok())
        };
        numbers.iter().map(&mut find).collect()
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Bytes held of vectors and what they are sorted and compared by.
    pub(crate) fn vector_bytes(&self) -> u64 {
        let of_vectors =
            |section: Section| matches!(section, Section::Vectors | Section::Lists | Section::Codes | Section::Recalls);
        let state = self.lock();
        state.held.iter().filter(|((_, section, _), _)| of_vectors(*section)).map(|(_, held)| held.bytes).sum()
    }

    /// Forgets the segments that are not among these.
    pub(crate) fn keep(&self, segments: &[Arc<Segment>]) {
        let mut state = self.lock();
        state.held.retain(|(name, ..), _| segments.iter().any(|segment| segment.name == *name));
        state.bytes = state.held.values().map(|held| held.bytes).sum();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&mut self, key: &Key) -> Option<Arc<dyn Any + Send + Sync>> {
        self.clock += 1;
        let held = self.held.get_mut(key)?;
        held.used = self.clock;
        Some(Arc::clone(&held.table))
    }

    fn insert(&mut self, key: Key, table: Arc<dyn Any + Send + Sync>, bytes: u64, budget: u64) {
        self.clock += 1;
        let before = self.held.insert(key, Held { table, bytes, used: self.clock });
        self.bytes += bytes - before.map_or(0, |held| held.bytes);
        while self.bytes > budget {
            let oldest = self.held.iter().min_by_key(|(_, held)| held.used).map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|key| self.held.remove(&key)) else { return };
            self.bytes -= gone.bytes;
        }
    }
}
