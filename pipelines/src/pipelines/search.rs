//! Questions to collections:
//!
//! ```text
//! search.requests ──▶ embed ──▶ scan, words ──▶ fuse ──▶ search.results
//!                                 ▲               ├────▶ search.requests.dead
//!                                 ┊               └────▶ ledger
//!                   object store: manifest, segments
//! ```

use std::sync::Arc;

use lunapark_knowledge::search::{Found, SearchCodec, Searcher};
use lunapark_operator::Codec;
use lunapark_topics::log::Start;
use lunapark_topics::partitioner::partition_of;
use lunapark_topics::{Catalog, Delivery, Log, StreamSpec};

use crate::config::Config;
use crate::health::Health;
use crate::metrics::PipelineMetrics;
use crate::runner::{Routes, RunError, Settings, StreamThread, supervise};
use crate::stop::Stop;

/// The pipeline of questions, ready to run any number of stream threads.
pub struct Search {
    codec: SearchCodec,
    operator: Searcher,
    config: Config,
    catalog: Catalog,
}

impl Search {
    /// The pipeline over this operator.
    pub fn new(config: &Config, catalog: &Catalog, operator: Searcher) -> Self {
        let codec = SearchCodec { encoder: operator.encoder_tag() };
        Self { codec, operator, config: config.clone(), catalog: catalog.clone() }
    }

    /// The consumer group, and the name in the ledger.
    pub fn group(&self) -> String {
        format!("{}{}", self.catalog.prefix(), self.config.search.name)
    }

    /// Stable name of a stream thread: static group member and transactional id.
    pub fn member(&self, thread: usize) -> String {
        format!("{}-{}-{thread}", self.group(), self.config.instance)
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
        let catalog = &self.catalog;
        StreamSpec {
            group: self.group(),
            member: self.member(thread),
            topics: vec![catalog.search_requests.name().clone()],
            outputs: vec![
                catalog.search_results.name().clone(),
                catalog.search_requests.dead().name().clone(),
                catalog.ledger.name().clone(),
            ],
            delivery: Delivery::ExactlyOnce,
            start: Start::Earliest,
        }
    }

    fn settings(&self, thread: usize) -> Settings {
        let routes = Routes {
            results: self.catalog.search_results.name().clone(),
            shadow: None,
            dead: self.catalog.search_requests.dead().name().clone(),
            ledger: self.catalog.ledger.clone(),
            ledger_partition: partition_of(self.member(thread).as_bytes(), self.catalog.ledger.spec.partitions),
        };
        Settings {
            // A client that asks nonsense stops nobody else: its questions are dead letters.
            reject_window: 0,
            ..Settings::of(&self.config, self.group(), self.member(thread), routes)
        }
    }
}

/// The types of the chain fit together: what the operator gives is what the codec writes.
const _: fn() = || {
    fn fits<C: Codec<Found>>() {}
    fits::<SearchCodec>();
};
