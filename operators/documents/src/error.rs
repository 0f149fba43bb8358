//! Why a document gives no text.

/// What is wrong with a document, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// It wants a password.
    #[error("the document is encrypted: save it without a password and send it again")]
    Encrypted,
    /// It has no text at all.
    #[error("the document holds no text: check that the right file was sent")]
    Empty,
    /// Its pages are pictures.
    #[error("the document's pages are images without text: run OCR over it (ocrmypdf) and send the result")]
    Scanned,
    /// It contradicts itself, or its reader broke over it.
    #[error("the document is broken: {0}; open it and save it anew, or export it to another format")]
    Broken(String),
    /// It is a table without a column that was named.
    #[error("the table's columns do not fit: {0}")]
    Column(String),
    /// It is above a limit.
    #[error("the document is too large: {0}; split it, or raise the limit")]
    TooLarge(String),
    /// It is of no kind that is read here.
    #[error("the document cannot be read: {0}; send plain text, Markdown, HTML, PDF or a table")]
    Unsupported(String),
    /// Its characters cannot be told.
    #[error("the document's characters cannot be told: {0}; save it as UTF-8, or name its charset in the content type")]
    Encoding(String),
}

impl ExtractError {
    /// One stable word, for headers, metrics and filters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::Empty => "empty",
            Self::Scanned => "scanned",
            Self::Broken(_) => "broken",
            Self::Column(_) => "column",
            Self::TooLarge(_) => "too-large",
            Self::Unsupported(_) => "unsupported",
            Self::Encoding(_) => "encoding",
        }
    }

    pub(crate) fn too_large(what: &str, is: usize, may: usize) -> Self {
        Self::TooLarge(format!("{is} {what} where {may} are allowed"))
    }

    /// The error of a reason and its details: what came from another process.
    pub(crate) fn of_reason(reason: &str, what: String) -> Self {
        match reason {
            "encrypted" => Self::Encrypted,
            "empty" => Self::Empty,
            "scanned" => Self::Scanned,
            "too-large" => Self::TooLarge(what),
            "unsupported" => Self::Unsupported(what),
            "encoding" => Self::Encoding(what),
            "column" => Self::Column(what),
            _ => Self::Broken(what),
        }
    }

    /// The details, as `of_reason` takes them.
    pub(crate) fn details(&self) -> &str {
        match self {
            Self::Encrypted | Self::Empty | Self::Scanned => "",
            Self::Broken(what)
            | Self::Column(what)
            | Self::TooLarge(what)
            | Self::Unsupported(what)
            | Self::Encoding(what) => what,
        }
    }
}
