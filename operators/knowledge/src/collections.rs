//! The collections of a store: their writers and readers, opened when they are first needed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lunapark_index::{
    Answers, Batch, Beside, Cache, IndexError, Manifest, Reader, Settings, Snapshot, Source, Writer, collection_names,
    newest,
};
use lunapark_schemas::Position;
use lunapark_stores::ArtifactStore;

/// Who is told that a collection cannot be written, and why; none once it can again.
pub type Teller = Box<dyn Fn(&str, Option<&str>) + Send + Sync>;

/// All collections of a store, as one instance sees them.
pub struct Collections {
    store: Arc<ArtifactStore>,
    settings: Settings,
    instance: String,
    /// Identity of the topic that documents are read from, where it is known.
    topic: OnceLock<String>,
    /// What all readers hold in memory.
    cache: Arc<Cache>,
    desks: Mutex<HashMap<String, Arc<Desk>>>,
    readers: Mutex<HashMap<String, Arc<Reader>>>,
    /// The offset of each partition before which the log has the answers.
    settled: Mutex<BTreeMap<i32, i64>>,
    /// Collections that are made with what this service has not, and why.
    closed: Mutex<BTreeMap<String, String>>,
    teller: OnceLock<Teller>,
    /// Collections of another precision than this service's that were told of.
    mixed: Mutex<BTreeSet<String>>,
}

/// Where one collection is written.
struct Desk {
    writer: Mutex<Writer>,
    /// What the writer has seen last: who wants to look at it need not wait until another batch is written.
    seen: Mutex<Arc<Manifest>>,
}

impl Desk {
    fn new(writer: Writer) -> Arc<Self> {
        let seen = Mutex::new(Arc::new(writer.manifest().clone()));
        Arc::new(Self { writer: Mutex::new(writer), seen })
    }

    /// Notes what the writer has seen.
    fn see(&self, writer: &Writer) -> Arc<Manifest> {
        let seen = Arc::new(writer.manifest().clone());
        lock(&self.seen).clone_from(&seen);
        seen
    }

    fn refresh(&self) -> Result<Arc<Manifest>, IndexError> {
        let mut writer = lock(&self.writer);
        writer.refresh()?;
        Ok(self.see(&writer))
    }
}

/// A collection as a batch of its records finds it.
pub(crate) struct Found {
    /// What it is made with.
    pub settings: Settings,
    /// What was read before.
    next: BTreeMap<i32, i64>,
    /// What some of it was answered.
    answers: Answers,
}

impl Found {
    fn of(manifest: &Manifest, next: BTreeMap<i32, i64>, sources: &[Source]) -> Self {
        Self { settings: manifest.settings.clone(), next, answers: manifest.answers.only(sources) }
    }

    /// True where the record was read before.
    pub fn has_read(&self, source: Source) -> bool {
        self.next.get(&source.partition).is_some_and(|next| source.offset < *next)
    }

    /// What a record was answered then, where that is known.
    pub fn answer(&self, source: Source) -> Option<&serde_json::Value> {
        self.answers.of(source).filter(|_| self.has_read(source))
    }
}

impl Collections {
    /// On this store; new collections get these settings. `cache_bytes` holds for all collections together.
    pub fn new(store: Arc<ArtifactStore>, settings: Settings, instance: &str, cache_bytes: u64) -> Self {
        Self {
            store,
            settings,
            instance: instance.to_owned(),
            topic: OnceLock::new(),
            cache: Arc::new(Cache::new(cache_bytes)),
            desks: Mutex::default(),
            readers: Mutex::default(),
            settled: Mutex::default(),
            closed: Mutex::default(),
            teller: OnceLock::new(),
            mixed: Mutex::default(),
        }
    }

    /// Says which topic is read, before the first batch.
    pub fn read_from(&self, topic: String) {
        // Said once, at the start.
        let _ = self.topic.set(topic);
    }

