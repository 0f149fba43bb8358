//! Models: file formats, kernels, and the one trait through which everything else sees them.

use arrow_array::RecordBatch;
use lunapark_schemas::Signature;
use std::sync::Arc;

/// A loaded model. A row's answer is bitwise independent of its batch and of its place in it.
pub trait Model: Send + Sync {
    /// Inputs and outputs.
    fn signature(&self) -> &Arc<Signature>;

    /// Whether a missing value (NaN) is an input like any other.
    fn accepts_missing(&self) -> bool;

    /// Scores every row of `rows`, whose schema is the signature's input schema; the answer has its output schema.
    fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError>;
}

/// placeholder
#[derive(Debug)]
pub struct ModelError;
