//! Models: file formats, kernels, and the one trait through which everything else sees them.
//!
//! [`load`] finds the format by looking into the bytes, never by a file's name, checks every number it reads, and
//! gives back a [`Model`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

// The fuzz engine sees this crate by its name, from its example and from here.
#[cfg(test)]
extern crate self as lunapark_models;

mod device;
mod error;
mod foreign;
mod input;
mod instructions;
mod lanes;
pub mod lightgbm;
mod link;
mod load;
pub mod math;
pub mod mlp;
pub mod onnx;
#[cfg(test)]
mod tests;
mod trees;
pub mod xgboost;

use std::sync::Arc;

use arrow_array::RecordBatch;
use lunapark_schemas::Signature;

pub use device::Device;
#[cfg(feature = "candle")]
pub use device::open_device;
pub use error::{ModelError, ModelErrorKind};
pub use load::{Details, Format, Loaded, Summary, load, load_on};

/// The elements that a model takes besides finite numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Accepts {
    /// A missing value (NaN) is an input like any other.
    pub missing: bool,
    /// So is an infinity.
    pub infinite: bool,
}

/// A loaded model. On the CPU a row's answer is bitwise independent of its batch and of its place in it; on another
/// device [`same_bits_in_any_batch`](Model::same_bits_in_any_batch) tells.
pub trait Model: Send + Sync {
    /// Inputs and outputs.
    fn signature(&self) -> &Arc<Signature>;

    /// Which elements it takes besides finite numbers. Rows with others are refused by whoever asks for scores, so
    /// that a row fails alone and names its field.
    fn accepts(&self) -> Accepts;

    /// The same of one element of one input, where some of them take more than all do.
    fn accepts_element(&self, input: usize, element: usize) -> Accepts {
        let _ = (input, element);
        self.accepts()
    }

    /// Scores every row of `rows`, whose schema is the signature's input schema; the answer has its output schema.
    fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError>;

    /// Where it runs.
    fn device(&self) -> Device {
        Device::Cpu
    }

    /// Whether a row's answer has the same bits whatever rows are scored with it. Otherwise it is within 1e-4.
    fn same_bits_in_any_batch(&self) -> bool {
        true
    }
}
