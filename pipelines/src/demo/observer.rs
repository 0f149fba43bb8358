//! The observer: a consumer of results and dead letters like any user's, which knows the truth of every event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use lunapark_schemas::headers::dead;
use lunapark_schemas::{Message, Messages};
use lunapark_topics::{Catalog, Limit, Log, LogError, Reader};
use serde::Deserialize;

use super::roc::Roc;
use super::sample::Sample;
use crate::clock;

/// Bins of the score histogram.
pub const BINS: usize = 20;
const LIMIT: Limit = Limit { messages: 10_000, bytes: 8 << 20 };
/// Latencies up to ten minutes, in microseconds.
const LONGEST_US: u64 = 600_000_000;

/// Everything seen so far.
pub struct Observer {
    reader: Box<dyn Reader>,
    messages: Messages,
    sample: Arc<Sample>,
    results: Arc<str>,
    roc: Roc,
    /// Signal and background per bin of the score.
    pub bins: [[u64; 2]; BINS],
    /// Dead letters by reason.
    pub dead: BTreeMap<String, u64>,
    latency: Histogram<u64>,
}

#[derive(Deserialize)]
struct Reply {
    predictions: Vec<f32>,
}

impl Observer {
    /// Reads results and dead letters from their beginnings.
    pub fn open(log: &dyn Log, catalog: &Catalog, sample: Arc<Sample>) -> Result<Self, LogError> {
        let dead = catalog.inference_events.dead();
        let mut from = Vec::new();
        for topic in [catalog.inference_results.name(), dead.name()] {
            let partitions = log.topic(topic)?.partitions;
            from.extend((0..partitions).map(|p| lunapark_schemas::TopicPartition::new(topic.clone(), p).at(0)));
        }
        let latency = Histogram::new_with_bounds(1, LONGEST_US, 3);
        Ok(Self {
            reader: log.reader(&from)?,
            messages: Messages::new(),
            sample,
            results: catalog.inference_results.name().clone(),
            roc: Roc::new(),
            bins: [[0; 2]; BINS],
            dead: BTreeMap::new(),
            latency: latency.map_err(|e| LogError::new(lunapark_topics::LogErrorKind::Internal, e.to_string()))?,
        })
    }

    /// Reads what has appeared.
    pub fn poll(&mut self, wait: Duration) -> Result<(), LogError> {
        let mut messages = std::mem::take(&mut self.messages);
        messages.clear();
        let read = self.reader.poll(&mut messages, LIMIT, wait);
        let now = clock::now_millis();
        messages.iter().for_each(|message| self.take(&message, now));
        self.messages = messages;
        read.map(drop)
    }

    fn take(&mut self, message: &Message<'_>, now: i64) {
        if *message.topic != self.results {
            let reason = message.headers.get_str(dead::CLASS).unwrap_or("unknown").to_owned();
            *self.dead.entry(reason).or_default() += 1;
            return;
        }
        self.latency.saturating_record((now - message.timestamp).max(0) as u64 * 1000);
        let number = message.key.and_then(|key| std::str::from_utf8(key).ok()?.parse::<usize>().ok());
        let reply = message.value.and_then(|value| serde_json::from_slice::<Reply>(value).ok());
        let (Some(number), Some(&score)) = (number, reply.as_ref().and_then(|r| r.predictions.first())) else { return };
        let signal = self.sample.events[number % self.sample.events.len()].signal;
        self.roc.add(score, signal);
        self.bins[((score * BINS as f32) as usize).min(BINS - 1)][usize::from(!signal)] += 1;
    }

    /// Events with a score.
    pub fn scored(&self) -> u64 {
        self.roc.count()
    }

    /// Dead letters.
    pub fn dead_letters(&self) -> u64 {
        self.dead.values().sum()
    }

    /// Latency from an event's timestamp to its result's being seen, at a quantile, milliseconds.
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Area under the ROC curve so far, for a look ten times a second.
    pub fn auc_so_far(&self) -> f64 {
        self.roc.area_so_far()
    }

    /// Area under the ROC curve; exact for as many scores as the demo has in its short form.
    pub fn auc(&self) -> f64 {
        self.roc.area()
    }
}
