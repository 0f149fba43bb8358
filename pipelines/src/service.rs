//! A pipeline as a service: opens the log, checks the topics, loads the models, runs the stream threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lunapark_schemas::metrics::MetricsRecord;
use lunapark_topics::catalog::DEAD_LETTER_HEADROOM;
use lunapark_topics::embedded::{self, EmbeddedOptions};
use lunapark_topics::kafka::KafkaLog;
use lunapark_topics::{Catalog, Cleanup, Log, LogError, LogErrorKind, Topic, TopicInfo, TopicSpec};

use lunapark_stores::StoreError;
use lunapark_stores::artifacts::ArtifactStore;
use lunapark_train::Refusal;

use crate::catalog::TopicCatalog;
use crate::catalog::library::Library;
use crate::clock;
use crate::config::{Config, ConfigError, ModelConfig};
use crate::health::Health;
use crate::http::{self, HttpError, Shown};
use crate::jobs::{Shelf, Side};
use crate::knowledge::{Knowledge, KnowledgeError};
use crate::metrics::{MetricsError, PipelineMetrics};
use crate::models::{self, LoadError, Places};
use crate::pipelines::score::Score;
use crate::pipelines::train::Train;
use crate::runner::RunError;
use crate::stop::Stop;
use crate::swap::{Agent, Premises, Switchboard};
use crate::upkeep::AtWork;

