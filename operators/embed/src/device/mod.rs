//! An encoder on a device, by way of candle.
//!
//! ```text
//!  texts of a call ─── sorted, up to 16,384 tokens together            model.rs
//!    ▼
//!  the one thread that owns the device: what waits runs together       owner.rs
//!    ▼
//!  all tokens in one matrix for the linear layers                      forward.rs
//!    ├─ attention over texts of nearly one length, padded              bands.rs, attention.rs
//!    ▼
//!  pooling on the device; a vector per text comes back
//! ```
//!
//! Nothing waits for a timer: while the device computes, the next groups of other threads come in, and run as one. At load
//! the network answers some texts on the device and on the CPU, and is not taken where they differ; a device that is
//! asked for and not there is an error, never a run elsewhere.

#[cfg(not(feature = "candle"))]
mod absent;
#[cfg(feature = "candle")]
mod attention;
#[cfg(feature = "candle")]
mod backend;
#[cfg(any(test, feature = "candle"))]
mod bands;
#[cfg(feature = "candle")]
mod forward;
#[cfg(feature = "candle")]
mod model;
#[cfg(any(test, feature = "candle"))]
mod owner;
#[cfg(test)]
mod tests;

use lunapark_schemas::Device;

use crate::network::Network;
use crate::{EmbedError, Pooling};

#[cfg(not(feature = "candle"))]
pub(crate) use absent::{OnDevice, place};
#[cfg(feature = "candle")]
pub(crate) use model::{OnDevice, place};

/// What to do where an encoder cannot run on a device.
pub(crate) const ON_THE_CPU: &str = "set `documents.device` to \"cpu\"";

/// A network that may go to a device, where the CPU's answers are what it is held against.
#[derive(Debug)]
#[cfg_attr(not(feature = "candle"), expect(dead_code, reason = "no device takes it"))]
pub(crate) struct Trial {
    pub network: Network,
    pub pooling: Pooling,
    /// The most tokens of a text.
    pub max_tokens: usize,
}

/// A binary without the backend.
fn not_built(device: Device) -> EmbedError {
    let what = format!("the device {device} is asked for, and this lunapark was built without CUDA");
    EmbedError::device(what, format!("build it with `deploy/cuda`, or {ON_THE_CPU}"))
}
