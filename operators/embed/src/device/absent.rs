//! In a binary without the backend: every device but the CPU is refused.

use lunapark_schemas::Device;

use super::{Trial, not_built};
use crate::EmbedError;

/// No network is on a device.
#[derive(Debug)]
pub(crate) enum OnDevice {}

impl OnDevice {
    pub(crate) fn device(&self) -> Device {
        match *self {}
    }

    pub(crate) fn vectors(&self, _texts: &[&[u32]]) -> Result<Vec<f32>, EmbedError> {
        match *self {}
    }
}

/// Refuses the device.
pub(crate) fn place(device: Device, _trial: Trial) -> Result<OnDevice, EmbedError> {
    Err(not_built(device))
}
