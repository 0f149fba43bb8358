//! What one run of either side is told.

use clap::ValueEnum;
use lunapark_topics::catalog::CatalogOptions;
use lunapark_topics::{Catalog, Delivery};
use serde::{Deserialize, Serialize};

/// Stands before every topic and group of the measurements.
pub const PREFIX: &str = "bench.";
/// Partitions of events and results, the product's default.
pub const PARTITIONS: i32 = 6;
/// Milliseconds between commits, the product's default.
pub const COMMIT_MS: u64 = 50;
/// Name and version of the one model; both sides write it into their results.
pub const MODEL: (&str, &str) = ("higgs", "1");

/// Which built-in model scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum ModelKind {
    /// Perceptron 28-128-64-1.
    Mlp,
    /// 151 boosted trees of depth 6.
    Xgb,
}

impl ModelKind {
    /// Its address.
    pub fn path(self) -> &'static str {
        match self {
            ModelKind::Mlp => "builtin:higgs-mlp",
            ModelKind::Xgb => "builtin:higgs-xgb",
        }
    }
}

/// How events travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// KServe v1 JSON, one event per message.
    Json,
    /// An Arrow stream of 256 events per message.
    Arrow,
}

impl Payload {
    /// Events per message.
    pub fn rows(self) -> usize {
        match self {
            Payload::Json => 1,
            Payload::Arrow => 256,
        }
    }
}

/// How results and offsets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "snake_case")]
pub enum Mode {
    /// In one transaction per commit interval.
    ExactlyOnce,
    /// Results at once, offsets after them.
    AtLeastOnce,
}

impl Mode {
    /// The product's word.
    pub fn delivery(self) -> Delivery {
        match self {
            Mode::ExactlyOnce => Delivery::ExactlyOnce,
            Mode::AtLeastOnce => Delivery::AtLeastOnce,
        }
    }

    /// As the configuration spells it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::ExactlyOnce => "exactly_once",
            Mode::AtLeastOnce => "at_least_once",
        }
    }
}

/// One run of the scorer or of the bare loop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The cluster; empty where the run is on the embedded log.
    pub bootstrap: String,
    /// Which model.
    pub model: ModelKind,
    /// What the messages carry.
    pub payload: Payload,
    /// Messages in the events topic once it is complete.
    pub messages: u64,
    /// Stream threads.
    pub threads: usize,
    /// Delivery mode.
    pub mode: Mode,
    /// How long the producer waits for more before it sends, in milliseconds; `None` is as the product has it.
    pub linger_ms: Option<u32>,
    /// Name of this run: makes its group and its transactional ids new.
    pub run: String,
}

impl Job {
    /// Consumer group of this run.
    pub fn group(&self) -> String {
        format!("{PREFIX}{}", self.run)
    }

    /// Events in all messages.
    pub fn rows(&self) -> u64 {
        self.messages * self.payload.rows() as u64
    }
}

/// The topics of the measurements: the product's own catalog under another prefix.
pub fn catalog() -> Catalog {
    Catalog::new(&CatalogOptions {
        prefix: PREFIX.into(),
        partitions: PARTITIONS,
        ledger_partitions: PARTITIONS,
        // Long enough for any measurement; leftovers of a killed one go by themselves.
        retention: Some(std::time::Duration::from_secs(24 * 3600)),
        jobs_retention: None,
        control_retention: None,
        max_message_bytes: lunapark_topics::catalog::DEFAULT_MAX_MESSAGE_BYTES,
        replication: 1,
    })
}

/// Message `index` of a topic stands here: events go round the partitions.
pub fn place_of(index: u64) -> (i32, i64) {
    let partitions = PARTITIONS as u64;
    ((index % partitions) as i32, (index / partitions) as i64)
}

/// The inverse of [`place_of`].
pub fn index_of(partition: i32, offset: i64) -> u64 {
    offset as u64 * PARTITIONS as u64 + partition as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_indices_are_inverse() {
        for index in [0, 1, 5, 6, 7, 999_999] {
            let (partition, offset) = place_of(index);
            assert_eq!(index_of(partition, offset), index);
        }
    }
}
