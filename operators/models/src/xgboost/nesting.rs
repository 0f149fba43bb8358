//! How deep a JSON text nests, before a parser sees it: the parser skips unknown fields by recursion, so that a
//! million open brackets would end the process.

use crate::ModelError;

/// XGBoost's own files nest seven deep.
const MAX_NESTING: usize = 64;

/// Refuses a text that nests too deep or that ends inside a string, an array or an object.
pub(super) fn check(json: &[u8]) -> Result<(), ModelError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
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
            _ => {}
        }
    }
    if depth > 0 || in_string {
        return Err(ModelError::truncated(format!("the JSON is not complete after its {} bytes", json.len())));
    }
    Ok(())
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
}
