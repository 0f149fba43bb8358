//! Which message a result or dead letter answers, read from its headers without an allocation.

use std::fmt;

use lunapark_schemas::Headers;
use lunapark_schemas::headers::{SOURCE, dead};

/// The message that a record answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl<'a> Source<'a> {
    /// The source of a result.
    pub fn of_result(headers: Headers<'a>) -> Option<Self> {
        let mut parts = headers.get_str(SOURCE)?.rsplitn(3, '/');
        let (offset, partition, topic) = (parts.next()?, parts.next()?, parts.next()?);
        Self::new(topic, partition, offset)
    }

    /// The source of a dead letter.
    pub fn of_dead_letter(headers: Headers<'a>) -> Option<Self> {
        let [topic, partition, offset] = [dead::TOPIC, dead::PARTITION, dead::OFFSET].map(|name| headers.get_str(name));
        Self::new(topic?, partition?, offset?)
    }

    fn new(topic: &'a str, partition: &str, offset: &str) -> Option<Self> {
        let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
        (partition >= 0 && offset >= 0).then_some(Self { topic, partition, offset })
    }
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::HeadersBuf;

    use super::*;

    #[test]
    fn sources_are_read_and_nonsense_is_none() {
        let mut headers = HeadersBuf::new();
        headers.push_str(SOURCE, "a/b/2/48113");
        let source = Source { topic: "a/b", partition: 2, offset: 48113 };
        assert_eq!(Source::of_result(headers.view()), Some(source));
        assert_eq!(Source::of_dead_letter(headers.view()), None);
        for text in ["", "a", "a/1", "a/-1/2", "a/1/-2", "a/1/x"] {
            headers.clear();
            headers.push_str(SOURCE, text);
            assert_eq!(Source::of_result(headers.view()), None, "{text}");
        }
    }
}
