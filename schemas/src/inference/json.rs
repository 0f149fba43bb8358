//! JSON without a tree: [`document`] checks the whole text once, strictly, and gives [`Value`]s that are slices of it.
//!
//! Syntax errors are found here and only here, with their byte position; whoever walks the values afterwards needs to
//! think of shapes and types alone. Nesting is counted, not recursed into.

use std::borrow::Cow;

use crate::outcome::{ErrorClass, Rejection};

use super::{json_check, number};

/// Characters of a payload that an error message repeats.
const SHOWN: usize = 40;

/// One JSON value: the bytes of valid JSON text that spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'a>(&'a [u8]);

/// Checks `text` and gives its one value. `fields` are the names of a row's values, for error messages; may be empty.
pub(super) fn document<'a>(text: &'a [u8], fields: &[String]) -> Result<Value<'a>, Rejection> {
    json_check::check(text, fields)?;
    Ok(Value(text.trim_ascii()))
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
    /// The number exactly, where it is written as an integer that 64 bits hold.
    pub(super) fn integer(self) -> Option<i64> {
        std::str::from_utf8(self.0).ok()?.parse().ok()
    }

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
    while let Some(next) = next_structure(text, at) {
        at = next;
        match text[at] {
            b'"' => at += string_length(&text[at..]),
            b'[' | b'{' => (at, depth) = (at + 1, depth + 1),
            _ if depth == 1 => return at + 1,
            _ => (at, depth) = (at + 1, depth.saturating_sub(1)),
        }
    }
    text.len()
}

/// Where the next bracket, brace or quote is: eight bytes at a time, for the numbers between them are many.
fn next_structure(text: &[u8], mut at: usize) -> Option<usize> {
    const EACH: u64 = u64::MAX / 255;
    while let Some(chunk) = text.get(at..)?.first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        // Brackets become braces by this bit; nothing else becomes a brace but control characters, which are not there.
        let folded = word | (EACH * 0x20);
        let open = number::bytes_equal(folded, EACH * u64::from(b'{'));
        let close = number::bytes_equal(folded, EACH * u64::from(b'}'));
        let found = open | close | number::bytes_equal(word, EACH * u64::from(b'"'));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = text[at..].iter().position(|byte| matches!(byte, b'[' | b']' | b'{' | b'}' | b'"'))?;
    Some(at + rest)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_walked_in_order() {
        let value = document(br#" {"a b":[1, "]\"", {"x":[]}, null] , "\u0041":true} "#, &[]).unwrap();
        let members: Vec<_> = value.members().collect();
        assert_eq!(members[1].0, "A");
        assert_eq!(members[1].1.boolean(), Some(true));
        let kinds: Vec<_> = members[0].1.elements().map(Value::kind).collect();
        assert_eq!(kinds, ["a number", "a string", "an object", "null"]);
    }

    proptest! {
        #[test]
        fn elements_are_what_serde_json_reads(value in json_value(3)) {
            let text = value.to_string();
            let read = rebuild(document(text.as_bytes(), &[]).unwrap());
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
