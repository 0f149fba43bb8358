//! The model catalog on the topic `models`, and job history on `training.status`, which are their truth, and what stands
//! behind them.
//!
//! All decisions share one transactional id, so that the log lets only one of them write. A decision takes the id over,
//! commits a fence (a null value), reads until it sees that, decides on what it read, and writes; whoever was overtaken
//! begins again. So what a decision read is all there is when it writes.

mod history;
pub mod library;
pub mod projection;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lunapark_schemas::catalog::{CatalogRecord, ModelVersion, Stage};
use lunapark_schemas::training::TrainingStatus;
use lunapark_schemas::{Headers, Record};
use lunapark_stores::catalog::{Catalog, CatalogError, Decision, Registered, State, TaskFilter, Tasks, decision_id};
use lunapark_stores::{ArtifactStore, StoreError};
use lunapark_topics::{Log, LogError, LogErrorKind, Topic, Transaction};

use crate::audit::scan;
use crate::clock;
use crate::config::Config;
use crate::models::s3_options;
pub use history::{Ends, History, last_records, read_record, read_tasks};

/// The topic has one partition: one fence covers it.
pub const PARTITION: i32 = 0;
/// A decision is given up after this: longer than the 10 s for which a dead worker's transaction holds readers back,
/// and than a queue of some dozens of decisions.
const PATIENCE: Duration = Duration::from_secs(60);
/// Overtaken decisions wait a random part of a growing time, so that they do not overtake each other for ever.
const FIRST_WAIT: Duration = Duration::from_millis(40);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The catalog in the topics of one Lunapark.
pub struct TopicCatalog {
    log: Arc<dyn Log>,
    topic: Topic<CatalogRecord>,
    statuses: Arc<str>,
    /// The highest number of each name that models outside the catalog have.
    taken: BTreeMap<String, u32>,
    /// One decision of this process at a time: they would only overtake each other.
    seat: Mutex<()>,
}

impl TopicCatalog {
    /// The catalog of the topics; its own is created at the first decision, where it is missing.
    pub fn new(log: Arc<dyn Log>, topics: &lunapark_topics::Catalog) -> Self {
        let (topic, statuses) = (topics.models.clone(), topics.training_status.name().clone());
        Self { log, topic, statuses, taken: BTreeMap::new(), seat: Mutex::new(()) }
    }

    /// The same, where models outside it have these numbers: none of them is given to a new version.
    pub fn beside(self, numbers: impl Iterator<Item = (String, u32)>) -> Self {
        let mut taken = BTreeMap::new();
        for (name, number) in numbers {
            let highest: &mut u32 = taken.entry(name).or_default();
            *highest = number.max(*highest);
        }
        Self { taken, ..self }
    }

    /// Everything up to the end of what is committed; empty where the topic is not there yet.
    pub fn state(&self) -> Result<State, CatalogError> {
        History::read(&*self.log, self.topic.name()).map(|history| history.state).map_err(unavailable)
    }

    /// Where every task stands by what is committed; no task where there is no topic of statuses.
    fn told(&self) -> Result<Tasks, CatalogError> {
        read_tasks(&*self.log, &self.statuses, &mut Ends::new()).map_err(unavailable)
    }

