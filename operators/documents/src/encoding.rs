//! Bytes to characters.
//!
//! ```text
//!   a byte order mark ▶ the content type's charset ▶ the page's <meta charset> ▶ UTF-16 by its zero bytes
//!     ▶ valid UTF-8 ▶ what chardetng guesses (windows-1252 and its kin)
//! ```
//!
//! The first that applies decides. A mark goes before a named charset, as in browsers: with one there is no doubt.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::{ExtractError, Kind};

/// How far into a page its charset may stand, by the HTML standard.
const META_WITHIN: usize = 1024;
/// What is looked at to guess: more does not change a guess, and costs.
const GUESS_BYTES: usize = 256 << 10;
/// A control character in this many is no text: UTF-16 read as something else has one in two.
const CONTROL_SHARE: usize = 3;
/// A character in this many that did not decode makes a text unreadable rather than scratched.
const BROKEN_SHARE: usize = 20;

/// The text of the bytes without control characters, and its encoding's name.
pub(crate) fn decode(
    bytes: &[u8],
    content_type: Option<&str>,
    kind: Kind,
) -> Result<(String, &'static str), ExtractError> {
    let encoding = encoding_of(bytes, content_type, kind);
    let (text, encoding, _) = encoding.decode(bytes);
    let broken = text.chars().filter(|char| *char == char::REPLACEMENT_CHARACTER).count();
    if broken * BROKEN_SHARE > text.len() {
        let what = format!("read as {}, {broken} of them make no sense", encoding.name());
        return Err(ExtractError::Encoding(what));
    }
    let mut clean = String::with_capacity(text.len());
    clean_into(&text, &mut clean);
    if (text.len().saturating_sub(clean.len())) * CONTROL_SHARE > text.len() {
        let what = format!("read as {}, many are control characters", encoding.name());
        return Err(ExtractError::Encoding(what));
    }
    Ok((clean, encoding.name()))
}

fn encoding_of(bytes: &[u8], content_type: Option<&str>, kind: Kind) -> &'static Encoding {
    let named = || content_type.and_then(|value| charset(value.as_bytes()));
    let page = || charset(&bytes[..bytes.len().min(META_WITHIN)]).filter(|_| kind == Kind::Html).map(as_written);
    let marked = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    marked.or_else(named).or_else(page).or_else(|| utf_16(bytes)).unwrap_or_else(|| guess(bytes))
}

/// A page whose `<meta>` could be read byte by byte is not UTF-16, whatever it says.
fn as_written(encoding: &'static Encoding) -> &'static Encoding {
    if encoding == UTF_16LE || encoding == UTF_16BE { UTF_8 } else { encoding }
}

/// The encoding behind the first `charset=`.
fn charset(value: &[u8]) -> Option<&'static Encoding> {
    const KEY: &[u8] = b"charset";
    let at = value.windows(KEY.len()).position(|window| window.eq_ignore_ascii_case(KEY))?;
    let value = value[at + KEY.len()..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\'' | b';' | b'>' | b'/') || byte.is_ascii_whitespace();
    Encoding::for_label(&value[..value.iter().position(is_end).unwrap_or(value.len())])
}

/// UTF-16 without a mark: in Latin letters every other byte is zero.
pub(crate) fn utf_16(bytes: &[u8]) -> Option<&'static Encoding> {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return Some(encoding).filter(|encoding| *encoding != UTF_8);
    }
    let start = &bytes[..bytes.len().min(META_WITHIN) & !1];
    let zeros = |from: usize| start.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, pairs) = (zeros(0), zeros(1), start.len() / 2);
    match pairs >= 2 {
        true if odd * 2 > pairs && even * 8 < pairs => Some(UTF_16LE),
        true if even * 2 > pairs && odd * 8 < pairs => Some(UTF_16BE),
        _ => None,
    }
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    if std::str::from_utf8(bytes).is_ok() {
        return UTF_8;
    }
    let looked = &bytes[..bytes.len().min(GUESS_BYTES)];
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(looked, looked.len() == bytes.len());
    detector.guess(None, Utf8Detection::Allow)
}

/// Appends a text without what no reader wants: a form feed, which ends a page, becomes a paragraph's end; tabs and
/// line ends stay; every other control character (NUL, C0, DEL, C1) and a byte order mark inside are left out.
pub(crate) fn clean_into(text: &str, clean: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(|char: char| is_unwanted(char)) {
        clean.push_str(&rest[..at]);
        if rest[at..].starts_with('\u{c}') {
            clean.push_str("\n\n");
        }
        let after = rest[at..].chars().next().map_or(0, char::len_utf8);
        rest = &rest[at + after..];
    }
    clean.push_str(rest);
}

fn is_unwanted(char: char) -> bool {
    char.is_control() && !matches!(char, '\t' | '\n' | '\r') || char == '\u{feff}'
}
