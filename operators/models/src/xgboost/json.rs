//! The JSON spelling of a model file.
//!
//! The parser skips unknown fields by recursion, so that a million open brackets would end the process; and it takes
//! no `NaN`, which XGBoost before 3.1 writes where a node has no threshold. One pass over the text settles both.

use std::borrow::Cow;

use super::file::File;
use crate::ModelError;

/// XGBoost's own files nest eight deep (`dart`).
pub(super) const MAX_NESTING: usize = 64;

const NAN: &[u8] = b"NaN";

/// Parses the JSON.
pub(super) fn read(bytes: &[u8]) -> Result<File, ModelError> {
    let text = check(bytes)?;
    sonic_rs::from_slice::<File>(&text).map_err(|error| {
        let (line, column, text) = (error.line(), error.column(), error.to_string());
        let reason = text.lines().next().and_then(|first| first.split(" at line ").next()).unwrap_or_default();
        ModelError::unreadable(format!("no XGBoost JSON model, line {line} column {column}: {reason}"))
    })
}

/// Refuses a text that nests too deep or that ends inside a string, an array or an object; writes `null` for `NaN`.
fn check(json: &[u8]) -> Result<Cow<'_, [u8]>, ModelError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let mut nans = Vec::new();
    for (at, &byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' if depth == MAX_NESTING => {
                return Err(ModelError::unreadable(format!("the JSON nests deeper than {MAX_NESTING} at byte {at}")));
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'N' if json[at..].starts_with(NAN) && nans.last().is_none_or(|last| last + NAN.len() <= at) => {
                nans.push(at)
            }
            _ => {}
        }
    }
    if depth > 0 || in_string {
        return Err(ModelError::truncated(format!("the JSON is not complete after its {} bytes", json.len())));
    }
    Ok(without_nan(json, &nans))
}

fn without_nan<'a>(json: &'a [u8], nans: &[usize]) -> Cow<'a, [u8]> {
    if nans.is_empty() {
        return Cow::Borrowed(json);
    }
    let mut text = Vec::with_capacity(json.len() + nans.len());
    let mut start = 0;
    for &at in nans {
        text.extend_from_slice(&json[start..at]);
        text.extend_from_slice(b"null");
        start = at + NAN.len();
    }
    text.extend_from_slice(&json[start..]);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelErrorKind;

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert!(check(br#"{"a[[[\"{": ["]", "\\"]}"#).is_ok());
        for cut in [&br#"{"a": ["#[..], br#"{"a\"}"#, br#"["a"#] {
            assert_eq!(check(cut).unwrap_err().kind, ModelErrorKind::Truncated);
        }
        assert!(check("[".repeat(MAX_NESTING + 1).as_bytes()).unwrap_err().what.contains("byte 64"));
        assert!(check(format!("{}{}", "[".repeat(MAX_NESTING), "]".repeat(MAX_NESTING)).as_bytes()).is_ok());
    }

    #[test]
    fn only_numbers_that_are_none_become_null() {
        assert_eq!(&check(br#"[NaN,"NaN",NaN]"#).unwrap()[..], br#"[null,"NaN",null]"#);
        // Two that share a letter were once cut twice.
        assert_eq!(&check(b"NaNaN").unwrap()[..], b"nullaN");
        assert!(matches!(check(br#"["NaN"]"#).unwrap(), Cow::Borrowed(_)));
    }
}
