//! Every metric of a pipeline, by name, in this one file. Updated once per batch or commit, never per message.
//!
//! The split is Triton's: queue, compute input (decode), compute infer, compute output (encode), batch size. The same
//! figures go to `/metrics` (Prometheus text) and to the topic `metrics`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram as Latencies;
use lunapark_schemas::Messages;
use lunapark_schemas::metrics::{Digest, MetricsRecord};
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::clock;
use crate::runner::Account;
use crate::swap::Shadowing;

/// A stage of a batch's way.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// Decoding.
    ComputeInput,
    /// The model.
    ComputeInfer,
    /// Encoding and handing over to the producer.
    ComputeOutput,
    /// Ledger, offsets, commit.
    Commit,
}

impl Stage {
    fn label(self) -> &'static str {
        match self {
            Stage::ComputeInput => "compute_input",
            Stage::ComputeInfer => "compute_infer",
            Stage::ComputeOutput => "compute_output",
            Stage::Commit => "commit",
        }
    }
}

/// Counters and latencies of one pipeline in one process.
pub struct PipelineMetrics {
    pipeline: String,
    instance: String,
    started: Instant,
    registry: Registry,
    messages: IntCounterVec,
    rows: IntCounterVec,
    dead_letters: IntCounterVec,
    commits: IntCounter,
    aborts: IntCounter,
    restarts: IntCounter,
    shadows: IntCounterVec,
    upkeep: IntCounterVec,
    partitions: IntGaugeVec,
    stages: HistogramVec,
    batch_rows: Histogram,
    queue: Mutex<Latencies<u64>>,
    latency: Mutex<Latencies<u64>>,
}

/// Latencies are kept in microseconds up to an hour, with three significant digits.
const LONGEST_LATENCY_US: u64 = 3_600_000_000;

impl PipelineMetrics {
    /// Metrics of the named pipeline and instance.
    pub fn new(pipeline: &str, instance: &str) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let labels = |name: &str, help: &str| {
            Opts::new(name, help).const_label("pipeline", pipeline).const_label("instance", instance)
        };
        let vec = |name, help, label| IntCounterVec::new(labels(name, help), &[label]);
        let one = |name, help| IntCounter::with_opts(labels(name, help));
        let histogram =
            |name: &str, help: &str, buckets: Vec<f64>| HistogramOpts::from(labels(name, help)).buckets(buckets);
        let seconds = prometheus::exponential_buckets(1e-5, 4.0, 10)?;
        let rows = prometheus::exponential_buckets(1.0, 4.0, 9)?;
        let latencies = || Latencies::new_with_bounds(1, LONGEST_LATENCY_US, 3).map(Mutex::new);
        let metrics = Self {
            pipeline: pipeline.to_owned(),
            instance: instance.to_owned(),
            started: Instant::now(),
            messages: vec("lunapark_messages_total", "Messages by how they ended.", "outcome")?,
            rows: vec("lunapark_rows_total", "Rows by how they ended.", "outcome")?,
            dead_letters: vec("lunapark_dead_letters_total", "Dead letters by reason.", "class")?,
            commits: one("lunapark_commits_total", "Transactions committed.")?,
            aborts: one("lunapark_aborts_total", "Transactions aborted and read again.")?,
            restarts: one("lunapark_restarts_total", "Stream threads restarted in place.")?,
            shadows: IntCounterVec::new(
                labels("lunapark_shadow_total", "Events that a shadow scored or rejected, and shadows that failed."),
                &["model", "outcome", "promotion", "version"],
            )?,
            upkeep: vec(
                "lunapark_upkeep_total",
                "Merges of collections' segments, versions and segments removed, and looks that failed.",
                "what",
            )?,
            partitions: IntGaugeVec::new(labels("lunapark_partitions", "Partitions assigned."), &["member"])?,
            stages: HistogramVec::new(
                histogram("lunapark_stage_seconds", "Time of a batch by stage.", seconds),
                &["stage"],
            )?,
            batch_rows: Histogram::with_opts(histogram("lunapark_batch_rows", "Rows per inference.", rows))?,
            queue: latencies()?,
            latency: latencies()?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let all: [Box<dyn prometheus::core::Collector>; 11] = [
            Box::new(self.messages.clone()),
            Box::new(self.rows.clone()),
            Box::new(self.dead_letters.clone()),
            Box::new(self.commits.clone()),
            Box::new(self.aborts.clone()),
            Box::new(self.restarts.clone()),
            Box::new(self.shadows.clone()),
            Box::new(self.upkeep.clone()),
            Box::new(self.partitions.clone()),
            Box::new(self.stages.clone()),
            Box::new(self.batch_rows.clone()),
        ];
        all.into_iter().try_for_each(|collector| self.registry.register(collector))
    }

