//! What can be wrong with a table.

use std::fmt::Display;

/// What is wrong with which file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what}; {advice}")]
pub struct TableError {
    /// The file as it was named.
    pub file: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl TableError {
    pub(crate) fn new(file: &str, what: impl Display, advice: impl Into<String>) -> Self {
        Self { file: file.to_owned(), what: what.to_string(), advice: advice.into() }
    }
}
