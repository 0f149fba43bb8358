//! The scorer: events in, scores out, by the model that each event names.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod codec;
mod models;
mod scorer;

#[cfg(test)]
mod tests;

pub use codec::InferenceCodec;
pub use models::{ModelEntry, ModelSet};
pub use scorer::Scorer;
