//! The strict check of JSON text (RFC 8259), once per payload, with a position for every fault.

use std::ops::Range;

use crate::outcome::{ErrorClass, Rejection};

use super::json::shorten;
use super::number;

/// Deeper nesting than any request has; the bits of a u128 remember which levels are objects.
const MAX_DEPTH: u32 = 127;

/// Refuses text that is not one JSON value in UTF-8; faults inside `instances` name the row, and the value by `fields`.
pub(super) fn check(text: &[u8], fields: &[String]) -> Result<(), Rejection> {
    let mut checker = Checker { text, at: 0, depth: 0, objects: 0, row: RowAt::default() };
    checker.whole().map_err(|fault| fault.rejection(text, &checker.place(fields)))?;
    std::str::from_utf8(text).map(drop).map_err(|error| {
        let at = error.valid_up_to();
        Rejection::new(ErrorClass::Malformed, format!("byte {at}: not UTF-8; JSON text must be UTF-8"))
    })
}

/// Where the text stops being JSON.
struct Fault {
    at: usize,
    expected: &'static str,
}

impl Fault {
    fn rejection(&self, text: &[u8], place: &str) -> Rejection {
        let (at, expected) = (self.at, self.expected);
        let message = match text.get(at..).filter(|rest| !rest.is_empty()) {
            None => {
                format!("the payload ends at byte {at}{place} where {expected} belongs; it is truncated, send it whole")
            }
            Some(rest) => {
                let word = rest.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'-').unwrap_or(rest.len());
                let found = &rest[..word.max(1)];
                format!("byte {at}{place}: `{}` where {expected} belongs{}", shorten(found), advice(found))
            }
        };
        Rejection::new(ErrorClass::Malformed, message)
    }
}

/// What to do about the tokens that producers most often get wrong.
fn advice(found: &[u8]) -> &'static str {
    match found {
        b"NaN" | b"nan" | b"Infinity" | b"-Infinity" | b"-NaN" | b"inf" | b"-inf" | b"None" => {
            "; this is not JSON, send null for a missing value"
        }
        b"True" | b"False" => "; this is not JSON, write true or false",
        b"'" => "; JSON strings take double quotes",
        b"\xef" => "; send JSON without a byte order mark",
        _ => "; send valid JSON",
    }
}

struct Checker<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
    /// One bit per open level, the innermost lowest: 1 for an object.
    objects: u128,
    row: RowAt,
}

/// Which row and value of `instances` is being checked: a fault there is to name them.
#[derive(Default)]
struct RowAt {
    /// True inside the top-level member `instances`.
    inside: bool,
    row: usize,
    value: usize,
    /// Where the latest member name of a row that is an object stands.
    name: Range<usize>,
}

