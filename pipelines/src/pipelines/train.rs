//! Training:
//!
//! ```text
//! training.requests ──▶ look ──▶ job (beside, partitions paused) ──▶ training.status   the end, exactly once
//!                        │        │    ├─ progress ┄┄┄┄┄┄┄┄┄┄┄┄┄▶ training.status   beside the transaction
//!                        │        │    └─ checkpoints, artifact ──▶ object store
//!                        │        └───────────────────────────────▶ models            the version
//!                        ├────────────────────────────────────────▶ training.requests.dead
//!                        └────────────────────────────────────────▶ ledger
//! control ┄┄ cancels ┄┄▶ job
//! ```

use std::sync::Arc;

use lunapark_topics::partitioner::partition_of;
use lunapark_topics::{Catalog, Delivery, Log, LogError, Start, StreamSpec};
use lunapark_train::Trainer;

use crate::config::Config;
use crate::health::Health;
use crate::jobs::{Allowed, JobSettings, Jobs, Shelf};
use crate::metrics::PipelineMetrics;
use crate::models::s3_options;
use crate::runner::{LongThread, Routes, RunError, Settings, supervise_long};
use crate::stop::Stop;

/// The training pipeline, ready to run any number of stream threads.
pub struct Train {
    jobs: Jobs,
    name: String,
    instance: String,
    catalog: Catalog,
}

impl Train {
    /// The pipeline with these trainers; hears cancels until a stop is asked for.
    pub fn open(
        config: &Config,
        catalog: &Catalog,
        log: Arc<dyn Log>,
        trainers: Vec<Box<dyn Trainer>>,
        shelf: Shelf,
        stop: &Stop,
    ) -> Result<Self, LogError> {
        let settings = JobSettings {
            checkpoint_interval: config.train.checkpoint_interval,
            allowed: Allowed::parse(&config.train.datasets),
            save: Allowed::parse(&config.train.save),
            max_dataset_bytes: config.train.max_dataset_bytes,
            s3: s3_options(&config.store),
        };
        let jobs = Jobs::open(log, catalog, settings, trainers, shelf, stop)?;
        let (name, instance, catalog) = (config.train.name.clone(), config.instance.clone(), catalog.clone());
        Ok(Self { jobs, name, instance, catalog })
    }

    /// The pipeline's name among all that share the log: its consumer group, and its name in the ledger.
    pub fn group(&self) -> String {
        format!("{}{}", self.catalog.prefix(), self.name)
    }

    /// Stable name of a stream thread: static group member and transactional id.
    pub fn member(&self, thread: usize) -> String {
        format!("{}-{}-{thread}", self.group(), self.instance)
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
        let member = self.member(thread);
        let (spec, settings) = (self.spec(&member), self.settings(&member));
        supervise_long(&LongThread { log, spec, settings, work: &self.jobs, metrics, health }, stop)
    }

    fn spec(&self, member: &str) -> StreamSpec {
        let catalog = &self.catalog;
        StreamSpec {
            group: self.group(),
            member: member.to_owned(),
            topics: vec![catalog.training_requests.name().clone()],
            outputs: vec![
                catalog.training_status.name().clone(),
                catalog.training_requests.dead().name().clone(),
                catalog.models.name().clone(),
                catalog.ledger.name().clone(),
            ],
            // A job that ended twice would be two versions.
            delivery: Delivery::ExactlyOnce,
            start: Start::Earliest,
        }
    }

    /// One message is one transaction; what shapes batches plays no part.
    fn settings(&self, member: &str) -> Settings {
        Settings {
            pipeline: self.group(),
            member: member.to_owned(),
            routes: Routes {
                results: self.catalog.training_status.name().clone(),
                shadow: None,
                dead: self.catalog.training_requests.dead().name().clone(),
                ledger: self.catalog.ledger.clone(),
                ledger_partition: partition_of(member.as_bytes(), self.catalog.ledger.spec.partitions),
            },
            commit_interval: std::time::Duration::ZERO,
            commit_messages: 1,
            commit_bytes: usize::MAX,
            batch_messages: 1,
            batch_bytes: usize::MAX,
            reject_share: 0.0,
            reject_window: 0,
            shadow_patience: std::time::Duration::ZERO,
            accept_rejects_until: None,
        }
    }
}
