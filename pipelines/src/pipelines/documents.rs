//! Documents into collections:
//!
//! ```text
//! documents.ingest ──▶ fetch ──▶ extract ──▶ chunk ──▶ embed ──▶ index ──▶ documents.indexed
//!                       │          │          │                    │   ├──▶ documents.ingest.dead
//!                       └──────────┴──────────┴────────────────────┴───┴──▶ ledger
//!                                                                  └┄┄┄┄▶ object store: segment, then manifest
//! ```
//!
//! The manifest holds the next offsets of the log: what a crash makes come again changes nothing, and is answered alike.

use std::sync::Arc;

use lunapark_knowledge::ingest::{Indexed, IngestCodec, Ingestor};
use lunapark_operator::Codec;
use lunapark_topics::log::Start;
use lunapark_topics::partitioner::partition_of;
use lunapark_topics::{Catalog, Delivery, Log, StreamSpec};

use crate::config::Config;
use crate::health::Health;
use crate::metrics::PipelineMetrics;
use crate::runner::{Routes, RunError, Settings, StreamThread, supervise};
use crate::stop::Stop;

/// The pipeline of documents, ready to run any number of stream threads.
pub struct Documents {
    codec: IngestCodec,
    operator: Ingestor,
    config: Config,
    catalog: Catalog,
}

impl Documents {
    /// The pipeline over this operator.
    pub fn new(config: &Config, catalog: &Catalog, operator: Ingestor) -> Self {
        let codec = IngestCodec { encoder: operator.encoder_tag() };
        Self { codec, operator, config: config.clone(), catalog: catalog.clone() }
    }

    /// The consumer group, and the name in the ledger.
    pub fn group(&self) -> String {
        format!("{}{}", self.catalog.prefix(), self.config.documents.name)
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
            topics: vec![catalog.documents_ingest.name().clone()],
            outputs: vec![
                catalog.documents_indexed.name().clone(),
                catalog.documents_ingest.dead().name().clone(),
                catalog.ledger.name().clone(),
            ],
            delivery: Delivery::ExactlyOnce,
            start: Start::Earliest,
        }
    }

    fn settings(&self, thread: usize) -> Settings {
        let routes = Routes {
            results: self.catalog.documents_indexed.name().clone(),
            shadow: None,
            dead: self.catalog.documents_ingest.dead().name().clone(),
            ledger: self.catalog.ledger.clone(),
            ledger_partition: partition_of(self.member(thread).as_bytes(), self.catalog.ledger.spec.partitions),
        };
        Settings {
            batch_messages: self.config.documents.batch_messages,
            batch_bytes: self.config.documents.batch_bytes,
            // A folder of scans is not a bad deploy: documents that cannot be read are dead letters, however many.
            reject_window: 0,
            ..Settings::of(&self.config, self.group(), self.member(thread), routes)
        }
    }
}

/// The types of the chain fit together: what the operator gives is what the codec writes.
const _: fn() = || {
    fn fits<C: Codec<Indexed>>() {}
    fits::<IngestCodec>();
};
