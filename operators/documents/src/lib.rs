//! Documents to text and pieces: what search and citations are made of. No Kafka, no object store, no model.
//!
//! ```text
//!   bytes ──Kind::of──▶ text ─────┐
//!   (content type,      markdown ─┤
//!    magic bytes,       html ─────┼──▶ Extracted ──chunk──▶ parents ▸ children
//!    file name)         pdf ──────┘    text, title,         byte spans into the text,
//!                        ▲             sections, pages      counted by the model's own tokens
//!              child process with
//!              time and memory limits
//!
//!   a table ──each_row──▶ one content per row ──extract_table──▶ Extracted, a section per row
//! ```
//!
//! Nothing here runs a document's scripts, follows its links or trusts its sizes: a source is refused above
//! [`Limits`], parsers keep no stack that grows with nesting, and what cannot be read ends as an [`ExtractError`] whose
//! [`reason`](ExtractError::reason) a dead letter carries.

pub mod chunk;
mod encoding;
mod error;
mod extracted;
mod html;
mod kind;
mod markdown;
mod matter;
pub mod pdf;
mod plain;
pub mod rows;
mod writer;

#[cfg(test)]
mod tests;

pub use chunk::{Child, ChunkError, ChunkOptions, Parent, Tokens, chunk};
pub use error::ExtractError;
pub use extracted::{Extracted, Place, Section};
pub use kind::Kind;
pub use matter::{front_matter, is_front_matter_open};
pub use pdf::{Pages, PdfReader};
pub use rows::{Columns, Row, TableFormat, each_row, extract_table};

/// Bytes of a document, and what is known of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// The document.
    pub bytes: &'a [u8],
    /// Its media type as the sender named it, with or without a charset.
    pub content_type: Option<&'a str>,
    /// Its file name or URI; only the extension is looked at.
    pub name: Option<&'a str>,
}

/// How much one document may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a source, at most.
    pub max_bytes: usize,
    /// Bytes of its text, at most.
    pub max_text_bytes: usize,
    /// Pages of a PDF, at most.
    pub max_pages: u32,
}

impl Default for Limits {
    /// 64 MiB and 5,000 pages hold any book or thesis; 16 MiB of text are sixteen of the longest novels.
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_text_bytes: 16 << 20, max_pages: 5000 }
    }
}

/// The text of a document, with its title, headings and pages.
pub fn extract(source: &Source<'_>, limits: &Limits, pdf: &dyn PdfReader) -> Result<Extracted, ExtractError> {
    if source.bytes.len() > limits.max_bytes {
        return Err(ExtractError::too_large("bytes", source.bytes.len(), limits.max_bytes));
    }
    let kind = Kind::of(source)?;
    let extracted = match kind {
        Kind::Table => return Err(kind::unnamed_column()),
        Kind::Pdf => pdf::document(pdf.read(source.bytes, limits)?, limits)?,
        Kind::Text | Kind::Markdown | Kind::Html => {
            let (text, encoding) = encoding::decode(source.bytes, source.content_type, kind)?;
            match kind {
                Kind::Markdown => markdown::document(&text, encoding, limits)?,
                Kind::Html => html::document(&text, encoding, limits)?,
                _ => plain::document(text, encoding),
            }
        }
    };
    checked(extracted, limits)
}

/// Text that is there, and within its limit.
fn checked(extracted: Extracted, limits: &Limits) -> Result<Extracted, ExtractError> {
    if extracted.text.len() > limits.max_text_bytes {
        return Err(ExtractError::too_large("bytes of text", extracted.text.len(), limits.max_text_bytes));
    }
    match extracted.text.trim().is_empty() {
        true => Err(ExtractError::Empty),
        false => Ok(extracted),
    }
}
