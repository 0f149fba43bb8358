//! Where a model runs: on the CPU, or as a network on a device by way of candle.
//!
//! One thread owns a device ([`owner`]). Stream threads hand their batches over and wait; whatever has come in while the
//! device was busy runs as one batch, so small batches join by budget and nobody waits for a timer. candle chooses its
//! products by their shape, so a batch is cut and padded to a few shapes, of which only those are used that give a row
//! the same bits ([`shapes`]).
//!
//! Networks of dense layers run there: Lunapark's own files, and ONNX graphs that are one chain of layers. Everything
//! else is refused by name, and so is a device that is not there: a model never runs elsewhere than it was told to.

#[cfg(not(feature = "candle"))]
mod absent;
#[cfg(feature = "candle")]
mod backend;
#[cfg(feature = "candle")]
mod model;
#[cfg(any(test, feature = "candle"))]
mod owner;
#[cfg(feature = "candle")]
mod plan;
#[cfg(any(test, feature = "candle"))]
mod shapes;
#[cfg(test)]
mod tests;

pub use lunapark_schemas::Device;

use crate::{Format, ModelError};

#[cfg(not(feature = "candle"))]
pub(crate) use absent::place;
#[cfg(feature = "candle")]
pub use backend::open_device;
#[cfg(feature = "candle")]
pub(crate) use model::place;
#[cfg(feature = "candle")]
pub(crate) use plan::{Dense, Plan};

/// What to do where a model cannot run on a device.
const ON_THE_CPU: &str = "set its `device` to \"cpu\" (`--device cpu`)";

/// A format that runs on the CPU alone.
pub(crate) fn refused(format: Format, device: Device) -> ModelError {
    let why = match format {
        Format::Onnx => "it is more than one chain of dense layers",
        _ => "trees run on the CPU",
    };
    ModelError::unsupported(format!("{format} cannot run on {device}: {why}"), ON_THE_CPU)
}

/// A binary without the backend.
fn not_built(device: Device) -> ModelError {
    let what = format!("the device {device} is asked for, and this lunapark was built without CUDA");
    ModelError::device(what, format!("build it with `deploy/cuda`, or {ON_THE_CPU}"))
}