    /// Time that a batch spent in a stage.
    pub fn stage(&self, stage: Stage, took: Duration) {
        self.stages.with_label_values(&[stage.label()]).observe(took.as_secs_f64());
    }

    /// One inference.
    pub fn inferred(&self, rows: usize, took: Duration) {
        self.stage(Stage::ComputeInfer, took);
        self.batch_rows.observe(rows as f64);
    }

    /// One commit: what it held, and when its events were made.
    pub fn committed(&self, account: &Account, times: &mut BatchTimes, took: Duration) {
        self.stage(Stage::Commit, took);
        self.commits.inc();
        for range in account.ranges("", "", false, |_| None) {
            for (label, messages, rows) in [
                ("result", range.messages.results, range.rows.results),
                ("filtered", range.messages.filtered, range.rows.filtered),
                ("dead", range.messages.dead, range.rows.dead),
            ] {
                self.messages.with_label_values(&[label]).inc_by(messages);
                self.rows.with_label_values(&[label]).inc_by(rows);
            }
        }
        for (class, n) in account.dead_letters() {
            self.dead_letters.with_label_values(&[class.as_str()]).inc_by(*n);
        }
        record(&self.latency, times.made.iter().map(|(at, n)| (clock::now_millis() - at, *n)));
        record(&self.queue, times.queued.iter().copied());
        times.clear();
    }

    /// One abort.
    pub fn aborted(&self) {
        self.aborts.inc();
    }

    /// One restart of a stream thread.
    pub fn restarted(&self) {
        self.restarts.inc();
    }

    /// Committed events that a shadow scored, and those that it did not understand, refused or had no room to answer.
    pub fn shadowed(&self, shadow: &Shadowing, scored: u64, rejected: u64) {
        for (outcome, count) in [("scored", scored), ("rejected", rejected)] {
            self.shadow(shadow, outcome, count);
        }
    }

    /// One shadow that failed and was ended.
    pub fn shadow_failed(&self, shadow: &Shadowing) {
        self.shadow(shadow, "failed", 1);
    }

    fn shadow(&self, Shadowing { promotion, model, version }: &Shadowing, outcome: &str, count: u64) {
        self.shadows.with_label_values(&[model, outcome, &promotion.to_string(), version]).inc_by(count);
    }

    /// Something done for the collections, or that failed.
    pub fn upkept(&self, what: &str, count: u64) {
        self.upkeep.with_label_values(&[what]).inc_by(count);
    }

    /// Partitions that a stream thread holds.
    pub fn partitions(&self, member: &str, assigned: usize) {
        self.partitions.with_label_values(&[member]).set(assigned as i64);
    }

    /// Committed messages so far: results, filtered, dead letters.
    pub fn messages(&self) -> [u64; 3] {
        ["result", "filtered", "dead"].map(|label| self.messages.with_label_values(&[label]).get())
    }

    /// Time from an event's timestamp to the commit of its result.
    pub fn latency(&self) -> Digest {
        digest(&self.latency)
    }

