//! Every topic that Lunapark knows, declared once: partitions, retention, clean-up policy, sizes, event type.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use lunapark_schemas::catalog::CatalogRecord;
use lunapark_schemas::control::ControlRecord;
use lunapark_schemas::cuts::CutRecord;
use lunapark_schemas::documents::{IndexedRecord, IngestRecord};
use lunapark_schemas::labels::LabelRecord;
use lunapark_schemas::ledger::LedgerRecord;
use lunapark_schemas::metrics::MetricsRecord;
use lunapark_schemas::search::{SearchReply, SearchRequest};
use lunapark_schemas::training::{TrainingRequest, TrainingStatus, TrialRecord};
use lunapark_schemas::{Event, Record};

use crate::error::{LogError, LogErrorKind};
use crate::log::TopicInfo;

/// What a clean-up of a topic does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Old records go.
    Delete,
    /// The newest record of each key stays.
    Compact,
}

/// How a topic is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: Arc<str>,
    /// Number of partitions.
    pub partitions: i32,
    /// How long records are kept; `None` is for ever.
    pub retention: Option<Duration>,
    /// Delete or compact.
    pub cleanup: Cleanup,
    /// Largest message, in bytes.
    pub max_message_bytes: usize,
    /// Copies on Kafka; the embedded log has one.
    pub replication: i32,
}

impl TopicSpec {
    /// A topic with defaults: a week's retention, 1 MiB messages, one copy.
    pub fn new(name: impl Into<Arc<str>>, partitions: i32) -> Self {
        let retention = Some(WEEK);
        let max_message_bytes = DEFAULT_MAX_MESSAGE_BYTES;
        Self { name: name.into(), partitions, retention, cleanup: Cleanup::Delete, max_message_bytes, replication: 1 }
    }
}

impl TopicSpec {
    /// Refuses a topic that exists with another number of partitions or another clean-up policy.
    pub fn check_against(&self, found: &TopicInfo) -> Result<(), LogError> {
        let mismatch = |what: &str, has: String, wants: String| {
            let name = &self.name;
            let message = format!(
                "topic `{name}` has {what} {has} where the catalog says {wants}; set `topics.partitions` to match, or \
                 delete the topic with `lunapark topics delete {name}`"
            );
            Err(LogError::new(LogErrorKind::TopicMismatch, message))
        };
        if found.partitions != self.partitions {
            return mismatch("partitions", found.partitions.to_string(), self.partitions.to_string());
        }
        if found.described && found.cleanup != self.cleanup {
            return mismatch("clean-up policy", format!("{:?}", found.cleanup), format!("{:?}", self.cleanup));
        }
        Ok(())
    }

    /// Refuses a topic that exists and forgets earlier than the catalog says; `setting` is where the catalog says it.
    pub fn check_kept(&self, found: &TopicInfo, setting: &str) -> Result<(), LogError> {
        let shorter = |has: Duration| self.retention.is_none_or(|wanted| has < wanted);
        let Some(has) = found.retention.filter(|has| found.described && shorter(*has)) else { return Ok(()) };
        let days = |time: Duration| format!("{:.1} days", time.as_secs_f64() / 86_400.0);
        let message = format!(
            "topic `{}` keeps records for {} where `{setting}` says {}; raise the topic's retention (`retention.ms`), or set \
             `{setting}` to \"{}s\" to go on with it as it is",
            self.name,
            days(has),
            self.retention.map_or("forever".into(), days),
            has.as_secs()
        );
        Err(LogError::new(LogErrorKind::TopicMismatch, message))
    }
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Kafka's own default (1 MiB plus the batch header).
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;
/// Room that a dead letter needs beyond its original, for the headers that say what went wrong.
pub const DEAD_LETTER_HEADROOM: usize = 64 << 10;

/// A typed handle of a topic: only events of type `E` can be made into its records.
#[derive(Debug)]
pub struct Topic<E> {
    /// How it is created.
    pub spec: TopicSpec,
    event: PhantomData<fn(E)>,
}

impl<E> Clone for Topic<E> {
    fn clone(&self) -> Self {
        Self { spec: self.spec.clone(), event: PhantomData }
    }
}

impl<E> Topic<E> {
    /// The handle of a topic that carries events of type `E`.
    pub fn new(spec: TopicSpec) -> Self {
        Self { spec, event: PhantomData }
    }

    /// Topic name.
    pub fn name(&self) -> &Arc<str> {
        &self.spec.name
    }

