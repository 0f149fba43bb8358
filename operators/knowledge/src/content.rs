//! Where the bytes of a document come from.

/// Content that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It may not be read, or is not there: the same record would meet the same.
    #[error("{0}")]
    Refused(String),
    /// The store does not answer now; it may later.
    #[error("{0}")]
    Away(String),
}

/// Reads what a record's `uri` names, where the service may.
pub trait Sources: Send + Sync {
    /// The bytes, no more than `limit` of them.
    fn read(&self, uri: &str, limit: usize) -> Result<Vec<u8>, SourceError>;
}

/// The document's bytes: those that came with its record, or those where it says.
pub(crate) fn bytes_of(
    inline: Option<Vec<u8>>,
    uri: Option<&str>,
    sources: &dyn Sources,
    limit: usize,
) -> Result<Vec<u8>, SourceError> {
    let bytes = match (inline, uri) {
        (Some(bytes), _) => bytes,
        (None, Some(uri)) => return sources.read(uri, limit),
        (None, None) => Vec::new(),
    };
    match bytes.len() > limit {
        true => {
            Err(SourceError::Refused(format!("{} bytes; `documents.max_document_bytes` allows {limit}", bytes.len())))
        }
        false => Ok(bytes),
    }
}
