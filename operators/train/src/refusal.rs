//! Why something cannot be trained.

/// A sentence that says what is wrong and what to change; it ends as the task's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Which sort of fault it is.
    pub kind: RefusalKind,
    /// What is wrong and what to change.
    pub message: String,
}

/// The sorts of fault; a caller decides by these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request asks for something that is not there.
    Request,
    /// The table cannot be trained on.
    Data,
    /// The training itself came to nothing.
    Training,
    /// The checkpoint is not of this request, or is damaged: start again without it.
    Checkpoint,
    /// The device is not there, or does not answer. Neither the request nor its table is at fault.
    Device,
}

impl Refusal {
    /// Of the request.
    pub fn request(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Request, message: message.into() }
    }

    /// Of the table.
    pub fn data(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Data, message: message.into() }
    }

    /// Of the training.
    pub fn training(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Training, message: message.into() }
    }

    /// Of the device.
    pub fn device(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Device, message: message.into() }
    }

    /// Of the checkpoint.
    pub fn checkpoint(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Checkpoint, message: message.into() }
    }
}
