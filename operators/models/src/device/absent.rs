//! In a binary without the backend: every device but the CPU is refused.

use std::sync::Arc;

use super::{Device, not_built};
use crate::mlp::Network;
use crate::{Model, ModelError};

/// Refuses the device.
pub(crate) fn place(
    device: Device,
    _file: &str,
    _model: &dyn Model,
    _network: &Network,
) -> Result<Arc<dyn Model>, ModelError> {
    Err(not_built(device))
}
