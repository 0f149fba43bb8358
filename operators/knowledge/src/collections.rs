//! The collections of a store: their writers and readers, opened when they are first needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lunapark_index::{Batch, IndexError, Reader, Settings, Writer};
use lunapark_stores::ArtifactStore;

/// All collections of a store, as one instance sees them.
pub struct Collections {
    store: Arc<ArtifactStore>,
    settings: Settings,
    instance: String,
    cache_bytes: u64,
    writers: Mutex<HashMap<String, Arc<Mutex<Writer>>>>,
    readers: Mutex<HashMap<String, Arc<Reader>>>,
}

impl Collections {
    /// On this store; new collections get these settings. `cache_bytes` holds for each collection that is read.
    pub fn new(store: Arc<ArtifactStore>, settings: Settings, instance: &str, cache_bytes: u64) -> Self {
        let (writers, readers) = (Mutex::default(), Mutex::default());
        Self { store, settings, instance: instance.to_owned(), cache_bytes, writers, readers }
    }

    /// Where they are.
    pub fn store(&self) -> &Arc<ArtifactStore> {
        &self.store
    }

    /// What new collections are made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Who writes.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// `name#digest` of the text encoder, as the ledger and the results have it.
    pub fn encoder_tag(&self) -> String {
        let digest = &self.settings.model_digest;
        format!("{}#{}", self.settings.model, digest.get(..8).unwrap_or(digest))
    }

    /// Applies changes to a collection, which is made where there is none.
    pub fn apply(&self, collection: &str, batch: &Batch) -> Result<(), IndexError> {
        let writer = self.writer(collection)?;
        let applied = lock(&writer).apply(batch);
        if applied.is_err() {
            // What it holds may be out of date; the next one looks for itself.
            lock(&self.writers).remove(collection);
        }
        applied.map(drop)
    }

    fn writer(&self, collection: &str) -> Result<Arc<Mutex<Writer>>, IndexError> {
        if let Some(writer) = lock(&self.writers).get(collection) {
            return Ok(writer.clone());
        }
        // Opened outside the lock: a slow store must not hold up the other collections. Two may be opened, one is kept.
        let opened = Writer::open(self.store.clone(), collection, &self.settings, &self.instance)?;
        let opened = Arc::new(Mutex::new(opened));
        Ok(lock(&self.writers).entry(collection.to_owned()).or_insert(opened).clone())
    }

    /// A collection to be read.
    pub fn reader(&self, collection: &str) -> Result<Arc<Reader>, IndexError> {
        if let Some(reader) = lock(&self.readers).get(collection) {
            return Ok(reader.clone());
        }
        let opened = Arc::new(Reader::open(self.store.clone(), collection, self.cache_bytes)?);
        Ok(lock(&self.readers).entry(collection.to_owned()).or_insert(opened).clone())
    }

    /// Forgets a collection that was dropped.
    pub fn forget(&self, collection: &str) {
        lock(&self.readers).remove(collection);
        lock(&self.writers).remove(collection);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
