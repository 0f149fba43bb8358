//! The models that a scorer holds, and which one an event wants.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use lunapark_models::Model;
use lunapark_operator::VersionName;
use lunapark_schemas::{ErrorClass, Message, Rejection, Signature};

use crate::cuts::{Cuts, Named, Version};

/// One model under its name and version.
pub struct ModelEntry {
    /// Model name.
    pub name: String,
    /// Version; text, because the outside decides what it looks like.
    pub version: String,
    /// Value of the result header `lunapark-model`: `name/version#digest`, eight digits of the digest.
    pub tag: String,
    /// SHA-256, 64 hex digits.
    pub digest: String,
    /// What it takes and gives.
    pub signature: Arc<Signature>,
    /// The model, where the entry itself keeps it loaded.
    kept: Option<Arc<dyn Model>>,
    /// The model, as long as somebody keeps it loaded.
    lent: RwLock<Weak<dyn Model>>,
}

impl ModelEntry {
    /// An entry whose tag carries the first eight digits of `digest`.
    pub fn new(name: &str, version: &str, digest: &str, model: Arc<dyn Model>) -> Self {
        let short = digest.get(..8).unwrap_or(digest);
        let tag = format!("{name}/{version}#{short}");
        let (signature, lent) = (model.signature().clone(), RwLock::new(Arc::downgrade(&model)));
        Self {
            name: name.into(),
            version: version.into(),
            tag,
            digest: digest.into(),
            signature,
            kept: Some(model),
            lent,
        }
    }

    /// The model; none where nobody keeps it loaded any more.
    pub fn model(&self) -> Option<Arc<dyn Model>> {
        self.kept.clone().or_else(|| self.lent.read().unwrap_or_else(PoisonError::into_inner).upgrade())
    }

    /// Takes a model up that was not loaded any more, or gives the one that is.
    fn reload(&self, model: Arc<dyn Model>) -> Arc<dyn Model> {
        let mut lent = self.lent.write().unwrap_or_else(PoisonError::into_inner);
        lent.upgrade().unwrap_or_else(|| {
            *lent = Arc::downgrade(&model);
            model
        })
    }
}

/// A model of a set that stays loaded as long as this is held.
#[derive(Clone)]
pub struct Kept {
    /// Its index.
    pub index: usize,
    /// The model.
    pub model: Arc<dyn Model>,
}

/// Models that a scorer may take up while it runs. Their names stay for ever, the models as long as somebody keeps them.
const ROOM: usize = 4096;

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

/// Why no model is at hand for an event that names one.
#[derive(Clone, Debug)]
pub enum Unresolved {
    /// It has to be loaded first.
    Away(VersionName),
    /// There is none.
    Unknown(Rejection),
}

impl From<Rejection> for Unresolved {
    fn from(rejection: Rejection) -> Self {
        Self::Unknown(rejection)
    }
}

