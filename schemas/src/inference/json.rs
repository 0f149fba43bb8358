//! JSON without a tree: [`document`] checks the whole text once, strictly, and gives [`Value`]s that are slices of it.
//!
//! Syntax errors are found here and only here, with their byte position; whoever walks the values afterwards needs to
//! think of shapes and types alone. Nesting is counted, not recursed into.

use std::borrow::Cow;

use crate::outcome::{ErrorClass, Rejection};

use super::number;

/// Deeper nesting than any request has; the bits of a u128 remember which levels are objects.
const MAX_DEPTH: u32 = 127;
/// Characters of a payload that an error message repeats.
const SHOWN: usize = 40;

/// One JSON value: the bytes of valid JSON text that spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'a>(&'a [u8]);

/// Checks `text` and gives its one value.
pub(super) fn document(text: &[u8]) -> Result<Value<'_>, Rejection> {
    let mut checker = Checker { text, at: 0, depth: 0, objects: 0 };
    checker.whole().map_err(|fault| fault.rejection(text))?;
    match std::str::from_utf8(text) {
        Ok(_) => Ok(Value(text.trim_ascii())),
        Err(error) => {
            let at = error.valid_up_to();
            Err(Rejection::new(ErrorClass::Malformed, format!("byte {at}: not UTF-8; JSON text must be UTF-8")))
        }
    }
}

/// The start of a text for an error message, cleaned of control characters.
pub(super) fn shorten(text: &[u8]) -> String {
    let cut = &text[..text.len().min(SHOWN * 4)];
    let clean = String::from_utf8_lossy(cut);
    let mut shown: String = clean.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

impl<'a> Value<'a> {
    /// The text of the value.
    pub(super) fn text(self) -> &'a [u8] {
        self.0
    }

    /// What kind of value it is, in the words of an error message.
    pub(super) fn kind(self) -> &'static str {
        match self.0.first() {
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    pub(super) fn is_array(self) -> bool {
        self.0.first() == Some(&b'[')
    }

    pub(super) fn is_object(self) -> bool {
        self.0.first() == Some(&b'{')
    }

    pub(super) fn is_null(self) -> bool {
        self.0 == b"null"
    }

    /// The number, where it is one; infinite where it is beyond a double.
    pub(super) fn number(self) -> Option<f64> {
        number::parse(self.0)
    }

    /// True or false, where it is one of them.
    pub(super) fn boolean(self) -> Option<bool> {
        match self.0 {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// The string, where it is one; borrowed unless it has escapes.
    pub(super) fn string(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if inner.contains(&b'\\') {
            return serde_json::from_slice(self.0).ok().map(Cow::Owned);
        }
        std::str::from_utf8(inner).ok().map(Cow::Borrowed)
    }

    /// The elements of an array; none where it is something else.
    pub(super) fn elements(self) -> Elements<'a> {
        Elements { text: if self.is_array() { self.0 } else { b"]" }, at: 1 }
    }

    /// Names and values of an object; none where it is something else.
    pub(super) fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        let mut parts = Elements { text: if self.is_object() { self.0 } else { b"}" }, at: 1 };
        std::iter::from_fn(move || {
            let name = parts.next()?;
            let name = name.string().unwrap_or_else(|| String::from_utf8_lossy(name.0).into_owned().into());
            Some((name, parts.next()?))
        })
    }
}

/// The values in an array (or names and values in turn, in an object).
#[derive(Clone)]
pub(super) struct Elements<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        let rest = self.text.get(self.at..)?;
        let start = rest.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':'))?;
        let rest = &rest[start..];
        let len = match rest[0] {
            b']' | b'}' => return None,
            b'"' => string_length(rest),
            b'[' | b'{' => nested_length(rest),
            _ => rest.iter().position(|b| matches!(b, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t'))?,
        };
        self.at += start + len;
        Some(Value(&rest[..len]))
    }
}

/// Length of the string at the start of checked text, quotes included.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match text.get(at) {
            None => return text.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

/// Length of the array or object at the start of checked text.
fn nested_length(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(step) = text[at..].iter().position(|byte| matches!(byte, b'[' | b']' | b'{' | b'}' | b'"')) {
        at += step;
        match text[at] {
            b'"' => at += string_length(&text[at..]),
            b'[' | b'{' => (at, depth) = (at + 1, depth + 1),
            _ if depth == 1 => return at + 1,
            _ => (at, depth) = (at + 1, depth.saturating_sub(1)),
        }
    }
    text.len()
}

/// The members of a request that mean something to us; others are ignored, as KServe does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) instances: Option<Value<'a>>,
    pub(super) inputs: Option<Value<'a>>,
    pub(super) outputs: Option<Value<'a>>,
    pub(super) id: Option<Value<'a>>,
}

