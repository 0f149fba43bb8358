//! Models: file formats, kernels, and the one trait through which everything else sees them.
//!
//! [`load`] finds the format by looking into the bytes, never by a file's name, checks every number it reads, and
//! gives back a [`Model`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod error;
mod input;
mod instructions;
mod load;
mod math;
pub mod mlp;
#[cfg(test)]
mod tests;
mod trees;
pub mod xgboost;

use std::sync::Arc;

use arrow_array::RecordBatch;
use lunapark_schemas::Signature;

pub use error::{ModelError, ModelErrorKind};
pub use load::{Details, Format, Loaded, Summary, load};

/// A loaded model. A row's answer is bitwise independent of its batch and of its place in it.
pub trait Model: Send + Sync {
    /// Inputs and outputs.
    fn signature(&self) -> &Arc<Signature>;

    /// Whether a missing value (NaN) is an input like any other.
    fn accepts_missing(&self) -> bool;

    /// Scores every row of `rows`, whose schema is the signature's input schema; the answer has its output schema.
    fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError>;
}