    /// Says who is told of collections that cannot be written.
    pub fn report_to(&self, teller: Teller) {
        // Said once, at the start.
        let _ = self.teller.set(teller);
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

    /// The log has what was answered before these offsets.
    pub(crate) fn settle(&self, next: &[Position]) {
        let mut settled = lock(&self.settled);
        for position in next {
            let at = settled.entry(position.partition).or_default();
            *at = (*at).max(position.offset);
        }
    }

    /// A collection as it is, where there is one; `now` where it must not be as it was a while ago.
    pub(crate) fn find(&self, collection: &str, sources: &[Source], now: bool) -> Result<Option<Found>, IndexError> {
        let Some(desk) = self.desk(collection)? else { return Ok(None) };
        let looked = if now { desk.refresh() } else { Ok(lock(&desk.seen).clone()) };
        let found = looked.map(|manifest| Found::of(&manifest, manifest.next.clone(), sources));
        match self.forgetting(collection, found) {
            // It was dropped meanwhile.
            Err(IndexError::NoCollection(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Applies changes to a collection, which is made where there is none. What is found is what had been read *before*,
    /// with the answers as they stand afterwards.
    pub(crate) fn apply(
        &self,
        collection: &str,
        batch: &Batch,
        (made_with, answers): (Settings, Answers),
        sources: &[Source],
    ) -> Result<Found, IndexError> {
        let desk = match self.desk(collection)? {
            Some(desk) => desk,
            None => self.kept(collection, Writer::open(self.store.clone(), collection, &made_with, &self.instance)?),
        };
        let beside = Beside { made_with: Some(made_with), answers, settled: lock(&self.settled).clone() };
        let mut writer = lock(&desk.writer);
        let found = writer.apply_beside(batch, &beside);
        let found = found.map(|before| Found::of(&desk.see(&writer), before, sources));
        drop(writer);
        self.forgetting(collection, found)
    }

    /// After trouble the writer may be out of date; the next one looks for itself.
    fn forgetting<T>(&self, collection: &str, result: Result<T, IndexError>) -> Result<T, IndexError> {
        if result.is_err() {
            lock(&self.desks).remove(collection);
        }
        result
    }

    fn desk(&self, collection: &str) -> Result<Option<Arc<Desk>>, IndexError> {
        if let Some(desk) = lock(&self.desks).get(collection) {
            return Ok(Some(desk.clone()));
        }
        // Opened outside the lock: a slow store must not hold up the other collections. Two may be opened, one is kept.
        let found = Writer::find(self.store.clone(), collection, &self.instance)?;
        Ok(found.map(|writer| self.kept(collection, writer)))
    }

    fn kept(&self, collection: &str, writer: Writer) -> Arc<Desk> {
        self.compare_precision(collection, &writer.manifest().settings);
        let desk = Desk::new(writer.of_topic(self.topic.get().cloned()));
        lock(&self.desks).entry(collection.to_owned()).or_insert(desk).clone()
    }

    fn compare_precision(&self, collection: &str, its: &Settings) {
        if let Some(what) = self.other_precision(collection, its) {
            tracing::warn!(collection, "{what}");
        }
    }

    /// Says once that this service computes in another precision than the collection was made with. That is no reason to
    /// refuse it: the vectors are alike, but no longer the same whichever machine made them.
    pub(crate) fn other_precision(&self, collection: &str, its: &Settings) -> Option<String> {
        let Settings { model_digest, precision, .. } = &self.settings;
        if its.model_digest != *model_digest || its.precision == *precision {
            return None;
        }
        let (has, what) = (&its.precision, format!("collection `{collection}` is embedded in {}", its.precision));
        let what = format!(
            "{what}, and this instance computes in {precision}: their vectors are alike (cosine 0.9999), but not the same. Set \
             documents.precision to \"{has}\" on all machines, or run `lunapark collections reindex {collection}`"
        );
        lock(&self.mixed).insert(collection.to_owned()).then_some(what)
    }

    /// Notes why a collection cannot be written, or that it can.
    pub(crate) fn note(&self, collection: &str, closed: Option<&str>) {
        let mut all = lock(&self.closed);
        let before = match closed {
            Some(why) => all.insert(collection.to_owned(), why.to_owned()),
            None => all.remove(collection),
        };
        if before.as_deref() == closed {
            return;
        }
        match closed {
            Some(why) => tracing::warn!(collection, "{why}"),
            None => tracing::info!(collection, "it can be written again"),
        }
        if let Some(teller) = self.teller.get() {
            teller(collection, closed);
        }
    }

    /// Why one of the collections cannot be written, where there is such a one.
    pub(crate) fn any_closed(&self) -> Option<String> {
        lock(&self.closed).values().next().cloned()
    }

    /// Looks again at the collections that could not be written: one may have been reindexed, or dropped.
    /// What cannot be looked at stays closed.
    pub fn look_at_closed(&self) {
        let closed: Vec<String> = lock(&self.closed).keys().cloned().collect();
        for collection in closed {
            let accepts = |found: &Found| found.settings.accept(&collection, &self.settings).is_ok();
            match self.find(&collection, &[], true) {
                Ok(found) if found.as_ref().is_none_or(accepts) => self.note(&collection, None),
                Ok(_) => {}
                Err(error) => tracing::warn!(collection, %error, "a collection cannot be looked at"),
            }
        }
    }

    /// True where any collection of the store is one that this service can write.
    pub(crate) fn serves_any(&self) -> Result<bool, IndexError> {
        for name in collection_names(&self.store)? {
            match newest(&self.store, &name) {
                Ok(manifest) if manifest.settings.accept(&name, &self.settings).is_ok() => return Ok(true),
                Err(error) if error.passes() => return Err(error),
                // Another one's, a damaged one, or one that was dropped.
                _ => {}
            }
        }
        Ok(false)
    }

    /// A collection to be read.
    pub fn reader(&self, collection: &str) -> Result<Arc<Reader>, IndexError> {
        if let Some(reader) = lock(&self.readers).get(collection) {
            return Ok(reader.clone());
        }
        let opened = Arc::new(Reader::open_sharing(self.store.clone(), collection, self.cache.clone())?);
        self.compare_precision(collection, opened.snapshot().settings());
        Ok(lock(&self.readers).entry(collection.to_owned()).or_insert(opened).clone())
    }

    /// A collection as it is now. Of one that was dropped nothing is held any more.
    pub fn newest(&self, collection: &str) -> Result<Arc<Snapshot>, IndexError> {
        let found = self.reader(collection)?.refresh();
        if matches!(found, Err(IndexError::NoCollection(_))) {
            self.close(collection);
        }
        found
    }

    /// Bytes of segments in memory, of all collections together.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Forgets a collection that was dropped.
    pub fn forget(&self, collection: &str) {
        lock(&self.desks).remove(collection);
        self.close(collection);
    }

    fn close(&self, collection: &str) {
        lock(&self.readers).remove(collection);
        self.cache.forget(collection);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
