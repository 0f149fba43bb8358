//! How a message ends: result, filtered, or dead letter. There is no fourth way.

use std::fmt;

/// What became of one message, one per input and in the same order.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<Out> {
    /// It has a result.
    Emit(Out),
    /// It was left out on purpose.
    Skip(SkipReason),
    /// It cannot be processed and becomes a dead letter.
    Reject(Rejection),
}

/// Why a message was filtered: a small closed set, so that it can be a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// Its `ce_expirytime` had passed when it was read.
    Expired,
    /// Its task has ended before: the same request was sent again.
    Repeated,
    /// It lay on another partition than its key's, and was put there.
    Rekeyed,
}

impl SkipReason {
    /// The label in metrics and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipReason::Expired => "expired",
            SkipReason::Repeated => "repeated",
            SkipReason::Rekeyed => "rekeyed",
        }
    }
}

/// Machine-readable reason of a dead letter (header `error-class`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorClass {
    /// The payload is empty.
    Empty,
    /// The payload is not what its content type says.
    Malformed,
    /// The content type is not supported.
    ContentType,
    /// The payload parses, but shape, datatype or field do not fit the model.
    Shape,
    /// A value is missing that the model cannot do without.
    Missing,
    /// A value that the model refuses, for example an infinity.
    Value,
    /// No model of that name or version.
    UnknownModel,
    /// A header cannot be understood.
    Header,
    /// The payload exceeds a configured limit.
    TooLarge,
    /// The result is larger than its topic takes.
    ResultTooLarge,
    /// A document cannot be read: encrypted, scanned, broken, out of reach.
    Document,
    /// No collection of that name.
    UnknownCollection,
    /// The operator failed on this record alone.
    Operator,
}

impl ErrorClass {
    /// Every class, for documentation and metrics.
    pub const ALL: [ErrorClass; 13] = [
        ErrorClass::Empty,
        ErrorClass::Malformed,
        ErrorClass::ContentType,
        ErrorClass::Shape,
        ErrorClass::Missing,
        ErrorClass::Value,
        ErrorClass::UnknownModel,
        ErrorClass::Header,
        ErrorClass::TooLarge,
        ErrorClass::ResultTooLarge,
        ErrorClass::Document,
        ErrorClass::UnknownCollection,
        ErrorClass::Operator,
    ];

    /// True where the payload is wrong whoever reads it, as opposed to what a model, a limit or an operator makes of it:
    /// no deploy is to blame.
    pub fn is_the_payloads(self) -> bool {
        matches!(self, Self::Empty | Self::Malformed | Self::ContentType | Self::Header)
    }

    /// The text in the header `error-class` and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorClass::Empty => "empty",
            ErrorClass::Malformed => "malformed",
            ErrorClass::ContentType => "content-type",
            ErrorClass::Shape => "shape",
            ErrorClass::Missing => "missing-value",
            ErrorClass::Value => "value",
            ErrorClass::UnknownModel => "unknown-model",
            ErrorClass::Header => "header",
            ErrorClass::TooLarge => "too-large",
            ErrorClass::ResultTooLarge => "result-too-large",
            ErrorClass::Document => "document",
            ErrorClass::UnknownCollection => "unknown-collection",
            ErrorClass::Operator => "operator",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a message, or one row of it, cannot be processed. The position is added by the runner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// Machine-readable reason.
    pub class: ErrorClass,
    /// What is wrong (row, field) and what to do, one sentence.
    pub message: String,
}

impl Rejection {
    /// A rejection of the given class.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }
}

/// A row of a message that has no score, while others of the same message do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRow {
    /// Row number in the message, from 0.
    pub row: u32,
    /// Why.
    pub rejection: Rejection,
}
