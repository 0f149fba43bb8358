//! The scorer: events in, scores out, by the model that each event names.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cascade;
mod codec;
mod cuts;
mod models;
mod refused;
mod scorer;

#[cfg(test)]
mod tests;

pub use codec::InferenceCodec;
pub use cuts::{Cut, CutTable, Cuts, Named, ShadowCut, Taker, Version};
pub use models::{Kept, ModelEntry, ModelSet, NotAdded, Unresolved};
pub use refused::{Refused, refused_rows};
pub use scorer::Scorer;
