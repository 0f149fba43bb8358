//! Where a message is: topic, partition, offset.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The given partition of the given topic.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }

    /// The position of `offset` in this partition.
    pub fn at(&self, offset: i64) -> Position {
        Position { topic: self.topic.clone(), partition: self.partition, offset }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// One message: the unit in which Lunapark keeps its account. Written `topic/partition/offset`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number, from 0.
    pub partition: i32,
    /// Offset in the partition, from 0.
    pub offset: i64,
}

impl Position {
    /// The partition that holds this message.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// Text that is not a position.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a position: write topic/partition/offset, for example inference.events/2/48113")]
pub struct NotAPosition(pub String);

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let refused = || NotAPosition(text.to_owned());
        let mut parts = text.rsplitn(3, '/');
        let offset: i64 = parts.next().and_then(|p| p.parse().ok()).ok_or_else(refused)?;
        let partition: i32 = parts.next().and_then(|p| p.parse().ok()).ok_or_else(refused)?;
        let topic = parts.next().filter(|t| !t.is_empty()).ok_or_else(refused)?;
        if offset < 0 || partition < 0 {
            return Err(refused());
        }
        Ok(Position { topic: topic.into(), partition, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_what_it_wrote() {
        let position = TopicPartition::new("inference.events", 2).at(48113);
        assert_eq!(position.to_string(), "inference.events/2/48113");
        assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
    }

    #[test]
    fn text_that_is_no_position_is_refused() {
        for text in ["", "a", "a/1", "/1/2", "a/-1/2", "a/1/-2", "a/x/2", "a/1/99999999999999999999"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
