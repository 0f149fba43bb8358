//! Whether a document fits: yes, no, or nobody knows.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Comparison, Fields, Literal, Node};

/// What a field holds.
enum Found<'a> {
    Value(&'a Value),
    Text(&'a str),
}

pub(super) fn evaluate(node: &Node, fields: &Fields<'_>) -> Option<bool> {
    match node {
        Node::Or(a, b) => match (evaluate(a, fields), evaluate(b, fields)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        Node::And(a, b) => match (evaluate(a, fields), evaluate(b, fields)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        Node::Not(inner) => evaluate(inner, fields).map(|is| !is),
        Node::True(field) => any(field, fields, |value| value.as_bool()),
        Node::Compare(field, comparison, literal) => any(field, fields, |value| compare(value, *comparison, literal)),
        Node::Like(field, pattern) => any(field, fields, |value| value.as_str().map(|text| like(text, pattern))),
        Node::In(field, literals) => any(field, fields, |value| {
            let each = literals.iter().map(|literal| compare(value, Comparison::Equal, literal));
            either(each)
        }),
        Node::IsNull(field) => Some(matches!(find(field, fields), None | Some(Found::Value(Value::Null)))),
    }
}

/// What holds of the field's value, or of one element of its list.
fn any(field: &[String], fields: &Fields<'_>, holds: impl Fn(&Value) -> Option<bool>) -> Option<bool> {
    match find(field, fields)? {
        Found::Text(text) => holds(&Value::String(text.to_owned())),
        Found::Value(Value::Array(list)) => either(list.iter().map(holds)),
        Found::Value(value) => holds(value),
    }
}

/// True where one is; unknown where none is true and one unknown; so nothing is in an empty list.
fn either(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut answer = Some(false);
    for one in all {
        match one {
            Some(true) => return Some(true),
            Some(false) => {}
            None => answer = None,
        }
    }
    answer
}

fn find<'a>(field: &[String], fields: &Fields<'a>) -> Option<Found<'a>> {
    let (first, rest) = field.split_first()?;
    match fields.metadata.get(first) {
        Some(value) => rest.iter().try_fold(value, |value, name| value.get(name)).map(Found::Value),
        None if rest.is_empty() => match first.as_str() {
            "id" => Some(Found::Text(fields.id)),
            "title" => Some(Found::Text(fields.title)),
            "uri" => Some(Found::Text(fields.uri)),
            _ => None,
        },
        None => None,
    }
}

fn compare(value: &Value, comparison: Comparison, literal: &Literal) -> Option<bool> {
    let order = match (value, literal) {
        (Value::String(value), Literal::Text(literal)) => value.as_str().cmp(literal),
        (Value::Number(value), Literal::Number(literal)) => value.as_f64()?.partial_cmp(literal)?,
        (Value::Bool(value), Literal::Truth(literal)) => value.cmp(literal),
        _ => return None,
    };
    Some(match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    })
}

/// SQL's LIKE: `%` is any characters, `_` is one. One way back is enough: a later `%` can do all that an earlier one can.
pub(super) fn like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut p, mut back) = (0, 0, None);
    while at < text.len() {
        match pattern.get(p) {
            Some('%') => {
                back = Some((at, p));
                p += 1;
            }
            Some(&c) if c == '_' || c == text[at] => (at, p) = (at + 1, p + 1),
            _ => match back {
                Some((from, star)) => {
                    back = Some((from + 1, star));
                    (at, p) = (from + 1, star + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '%')
}
