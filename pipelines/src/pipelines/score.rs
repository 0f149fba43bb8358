//! Scoring:
//!
//! ```text
//! inference.events ──▶ decode ──▶ score ──▶ encode ──▶ inference.results
//!                        │          │          ├─────▶ inference.events.dead
//!                        └──────────┴──────────┴─────▶ ledger
//!                        shadow: a share of them once more, by another model ──▶ inference.shadow
//!             models ──▶ switch, between two transactions ──▶ model.cuts
//! ```

use std::sync::Arc;

use lunapark_operator::Scored;
use lunapark_schemas::inference::Limits;
use lunapark_score::{InferenceCodec, ModelSet, Scorer};
use lunapark_topics::partitioner::partition_of;
use lunapark_topics::{Catalog, Log, StreamSpec};

use crate::config::{Config, ScoreConfig};
use crate::health::Health;
use crate::metrics::PipelineMetrics;
use crate::runner::{Routes, RunError, Settings, StreamThread, Swap, supervise};
use crate::stop::Stop;
use crate::swap::Switchboard;

/// The scoring pipeline, ready to run any number of stream threads.
pub struct Score {
    models: Arc<ModelSet>,
    limits: Limits,
    operator: Scorer,
    config: ScoreConfig,
    instance: String,
    catalog: Catalog,
    accept_rejects_until: Option<i64>,
}

impl Score {
    /// The pipeline over these models.
    pub fn new(config: &Config, catalog: &Catalog, models: ModelSet, accept_rejects_until: Option<i64>) -> Self {
        let models = Arc::new(models);
        let limits = Limits { max_rows: config.score.max_rows, max_payload_bytes: config.score.max_payload_bytes };
        Self {
            operator: Scorer::new(models.clone()),
            models,
            limits,
            config: config.score.clone(),
            instance: config.instance.clone(),
            catalog: catalog.clone(),
            accept_rejects_until,
        }
    }

    /// Stable name of a stream thread: static group member and transactional id.
    pub fn member(&self, thread: usize) -> String {
        format!("{}-{}-{thread}", self.group(), self.instance)
    }

    /// The pipeline's name among all that share the log: its consumer group, and its name in the ledger.
    pub fn group(&self) -> String {
        format!("{}{}", self.catalog.prefix(), self.config.name)
    }

    /// The models that it scores with.
    pub fn models(&self) -> Arc<ModelSet> {
        self.models.clone()
    }

    /// Runs one stream thread until a stop is asked for.
    pub fn run_thread(
        &self,
        thread: usize,
        log: Arc<dyn Log>,
        metrics: Arc<PipelineMetrics>,
        health: Arc<Health>,
        board: Arc<Switchboard>,
        stop: &Stop,
    ) -> Result<(), RunError> {
        let member = self.member(thread);
        let swap = Swap { board, table: Arc::default() };
        let codec = &InferenceCodec::with_cuts(self.models.clone(), swap.table.clone(), self.limits);
        let operator = &self.operator;
        let settings = self.settings(&member);
        let spec = self.spec(&member);
        supervise(&StreamThread { log, spec, settings, codec, operator, metrics, health, swap: Some(swap) }, stop)
    }

    fn spec(&self, member: &str) -> StreamSpec {
        let catalog = &self.catalog;
        StreamSpec {
            group: self.group(),
            member: member.to_owned(),
            topics: vec![catalog.inference_events.name().clone()],
            outputs: vec![
                catalog.inference_results.name().clone(),
                catalog.inference_shadow.name().clone(),
                catalog.inference_events.dead().name().clone(),
                catalog.ledger.name().clone(),
                catalog.model_cuts.name().clone(),
            ],
            delivery: self.config.delivery,
            start: self.config.start,
        }
    }

    fn settings(&self, member: &str) -> Settings {
        let routes = Routes {
            results: self.catalog.inference_results.name().clone(),
            shadow: Some(self.catalog.inference_shadow.name().clone()),
            dead: self.catalog.inference_events.dead().name().clone(),
            ledger: self.catalog.ledger.clone(),
            ledger_partition: partition_of(member.as_bytes(), self.catalog.ledger.spec.partitions),
        };
        let accept_rejects_until = self.accept_rejects_until;
        Settings { accept_rejects_until, ..Settings::of(&self.config, self.group(), member.to_owned(), routes) }
    }
}

/// The types of the chain fit together: what the scorer gives is what the codec writes.
const _: fn() = || {
    fn fits<C: lunapark_operator::Codec<Scored>>() {}
    fits::<InferenceCodec>();
};