    /// The topic that takes what of this one cannot be processed: larger by [`DEAD_LETTER_HEADROOM`].
    pub fn dead(&self) -> Topic<DeadLetter> {
        let spec = TopicSpec {
            name: format!("{}.dead", self.spec.name).into(),
            max_message_bytes: self.spec.max_message_bytes + DEAD_LETTER_HEADROOM,
            ..self.spec.clone()
        };
        Topic::new(spec)
    }
}

impl<E: Event> Topic<E> {
    /// An event of this topic, ready to be produced to one of its partitions or to the one of its key.
    pub fn encode(&self, event: &E) -> Result<Encoded, LogError> {
        let encoded = serde_json::to_vec(event);
        let value = encoded.map_err(|e| LogError::new(LogErrorKind::Internal, format!("{}: {e}", self.spec.name)))?;
        Ok(Encoded { topic: self.spec.name.clone(), key: event.key(), value })
    }
}

/// An event as it travels.
#[derive(Clone, Debug)]
pub struct Encoded {
    topic: Arc<str>,
    key: String,
    value: Vec<u8>,
}

impl Encoded {
    /// The record of this event.
    pub fn record(&self, partition: Option<i32>) -> Record<'_> {
        let (key, value) = (Some(self.key.as_bytes()), Some(&self.value[..]));
        Record { topic: &self.topic, partition, key, value, headers: Default::default(), timestamp: None }
    }
}

/// Payload of `inference.events`: opaque here, decoded by its content type.
#[derive(Debug)]
pub struct InferenceEvent;
/// Payload of `inference.results`, in the format of its event.
#[derive(Debug)]
pub struct InferenceResult;
/// A message that could not be processed, verbatim.
#[derive(Debug)]
pub struct DeadLetter;

/// Sizes and prefix of the catalog's topics; from the configuration.
#[derive(Clone, Debug)]
pub struct CatalogOptions {
    /// Put before every topic name, for example `physics.`.
    pub prefix: String,
    /// Partitions of event, result and dead-letter topics.
    pub partitions: i32,
    /// Partitions of the ledger.
    pub ledger_partitions: i32,
    /// Retention of events, results and dead letters; the ledger and metrics are kept as long.
    pub retention: Option<Duration>,
    /// Retention of training requests, trials, statuses and their dead letters: a job may wait longer than an event, and
    /// the statuses are the history of all jobs.
    pub jobs_retention: Option<Duration>,
    /// Retention of what instances tell each other, cancels among it.
    pub control_retention: Option<Duration>,
    /// Largest event.
    pub max_message_bytes: usize,
    /// Copies on Kafka.
    pub replication: i32,
}

/// The topics of one Lunapark.
#[derive(Clone, Debug)]
pub struct Catalog {
    prefix: String,
    /// Events to score; keys are event ids.
    pub inference_events: Topic<InferenceEvent>,
    /// Scores; key, partition and timestamp of their events.
    pub inference_results: Topic<InferenceResult>,
    /// Scores of shadows, as results are written: nobody acts on them.
    pub inference_shadow: Topic<InferenceResult>,
    /// The account of every transaction.
    pub ledger: Topic<LedgerRecord>,
    /// Counters and latency digests of every pipeline.
    pub metrics: Topic<MetricsRecord>,
    /// The model catalog, one partition: what one decision read, no other can have passed by.
    pub models: Topic<CatalogRecord>,
    /// Models to train; keys are task ids.
    pub training_requests: Topic<TrainingRequest>,
    /// Trials of searches, and what came of each; as many partitions as requests.
    pub training_trials: Topic<TrialRecord>,
    /// The account of training, kept as long as its requests.
    pub training_ledger: Topic<LedgerRecord>,
    /// Where each task stands, to the partition number of its request.
    pub training_status: Topic<TrainingStatus>,
    /// What running instances tell each other; one partition, so that all of them see one order.
    pub control: Topic<ControlRecord>,
    /// From which offset of a partition on which model scores. The cuts of a partition lie in the partition of the same
    /// number: an open transaction holds back nobody else's.
    pub model_cuts: Topic<CutRecord>,
    /// What events turned out to be, under the events' keys; whoever knows writes it.
    pub labels: Topic<LabelRecord>,
    /// Documents for collections; keys are document ids.
    pub documents_ingest: Topic<IngestRecord>,
    /// What became of each document.
    pub documents_indexed: Topic<IndexedRecord>,
    /// Questions to collections.
    pub search_requests: Topic<SearchRequest>,
    /// Their answers.
    pub search_results: Topic<SearchReply>,
}

