//! What a pipeline says of itself on the topic `metrics`: the same figures as on `/metrics`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One report of one instance; counters count from the start of the instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsRecord {
    /// Pipeline name.
    pub pipeline: String,
    /// Stable instance name.
    pub instance: String,
    /// When it was written, milliseconds since 1970.
    pub time_ms: i64,
    /// Seconds since the instance started.
    pub uptime_s: f64,
    /// Counters by metric name, as on `/metrics`; labels in braces behind the name.
    pub counters: BTreeMap<String, f64>,
    /// Latency digests by metric name.
    pub latencies: BTreeMap<String, Digest>,
}

/// A latency distribution in a few numbers, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Digest {
    /// Number of observations.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Largest.
    pub max_ms: f64,
}
