//! The table that is trained on.

use arrow_array::RecordBatch;
use lunapark_schemas::training::TrainingRequest;

use crate::Refusal;

/// Features as columns, labels, weights.
#[derive(Clone, Debug)]
pub struct Tables {}

impl Tables {
    /// Picks the request's columns from batches of one schema.
    pub fn from_batches(_batches: &[RecordBatch], _request: &TrainingRequest) -> Result<Self, Refusal> {
        Ok(Self {})
    }
}
