//! Messages as they come from a log (a batch in one arena) and records as they go to one.

use std::sync::Arc;

use crate::headers::{Headers, push_header};
use crate::position::{Position, TopicPartition};

/// An arena larger than this is given back to the allocator by [`Messages::clear`], so that one huge
/// message does not hold its memory for ever.
const KEEP_CAPACITY: usize = 8 << 20;

/// A batch of messages: keys, values and headers lie in one arena that is reused from batch to batch.
#[derive(Debug, Default)]
pub struct Messages {
    arena: Vec<u8>,
    slots: Vec<Slot>,
    topics: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Slot {
    topic: usize,
    partition: i32,
    offset: i64,
    timestamp: i64,
    start: usize,
    key_len: Option<usize>,
    value_len: Option<usize>,
    headers_len: usize,
}

impl Messages {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the messages and keeps a bounded amount of memory.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.arena.clear();
        self.arena.shrink_to(KEEP_CAPACITY);
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of keys, values and headers held.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Copies one message in. `headers` yields them in order.
    pub fn push<'h>(
        &mut self,
        at: At<'_>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) {
        self.push_slot(at, key, value, |arena| headers.for_each(|(n, v)| push_header(arena, n, v)));
    }

    /// Copies one message in whose headers are already encoded.
    pub fn push_encoded(&mut self, at: At<'_>, key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers<'_>) {
        self.push_slot(at, key, value, |arena| arena.extend_from_slice(headers.encoded()));
    }

    fn push_slot(
        &mut self,
        at: At<'_>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        write_headers: impl FnOnce(&mut Vec<u8>),
    ) {
        let topic = self.intern(at.topic);
        let start = self.arena.len();
        self.arena.extend_from_slice(key.unwrap_or_default());
        self.arena.extend_from_slice(value.unwrap_or_default());
        let headers_start = self.arena.len();
        write_headers(&mut self.arena);
        self.slots.push(Slot {
            topic,
            partition: at.partition,
            offset: at.offset,
            timestamp: at.timestamp,
            start,
            key_len: key.map(<[u8]>::len),
            value_len: value.map(<[u8]>::len),
            headers_len: self.arena.len() - headers_start,
        });
    }

    fn intern(&mut self, topic: &str) -> usize {
        match self.topics.iter().rposition(|known| &**known == topic) {
            Some(index) => index,
            None => {
                self.topics.push(topic.into());
                self.topics.len() - 1
            }
        }
    }

    /// The message at `index`. Panics past the end, as a slice does.
    pub fn get(&self, index: usize) -> Message<'_> {
        let slot = &self.slots[index];
        let (key, rest) = self.arena[slot.start..].split_at(slot.key_len.unwrap_or(0));
        let (value, rest) = rest.split_at(slot.value_len.unwrap_or(0));
        Message {
            topic: &self.topics[slot.topic],
            partition: slot.partition,
            offset: slot.offset,
            timestamp: slot.timestamp,
            key: slot.key_len.map(|_| key),
            value: slot.value_len.map(|_| value),
            headers: Headers::from_encoded(&rest[..slot.headers_len]),
        }
    }

    /// The messages in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// Where and when a message stands; the first argument of [`Messages::push`].
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition number.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since 1970, -1 where the log has none.
    pub timestamp: i64,
}

/// One message, borrowed from its batch: payload, position, headers. The raw bytes are what a dead letter keeps.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Topic name.
    pub topic: &'a Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since 1970, -1 where the log has none.
    pub timestamp: i64,
    /// Key, where there is one.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: Headers<'a>,
}

impl Message<'_> {
    /// Topic, partition and offset.
    pub fn position(&self) -> Position {
        Position { topic: self.topic.clone(), partition: self.partition, offset: self.offset }
    }

    /// Topic and partition.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }

    /// Bytes of key, value and headers.
    pub fn size(&self) -> usize {
        let len = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        len(self.key) + len(self.value) + self.headers.encoded().len()
    }
}

/// A record on its way to a log.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition; `None` lets the key choose (murmur2, as Java clients do), or any where there is no key.
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: Headers<'a>,
    /// Milliseconds since 1970; `None` is now.
    pub timestamp: Option<i64>,
}

impl Record<'_> {
    /// Bytes of key, value and headers, an upper estimate of what Kafka counts against `max.message.bytes`
    /// once its fixed batch and record overhead (under 128 bytes) is added.
    pub fn wire_size(&self) -> usize {
        let len = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        len(self.key) + len(self.value) + self.headers.encoded().len() + 128
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::HeadersBuf;

    #[test]
    fn messages_come_back_as_they_went_in() {
        let mut headers = HeadersBuf::new();
        headers.push_str("h", "1");
        let mut batch = Messages::new();
        let at = |offset| At { topic: "t", partition: 3, offset, timestamp: 7 };
        batch.push(at(1), Some(b"key"), Some(b"value"), headers.view());
        batch.push(at(2), None, None, std::iter::empty());
        batch.push_encoded(at(3), Some(b""), Some(b""), headers.view());
        let read: Vec<_> = batch.iter().map(|m| (m.offset, m.key, m.value, m.headers)).collect();
        assert_eq!(read[0], (1, Some(&b"key"[..]), Some(&b"value"[..]), headers.view()));
        assert_eq!(read[1], (2, None, None, Headers::default()));
        assert_eq!(read[2], (3, Some(&b""[..]), Some(&b""[..]), headers.view()));
        assert_eq!(batch.get(0).position().to_string(), "t/3/1");
    }

    #[test]
    fn a_huge_message_does_not_keep_its_memory() {
        let mut batch = Messages::new();
        let at = At { topic: "t", partition: 0, offset: 0, timestamp: 0 };
        batch.push(at, None, Some(&vec![0; 3 * KEEP_CAPACITY]), std::iter::empty());
        batch.clear();
        assert!(batch.arena.capacity() <= KEEP_CAPACITY);
    }
}
