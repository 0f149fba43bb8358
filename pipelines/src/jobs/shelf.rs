//! Where jobs put things: checkpoints and artifacts in the store, version numbers in the catalog.

use std::sync::Arc;

use lunapark_schemas::Message;
use lunapark_schemas::catalog::ModelVersion;
use lunapark_stores::artifacts::{ArtifactStore, Stored, digest_of};
use lunapark_stores::catalog::Catalog;

use super::fault::Fault;

/// The store and the catalog.
#[derive(Clone)]
pub struct Shelf {
    store: Arc<ArtifactStore>,
    catalog: Arc<dyn Catalog>,
}

/// Below the store's root.
pub(super) const CHECKPOINTS: &str = "checkpoints";
/// Digits of a folder's name.
const DIGITS: usize = 32;

/// Where the things of one request lie: of its topic, its place, its time and its bytes, so that no other request, be it
/// another Lunapark's that shares the store, finds or removes them.
#[derive(Clone, Debug)]
pub(super) struct Folder(String);

impl Folder {
    /// A task's name may hold anything; a digest is a folder anywhere.
    pub(super) fn of(message: &Message<'_>) -> Self {
        let value = digest_of(message.value.unwrap_or_default());
        let text = format!("{} {} {value}", message.position(), message.timestamp);
        Self(digest_of(text.as_bytes())[..DIGITS].to_owned())
    }

    /// The folder of this name, as a record has it; `None` where no folder of ours has that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let ours = name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        ours.then(|| Self(name.to_owned()))
    }

    /// Its name in records.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder of a trial, within that of its search.
    pub(super) fn of_trial(&self, trial: u32) -> Self {
        Self(format!("{}/trial-{trial}", self.0))
    }

    fn path(&self) -> String {
        format!("{CHECKPOINTS}/{}", self.0)
    }

    fn name(&self, what: &str) -> String {
        format!("{}/{what}", self.path())
    }
}

impl Shelf {
    /// Over this store and this catalog.
    pub fn new(store: Arc<ArtifactStore>, catalog: Arc<dyn Catalog>) -> Self {
        Self { store, catalog }
    }

    /// What was saved of a request under this name.
    pub(super) fn saved(&self, folder: &Folder, what: &str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.store.get_named(&folder.name(what))?)
    }

    /// Saves something of a request for its next try.
    pub(super) fn save(&self, folder: &Folder, what: &str, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.store.put_named(&folder.name(what), bytes)?)
    }

    /// Removes everything saved of a request.
    pub(super) fn forget(&self, folder: &Folder) -> Result<(), Fault> {
        let saved = self.store.list_named(&folder.path())?;
        Ok(saved.iter().try_for_each(|object| self.store.delete_named(&object.name))?)
    }

    /// Stores an artifact under its digest.
    pub(super) fn put(&self, artifact: &[u8]) -> Result<Stored, Fault> {
        Ok(self.store.put(artifact)?)
    }

    /// An artifact that was stored.
    pub(super) fn artifact(&self, digest: &str) -> Result<Vec<u8>, Fault> {
        Ok(self.store.get(digest)?)
    }

    /// Stores a picture beside its model.
    pub(super) fn put_picture(&self, digest: &str, file: &str, text: &str) -> Result<(), Fault> {
        Ok(self.store.put_named(&picture(digest, file), text.as_bytes())?)
    }

    /// The version number of a task: the same however often it asks.
    pub(super) fn reserve(&self, model: &str, task_id: &str) -> Result<u32, Fault> {
        Ok(self.catalog.reserve(model, task_id)?)
    }

    /// The version of this number, where the catalog has it.
    pub(super) fn version(&self, model: &str, version: u32) -> Result<Option<ModelVersion>, Fault> {
        Ok(self.catalog.get(model, Some(version))?)
    }
}

/// Name of a picture of a model in the store.
pub fn picture(digest: &str, file: &str) -> String {
    format!("pictures/{digest}/{file}")
}