/// The model of the configuration that scores where no cut says otherwise.
const DEFAULT: Version = Version::Loaded(0);

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

    /// The model of events that name none and that no cut governs.
    pub fn default_entry(&self) -> Option<&ModelEntry> {
        self.get(0).filter(|_| self.configured > 0)
    }

    /// All of them.
    pub fn entries(&self) -> impl Iterator<Item = &ModelEntry> {
        self.slots.iter().map_while(OnceLock::get)
    }

    /// Index of the model of this name and version.
    pub fn find(&self, name: &str, version: &str) -> Option<usize> {
        self.entries().position(|entry| entry.name == name && entry.version == version)
    }

    /// The model of this name, version and digest, where it is loaded.
    pub fn keep(&self, name: &str, version: &str, digest: &str) -> Option<Kept> {
        let index = self.find(name, version)?;
        let entry = self.get(index).filter(|entry| entry.digest == digest)?;
        Some(Kept { index, model: entry.model()? })
    }

    /// Adds a model, or finds the same one. It stays loaded as long as what this returns is held by somebody.
    pub fn add(&self, mut entry: ModelEntry) -> Result<Kept, NotAdded> {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(model) = entry.kept.take() else { return Err(NotAdded::Full) };
        if let Some(index) = self.find(&entry.name, &entry.version) {
            let (index, loaded) = self.same(index, &entry)?;
            return Ok(Kept { index, model: loaded.model().unwrap_or_else(|| loaded.reload(model)) });
        }
        let index = *filled;
        let slot = self.slots.get(index).ok_or(NotAdded::Full)?;
        slot.set(entry).map_err(|_| NotAdded::Full)?;
        *filled += 1;
        Ok(Kept { index, model })
    }

    fn same(&self, index: usize, entry: &ModelEntry) -> Result<(usize, &ModelEntry), NotAdded> {
        let found = self.get(index).ok_or(NotAdded::Full)?;
        if found.digest == entry.digest {
            return Ok((index, found));
        }
        let (name, version, wanted) = (entry.name.clone(), entry.version.clone(), entry.digest.clone());
        Err(NotAdded::OtherDigest { name, version, loaded: found.digest.clone(), wanted })
    }

    /// The model of an event without a header: that of the cut, or the default.
    pub fn live(&self, cut: Option<usize>) -> Result<usize, Rejection> {
        match cut {
            Some(index) => Ok(index),
            None if self.configured == 0 => Err(self.unknown("(default)")),
            None => Ok(0),
        }
    }

    /// Which model the header `lunapark-model: name[/version]` wants. A version is that version, whatever is live: of the
    /// configuration, or of a cut of the event's partition at or before it. A name alone is what was last cut to of
    /// that name, or that name's last entry of the configuration. What this instance happens to have loaded besides makes no
    /// difference: every instance says the same, and so does whoever looks at the past.
    pub fn resolve(&self, header: &[u8], cuts: &Cuts, message: &Message<'_>) -> Result<usize, Unresolved> {
        let wanted = std::str::from_utf8(header).map_err(|_| self.unknown("(not UTF-8)"))?.trim();
        let found = match wanted.split_once('/') {
            Some((name, version)) => self.version(name, version, cuts, message.offset),
            None => self.named(wanted, cuts, message),
        };
        match found.ok_or_else(|| self.unknown(wanted))? {
            Version::Loaded(index) => Ok(index),
            Version::Away(version) => Err(Unresolved::Away(version)),
        }
    }

    fn version(&self, name: &str, version: &str, cuts: &Cuts, offset: i64) -> Option<Version> {
        let fits = |named: &&Named| self.is(&named.version, name, Some(version));
        let before = |named| Cuts::up_to(named, offset).iter().find(fits).map(|named| named.version.clone());
        let fits = |index: &usize| self.is(&Version::Loaded(*index), name, Some(version));
        let configured = (0..self.configured).find(fits).map(Version::Loaded);
        configured.or_else(|| before(&cuts.named)).or_else(|| before(&cuts.configured))
    }

    fn named(&self, name: &str, cuts: &Cuts, message: &Message<'_>) -> Option<Version> {
        let fits = |named: &&Named| {
            self.is(&named.version, name, None) && named.share.is_none_or(|share| share.takes(message))
        };
        let last = |index: &usize| self.is(&Version::Loaded(*index), name, None);
        if let Some(index) = cuts.instead.filter(last) {
            return Some(Version::Loaded(index));
        }
        let cut_to = Cuts::up_to(&cuts.named, message.offset).iter().rev().find(fits);
        // Where the default of then is that of now, so is the rest of the configuration, as far as anybody knows.
        let then = Cuts::up_to(&cuts.configured, message.offset).last().filter(|then| then.version != DEFAULT);
        let found = cut_to.or_else(|| then.filter(fits)).map(|named| named.version.clone());
        found.or_else(|| (0..self.configured).rev().find(last).map(Version::Loaded))
    }

    /// Whether this is a version of that name, and that version where one is asked for.
    fn is(&self, named: &Version, name: &str, version: Option<&str>) -> bool {
        let fits = |n: &str, v: &str| n == name && version.is_none_or(|version| v == version);
        match named {
            Version::Loaded(index) => self.get(*index).is_some_and(|entry| fits(&entry.name, &entry.version)),
            Version::Away(away) => fits(&away.name, &away.version),
        }
    }

    fn unknown(&self, wanted: &str) -> Rejection {
        let configured = self.entries().take(self.configured);
        let known: Vec<_> = configured.map(|e| format!("{}/{}", e.name, e.version)).collect();
        let shown: String = wanted.chars().take(100).collect();
        let message = format!(
            "header lunapark-model: no model `{}`; there are: {}, and of each partition the versions that its cuts have \
             named up to the event",
            shown.escape_debug(),
            known.join(", ")
        );
        Rejection::new(ErrorClass::UnknownModel, message)
    }
}
