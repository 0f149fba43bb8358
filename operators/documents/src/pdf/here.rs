//! The reader itself, for a process that may die of it.

use std::any::Any;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use pdf_extract::{Document, Error, Object, OutputError, PlainTextOutput, output_doc_page};

use super::{Pdfium, answer};
use crate::{ExtractError, Limits, Pages};

/// The whole life of a child process: a file from standard input, its pages to standard output. Where a library of pdfium
/// is named it reads, and nothing else does.
pub fn child_main(limits: &Limits, pdfium: Option<&Path>) -> ExitCode {
    let mut bytes = Vec::new();
    let most = u64::try_from(limits.max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let result = match std::io::stdin().lock().take(most).read_to_end(&mut bytes) {
        Ok(_) => read(&bytes, limits, pdfium),
        Err(error) => Err(ExtractError::Broken(format!("its bytes did not arrive: {error}"))),
    };
    let mut output = std::io::stdout().lock();
    match output.write_all(answer::line(result).as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever asked is gone.
        Err(_) => ExitCode::FAILURE,
    }
}

fn read(bytes: &[u8], limits: &Limits, pdfium: Option<&Path>) -> Result<Pages, ExtractError> {
    let Some(path) = pdfium else { return read_here(bytes, limits) };
    let unusable = |what: String| ExtractError::Unsupported(format!("pdfium at {}: {what}", path.display()));
    Pdfium::open(path).map_err(unusable)?.read(bytes, limits)
}

/// The pages of a PDF, read in this process. On odd files the library panics (an error here), but it may also loop, or
/// ask for more memory than there is: call it where that harms nobody.
pub fn read_here(bytes: &[u8], limits: &Limits) -> Result<Pages, ExtractError> {
    if bytes.len() > limits.max_bytes {
        return Err(ExtractError::too_large("bytes", bytes.len(), limits.max_bytes));
    }
    let document = guarded("its structure", || Document::load_mem(bytes).map_err(|error| refused(&error)))??;
    // The library opens with the empty password what that opens, and then takes this away.
    if document.trailer.get(b"Encrypt").is_ok() {
        return Err(ExtractError::Encrypted);
    }
    let pages = guarded("its pages", || document.get_pages().len())?;
    if pages > limits.max_pages as usize {
        return Err(ExtractError::too_large("pages", pages, limits.max_pages as usize));
    }
    let pages = texts(&document, pages, limits)?;
    if pages.iter().all(|page| page.trim().is_empty()) {
        return Err(if has_images(&document) { ExtractError::Scanned } else { ExtractError::Empty });
    }
    Ok(Pages { title: guarded("its title", || title(&document))?, pages })
}

fn texts(document: &Document, count: usize, limits: &Limits) -> Result<Vec<String>, ExtractError> {
    let (mut pages, mut bytes) = (Vec::with_capacity(count), 0);
    for number in (1..=limits.max_pages).take(count) {
        let page = page(document, number)?;
        bytes += page.len();
        if bytes > limits.max_text_bytes {
            return Err(ExtractError::too_large("bytes of text", bytes, limits.max_text_bytes));
        }
        pages.push(page);
    }
    Ok(pages)
}

/// A page's text by its layout; where that reader stumbles (over a font of symbols without an encoding, most often), by
/// the order of its drawing alone, which leaves out what it cannot name.
fn page(document: &Document, number: u32) -> Result<String, ExtractError> {
    let place = format!("page {number}");
    let mut text = String::new();
    match guarded(&place, || output_doc_page(document, &mut PlainTextOutput::new(&mut text), number)) {
        Ok(Ok(())) => Ok(text),
        Ok(Err(OutputError::PdfError(error))) => Err(refused(&error)),
        Ok(Err(error)) => Err(ExtractError::Broken(format!("{place}: {error}"))),
        Err(stumbled) => match guarded(&place, || document.extract_text(&[number])) {
            Ok(Ok(text)) if !text.contains(UNNAMED) => Ok(text),
            _ => Err(stumbled),
        },
    }
}

/// What lopdf writes where it does not know a font's encoding.
const UNNAMED: &str = "Unimplemented?";

/// What the library says of a file, as one of our reasons.
fn refused(error: &Error) -> ExtractError {
    match error {
        Error::InvalidPassword | Error::Decryption(_) | Error::UnsupportedSecurityHandler(_) => ExtractError::Encrypted,
        other => ExtractError::Broken(other.to_string()),
    }
}

fn title(document: &Document) -> Option<String> {
    let information = document.trailer.get(b"Info").ok()?;
    let (_, information) = document.dereference(information).ok()?;
    let title = information.as_dict().ok()?.get(b"Title").ok()?;
    let (_, title) = document.dereference(title).ok()?;
    pdf_extract::decode_text_string(title).ok()
}

fn has_images(document: &Document) -> bool {
    let is_image = |object: &Object| {
        let subtype = object.as_stream().and_then(|stream| stream.dict.get(b"Subtype")).and_then(Object::as_name);
        subtype.is_ok_and(|name| name == b"Image")
    };
    document.objects.values().any(is_image)
}

/// A panic as an error.
fn guarded<T>(place: &str, act: impl FnOnce() -> T) -> Result<T, ExtractError> {
    catch_unwind(AssertUnwindSafe(act))
        .map_err(|panic| ExtractError::Broken(format!("its reader stumbled over {place}: {}", message(panic.as_ref()))))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
