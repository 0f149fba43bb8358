//! The kinds of document, and how to tell them.

use crate::{ExtractError, Source};

/// A kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text without markup.
    Text,
    /// CommonMark with GitHub's tables.
    Markdown,
    /// HTML or XHTML.
    Html,
    /// PDF.
    Pdf,
    /// A table of which a column is the text.
    Table,
}

/// Beginnings of files that are no readable text, and what they are.
const BINARY: [(&[u8], &str); 13] = [
    (b"PK\x03\x04", "a ZIP archive, as .docx, .xlsx, .odt and .epub are"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\xd0\xcf\x11\xe0", "an old Office file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x7fELF", "a program"),
    (b"{\\rtf", "an RTF file"),
    (b"%!PS", "a PostScript file"),
];

/// A PDF's mark may stand behind a header of the mail or web server that brought it.
const PDF_MARK_WITHIN: usize = 1024;
/// Enough of a page to see its doctype behind comments and an XML declaration.
const LOOK_BYTES: usize = 1024;

impl Kind {
    /// What a source is: its content type says so, else its first bytes, else its name's extension. Binary files of
    /// other kinds are refused, by what they are, and so is what is called a text and has the bytes of none.
    pub fn of(source: &Source<'_>) -> Result<Self, ExtractError> {
        if let Some(named) = source.content_type.map(media_type).filter(|named| !is_vague(named)) {
            let kind = of_media_type(&named).ok_or_else(|| unsupported(&format!("its content type is {named}")))?;
            // A charset that is named is taken at its word: its reader sees whether the text makes sense.
            let charset = source.content_type.is_some_and(|named| named.to_ascii_lowercase().contains("charset"));
            return if charset { Ok(kind) } else { kind.unless_binary(source.bytes, &named) };
        }
        if let Some(seen) = of_bytes(source.bytes)? {
            return Ok(seen);
        }
        match source.name.and_then(of_name) {
            Some(kind) => kind.unless_binary(source.bytes, "text"),
            None if is_binary(source.bytes) => Err(unsupported("its bytes are no text, and of no known kind")),
            None => Ok(Kind::Text),
        }
    }

    /// The media type of a text that is written down as one, in UTF-8, without a word on what it is: a page or Markdown
    /// where it looks or is called so, else plain. Whatever it speaks of, it is no PDF and no archive.
    pub fn of_written(text: &[u8], name: Option<&str>) -> &'static str {
        match name.and_then(of_name) {
            _ if is_html(text) => "text/html; charset=utf-8",
            Some(Kind::Html) => "text/html; charset=utf-8",
            Some(Kind::Markdown) => "text/markdown; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        }
    }

    fn unless_binary(self, bytes: &[u8], called: &str) -> Result<Self, ExtractError> {
        let is_text = matches!(self, Kind::Text | Kind::Markdown | Kind::Html);
        match is_text && is_binary(bytes) {
            true => Err(unsupported(&format!("it is called {called}, but its bytes are no text"))),
            false => Ok(self),
        }
    }
}

/// The media type alone, in lower case.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A type that says nothing.
fn is_vague(media_type: &str) -> bool {
    matches!(media_type, "" | "application/octet-stream" | "binary/octet-stream" | "application/x-download")
}

fn of_media_type(media_type: &str) -> Option<Kind> {
    match media_type {
        "application/pdf" | "application/x-pdf" => Some(Kind::Pdf),
        "application/vnd.apache.parquet" | "application/x-parquet" => Some(Kind::Table),
        "text/html" | "application/xhtml+xml" => Some(Kind::Html),
        "text/markdown" | "text/x-markdown" | "application/markdown" => Some(Kind::Markdown),
        "application/json" | "application/x-tex" | "application/x-latex" => Some(Kind::Text),
        other => other.starts_with("text/").then_some(Kind::Text),
    }
}

fn of_bytes(bytes: &[u8]) -> Result<Option<Kind>, ExtractError> {
    if let Some((_, what)) = BINARY.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Err(unsupported(&format!("it is {what}")));
    }
    if bytes.starts_with(b"PAR1") {
        return Ok(Some(Kind::Table));
    }
    let start = &bytes[..bytes.len().min(PDF_MARK_WITHIN)];
    if start.windows(5).any(|window| window == b"%PDF-") {
        return Ok(Some(Kind::Pdf));
    }
    Ok(is_html(bytes).then_some(Kind::Html))
}

/// A page says `<!doctype html` or `<html` before anything else but comments and declarations.
fn is_html(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(LOOK_BYTES)];
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let tags = [&b"<!doctype html"[..], b"<html"];
    let has = |tag: &[u8]| start.windows(tag.len()).any(|window| window.eq_ignore_ascii_case(tag));
    start.starts_with(b"<") && tags.into_iter().any(has)
}

/// By the extension: of the whole name, since files may have any sign in theirs; else of what stands before `?` and `#`,
/// as in addresses.
fn of_name(name: &str) -> Option<Kind> {
    of_file(name).or_else(|| of_file(name.split(['?', '#']).next().unwrap_or(name)))
}

fn of_file(file: &str) -> Option<Kind> {
    let file = file.rsplit(['/', '\\']).next().unwrap_or(file);
    match file.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "md" | "markdown" | "mdown" => Some(Kind::Markdown),
        "html" | "htm" | "xhtml" => Some(Kind::Html),
        "pdf" => Some(Kind::Pdf),
        "txt" | "text" | "log" | "rst" | "tex" | "org" | "adoc" => Some(Kind::Text),
        _ => None,
    }
}

/// A byte in so many that no text has: enough to tell a program from a text with a stray control character. Of random
/// bytes one in twelve is such a byte.
const BINARY_SHARE: usize = 32;
/// So many of them may be strays in a short text of valid UTF-8; in bytes that are not even that, the first one counts.
const STRAYS: usize = 3;

/// Bytes that no text has, unless it is UTF-16. Backspaces are left out, with which manuals underline, and the escapes of
/// terminals and of ISO-2022.
fn is_binary(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(8 * LOOK_BYTES)];
    if crate::encoding::utf_16(bytes).is_some() {
        return false;
    }
    let controls = start.iter().filter(|byte| **byte < 8 || (14..27).contains(*byte)).count();
    // A character that is cut off at the end is no fault.
    let is_utf_8 = std::str::from_utf8(start).map_or_else(|error| error.error_len().is_none(), |_| true);
    controls > if is_utf_8 { STRAYS } else { 0 } && controls * BINARY_SHARE > start.len()
}

/// A table that comes without the name of its column.
pub(crate) fn unnamed_column() -> ExtractError {
    unsupported("it is a Parquet table: name the column that holds its text (`page_content_column`)")
}

fn unsupported(what: &str) -> ExtractError {
    ExtractError::Unsupported(what.to_owned())
}
