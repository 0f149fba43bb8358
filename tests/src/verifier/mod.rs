//! A verifier outside the pipeline: an oracle issues numbered events, and every number that the log accepted is an
//! obligation. Afterwards the whole of the topics is read back and every message and row is counted.
//!
//! ```text
//! Plan (event n) ──▶ load ──▶ events ──▶ pipeline, disturbed ──▶ results, dead letters ─┐
//!        │             └─ acknowledged numbers ─────────────────────────────────────────┤
//!        └────────▶ the same payloads through an undisturbed run ──▶ Baseline ──────────┴──▶ verify ──▶ Verdict
//! ```

mod baseline;
mod check;
mod cuts;
mod embedded;
mod fault;
mod kafka;
mod plan;
mod random;

pub use baseline::{Answer, Baseline, DeadAnswer};
pub use check::{Evidence, verify};
pub use cuts::CutBook;
pub use embedded::EmbeddedLoad;
pub use fault::{Fault, Totals, Verdict};
pub use kafka::{KafkaLoad, Moved, Progress, hanging_transactions, read_topic, read_uncommitted, topics_under};
pub use plan::{Kind, Plan, Planned};
pub use random::Random;

/// An event that the log has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its number.
    pub number: u64,
    /// Where the log says that it stands; the embedded log does not say.
    pub at: Option<(i32, i64)>,
}

/// What a load ended with.
#[derive(Clone, Debug, Default)]
pub struct Produced {
    /// Numbers acknowledged.
    pub accepted: Vec<Accepted>,
    /// Numbers sent that were never acknowledged: they may be in the topic or not.
    pub in_doubt: u64,
}
