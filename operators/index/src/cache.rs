//! Sections of segments, and blocks of them, in memory, up to a number of bytes: the ones that were not used for longest
//! go first, whatever collection they are of.
//!
//! What a search holds stays in memory while it runs, whatever the budget says.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::quick::QuickMap;
use crate::segment::{Section, Segment, Table};
use crate::{IndexError, names};

/// A section of a segment, or a block of it.
type Part = (Section, Option<u64>);

struct Held {
    table: Arc<dyn Any + Send + Sync>,
    bytes: u64,
    used: u64,
}

#[derive(Default)]
struct State {
    /// What is held of each segment, by its object's name.
    held: QuickMap<Arc<str>, QuickMap<Part, Held>>,
    bytes: u64,
    clock: u64,
}

/// Sections in memory; shared by the snapshots of a reader, and by readers of collections of one store.
pub struct Cache {
    budget: u64,
    state: Mutex<State>,
}

impl Cache {
    /// With room for so many bytes.
    pub fn new(budget: u64) -> Self {
        Self { budget, state: Mutex::default() }
    }

    /// A section of a segment, from memory or from the store.
    pub(crate) fn get<T: Table>(&self, segment: &Segment) -> Result<Arc<T>, IndexError> {
        let part = (T::SECTION, None);
        if let Some(table) = self.lock().find(segment, part).and_then(|table| table.downcast().ok()) {
            return Ok(table);
        }
        // Not under the lock: others go on meanwhile.
        let table = Arc::new(segment.load::<T>()?);
        let bytes = T::held_bytes(segment.bytes_of(T::SECTION));
        self.lock().insert(segment, part, Arc::clone(&table) as _, bytes, self.budget);
        Ok(table)
    }

    /// A block of a section, from memory or from the store.
    pub(crate) fn block(&self, segment: &Segment, section: Section, number: u64) -> Result<Arc<Vec<u8>>, IndexError> {
        let part = (section, Some(number));
        if let Some(block) = self.lock().find(segment, part).and_then(|block| block.downcast().ok()) {
            return Ok(block);
        }
        let block = Arc::new(segment.block(section, number)?);
        let bytes = block.len() as u64;
        self.lock().insert(segment, part, Arc::clone(&block) as _, bytes, self.budget);
        Ok(block)
    }

    /// Those of some blocks of a section that are in memory, looked up at once: whoever reads dozens of rows for each of many
    /// questions would otherwise wait for others that do the same.
    pub(crate) fn find_blocks(
        &self,
        segment: &Segment,
        section: Section,
        numbers: &[u64],
        found: &mut Vec<Option<Arc<Vec<u8>>>>,
    ) {
        found.reserve(numbers.len());
        let mut state = self.lock();
        state.clock += 1;
        let clock = state.clock;
        let mut parts = state.held.get_mut(&*segment.object);
        let mut find = |&number: &u64| {
            let held = parts.as_mut()?.get_mut(&(section, Some(number)))?;
            held.used = clock;
            Arc::clone(&held.table).downcast().ok()
        };
        found.extend(numbers.iter().map(&mut find));
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Bytes held of vectors and what they are sorted and compared by.
    pub(crate) fn vector_bytes(&self) -> u64 {
        let of_vectors =
            |section: Section| matches!(section, Section::Vectors | Section::Lists | Section::Codes | Section::Recalls);
        let state = self.lock();
        let parts = state.held.values().flatten();
        parts.filter(|((section, _), _)| of_vectors(*section)).map(|(_, held)| held.bytes).sum()
    }

    /// Forgets what is held of a collection.
    pub fn forget(&self, collection: &str) {
        self.keep(collection, &[]);
    }

    /// Forgets the segments of a collection that are not among these.
    pub(crate) fn keep(&self, collection: &str, segments: &[Arc<Segment>]) {
        let own = format!("{}/", names::segments(collection));
        let mut state = self.lock();
        let stays = |object: &Arc<str>| segments.iter().any(|segment| segment.object == *object);
        state.held.retain(|object, _| !object.starts_with(&own) || stays(object));
        state.bytes = state.held.values().flatten().map(|(_, held)| held.bytes).sum();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&mut self, segment: &Segment, part: Part) -> Option<Arc<dyn Any + Send + Sync>> {
        self.clock += 1;
        let held = self.held.get_mut(&*segment.object)?.get_mut(&part)?;
        held.used = self.clock;
        Some(Arc::clone(&held.table))
    }

    fn insert(&mut self, segment: &Segment, part: Part, table: Arc<dyn Any + Send + Sync>, bytes: u64, budget: u64) {
        self.clock += 1;
        let parts = self.held.entry(Arc::clone(&segment.object)).or_default();
        let before = parts.insert(part, Held { table, bytes, used: self.clock });
        self.bytes += bytes - before.map_or(0, |held| held.bytes);
        while self.bytes > budget && self.forget_oldest() {}
    }

    /// False where nothing is held.
    fn forget_oldest(&mut self) -> bool {
        let all =
            self.held.iter().flat_map(|(name, parts)| parts.iter().map(move |(part, held)| (held.used, name, *part)));
        let Some((_, name, part)) = all.min_by_key(|(used, ..)| *used) else { return false };
        let name = Arc::clone(name);
        let gone = self.held.get_mut(&name).and_then(|parts| parts.remove(&part));
        self.held.retain(|_, parts| !parts.is_empty());
        self.bytes -= gone.map_or(0, |gone| gone.bytes);
        true
    }
}
