//! Labels: what an event turned out to be, known later than its score.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Event;

/// One record of the topic `labels`; its key is the event's key. The last record of a key holds, one without a value
/// takes the label back. An event of several rows has one label for all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelRecord {
    /// Key of the event, which is the record's key and not part of its value.
    #[serde(skip)]
    pub event: String,
    /// 1 for signal, 0 for background.
    pub label: Class,
    /// Weight of the event, which may be negative, as generators make them; 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// One of two classes, written 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Class {
    /// 0.
    Background,
    /// 1.
    Signal,
}

impl TryFrom<u8> for Class {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            0 => Ok(Class::Background),
            1 => Ok(Class::Signal),
            other => Err(format!("{other} is no label; write 0 or 1")),
        }
    }
}

impl From<Class> for u8 {
    fn from(class: Class) -> u8 {
        u8::from(class == Class::Signal)
    }
}

impl JsonSchema for Class {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Class".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "enum": [0, 1] })
    }
}

impl LabelRecord {
    /// Reads a record's value.
    pub fn from_json(value: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        match record.weight.is_none_or(f64::is_finite) {
            true => Ok(record),
            false => Err("`weight` is not finite".to_owned()),
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
        let read = |text: &str| LabelRecord::from_json(text.as_bytes()).map(|r| (r.label, r.weight())).ok();
        assert_eq!(read(include_str!("../examples/records/labels/ok-label.json")), Some((Class::Signal, -0.5)));
        assert_eq!(read("{\"label\": 0}"), Some((Class::Background, 1.0)));
        for text in ["", "1", "{}", "{\"label\": 2}", "{\"label\": \"1\"}", "{\"label\": 1, \"wieght\": 2}"] {
            assert_eq!(read(text), None, "{text}");
        }
        let record = LabelRecord { event: "e-17".into(), label: Class::Signal, weight: None };
        assert_eq!(
            (record.key().as_str(), serde_json::to_string(&record).unwrap().as_str()),
            ("e-17", "{\"label\":1}")
        );
    }
}
