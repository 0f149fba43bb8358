//! The scorer: events in, scores out, by the model that each event names.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod codec;
mod models;
mod refused;
mod scorer;

#[cfg(test)]
mod tests;

pub use codec::InferenceCodec;
pub use models::{ModelEntry, ModelSet};
pub use refused::{Refused, refused_rows};
pub use scorer::Scorer;