/// Why a service does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log cannot be opened, or its topics do not fit.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A model cannot be loaded.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// The device of the training pipeline is not there.
    #[error(transparent)]
    Trainers(#[from] Refusal),
    /// The HTTP port cannot be opened.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A stream thread ended.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The artifact store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The text encoder or the collections cannot be had.
    #[error(transparent)]
    Knowledge(#[from] KnowledgeError),
    /// Metrics cannot be made.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Work in flight did not end in time.
    #[error("stream threads did not stop within score.drain_budget ({0:?}); what was open is redone at the next start")]
    Drain(Duration),
    /// A thread cannot be started, or it panicked.
    #[error("stream thread: {0}")]
    Thread(String),
}

/// Opens the log that the configuration names, as its owner where it is the embedded one.
pub fn open_log(config: &Config) -> Result<Arc<dyn Log>, LogError> {
    match &config.kafka {
        Some(options) => KafkaLog::open(options),
        None => embedded::open(&config.data, &embedded_options(config)),
    }
}

/// As [`open_log`], but through the owner where the embedded log has one.
pub fn reach_log(config: &Config) -> Result<Arc<dyn Log>, LogError> {
    match &config.kafka {
        Some(options) => KafkaLog::open(options),
        None => embedded::open_or_connect(&config.data, &embedded_options(config)),
    }
}

fn embedded_options(config: &Config) -> EmbeddedOptions {
    let sync = if config.sync_os { embedded::Sync::Os } else { embedded::Sync::Disk };
    EmbeddedOptions { sync, ..Default::default() }
}

/// Creates what is missing where that is wanted, and refuses topics that do not fit together.
pub fn check_topics(log: &dyn Log, catalog: &Catalog, create: bool) -> Result<(), LogError> {
    ensure_topics(log, &catalog.specs(), create)?;
    let (events, results) = (&catalog.inference_events, catalog.inference_results.name());
    fit_together(log, events.name(), results, events.dead().name())?;
    let (models, cuts) = (log.topic(catalog.models.name())?, log.topic(catalog.model_cuts.name())?);
    let source = log.topic(events.name())?;
    same_partitions(&source, &cuts)?;
    same_partitions(&source, &log.topic(catalog.inference_shadow.name())?)?;
    [&models, &cuts].into_iter().try_for_each(kept_for_ever)
}

/// As [`check_topics`], of training.
pub fn check_training_topics(log: &dyn Log, catalog: &Catalog, create: bool) -> Result<(), LogError> {
    ensure_topics(log, &catalog.training_specs(), create)?;
    ensure_topics(log, &catalog.catalog_specs(), create)?;
    let (requests, status) = (&catalog.training_requests, catalog.training_status.name());
    let trials = &catalog.training_trials;
    fit_together(log, requests.name(), status, requests.dead().name())?;
    fit_together(log, trials.name(), status, trials.dead().name())?;
    // A search's ends go to the partition number of its request.
    same_partitions(&log.topic(requests.name())?, &log.topic(trials.name())?)?;
    for spec in [&requests.spec, &trials.spec, &catalog.training_status.spec] {
        spec.check_kept(&log.topic(&spec.name)?, "topics.jobs_retention")?;
    }
    let control = &catalog.control.spec;
    control.check_kept(&log.topic(&control.name)?, "topics.control_retention")
}

/// As [`check_topics`], of documents and of questions.
pub fn check_knowledge_topics(log: &dyn Log, catalog: &Catalog, create: bool) -> Result<(), LogError> {
    ensure_topics(log, &catalog.document_specs(), create)?;
    ensure_topics(log, &catalog.search_specs(), create)?;
    let (ingest, search) = (&catalog.documents_ingest, &catalog.search_requests);
    fit_together(log, ingest.name(), catalog.documents_indexed.name(), ingest.dead().name())?;
    fit_together(log, search.name(), catalog.search_results.name(), search.dead().name())
}

fn ensure_topics(log: &dyn Log, specs: &[TopicSpec], create: bool) -> Result<(), LogError> {
    if create {
        return specs.iter().try_for_each(|spec| log.create_topic(spec).map(drop));
    }
    let mut missing = Vec::new();
    for spec in specs {
        match log.topic(&spec.name) {
            Err(error) if error.kind == LogErrorKind::TopicMissing => missing.push(spec),
            found => drop(found?),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(all_missing(&missing)) }
}

/// An upgrade may need topics that the version before did not.
fn all_missing(missing: &[&TopicSpec]) -> LogError {
    let names: Vec<_> = missing.iter().map(|spec| format!("topic `{}` does not exist", spec.name)).collect();
    let message = format!(
        "{}, and topics.create is false; `lunapark topics create` creates those that are missing",
        names.join(", ")
    );
    LogError::new(LogErrorKind::TopicMissing, message)
}

fn fit_together(log: &dyn Log, source: &str, results: &str, dead: &str) -> Result<(), LogError> {
    let (source, results, dead) = (log.topic(source)?, log.topic(results)?, log.topic(dead)?);
    same_partitions(&source, &results)?;
    same_partitions(&source, &dead)?;
    room_for_dead_letters(&source, &dead)
}

fn same_partitions(source: &TopicInfo, other: &TopicInfo) -> Result<(), LogError> {
    if other.partitions >= source.partitions {
        return Ok(());
    }
    let what = format!("topic `{}` has {} partitions and its source", other.name, other.partitions);
    let message = format!(
        "{what} `{}` has {}: a result goes to the partition number of its source; add partitions",
        source.name, source.partitions
    );
    Err(LogError::new(LogErrorKind::TopicMismatch, message))
}

/// Without the cuts of long ago, nobody knows which model scores today.
fn kept_for_ever(topic: &TopicInfo) -> Result<(), LogError> {
    if !topic.described || topic.cleanup == Cleanup::Compact {
        return Ok(());
    }
    let name = &topic.name;
    let message = format!(
        "topic `{name}` has the clean-up policy {:?}, which removes records that are needed for ever; set its \
         cleanup.policy to compact, or delete it with `lunapark topics delete {name}` and create it again",
        topic.cleanup
    );
    Err(LogError::new(LogErrorKind::TopicMismatch, message))
}

fn room_for_dead_letters(source: &TopicInfo, dead: &TopicInfo) -> Result<(), LogError> {
    let needed = source.max_message_bytes + DEAD_LETTER_HEADROOM;
    let unknown = !source.described || !dead.described;
    if unknown || dead.max_message_bytes >= needed {
        return Ok(());
    }
    let message = format!(
        "topic `{}` takes messages of {} bytes; set its max.message.bytes to at least {needed}, so that every message \
         of `{}` fits with its error headers",
        dead.name, dead.max_message_bytes, source.name
    );
    Err(LogError::new(LogErrorKind::TopicMismatch, message))
}

/// The training pipeline of a service.
struct Training {
    train: Arc<Train>,
    metrics: Arc<PipelineMetrics>,
}

impl Training {
    /// `None` where this instance trains nothing.
    fn open(config: &Config, topics: &Catalog, log: &Arc<dyn Log>, stop: &Stop) -> Result<Option<Self>, ServiceError> {
        if config.train.threads == 0 {
            return Ok(None);
        }
        let trainers = lunapark_train::trainers_on(config.train.device)?;
        tracing::info!(device = %config.train.device, "trainers ready");
        check_training_topics(log.as_ref(), topics, config.create_topics)?;
        // Jobs try again by themselves, and look at cancels in between.
        let store = ArtifactStore::open(&config.artifacts, &models::s3_options(&config.store))?;
        let store = store.with_patience(Duration::ZERO);
        let configured = config.score.models.iter().filter_map(ModelConfig::number);
        let catalog = TopicCatalog::new(log.clone(), topics).beside(configured);
        let shelf = Shelf::new(Arc::new(store), Arc::new(catalog));
        let train = Arc::new(Train::open(config, topics, log.clone(), trainers, shelf, stop)?);
        let metrics = Arc::new(PipelineMetrics::new(&config.train.name, &config.instance)?);
        Ok(Some(Self { train, metrics }))
    }
}

/// A running service.
pub struct Service {
    /// The log it runs on.
    pub log: Arc<dyn Log>,
    /// Its topics.
    pub catalog: Catalog,
    /// Thread states.
    pub health: Arc<Health>,
    /// Counters.
    pub metrics: Arc<PipelineMetrics>,
    /// Counters of the other pipelines of this instance.
    others: Vec<Arc<PipelineMetrics>>,
    /// Where the HTTP endpoints are.
    pub http: Option<std::net::SocketAddr>,
    threads: Vec<JoinHandle<Result<(), RunError>>>,
    reporter: Option<JoinHandle<()>>,
    agent: Option<JoinHandle<()>>,
    caretaker: Option<AtWork>,
    stop: Stop,
    drain_budget: Duration,
}

impl Service {
    /// Starts the pipelines of the configuration on the given log.
    pub fn start(
        config: &Config,
        log: Arc<dyn Log>,
        stop: Stop,
        accept_rejects_until: Option<i64>,
    ) -> Result<Self, ServiceError> {
        let catalog = Catalog::new(&config.topics);
        check_topics(log.as_ref(), &catalog, config.create_topics)?;
        let metrics = Arc::new(PipelineMetrics::new(&config.score.name, &config.instance)?);
        let health = Arc::new(Health::default());
        let training = Training::open(config, &catalog, &log, &stop)?;
        let score = match config.score.threads {
            0 => None,
            _ => {
                let s3 = models::s3_options(&config.store);
                let places = Places { s3, library: Library::on(log.clone(), &catalog) };
                let set = models::load_all(&config.score.models, &places)?;
                Some(Arc::new(Score::new(config, &catalog, set, accept_rejects_until)))
            }
        };
        let knowledge = Knowledge::open(config, &catalog, &log)?;
        let mut others: Vec<_> = training.iter().map(|training| training.metrics.clone()).collect();
        others.extend(knowledge.iter().flat_map(Knowledge::metrics));
        let all = std::iter::once(&metrics).chain(&others).cloned().collect();
        let shown = Shown { health: health.clone(), metrics: all };
        let http = config.listen.as_deref().map(|address| http::serve(address, shown, stop.clone())).transpose()?;
        let drain_budget = config.score.drain_budget;
        let mut service = Self {
            log,
            catalog,
            health,
            metrics,
            others,
            http,
            threads: Vec::new(),
            reporter: None,
            agent: None,
            caretaker: None,
            stop,
            drain_budget,
        };
        let board = score.as_ref().map(|score| Arc::new(switchboard(config, &service.log, &service.catalog, score)));
        if let Some(board) = &board {
            service.follow(&config.instance, board.clone())?;
        }
        let scoring = score.zip(board);
        service.spawn_all(config, scoring, training)?;
        if let Some(knowledge) = knowledge {
            knowledge.report_to(service.health.clone(), &config.instance);
            service.spawn_knowledge(config, &knowledge)?;
            let at_work = knowledge.caretaker.map(|caretaker| caretaker.spawn(service.stop.clone())).transpose();
            service.caretaker = at_work.map_err(|e| ServiceError::Thread(e.to_string()))?;
        }
        service.report(config.metrics_interval)?;
        Ok(service)
    }

    fn spawn_all(
        &mut self,
        config: &Config,
        scoring: Option<(Arc<Score>, Arc<Switchboard>)>,
        training: Option<Training>,
    ) -> Result<(), ServiceError> {
        for (thread, (score, board)) in (0..config.score.threads).zip(scoring.iter().cycle()) {
            let (score, board) = (score.clone(), board.clone());
            let (log, metrics, health) = (self.log.clone(), self.metrics.clone(), self.health.clone());
            let member = score.member(thread);
            let run = move |stop: &Stop| score.run_thread(thread, log, metrics, health, board, stop);
            self.spawn(&format!("stream-{thread}"), member, run)?;
        }
        let sides = (0..config.train.threads).flat_map(|thread| [(thread, Side::Requests), (thread, Side::Trials)]);
        for ((thread, side), training) in sides.zip(training.iter().cycle()) {
            let (train, log, metrics, health) =
                (training.train.clone(), self.log.clone(), training.metrics.clone(), self.health.clone());
            let member = train.member(thread, side);
            let run = move |stop: &Stop| train.run_thread((thread, side), log, metrics, health, stop);
            self.spawn(&format!("train-{thread}"), member, run)?;
        }
        Ok(())
    }

    fn spawn_knowledge(&mut self, config: &Config, knowledge: &Knowledge) -> Result<(), ServiceError> {
        for (thread, documents) in (0..config.documents.threads).zip(knowledge.documents.iter().cycle()) {
            let (documents, metrics) = documents.clone();
            let (log, health, member) = (self.log.clone(), self.health.clone(), documents.member(thread));
            let run = move |stop: &Stop| documents.run_thread(thread, log, metrics, health, stop);
            self.spawn(&format!("documents-{thread}"), member, run)?;
        }
        for (thread, search) in (0..config.search.threads).zip(knowledge.search.iter().cycle()) {
            let (search, metrics) = search.clone();
            let (log, health, member) = (self.log.clone(), self.health.clone(), search.member(thread));
            let run = move |stop: &Stop| search.run_thread(thread, log, metrics, health, stop);
            self.spawn(&format!("search-{thread}"), member, run)?;
        }
        Ok(())
    }

    fn spawn(
        &mut self,
        name: &str,
        member: String,
        work: impl FnOnce(&Stop) -> Result<(), RunError> + Send + 'static,
    ) -> Result<(), ServiceError> {
        let (health, stop) = (self.health.clone(), self.stop.clone());
        health.starting(&member);
        let run = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| work(&stop))).unwrap_or(Err(RunError::Panicked));
            // One thread that needs a human stops them all: half a pipeline would hide the fault.
            if let Err(error) = &ended {
                health.failed(&member, &error.to_string());
                tracing::error!(member, %error, "stream thread stopped");
                stop.request();
            }
            ended
        };
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        self.threads.push(spawned.map_err(|e| ServiceError::Thread(e.to_string()))?);
        Ok(())
    }

    /// Follows promotions until a stop is asked for. Comes back once the instance can be heard on `control`: a promotion
    /// that begins after this start must not take it for one that does not run.
    fn follow(&mut self, instance: &str, board: Arc<Switchboard>) -> Result<(), ServiceError> {
        let (models, control) = (self.catalog.models.clone(), self.catalog.control.clone());
        let spoken = Arc::new(AtomicBool::new(false));
        let run = format!("{:x}-{:x}", clock::now_millis(), std::process::id());
        let (instance, health) = (instance.to_owned(), self.health.clone());
        let agent = Agent { board, models, control, instance, health, run, spoken: spoken.clone() };
        let stop = self.stop.clone();
        let spawned = std::thread::Builder::new().name("promotions".into()).spawn(move || agent.run(&stop));
        let following = spawned.map_err(|e| ServiceError::Thread(e.to_string()))?;
        self.wait_until_heard(&following, &spoken);
        self.agent = Some(following);
        Ok(())
    }

    /// The agent tries again for ever where the log fails, and scoring does not depend on it: the wait ends.
    fn wait_until_heard(&self, following: &JoinHandle<()>, spoken: &AtomicBool) {
        let began = Instant::now();
        while !spoken.load(Ordering::Acquire) && !self.stop.requested() && !following.is_finished() {
            if began.elapsed() > HEARD_WITHIN {
                tracing::warn!("no sign of life on the topic control yet; a promotion may pass this instance over");
                return;
            }
            self.stop.wait(Duration::from_millis(5));
        }
    }

    /// Writes the metrics to their topic until a stop is asked for; the last report is [`join`](Self::join)'s.
    fn report(&mut self, every: Duration) -> Result<(), ServiceError> {
        let (log, stop, metrics) = (self.log.clone(), self.stop.clone(), self.reported());
        let topic = self.catalog.metrics.clone();
        let run = move || {
            while !stop.wait(every) {
                write_metrics(log.as_ref(), &topic, &metrics, REPORT_PATIENCE);
            }
        };
        let spawned = std::thread::Builder::new().name("metrics".into()).spawn(run);
        self.reporter = Some(spawned.map_err(|e| ServiceError::Thread(e.to_string()))?);
        Ok(())
    }

    /// True once every stream thread has ended.
    pub fn finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the stream threads after a stop was asked for; the first error ends it.
    pub fn join(mut self) -> Result<(), ServiceError> {
        let deadline = self.wait_for_threads()?;
        let ended = self.threads.drain(..).try_for_each(|thread| {
            Ok(thread.join().map_err(|_| ServiceError::Thread("panicked; please report it".into()))??)
        });
        self.last_report(deadline);
        ended
    }

    /// Waits until they have ended; the time by which all must be over.
    fn wait_for_threads(&self) -> Result<Instant, ServiceError> {
        let mut asked_at = None;
        while !self.finished() {
            if self.stop.requested() {
                let asked = *asked_at.get_or_insert_with(Instant::now);
                if asked.elapsed() > self.drain_budget {
                    return Err(ServiceError::Drain(self.drain_budget));
                }
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(asked_at.unwrap_or_else(Instant::now) + self.drain_budget)
    }

    /// Written after the stream threads have ended, so that it holds what their last commits counted.
    fn last_report(&mut self, deadline: Instant) {
        self.stop.request();
        let writing = |reporter: &JoinHandle<()>| !reporter.is_finished();
        let beside = [&self.reporter, &self.agent];
        while beside.iter().any(|thread| thread.as_ref().is_some_and(writing)) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        self.caretaker.iter().for_each(|caretaker| caretaker.leave(deadline));
        let left = deadline.saturating_duration_since(Instant::now()).min(REPORT_PATIENCE);
        write_metrics(self.log.as_ref(), &self.catalog.metrics, &self.reported(), left);
    }

    fn reported(&self) -> Vec<Arc<PipelineMetrics>> {
        std::iter::once(&self.metrics).chain(&self.others).cloned().collect()
    }
}

fn switchboard(config: &Config, log: &Arc<dyn Log>, catalog: &Catalog, score: &Score) -> Switchboard {
    let places = Places { s3: models::s3_options(&config.store), library: Library::on(log.clone(), catalog) };
    let premises = Premises {
        log: log.clone(),
        cuts: catalog.model_cuts.clone(),
        source: catalog.inference_events.name().clone(),
        pipeline: score.group(),
        default_artifact: config.score.models.first().map(|model| models::absolute(&model.path)).unwrap_or_default(),
        delivery: config.score.delivery,
    };
    Switchboard::new(premises, score.models(), places)
}

/// An instance starts without its first sign of life after so long.
const HEARD_WITHIN: Duration = Duration::from_secs(10);
/// A report that is not acknowledged by then is given up: the next one holds the same counters and more.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

fn write_metrics(log: &dyn Log, topic: &Topic<MetricsRecord>, metrics: &[Arc<PipelineMetrics>], within: Duration) {
    let write = || -> Result<(), LogError> {
        let mut writer = log.announcer()?;
        for metrics in metrics {
            writer.produce(&topic.encode(&metrics.record())?.record(None))?;
        }
        writer.flush(within)
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "metrics not written");
    }
}
