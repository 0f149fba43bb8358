//! Labels: what an event turned out to be, known later than its score.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::event::Event;

/// Longest name of a class: many labels share few of them, so a long one is no class.
const MAX_WORD_BYTES: usize = 200;

/// One record of the topic `labels`; its key is the event's key. The last record of a key holds, one without a value
/// takes the label back. An event of several rows has one label for all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelRecord {
    /// Key of the event, which is the record's key and not part of its value.
    #[serde(skip)]
    pub event: String,
    /// 1 for signal, 0 for background. To train on, also any number, or a word that names a class.
    pub label: Truth,
    /// Weight of the event, which may be negative, as generators make them; 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// What an event turned out to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "`label` is neither a number nor a word")]
pub enum Truth {
    /// The number of a class, or one that a regression finds.
    Number(Number),
    /// The name of a class.
    Word(String),
}

/// One of two classes, written 0 or 1: what AUCs are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 0.
    Background,
    /// 1.
    Signal,
}

impl TryFrom<&Truth> for Class {
    type Error = String;

    fn try_from(truth: &Truth) -> Result<Self, String> {
        match truth {
            Truth::Number(number) if number.as_u64() == Some(0) => Ok(Class::Background),
            Truth::Number(number) if number.as_u64() == Some(1) => Ok(Class::Signal),
            Truth::Number(other) => Err(format!("{other} is no label; write 0 or 1")),
            Truth::Word(word) => Err(format!("\"{}\" is no label; write 0 or 1", word.escape_debug())),
        }
    }
}

impl LabelRecord {
    /// Reads a record's value.
    pub fn from_json(value: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        match &record.label {
            _ if !record.weight.is_none_or(f64::is_finite) => Err("`weight` is not finite".to_owned()),
            Truth::Word(word) if word.is_empty() || word.len() > MAX_WORD_BYTES => {
                Err(format!("the label has {} bytes; write a number, or a word of 1 to {MAX_WORD_BYTES}", word.len()))
            }
            _ => Ok(record),
        }
    }

    /// The weight, 1 where none is given.
    pub fn weight(&self) -> f64 {
        self.weight.unwrap_or(1.0)
    }
}

impl Event for LabelRecord {
    fn key(&self) -> String {
        self.event.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_and_nonsense_is_refused() {
        let read = |text: &str| LabelRecord::from_json(text.as_bytes()).map(|r| (r.label.clone(), r.weight())).ok();
        let signal = Truth::Number(1.into());
        assert_eq!(read(include_str!("../examples/records/labels/ok-label.json")), Some((signal.clone(), -0.5)));
        assert_eq!(read("{\"label\": 0}"), Some((Truth::Number(0.into()), 1.0)));
        assert_eq!(read("{\"label\": \"top\"}"), Some((Truth::Word("top".into()), 1.0)));
        let long = format!("{{\"label\": \"{}\"}}", "x".repeat(201));
        let nonsense =
            ["", "1", "{}", "{\"label\": true}", "{\"label\": \"\"}", "{\"label\": 1, \"wieght\": 2}", &long];
        for text in nonsense {
            assert_eq!(read(text), None, "{text}");
        }
        let error = LabelRecord::from_json(b"{\"label\": null}").unwrap_err();
        assert!(error.contains("neither a number nor a word"), "{error}");
        let record = LabelRecord { event: "e-17".into(), label: signal, weight: None };
        assert_eq!(
            (record.key().as_str(), serde_json::to_string(&record).unwrap().as_str()),
            ("e-17", "{\"label\":1}")
        );
    }

    #[test]
    fn two_numbers_alone_are_classes() {
        let class = |text: &str| Class::try_from(&serde_json::from_str::<Truth>(text).unwrap());
        assert_eq!((class("0"), class("1")), (Ok(Class::Background), Ok(Class::Signal)));
        for (text, says) in
            [("7", "7 is no label; write 0 or 1"), ("0.5", "0.5 is no label"), ("\"1\"", "\"1\" is no label")]
        {
            assert!(class(text).unwrap_err().starts_with(says), "{text}");
        }
    }
}