    /// The record for the topic `metrics`: the same figures.
    pub fn record(&self) -> MetricsRecord {
        MetricsRecord {
            pipeline: self.pipeline.clone(),
            instance: self.instance.clone(),
            time_ms: clock::now_millis(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            counters: self.counters(),
            latencies: self.digests(),
        }
    }

    fn digests(&self) -> BTreeMap<String, Digest> {
        [("lunapark_queue_ms", &self.queue), ("lunapark_latency_ms", &self.latency)]
            .map(|(name, values)| (name.to_owned(), digest(values)))
            .into()
    }

    fn counters(&self) -> BTreeMap<String, f64> {
        let mut counters = BTreeMap::new();
        for family in self.registry.gather() {
            for metric in family.get_metric() {
                let own = |l: &&prometheus::proto::LabelPair| !["pipeline", "instance"].contains(&l.name());
                let labels = metric.get_label().iter().filter(own).map(|l| format!("{}=\"{}\"", l.name(), l.value()));
                let labels = labels.collect::<Vec<_>>().join(",");
                let name = match labels.is_empty() {
                    true => family.name().to_owned(),
                    false => format!("{}{{{labels}}}", family.name()),
                };
                match family.get_field_type() {
                    prometheus::proto::MetricType::COUNTER => {
                        counters.insert(name, metric.get_counter().get_value());
                    }
                    prometheus::proto::MetricType::GAUGE => {
                        counters.insert(name, metric.get_gauge().get_value());
                    }
                    _ => {
                        let histogram = metric.get_histogram();
                        counters.insert(format!("{name}_sum"), histogram.get_sample_sum());
                        counters.insert(format!("{name}_count"), histogram.get_sample_count() as f64);
                    }
                }
            }
        }
        counters
    }
}

/// A metric that cannot be made; only a fault in this file can cause it.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(String);

impl From<prometheus::Error> for MetricsError {
    fn from(error: prometheus::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<hdrhistogram::CreationError> for MetricsError {
    fn from(error: hdrhistogram::CreationError) -> Self {
        Self(error.to_string())
    }
}

/// When the events of the open transaction were made, run-length encoded: a busy millisecond is one entry.
#[derive(Debug, Default)]
pub struct BatchTimes {
    made: Vec<(i64, u64)>,
    queued: Vec<(i64, u64)>,
}

impl BatchTimes {
    /// Takes the timestamps of a batch that was read at `now`.
    pub fn read(&mut self, messages: &Messages, now: i64) {
        for message in messages.iter().filter(|message| message.timestamp >= 0) {
            push_run(&mut self.made, message.timestamp);
            push_run(&mut self.queued, now - message.timestamp);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.made.clear();
        self.queued.clear();
    }
}

fn push_run(runs: &mut Vec<(i64, u64)>, value: i64) {
    match runs.last_mut() {
        Some((last, n)) if *last == value => *n += 1,
        _ => runs.push((value, 1)),
    }
}

fn record(latencies: &Mutex<Latencies<u64>>, millis: impl Iterator<Item = (i64, u64)>) {
    let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    for (millis, n) in millis {
        latencies.saturating_record_n((millis.max(0) as u64) * 1000, n);
    }
}

fn digest(latencies: &Mutex<Latencies<u64>>) -> Digest {
    let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    Digest {
        count: latencies.len(),
        p50_ms: at(0.5),
        p90_ms: at(0.9),
        p99_ms: at(0.99),
        max_ms: latencies.max() as f64 / 1000.0,
    }
}

/// Prometheus text of several pipelines: each metric is described once, whoever has it.
pub fn text_of<'a>(all: impl Iterator<Item = &'a PipelineMetrics> + Clone) -> Result<String, MetricsError> {
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for mut family in all.clone().flat_map(|metrics| metrics.registry.gather()) {
        match families.get_mut(family.name()) {
            Some(known) => known.mut_metric().append(&mut family.take_metric()),
            None => drop(families.insert(family.name().to_owned(), family)),
        }
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&families.into_values().collect::<Vec<_>>(), &mut text)?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    let mut summaries: BTreeMap<String, String> = BTreeMap::new();
    for metrics in all {
        for (name, digest) in metrics.digests() {
            let described =
                || format!("# HELP {name} From the event's timestamp, milliseconds.\n# TYPE {name} summary\n");
            let lines = summary(&name, &digest, &metrics.pipeline, &metrics.instance);
            summaries.entry(name.clone()).or_insert_with(described).push_str(&lines);
        }
    }
    summaries.values().for_each(|lines| text.push_str(lines));
    Ok(text)
}

fn summary(name: &str, digest: &Digest, pipeline: &str, instance: &str) -> String {
    let own = format!("pipeline=\"{pipeline}\",instance=\"{instance}\"");
    let mut text = String::new();
    for (quantile, value) in
        [("0.5", digest.p50_ms), ("0.9", digest.p90_ms), ("0.99", digest.p99_ms), ("1", digest.max_ms)]
    {
        text.push_str(&format!("{name}{{{own},quantile=\"{quantile}\"}} {value}\n"));
    }
    text + &format!("{name}_count{{{own}}} {}\n", digest.count)
}
