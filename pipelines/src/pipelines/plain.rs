//! A pipeline without state of its own: one topic in, results and dead letters out, by the runner's plain loop.

use std::sync::Arc;
use std::time::Duration;

use lunapark_operator::{Codec, Operator};
use lunapark_topics::log::Start;
use lunapark_topics::partitioner::partition_of;
use lunapark_topics::{Catalog, Delivery, Log, StreamSpec};

use crate::config::Config;
use crate::health::Health;
use crate::metrics::PipelineMetrics;
use crate::runner::{Holdings, Homes, Routes, RunError, Settings, StreamThread, supervise};
use crate::stop::Stop;

/// From where, and to where.
pub struct Ways {
    /// What is read.
    pub input: Arc<str>,
    /// Where results go.
    pub results: Arc<str>,
    /// Where dead letters go.
    pub dead: Arc<str>,
}

/// A pipeline, ready to run any number of stream threads.
pub struct Plain<C, O> {
    codec: C,
    operator: O,
    ways: Ways,
    group: String,
    config: Config,
    catalog: Catalog,
    /// Documents or messages, and bytes, of one batch.
    batch: (usize, usize),
    gather: Duration,
    homes: Option<Homes>,
    holdings: Arc<Holdings>,
}

impl<C: Codec<O::Out>, O: Operator> Plain<C, O> {
    /// The pipeline of this name over this operator, with batches as the scorer has them.
    pub fn new(config: &Config, catalog: &Catalog, name: &str, ways: Ways, codec: C, operator: O) -> Self {
        let batch = (config.score.batch_messages, config.score.batch_bytes);
        let group = format!("{}{name}", catalog.prefix());
        let (config, catalog, holdings) = (config.clone(), catalog.clone(), Arc::default());
        Self { codec, operator, ways, group, config, catalog, batch, gather: Duration::ZERO, homes: None, holdings }
    }

    /// With batches of so many messages and bytes, at most.
    pub fn batches_of(self, messages: usize, bytes: usize) -> Self {
        Self { batch: (messages, bytes), ..self }
    }

    /// With so long between a small batch and the next one.
    pub fn gathering_for(self, gather: Duration) -> Self {
        Self { gather, ..self }
    }

    /// With all messages of a key on that key's partition.
    pub fn at_home(self, homes: Homes) -> Self {
        Self { homes: Some(homes), ..self }
    }

    /// The partitions of the input that this instance holds.
    pub fn holdings(&self) -> &Arc<Holdings> {
        &self.holdings
    }

    /// Stable name of a stream thread: static group member and transactional id.
    pub fn member(&self, thread: usize) -> String {
        format!("{}-{}-{thread}", self.group, self.config.instance)
    }

    /// Runs one stream thread until a stop is asked for.
    pub fn run_thread(
        &self,
        thread: usize,
        log: Arc<dyn Log>,
        metrics: Arc<PipelineMetrics>,
        health: Arc<Health>,
        stop: &Stop,
    ) -> Result<(), RunError> {
        let (codec, operator) = (&self.codec, &self.operator);
        let (spec, settings) = (self.spec(thread), self.settings(thread));
        supervise(&StreamThread { log, spec, settings, codec, operator, metrics, health, swap: None }, stop)
    }

    fn spec(&self, thread: usize) -> StreamSpec {
        let Ways { input, results, dead } = &self.ways;
        let mut outputs = vec![results.clone(), dead.clone(), self.catalog.ledger.name().clone()];
        outputs.extend(self.homes.map(|_| input.clone()));
        StreamSpec {
            group: self.group.clone(),
            member: self.member(thread),
            topics: vec![input.clone()],
            outputs,
            delivery: Delivery::ExactlyOnce,
            start: Start::Earliest,
        }
    }

    fn settings(&self, thread: usize) -> Settings {
        let member = self.member(thread);
        let routes = Routes {
            results: self.ways.results.clone(),
            shadow: None,
            dead: self.ways.dead.clone(),
            ledger: self.catalog.ledger.clone(),
            ledger_partition: partition_of(member.as_bytes(), self.catalog.ledger.spec.partitions),
        };
        let (batch_messages, batch_bytes) = self.batch;
        Settings {
            batch_messages,
            batch_bytes,
            gather: self.gather,
            // A folder of scans, or a client that asks nonsense, is no bad deploy: dead letters, however many.
            reject_window: 0,
            homes: self.homes,
            holdings: Some(self.holdings.clone()),
            ..Settings::of(&self.config.score, self.group.clone(), member, routes)
        }
    }
}
