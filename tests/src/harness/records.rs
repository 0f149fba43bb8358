//! Records that own their bytes.

use lunapark_schemas::{Headers, HeadersBuf, Message, Record};

/// An event on its way to a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Partition; `None` lets the key choose.
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: HeadersBuf,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

impl Event {
    /// An event with this payload and nothing else.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// With this key.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// To this partition.
    pub fn to(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// With another header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(name, value);
        self
    }

    /// At this time.
    pub fn at(mut self, millis: i64) -> Self {
        self.timestamp = Some(millis);
        self
    }

    /// As a record of this topic.
    pub fn record<'a>(&'a self, topic: &'a str) -> Record<'a> {
        Record {
            topic,
            partition: self.partition,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: self.headers.view(),
            timestamp: self.timestamp,
        }
    }
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers in order, duplicates kept.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    /// A copy of a message.
    pub fn of(message: &Message<'_>) -> Self {
        Self {
            topic: message.topic.to_string(),
            partition: message.partition,
            offset: message.offset,
            timestamp: message.timestamp,
            key: message.key.map(<[u8]>::to_vec),
            value: message.value.map(<[u8]>::to_vec),
            headers: header_list(message.headers),
        }
    }

    /// The last header of this name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().rev().find(|(n, _)| n == name)?;
        std::str::from_utf8(found.1.as_deref()?).ok()
    }

    /// The value as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap_or_default()).expect("the value is UTF-8")
    }

    /// The value as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.text()).unwrap_or_else(|e| panic!("{}/{}: {e}", self.partition, self.offset))
    }

    /// `topic/partition/offset`.
    pub fn position(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// Headers as an owned list.
pub fn header_list(headers: Headers<'_>) -> Vec<(String, Option<Vec<u8>>)> {
    headers.map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect()
}