impl Checker<'_> {
    fn fault<T>(&self, expected: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at, expected })
    }

    /// `` (row 3, field `eta`) `` inside `instances`, else nothing.
    fn place(&self, fields: &[String]) -> String {
        let RowAt { inside, row, value, name } = &self.row;
        let in_list = self.depth >= 2 && (self.objects >> (self.depth - 2)) & 1 == 0;
        if !inside || !in_list {
            return String::new();
        }
        if self.depth == 2 {
            return format!(" (row {row})");
        }
        let named = (self.objects >> (self.depth - 3)) & 1 == 1;
        match fields.get(*value).filter(|_| !named) {
            Some(field) => format!(" (row {row}, field `{field}`)"),
            None if named => format!(" (row {row}, behind {})", shorten(&self.text[name.clone()])),
            None => format!(" (row {row}, value {value})"),
        }
    }

    /// The next byte that is not white space, not taken.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn whole(&mut self) -> Result<(), Fault> {
        self.start_value()?;
        while self.depth > 0 {
            self.next_part()?;
        }
        if self.peek().is_some() { self.fault("the end of the payload") } else { Ok(()) }
    }

    /// After a value inside an array or object: another one, or the end of it.
    fn next_part(&mut self) -> Result<(), Fault> {
        let in_object = self.objects & 1 == 1;
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.count_part();
                if in_object { self.name() } else { self.start_value() }
            }
            Some(b']') if !in_object => self.close(),
            Some(b'}') if in_object => self.close(),
            _ if in_object => self.fault("`,` or `}`"),
            _ => self.fault("`,` or `]`"),
        }
    }

    fn count_part(&mut self) {
        match self.depth {
            2 => (self.row.row, self.row.value) = (self.row.row + 1, 0),
            3 => self.row.value += 1,
            _ => {}
        }
    }

    /// A scalar, or the opening of an array or object up to its first scalar.
    fn start_value(&mut self) -> Result<(), Fault> {
        loop {
            match self.peek() {
                Some(b'[') => {
                    self.open(false)?;
                    if self.peek() == Some(b']') {
                        return self.close();
                    }
                }
                Some(b'{') => {
                    self.open(true)?;
                    return if self.peek() == Some(b'}') { self.close() } else { self.name() };
                }
                Some(b'"') => return self.string(),
                Some(b'-' | b'0'..=b'9') => return self.number(),
                Some(b't') => return self.literal(b"true"),
                Some(b'f') => return self.literal(b"false"),
                Some(b'n') => return self.literal(b"null"),
                _ => return self.fault("a value"),
            }
        }
    }

    fn open(&mut self, object: bool) -> Result<(), Fault> {
        if self.depth == MAX_DEPTH {
            return self.fault("nesting of at most 127 levels");
        }
        self.at += 1;
        self.depth += 1;
        self.objects = (self.objects << 1) | u128::from(object);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.at += 1;
        self.depth -= 1;
        self.objects >>= 1;
        Ok(())
    }

    /// A member's name, its colon, and the start of its value.
    fn name(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b'"') {
            return self.fault("a member name in double quotes");
        }
        let start = self.at;
        self.string()?;
        match self.depth {
            1 => self.row = RowAt { inside: &self.text[start..self.at] == b"\"instances\"", ..RowAt::default() },
            3 => self.row.name = start..self.at,
            _ => {}
        }
        if self.peek() != Some(b':') {
            return self.fault("`:`");
        }
        self.at += 1;
        self.start_value()
    }

    fn number(&mut self) -> Result<(), Fault> {
        match number::end(self.text, self.at) {
            Some(end) => self.at = end,
            None => return self.fault("a number as JSON writes them"),
        }
        match self.text.get(self.at) {
            Some(b'0'..=b'9' | b'.' | b'-' | b'+' | b'a'..=b'z' | b'A'..=b'Z') => self.fault("the end of a number"),
            _ => Ok(()),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        let rest = &self.text[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        if word.starts_with(rest) {
            self.at = self.text.len();
        }
        self.fault("a value")
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return self.fault("a string without control characters"),
                Some(_) => self.at += 1,
                None => return self.fault("the end of a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let rest = &self.text[self.at + 1..];
        match rest.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') if rest.get(1..5).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => self.at += 6,
            None => {
                self.at = self.text.len();
                return self.fault("the end of a string");
            }
            _ => return self.fault("an escape that JSON has"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    fn refused(text: &str) -> String {
        check(text.as_bytes(), &[]).unwrap_err().message
    }

    #[test]
    fn faults_name_the_byte_and_what_to_do() {
        assert_eq!(
            refused("[1,2"),
            "the payload ends at byte 4 where `,` or `]` belongs; it is truncated, send it whole"
        );
        assert_eq!(
            refused("[1,NaN]"),
            "byte 3: `NaN` where a value belongs; this is not JSON, send null for a missing value"
        );
        assert!(refused("[01]").starts_with("byte 1: `01` where a number as JSON writes them"), "{}", refused("[01]"));
        assert!(refused("[1] x").starts_with("byte 4: `x` where the end of the payload"));
        assert!(refused("[tru").contains("truncated"));
        assert!(check(b"[\"\xff\"]", &[]).unwrap_err().message.starts_with("byte 2: not UTF-8"));
    }

    #[test]
    fn faults_inside_instances_name_row_and_value() {
        let fields = ["eta".to_owned(), "phi".to_owned()];
        let place = |text: &str| check(text.as_bytes(), &fields).unwrap_err().message;
        assert!(place(r#"{"a":[[1]],"instances":[[1,2],[1,NaN]]}"#).starts_with("byte 33 (row 1, field `phi`): `NaN`"));
        assert!(place(r#"{"instances":[[1,2,3,x]]}"#).contains("(row 0, value 3)"));
        assert!(place(r#"{"instances":[{"phi":01}]}"#).contains("(row 0, behind \"phi\")"));
        assert!(place(r#"{"instances":[[1,2],x]}"#).contains("(row 1)"));
        assert!(place(r#"{"inputs":[[1,NaN]]}"#).starts_with("byte 14: "));
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        assert!(refused(&"[".repeat(10_000)).contains("nesting of at most 127 levels"));
        let deep = "[".repeat(127) + &"]".repeat(127);
        assert!(check(deep.as_bytes(), &[]).is_ok());
    }

    proptest! {
        #[test]
        fn the_checker_agrees_with_serde_json(text in "[\\[\\]{},:\"\\\\0-9eE.+\\-tfnrualse /\u{1}\u{e9}]{0,24}") {
            let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(check(text.as_bytes(), &[]).is_ok(), expected, "{}", text);
        }
    }
}