impl<'a> Members<'a> {
    /// The members of a request's one object; each may stand there once.
    pub(super) fn of(document: Value<'a>) -> Result<Self, Rejection> {
        if !document.is_object() {
            let text =
                format!("the payload is {} where an object with `instances` or `inputs` belongs", document.kind());
            return Err(Rejection::new(ErrorClass::Malformed, text));
        }
        let mut members = Self::default();
        for (name, value) in document.members() {
            let slot = match &*name {
                "instances" => &mut members.instances,
                "inputs" => &mut members.inputs,
                "outputs" => &mut members.outputs,
                "id" => &mut members.id,
                _ => continue,
            };
            once(slot, value, &name)?;
        }
        Ok(members)
    }
}

/// Fills an empty slot; a second value for it is an error, because readers would disagree on which one counts.
pub(super) fn once<'a>(slot: &mut Option<Value<'a>>, value: Value<'a>, name: &str) -> Result<(), Rejection> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Rejection::new(ErrorClass::Malformed, format!("`{name}` is there twice; send it once"))),
    }
}

/// Where the text stops being JSON.
struct Fault {
    at: usize,
    expected: &'static str,
}

impl Fault {
    fn rejection(&self, text: &[u8]) -> Rejection {
        let (at, expected) = (self.at, self.expected);
        let message = match text.get(at..).filter(|rest| !rest.is_empty()) {
            None => format!("the payload ends at byte {at} where {expected} belongs; it is truncated, send it whole"),
            Some(rest) => {
                let word = rest.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'-').unwrap_or(rest.len());
                let found = &rest[..word.max(1)];
                format!("byte {at}: `{}` where {expected} belongs{}", shorten(found), advice(found))
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
}

impl Checker<'_> {
    fn fault<T>(&self, expected: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at, expected })
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
                if in_object { self.name() } else { self.start_value() }
            }
            Some(b']') if !in_object => self.close(),
            Some(b'}') if in_object => self.close(),
            _ if in_object => self.fault("`,` or `}`"),
            _ => self.fault("`,` or `]`"),
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
        self.string()?;
        if self.peek() != Some(b':') {
            return self.fault("`:`");
        }
        self.at += 1;
        self.start_value()
    }

    fn number(&mut self) -> Result<(), Fault> {
        match number::length(&self.text[self.at..]) {
            Some(len) => self.at += len,
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
        document(text.as_bytes()).unwrap_err().message
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
        assert!(refused("[01]").starts_with("byte 2: `1` where the end of a number"), "{}", refused("[01]"));
        assert!(refused("[1] x").starts_with("byte 4: `x` where the end of the payload"));
        assert!(refused("[tru").contains("truncated"));
        assert!(document(b"[\"\xff\"]").unwrap_err().message.starts_with("byte 2: not UTF-8"));
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        assert!(refused(&"[".repeat(10_000)).contains("nesting of at most 127 levels"));
        let deep = "[".repeat(127) + &"]".repeat(127);
        assert!(document(deep.as_bytes()).is_ok());
    }

    #[test]
    fn values_are_walked_in_order() {
        let value = document(br#" {"a b":[1, "]\"", {"x":[]}, null] , "\u0041":true} "#).unwrap();
        let members: Vec<_> = value.members().collect();
        assert_eq!(members[1].0, "A");
        assert_eq!(members[1].1.boolean(), Some(true));
        let kinds: Vec<_> = members[0].1.elements().map(Value::kind).collect();
        assert_eq!(kinds, ["a number", "a string", "an object", "null"]);
    }

    proptest! {
        #[test]
        fn the_checker_agrees_with_serde_json(text in "[\\[\\]{},:\"\\\\0-9eE.+\\-tfnrualse /\u{1}\u{e9}]{0,24}") {
            let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(document(text.as_bytes()).is_ok(), expected, "{}", text);
        }

        #[test]
        fn elements_are_what_serde_json_reads(value in json_value(3)) {
            let text = value.to_string();
            let read = rebuild(document(text.as_bytes()).unwrap());
            prop_assert_eq!(read, value);
        }
    }

    fn json_value(depth: u32) -> impl Strategy<Value = serde_json::Value> {
        use serde_json::{Value, json};
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            "[a\"\\\\\\]}é]{0,4}".prop_map(Value::from)
        ];
        leaf.prop_recursive(depth, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-c\"\\\\]{0,2}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn rebuild(value: Value<'_>) -> serde_json::Value {
        if value.is_array() {
            return value.elements().map(rebuild).collect();
        }
        if value.is_object() {
            return serde_json::Value::Object(value.members().map(|(n, v)| (n.into_owned(), rebuild(v))).collect());
        }
        value.string().map_or(serde_json::json!(value.boolean()), |text| text.into_owned().into())
    }
}
