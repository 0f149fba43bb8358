//! Training:
//!
//! ```text
//! training.requests ──▶ look ──▶ job (beside, partitions paused) ──▶ training.status   the end, exactly once
//!                        │        │    ├─ progress ┄┄┄┄┄┄┄┄┄┄┄┄┄▶ training.status   beside the transaction
//!                        │        │    └─ checkpoints, artifact ──▶ object store
//!                        │        └───────────────────────────────▶ models            the version
//!                        ├────────────────────────────────────────▶ training.requests.dead
//!                        └────────────────────────────────────────▶ training.ledger
//! control ┄┄ cancels ┄┄▶ job
//!
//! training.requests ──▶ search ──▶ training.trials ──▶ trial, by any worker ──▶ training.trials ──▶ the next rung, or the end
//! ```

use std::sync::Arc;
use std::time::Duration;

use lunapark_topics::partitioner::partition_of;
use lunapark_topics::{Catalog, Delivery, Log, LogError, Start, StreamSpec};
use lunapark_train::Trainer;

use crate::config::Config;
use crate::health::Health;
use crate::jobs::{Allowed, Bench, JobSettings, Jobs, Shelf, Side, Slot};
use crate::metrics::PipelineMetrics;
use crate::models::s3_options;
use crate::runner::{LongThread, Routes, RunError, Settings, supervise_long};
use crate::stop::Stop;

/// The group of a training pipeline's trials.
pub fn group_of_trials(group: &str) -> String {
    format!("{group}.trials")
}

/// The training pipeline, ready to run any number of stream threads.
pub struct Train {
    jobs: Jobs,
    /// Of each stream thread: requests and trials share it.
    slots: Vec<Arc<Slot>>,
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
            max_crashes: config.train.max_crashes,
            bench: Bench {
                limit: config.train.project_jobs,
                pipeline: format!("{}{}", catalog.prefix(), config.train.name),
                instance: config.instance.clone(),
            },
            // The other half is for the transaction and for leaving the group.
            leave_within: config.score.drain_budget / 2,
        };
        let jobs = Jobs::open(log, catalog, settings, trainers, shelf, stop)?;
        let (name, instance, catalog) = (config.train.name.clone(), config.instance.clone(), catalog.clone());
        let slots = (0..config.train.threads).map(|_| Arc::default()).collect();
        Ok(Self { jobs, slots, name, instance, catalog })
    }

    /// The name among all that share the log: the consumer group, and the name in the ledger.
    pub fn group(&self, side: Side) -> String {
        let group = format!("{}{}", self.catalog.prefix(), self.name);
        match side {
            Side::Requests => group,
            Side::Trials => group_of_trials(&group),
        }
    }

    /// Stable name of a stream thread: static group member and transactional id.
    pub fn member(&self, thread: usize, side: Side) -> String {
        format!("{}-{}-{thread}", self.group(side), self.instance)
    }

    /// Runs one side of a stream thread until a stop is asked for.
    pub fn run_thread(
        &self,
        (thread, side): (usize, Side),
        log: Arc<dyn Log>,
        metrics: Arc<PipelineMetrics>,
        health: Arc<Health>,
        stop: &Stop,
    ) -> Result<(), RunError> {
        let desk = self.jobs.desk(self.slots.get(thread).cloned().unwrap_or_default(), side);
        let (spec, settings) = (self.spec(thread, side), self.settings(thread, side));
        supervise_long(&LongThread { log, spec, settings, work: &desk, metrics, health }, stop)
    }

    fn spec(&self, thread: usize, side: Side) -> StreamSpec {
        let catalog = &self.catalog;
        let (topic, dead) = self.input(side);
        StreamSpec {
            group: self.group(side),
            member: self.member(thread, side),
            topics: vec![topic],
            outputs: vec![
                catalog.training_trials.name().clone(),
                catalog.training_status.name().clone(),
                dead,
                catalog.models.name().clone(),
                catalog.training_ledger.name().clone(),
            ],
            // A job that ended twice would be two versions.
            delivery: Delivery::ExactlyOnce,
            start: Start::Earliest,
        }
    }

    /// What a side reads, and where it puts what is broken.
    fn input(&self, side: Side) -> (Arc<str>, Arc<str>) {
        let (requests, trials) = (&self.catalog.training_requests, &self.catalog.training_trials);
        match side {
            Side::Requests => (requests.name().clone(), requests.dead().name().clone()),
            Side::Trials => (trials.name().clone(), trials.dead().name().clone()),
        }
    }

    /// One message is one transaction; what shapes batches plays no part.
    fn settings(&self, thread: usize, side: Side) -> Settings {
        let member = self.member(thread, side);
        Settings {
            pipeline: self.group(side),
            routes: Routes {
                results: self.catalog.training_status.name().clone(),
                shadow: None,
                dead: self.input(side).1,
                ledger: self.catalog.training_ledger.clone(),
                ledger_partition: partition_of(member.as_bytes(), self.catalog.training_ledger.spec.partitions),
            },
            member,
            commit_interval: std::time::Duration::ZERO,
            commit_messages: 1,
            commit_bytes: usize::MAX,
            batch_messages: 1,
            batch_bytes: usize::MAX,
            gather: Duration::ZERO,
            reject_share: 0.0,
            reject_window: 0,
            shadow_patience: std::time::Duration::ZERO,
            accept_rejects_until: None,
            homes: None,
            holdings: None,
        }
    }
}
