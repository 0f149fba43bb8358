//! The models that a scorer holds, and which one an event wants.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lunapark_models::Model;
use lunapark_schemas::{ErrorClass, Rejection};

use crate::cuts::Cut;

/// One loaded model under its name and version.
#[derive(Clone)]
pub struct ModelEntry {
    /// Model name.
    pub name: String,
    /// Version; text, because the outside decides what it looks like.
    pub version: String,
    /// Value of the result header `lunapark-model`: `name/version#digest`, eight digits of the digest.
    pub tag: String,
    /// SHA-256, 64 hex digits.
    pub digest: String,
    /// The model.
    pub model: Arc<dyn Model>,
}

impl ModelEntry {
    /// An entry whose tag carries the first eight digits of `digest`.
    pub fn new(name: &str, version: &str, digest: &str, model: Arc<dyn Model>) -> Self {
        let short = digest.get(..8).unwrap_or(digest);
        let tag = format!("{name}/{version}#{short}");
        Self { name: name.into(), version: version.into(), tag, digest: digest.into(), model }
    }
}

/// Models that a scorer may take up while it runs. Each stays loaded, since replays and pinned events may want it.
const ROOM: usize = 1024;

/// A model that a set does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// Two models would answer to one name.
    #[error(
        "{name}/{version} is loaded with the digest {loaded}, not {wanted}: give the new model a version of its own"
    )]
    OtherDigest {
        /// Model name.
        name: String,
        /// Version.
        version: String,
        /// Digest of the one that is there.
        loaded: String,
        /// Digest of the new one.
        wanted: String,
    },
    /// No room is left.
    #[error("this instance has loaded {ROOM} models since its start; start it again")]
    Full,
}

/// All models of a scorer. Models can be added while others are in use: an index stays good for ever.
///
/// Without a header and without a cut an event is scored by the default, the first entry.
pub struct ModelSet {
    /// Filled from the front; reading one takes no lock.
    slots: Box<[OnceLock<ModelEntry>]>,
    configured: usize,
    filled: Mutex<usize>,
}

impl Default for ModelSet {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl ModelSet {
    /// The given models; the first one is the default.
    pub fn new(entries: Vec<ModelEntry>) -> Self {
        let configured = entries.len();
        let free = std::iter::repeat_with(OnceLock::new).take(ROOM);
        let slots = entries.into_iter().map(OnceLock::from).chain(free).collect();
        Self { slots, configured, filled: Mutex::new(configured) }
    }

    /// The model at `index`, as [`resolve`](Self::resolve) gave it.
    pub fn get(&self, index: usize) -> Option<&ModelEntry> {
        self.slots.get(index).and_then(OnceLock::get)
    }

    /// All of them.
    pub fn entries(&self) -> impl Iterator<Item = &ModelEntry> {
        self.slots.iter().map_while(OnceLock::get)
    }

    /// Index of the model of this name and version.
    pub fn find(&self, name: &str, version: &str) -> Option<usize> {
        self.entries().position(|entry| entry.name == name && entry.version == version)
    }

    /// Adds a model, or finds the same one; its index.
    pub fn add(&self, entry: ModelEntry) -> Result<usize, NotAdded> {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = self.find(&entry.name, &entry.version) {
            return self.same(index, &entry);
        }
        let index = *filled;
        let slot = self.slots.get(index).ok_or(NotAdded::Full)?;
        slot.set(entry).map_err(|_| NotAdded::Full)?;
        *filled += 1;
        Ok(index)
    }

    fn same(&self, index: usize, entry: &ModelEntry) -> Result<usize, NotAdded> {
        let loaded = self.get(index).map(|loaded| loaded.digest.clone()).unwrap_or_default();
        if loaded == entry.digest {
            return Ok(index);
        }
        let (name, version, wanted) = (entry.name.clone(), entry.version.clone(), entry.digest.clone());
        Err(NotAdded::OtherDigest { name, version, loaded, wanted })
    }

    /// The model of an event without a header: that of the cut, or the default.
    pub fn live(&self, cut: Option<usize>) -> Result<usize, Rejection> {
        match cut {
            Some(index) => Ok(index),
            None if self.configured == 0 => Err(self.unknown("(default)")),
            None => Ok(0),
        }
    }

    /// Which model the header `lunapark-model: name[/version]` wants at this offset. A version is that version, whatever
    /// is live. A name alone is what was last cut to of that name, or that name's last entry of the configuration.
    pub fn resolve(&self, header: &[u8], cuts: &[Cut], offset: i64) -> Result<usize, Rejection> {
        let wanted = std::str::from_utf8(header).map_err(|_| self.unknown("(not UTF-8)"))?.trim();
        let found = match wanted.split_once('/') {
            Some((name, version)) => self.find(name, version),
            None => self.named(wanted, cuts, offset),
        };
        found.ok_or_else(|| self.unknown(wanted))
    }

    fn named(&self, name: &str, cuts: &[Cut], offset: i64) -> Option<usize> {
        let fits = |index: usize| self.get(index).is_some_and(|entry| entry.name == name);
        let cut = cuts.iter().rev().find(|cut| cut.from <= offset && fits(cut.model)).map(|cut| cut.model);
        cut.or_else(|| (0..self.configured).rev().find(|index| fits(*index)))
    }

    fn unknown(&self, wanted: &str) -> Rejection {
        // Not those taken up since: two instances would say different things.
        let configured = self.entries().take(self.configured);
        let known: Vec<_> = configured.map(|e| format!("{}/{}", e.name, e.version)).collect();
        let shown: String = wanted.chars().take(100).collect();
        let message =
            format!("header lunapark-model: no model `{}`; loaded are: {}", shown.escape_debug(), known.join(", "));
        Rejection::new(ErrorClass::UnknownModel, message)
    }
}
