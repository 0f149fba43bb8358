//! Errors that concern a whole batch: whose fault, and whether to try again.

use std::time::Duration;

/// Whether a failed batch is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Try the same batch again after this long: the fault is outside and may pass.
    After(Duration),
    /// Trying again would fail again: the runner bisects the batch down to the poison message.
    Never,
}

/// The operator could not process a batch.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct OperatorError {
    /// Whether to try again.
    pub retry: Retry,
    /// What is wrong and what to do.
    pub message: String,
}

impl OperatorError {
    /// An error that the same batch would meet again.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { retry: Retry::Never, message: message.into() }
    }
}
