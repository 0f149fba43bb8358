//! What can be wrong with the files of a model, with a text, or with the machine.

/// What is wrong with which file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}; {advice}", prefix(.file))]
pub struct EmbedError {
    /// Which sort of fault it is.
    pub kind: EmbedErrorKind,
    /// Name of the model's file at fault; empty where no file is.
    pub file: String,
    /// What is wrong, with the field or tensor at fault.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

/// The sorts of fault; a caller decides by these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbedErrorKind {
    /// The folder lacks a file.
    Missing,
    /// A file could not be read from where it is: another time it may be.
    Unreachable,
    /// The bytes are no valid file of their format, or the files contradict each other.
    Unreadable,
    /// A valid model that asks for something this version does not do.
    Unsupported,
    /// The tokenizer refuses the text.
    Text,
    /// The machine cannot do what was asked for.
    Machine,
    /// A device is not there, or does not answer: another time it may.
    Device,
}

fn prefix(file: &str) -> String {
    if file.is_empty() { String::new() } else { format!("{file}: ") }
}

/// What to do with files that contradict themselves.
const FETCH_AGAIN: &str = "the model is damaged: fetch it again, or save it once more";

impl EmbedError {
    fn new(kind: EmbedErrorKind, file: &str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { kind, file: file.to_owned(), what: what.into(), advice: advice.into() }
    }

    pub(crate) fn missing(file: &str) -> Self {
        let advice = "give a folder in the layout of sentence-transformers, with weights in safetensors";
        Self::new(EmbedErrorKind::Missing, file, "there is no such file", advice)
    }

    /// A file that is there but could not be had; implementations of [`ModelFiles`](crate::ModelFiles) say so with it.
    pub fn unreachable(file: &str, what: impl Into<String>) -> Self {
        Self::new(EmbedErrorKind::Unreachable, file, what, "see that it can be read, and try again")
    }

    pub(crate) fn unreadable(file: &str, what: impl Into<String>) -> Self {
        Self::new(EmbedErrorKind::Unreadable, file, what, FETCH_AGAIN)
    }

    pub(crate) fn unsupported(file: &str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(EmbedErrorKind::Unsupported, file, what, advice)
    }

    pub(crate) fn text(what: impl Into<String>) -> Self {
        Self::new(EmbedErrorKind::Text, "", what, "leave this text out")
    }

    pub(crate) fn machine(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(EmbedErrorKind::Machine, "", what, advice)
    }

    pub(crate) fn device(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(EmbedErrorKind::Device, "", what, advice)
    }
}
