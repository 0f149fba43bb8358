//! What can be wrong with a model file or with the rows given to a model.

/// What is wrong with which file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}; {advice}", prefix(.file))]
pub struct ModelError {
    /// Which sort of fault it is.
    pub kind: ModelErrorKind,
    /// Name of the model file, as it was given to [`load`](crate::load).
    pub file: String,
    /// What is wrong, with the field or operator at fault.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

/// The sorts of fault; a caller decides by these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelErrorKind {
    /// The bytes are no valid file of their format, or contradict themselves.
    Unreadable,
    /// The file ends too early.
    Truncated,
    /// A valid file that asks for something this version does not do.
    Unsupported,
    /// The bytes are not the ones that were asked for.
    Digest,
    /// The rows do not have the shape or type of the model's inputs.
    Shape,
    /// The device is not there, or does not answer. Neither the file nor the rows are at fault.
    Device,
}

fn prefix(file: &str) -> String {
    if file.is_empty() { String::new() } else { format!("{file}: ") }
}

/// What to do with a file that contradicts itself.
const SAVE_AGAIN: &str = "the file is damaged: fetch it again, or save the model once more";

impl ModelError {
    fn new(kind: ModelErrorKind, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { kind, file: String::new(), what: what.into(), advice: advice.into() }
    }

    pub(crate) fn unreadable(what: impl Into<String>) -> Self {
        Self::new(ModelErrorKind::Unreadable, what, SAVE_AGAIN)
    }

    pub(crate) fn truncated(what: impl Into<String>) -> Self {
        Self::new(ModelErrorKind::Truncated, what, "the file ends too early: fetch it again")
    }

    pub(crate) fn unsupported(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(ModelErrorKind::Unsupported, what, advice)
    }

    pub(crate) fn digest(expected: &str, actual: &str) -> Self {
        let what = format!("its SHA-256 is {actual}, expected {expected}");
        Self::new(ModelErrorKind::Digest, what, "fetch the file again, or correct the expected digest")
    }

    pub(crate) fn shape(what: impl Into<String>) -> Self {
        Self::new(ModelErrorKind::Shape, what, "send rows that match the model's inputs (`lunapark model check FILE`)")
    }

    pub(crate) fn device(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(ModelErrorKind::Device, what, advice)
    }

    pub(crate) fn in_file(mut self, file: &str) -> Self {
        self.file = file.to_owned();
        self
    }
}