    /// Decides on all that is committed, and writes, as one step among all deciders.
    fn decide<T>(&self, rule: impl Fn(&State) -> Result<Decision<T>, CatalogError>) -> Result<T, CatalogError> {
        // A fact needs no decision. Anything else does: the end may be held back by an open transaction.
        if let Ok(Ok(Decision { answer, write: None })) = self.state().map(|state| rule(&state)) {
            return Ok(answer);
        }
        let _seat = self.sit();
        let (deadline, mut wait) = (Instant::now() + PATIENCE, FIRST_WAIT);
        loop {
            match self.attempt(&rule) {
                Ok(decided) => return decided,
                Err(error) if passing(&error) && Instant::now() < deadline => {
                    tracing::debug!(%error, "a decision of the catalog begins again");
                    scan::pause_for(random_part(wait));
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(error) => return Err(unavailable(error)),
            }
        }
    }

    fn sit(&self) -> MutexGuard<'_, ()> {
        self.seat.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn attempt<T>(
        &self,
        rule: &impl Fn(&State) -> Result<Decision<T>, CatalogError>,
    ) -> Result<Result<T, CatalogError>, LogError> {
        self.find_or_create()?;
        let mut transaction = self.log.transaction(&transactional_id(self.topic.name()))?;
        let state = self.read_to_fence(&mut *transaction)?;
        let decision = match rule(&state) {
            Ok(decision) => decision,
            Err(refused) => return Ok(Err(refused)),
        };
        if let Some(record) = &decision.write {
            transaction.produce(&self.topic.encode(record)?.record(Some(PARTITION)))?;
            transaction.commit()?;
        }
        Ok(Ok(decision.answer))
    }

    /// Asked for first, because not everybody who may write may create topics.
    fn find_or_create(&self) -> Result<(), LogError> {
        match self.log.topic(self.topic.name()) {
            Ok(found) => self.topic.spec.check_against(&found),
            Err(error) if error.kind == LogErrorKind::TopicMissing => self.log.create_topic(&self.topic.spec).map(drop),
            Err(error) => Err(error),
        }
    }

    fn read_to_fence(&self, transaction: &mut dyn Transaction) -> Result<State, LogError> {
        let fence = format!("fence/{}", decision_id());
        let (topic, key, headers) = (&**self.topic.name(), Some(fence.as_bytes()), Headers::default());
        transaction.produce(&Record {
            topic,
            partition: Some(PARTITION),
            key,
            value: None,
            headers,
            timestamp: None,
        })?;
        transaction.commit()?;
        let mut history = History::open(&*self.log, topic)?;
        let deadline = Instant::now() + PATIENCE;
        while !history.read_on(&*self.log, fence.as_bytes())? {
            if Instant::now() > deadline {
                let message = format!("an open transaction has held `{topic}` back for {} s", PATIENCE.as_secs());
                return Err(LogError::new(LogErrorKind::Timeout, message));
            }
            scan::pause();
        }
        Ok(history.state)
    }
}

impl Catalog for TopicCatalog {
    fn list(&self) -> Result<Vec<ModelVersion>, CatalogError> {
        Ok(self.state()?.versions().cloned().collect())
    }

    fn get(&self, name: &str, version: Option<u32>) -> Result<Option<ModelVersion>, CatalogError> {
        Ok(self.state()?.get(name, version))
    }

    fn search(&self, text: &str) -> Result<Vec<ModelVersion>, CatalogError> {
        Ok(self.state()?.search(text))
    }

    fn reserve(&self, name: &str, task_id: &str) -> Result<u32, CatalogError> {
        let taken = self.taken.get(name).copied().unwrap_or(0);
        self.decide(|state| state.reserve(name, task_id, taken))
    }

    fn register(&self, version: &ModelVersion) -> Result<Registered, CatalogError> {
        self.decide(|state| state.register(version))
    }

    fn set_stage(&self, name: &str, version: u32, from: Stage, to: Stage) -> Result<ModelVersion, CatalogError> {
        let decision = decision_id();
        self.decide(|state| state.set_stage(name, version, (from, to), &decision))
    }

    fn task(&self, task_id: &str) -> Result<Option<TrainingStatus>, CatalogError> {
        Ok(self.told()?.get(task_id).cloned())
    }

    fn tasks(&self, filter: &TaskFilter, most: usize) -> Result<Vec<TrainingStatus>, CatalogError> {
        Ok(self.told()?.list(filter, most))
    }
}

/// One id for all decisions of one Lunapark, told apart by the prefix of its topics.
fn transactional_id(models: &str) -> String {
    format!("{}lunapark-catalog", models.strip_suffix("models").unwrap_or(models))
}

/// True where the same decision may succeed next time: it was overtaken, the log had trouble, or a broker has not heard of
/// the new topic yet. Whether it was written then shows when it is read again.
fn passing(error: &LogError) -> bool {
    use LogErrorKind::{Internal, Timeout, TopicMissing, Unreachable};
    error.overtaken() || matches!(error.kind, Timeout | Unreachable | Internal | TopicMissing)
}

fn unavailable(error: LogError) -> CatalogError {
    CatalogError::Unavailable(error.to_string())
}

/// Not for secrets: the clock's nanoseconds are random enough to part two waiters.
fn random_part(wait: Duration) -> Duration {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    let mixed = (u64::from(nanos) ^ u64::from(std::process::id()) << 20).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    wait.mul_f64(mixed as f64 / (1u64 << 24) as f64)
}

/// The artifact store of a configuration.
pub fn artifact_store(config: &Config) -> Result<ArtifactStore, StoreError> {
    ArtifactStore::open(&config.artifacts, &s3_options(&config.store))
}

/// The decision id and the time of an entry that is made now.
pub fn stamp() -> (String, i64) {
    (decision_id(), clock::now_millis())
}
