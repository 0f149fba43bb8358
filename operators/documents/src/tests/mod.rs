//! Tests of the crate.

mod bombs;
mod chunks;
mod encodings;
mod figures;
mod fuzz;
mod markup;
mod pdfs;
mod tables;
mod tokenizers;

use crate::{ExtractError, Extracted, Limits, Pages, PdfReader, Source};

/// A machine without a PDF reader.
pub(crate) struct NoPdf;

impl PdfReader for NoPdf {
    fn read(&self, _: &[u8], _: &Limits) -> Result<Pages, ExtractError> {
        Err(ExtractError::Unsupported("there is no PDF reader here".to_owned()))
    }
}

/// Extracts what a file of this name holds.
pub(crate) fn extract(bytes: &[u8], name: &str) -> Result<Extracted, ExtractError> {
    let source = Source { bytes, content_type: None, name: Some(name) };
    crate::extract(&source, &Limits::default(), &NoPdf)
}
