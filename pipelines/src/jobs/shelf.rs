//! Where jobs put things: checkpoints and artifacts in the store, version numbers in the catalog.

use std::sync::Arc;

use lunapark_schemas::catalog::ModelVersion;
use lunapark_stores::StoreError;
use lunapark_stores::artifacts::{ArtifactStore, Stored, digest_of};
use lunapark_stores::catalog::{Catalog, CatalogError};
use lunapark_topics::{LogError, LogErrorKind};

/// The store and the catalog.
#[derive(Clone)]
pub struct Shelf {
    store: Arc<ArtifactStore>,
    catalog: Arc<dyn Catalog>,
}

impl Shelf {
    /// Over this store and this catalog.
    pub fn new(store: Arc<ArtifactStore>, catalog: Arc<dyn Catalog>) -> Self {
        Self { store, catalog }
    }

    /// What was saved of a task under this name.
    pub(super) fn saved(&self, task_id: &str, what: &str) -> Result<Option<Vec<u8>>, LogError> {
        self.store.get_named(&name(task_id, what)).map_err(store)
    }

    /// Saves something of a task for its next try.
    pub(super) fn save(&self, task_id: &str, what: &str, bytes: &[u8]) -> Result<(), LogError> {
        self.store.put_named(&name(task_id, what), bytes).map_err(store)
    }

    /// Removes everything saved of a task.
    pub(super) fn forget(&self, task_id: &str) -> Result<(), LogError> {
        let saved = self.store.list_named(&folder(task_id)).map_err(store)?;
        saved.iter().try_for_each(|object| self.store.delete_named(&object.name).map_err(store))
    }

    /// Stores an artifact under its digest.
    pub(super) fn put(&self, artifact: &[u8]) -> Result<Stored, LogError> {
        self.store.put(artifact).map_err(store)
    }

    /// Stores a picture beside its model.
    pub(super) fn put_picture(&self, digest: &str, file: &str, text: &str) -> Result<(), LogError> {
        self.store.put_named(&picture(digest, file), text.as_bytes()).map_err(store)
    }

    /// The version number of a task: the same however often it asks.
    pub(super) fn reserve(&self, model: &str, task_id: &str) -> Result<u32, LogError> {
        self.catalog.reserve(model, task_id).map_err(|error: CatalogError| unreachable(&error))
    }

    /// The version of this number, where the catalog has it.
    pub(super) fn version(&self, model: &str, version: u32) -> Result<Option<ModelVersion>, LogError> {
        self.catalog.get(model, Some(version)).map_err(|error: CatalogError| unreachable(&error))
    }
}

/// Name of a picture of a model in the store.
pub fn picture(digest: &str, file: &str) -> String {
    format!("pictures/{digest}/{file}")
}

/// A task's name may hold anything; its digest is a folder anywhere.
fn folder(task_id: &str) -> String {
    format!("checkpoints/{}", &digest_of(task_id.as_bytes())[..32])
}

fn name(task_id: &str, what: &str) -> String {
    format!("{}/{what}", folder(task_id))
}

fn store(error: StoreError) -> LogError {
    unreachable(&error)
}

/// The stream thread is opened again with back-off, as where the log itself does not answer.
fn unreachable(error: &dyn std::fmt::Display) -> LogError {
    LogError::new(LogErrorKind::Unreachable, error.to_string())
}
