//! The front matter of Markdown: what its author says of a document, in lines of `key: value` between two of `---`.
//!
//! Of YAML only what such notes are made of is read: scalars, and lists of them in brackets or with a dash per line. What
//! is nested deeper, or folded over lines, is passed over, and so no document is refused for its front matter.

use serde_json::{Map, Value};

/// A front matter is a few lines; one that does not end within so many bytes is a text between rules.
const MAX_BYTES: usize = 64 << 10;
/// More fields than a person writes.
const MAX_FIELDS: usize = 200;

/// The fields of a document's front matter, `title` left out: that is the document's own title.
pub fn front_matter(text: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    let Some(matter) = matter(text) else { return fields };
    let mut lines = matter.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((key, value)) = entry(line) else { continue };
        let value = match uncommented(value) {
            "" => {
                let items = std::iter::from_fn(|| lines.next_if(|line| item(line).is_some()));
                let items: Vec<Value> = items.filter_map(item).filter_map(scalar).collect();
                (!items.is_empty()).then_some(Value::Array(items))
            }
            value => inline(value),
        };
        if let Some(value) = value.filter(|_| fields.len() < MAX_FIELDS && key != "title") {
            fields.insert(key.to_owned(), value);
        }
    }
    fields
}

/// True where a document begins as with a front matter, but no second `---` ends it: what its author meant to say of it is
/// read as text.
pub fn is_front_matter_open(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines();
    let begins = lines.next().is_some_and(|line| line.trim_end() == "---");
    begins && lines.next().and_then(entry).is_some() && matter(text).is_none()
}

/// What stands between the first line, `---`, and the next `---` or `...`.
fn matter(text: &str) -> Option<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (first, rest) = text.split_once('\n')?;
    if first.trim_end() != "---" {
        return None;
    }
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if matches!(line.trim_end(), "---" | "...") {
            return rest.get(..at);
        }
        at += line.len();
        if at > MAX_BYTES {
            return None;
        }
    }
    None
}

/// A key at the begin of a line, and what follows it.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let plain = |c: char| c.is_alphanumeric() || "_-. ".contains(c);
    let named = key.starts_with(|c: char| c.is_alphanumeric() || c == '_') && key.chars().all(plain);
    let apart = value.is_empty() || value.starts_with([' ', '\t', '\r']);
    (named && apart).then(|| (key.trim_end(), value.trim()))
}

/// What follows the dash of a list's line.
fn item(line: &str) -> Option<&str> {
    let item = line.trim().strip_prefix('-')?;
    (item.is_empty() || item.starts_with([' ', '\t'])).then(|| item.trim())
}

fn inline(value: &str) -> Option<Value> {
    let Some(list) = value.strip_prefix('[') else { return scalar(value) };
    let items = split(uncommented(list).strip_suffix(']')?);
    Some(Value::Array(items.into_iter().filter_map(scalar).collect()))
}

/// The parts between commas that stand in no quotes.
fn split(list: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quote) = (Vec::new(), 0, None);
    for (at, c) in list.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') if list[from..at].trim().is_empty() => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ',') => {
                parts.push(&list[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[from..]);
    parts
}

/// Text, a number, true or false; none of what is empty, null, or more than a scalar.
fn scalar(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        return quoted(text, quote);
    }
    match uncommented(text) {
        "" | "~" | "null" | "Null" | "NULL" => None,
        "true" | "True" | "TRUE" => Some(true.into()),
        "false" | "False" | "FALSE" => Some(false.into()),
        text if text.starts_with(['[', '{', '|', '>', '&', '*', '!']) => None,
        text => Some(number(text).unwrap_or_else(|| text.into())),
    }
}

/// What a person calls a number: not `inf`, and not `1e999`.
fn number(text: &str) -> Option<Value> {
    if !text.contains(|c: char| c.is_ascii_digit()) || !text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c))
    {
        return None;
    }
    let float = || text.parse().ok().and_then(serde_json::Number::from_f64).map(Value::Number);
    text.parse::<i64>().ok().map(Value::from).or_else(float)
}

fn quoted(text: &str, quote: char) -> Option<Value> {
    let inner = &text[1..];
    match quote {
        '\'' => {
            let doubled = inner.replace("''", "\u{0}");
            let (inner, _) = doubled.split_once('\'')?;
            Some(inner.replace('\u{0}', "'").into())
        }
        _ => {
            let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
            let read = strings.next().and_then(Result::ok);
            read.or_else(|| inner.split_once('"').map(|(inner, _)| inner.to_owned())).map(Value::from)
        }
    }
}

/// Without the comment at its end.
fn uncommented(text: &str) -> &str {
    let end = if text.starts_with('#') { Some(0) } else { text.find(" #") };
    match text.starts_with(['"', '\'']) {
        true => text,
        false => text[..end.unwrap_or(text.len())].trim_end(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn simple_fields_and_lists_are_read() {
        let text = "---\r\ntitle: Wings\nauthor: \"R. \\\"Bob\\\" Jones\"   # the elder\nyear: 1957\nrate: 0.5 # guess\n\
                    draft: false\nnote:\nempty: ~\ntags: [jet, 'wing, tail', 3]\ntopics:\n  - noise\n- \"heat: flux\"\n\
                    date: 2024-01-31\nurl: https://a.b/c#d\nwho: 'd''Este'\ntime:12\nnested:\n  inner: 1\nfolded: >\n  \
                    some text\nlast one: 1e3\n---\nbody: no\n";
        let expected = json!({
            "author": "R. \"Bob\" Jones", "year": 1957, "rate": 0.5, "draft": false, "tags": ["jet", "wing, tail", 3],
            "topics": ["noise", "heat: flux"], "date": "2024-01-31", "url": "https://a.b/c#d", "who": "d'Este",
            "last one": 1000.0,
        });
        assert_eq!(Value::Object(front_matter(text)), expected);
        assert_eq!(Value::Object(front_matter("\u{feff}---\na: 1\n...\n")), json!({ "a": 1 }));
    }

    #[test]
    fn a_front_matter_that_does_not_end_is_noticed() {
        for open in ["---\na: 1\n", "\u{feff}---\r\ntitle: x\r\nText.\r\n", "---\na: 1\n----\n"] {
            assert!(is_front_matter_open(open), "{open:?}");
        }
        for fine in
            ["", "---", "---\n", "---\nA text below a rule.\n", "a: 1\n", "---\na: 1\n---\n", "---\na: 1\n...\n"]
        {
            assert!(!is_front_matter_open(fine), "{fine:?}");
        }
    }

    #[test]
    fn what_is_none_is_left_alone() {
        let long = format!("---\n{}---\n", "a: 1\n".repeat(20_000));
        for text in ["", "---", "---\n", "a: 1\n---\n", "---\na: 1\n", "----\na: 1\n---\n", "--- x\na: 1\n---\n", &long]
        {
            assert_eq!(front_matter(text), Map::new(), "{}", &text[..text.len().min(40)]);
        }
        let odd = "---\n: 1\n- a\n\t\n\"\n'\na: \"\nb: '\nc: [\nd: [\"\ne: [']\nf: é\"\ng: 1e999\n---\n";
        assert_eq!(Value::Object(front_matter(odd)), json!({ "e": [], "f": "é\"", "g": "1e999" }));
    }
}