impl Catalog {
    /// The catalog under these options.
    pub fn new(options: &CatalogOptions) -> Self {
        let spec = |name: &str, partitions: i32| TopicSpec {
            name: format!("{}{name}", options.prefix).into(),
            retention: options.retention,
            max_message_bytes: options.max_message_bytes,
            replication: options.replication,
            ..TopicSpec::new("", partitions)
        };
        let jobs = |name: &str| TopicSpec { retention: options.jobs_retention, ..spec(name, options.partitions) };
        Self {
            prefix: options.prefix.clone(),
            inference_events: Topic::new(spec("inference.events", options.partitions)),
            inference_results: Topic::new(spec("inference.results", options.partitions)),
            inference_shadow: Topic::new(spec("inference.shadow", options.partitions)),
            ledger: Topic::new(spec("ledger", options.ledger_partitions)),
            metrics: Topic::new(spec("metrics", 1)),
            models: Topic::new(compacted(spec("models", 1))),
            training_requests: Topic::new(jobs("training.requests")),
            training_trials: Topic::new(jobs("training.trials")),
            training_ledger: Topic::new(TopicSpec { partitions: options.ledger_partitions, ..jobs("training.ledger") }),
            training_status: Topic::new(jobs("training.status")),
            control: Topic::new(TopicSpec { retention: options.control_retention, ..spec("control", 1) }),
            model_cuts: Topic::new(compacted(spec("model.cuts", options.partitions))),
            labels: Topic::new(spec("labels", options.partitions)),
            documents_ingest: Topic::new(spec("documents.ingest", options.partitions)),
            documents_indexed: Topic::new(spec("documents.indexed", options.partitions)),
            search_requests: Topic::new(spec("search.requests", options.partitions)),
            search_results: Topic::new(spec("search.results", options.partitions)),
        }
    }

    /// What stands before every topic, group and transactional id.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The topics of the model catalog: what registers models needs no others.
    pub fn catalog_specs(&self) -> Vec<TopicSpec> {
        vec![self.models.spec.clone()]
    }

    /// Topics whose records may name artifacts by their digests: a garbage collection reads them all. They need not exist.
    pub fn naming_artifacts(&self) -> Vec<Arc<str>> {
        let training = [&self.training_requests.spec, &self.training_trials.spec, &self.training_status.spec];
        let catalog = [&self.models.spec, &self.model_cuts.spec];
        catalog.into_iter().chain(training).map(|spec| spec.name.clone()).collect()
    }

    /// Every topic of scoring, dead letters included, in the order in which they are created.
    pub fn specs(&self) -> Vec<TopicSpec> {
        vec![
            self.inference_events.spec.clone(),
            self.inference_results.spec.clone(),
            self.inference_shadow.spec.clone(),
            self.inference_events.dead().spec,
            self.ledger.spec.clone(),
            self.metrics.spec.clone(),
            self.models.spec.clone(),
            self.control.spec.clone(),
            self.model_cuts.spec.clone(),
        ]
    }

    /// Every topic that Lunapark needs, each once.
    pub fn all_specs(&self) -> Vec<TopicSpec> {
        let mut all = self.specs();
        let missing = |spec: &TopicSpec| !all.iter().any(|known| known.name == spec.name);
        let training: Vec<_> = self.training_specs().into_iter().filter(missing).collect();
        all.extend(training);
        all
    }

    /// Topics that only users write: no service needs them, so none creates them.
    pub fn of_users(&self) -> Vec<TopicSpec> {
        vec![self.labels.spec.clone()]
    }

    /// Every topic that training needs, in the order in which they are created.
    pub fn training_specs(&self) -> Vec<TopicSpec> {
        vec![
            self.training_requests.spec.clone(),
            self.training_status.spec.clone(),
            self.training_requests.dead().spec,
            self.training_trials.spec.clone(),
            self.training_trials.dead().spec,
            self.training_ledger.spec.clone(),
            self.control.spec.clone(),
            self.ledger.spec.clone(),
            self.metrics.spec.clone(),
        ]
    }
}

impl Catalog {
    /// Every topic that indexing documents needs, in the order in which they are created.
    pub fn document_specs(&self) -> Vec<TopicSpec> {
        vec![
            self.documents_ingest.spec.clone(),
            self.documents_indexed.spec.clone(),
            self.documents_ingest.dead().spec,
            self.ledger.spec.clone(),
            self.metrics.spec.clone(),
        ]
    }

    /// Every topic that answering questions needs, in the order in which they are created.
    pub fn search_specs(&self) -> Vec<TopicSpec> {
        vec![
            self.search_requests.spec.clone(),
            self.search_results.spec.clone(),
            self.search_requests.dead().spec,
            self.ledger.spec.clone(),
            self.metrics.spec.clone(),
        ]
    }
}

/// The same topic, of which the newest record of each key is kept for ever.
fn compacted(spec: TopicSpec) -> TopicSpec {
    TopicSpec { cleanup: Cleanup::Compact, retention: None, ..spec }
}
