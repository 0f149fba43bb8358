//! The model catalog: which versions there are, which numbers are taken, how far each has come; and the history of the
//! jobs that made them.
//!
//! What may happen is decided in [`State`], what statuses amount to in [`Tasks`]; where the catalog is kept is the
//! implementation's: the topics themselves (in `pipelines`, because operators know no topics) or MongoDB. One contract
//! suite runs on all of them.

#[cfg(feature = "mongodb")]
mod document;
#[cfg(feature = "mongodb")]
pub mod mongo;
mod state;
mod tasks;

use lunapark_schemas::catalog::{InvalidEntry, ModelVersion, Stage};
use lunapark_schemas::training::TrainingStatus;

pub use state::{Decision, State};
pub use tasks::{TaskFilter, Tasks};

/// A model catalog. All calls block.
pub trait Catalog: Send + Sync {
    /// Every version, by name and number.
    fn list(&self) -> Result<Vec<ModelVersion>, CatalogError>;

    /// One version; without a number the newest that is not retired. `None` where there is none.
    fn get(&self, name: &str, version: Option<u32>) -> Result<Option<ModelVersion>, CatalogError>;

    /// Every version whose name, objective and description together hold all words of the text, in any case.
    fn search(&self, text: &str) -> Result<Vec<ModelVersion>, CatalogError>;

    /// The number of this task's version: the next one, or the one that the task got before. No two tasks get the same.
    fn reserve(&self, name: &str, task_id: &str) -> Result<u32, CatalogError>;

    /// Adds a version under the number reserved for its task; once more with the same digest changes nothing.
    fn register(&self, version: &ModelVersion) -> Result<Registered, CatalogError>;

    /// Moves a version from one stage to another; `Conflict` where it is not at `from`. Of changes
    /// from one stage at the same time one succeeds.
    fn set_stage(&self, name: &str, version: u32, from: Stage, to: Stage) -> Result<ModelVersion, CatalogError>;

    /// Where a task stands: the status that ended it, else its last one. `None` where nobody has said a word of it.
    fn task(&self, task_id: &str) -> Result<Option<TrainingStatus>, CatalogError>;

    /// Where tasks stand, at most so many: those that were sent last come first, those sent at once in the order of their
    /// names. Trials are not among them.
    fn tasks(&self, filter: &TaskFilter, most: usize) -> Result<Vec<TrainingStatus>, CatalogError>;
}

/// What a registration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The version is new.
    New,
    /// It was there, with this digest.
    Existed,
}

/// Why a catalog does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// An entry that no reader could use.
    #[error("not registered: {0}")]
    Invalid(#[from] InvalidEntry),
    /// No such version.
    #[error("there is no model {0}; `lunapark models list` shows what there is")]
    Missing(String),
    /// The number belongs to another task, or to none.
    #[error("{reference} is not reserved for task `{task_id}`: reserve a number first")]
    NotReserved {
        /// `name/version`.
        reference: String,
        /// The task that asked.
        task_id: String,
    },
    /// The version is there, with other bytes.
    #[error("{reference} is registered already, with digest {digest}: a version never changes, add a new one")]
    Taken {
        /// `name/version`.
        reference: String,
        /// Digest of what is registered.
        digest: String,
    },
    /// The stage is not the one that the change begins at.
    #[error("{reference} is {}, not {}: somebody changed it first, look at it again", found.as_str(), expected.as_str())]
    Conflict {
        /// `name/version`.
        reference: String,
        /// Where the change would begin.
        expected: Stage,
        /// Where the version is.
        found: Stage,
    },
    /// What keeps the catalog does not answer, or holds what cannot be read.
    #[error("the catalog cannot be used: {0}")]
    Unavailable(String),
}

/// The text that a search looks through, in lower case.
pub fn search_text(version: &ModelVersion) -> String {
    [&version.name, &version.objective, &version.description].map(|text| text.to_lowercase()).join("\n")
}

/// The words of a search, in lower case.
pub fn search_words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_lowercase).collect()
}

/// The newest version that is not retired, of versions of one name.
pub fn newest(versions: impl IntoIterator<Item = ModelVersion>) -> Option<ModelVersion> {
    versions.into_iter().filter(|version| version.stage != Stage::Retired).max_by_key(|version| version.version)
}

/// An id that no other decision has, on any machine: process, time and a count, hashed.
pub fn decision_id() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let host = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let seed = format!("{host}/{}/{now}/{count}", std::process::id());
    crate::artifacts::digest_of(seed.as_bytes())[..16].to_owned()
}
