//! Message headers, kept as one run of bytes so that a batch of messages needs no allocation per header.
//!
//! Encoding of one header: name length (u16 LE), name, value length (u32 LE, `u32::MAX` = null), value.

/// Content type of the payload.
pub const CONTENT_TYPE: &str = "content-type";
/// Which model: `name[/version]` in a request, `name/version#digest` in a result.
pub const MODEL: &str = "lunapark-model";
/// Which message a result answers: `topic/partition/offset`.
pub const SOURCE: &str = "lunapark-source";
/// Where a record lay before it was put on the partition of its key: `topic/partition/offset`, one for each time.
pub const REKEYED: &str = "lunapark-rekeyed";
/// Binary tensors: the length of the JSON part that precedes the raw tensor bytes.
pub const INFERENCE_HEADER_CONTENT_LENGTH: &str = "inference-header-content-length";
/// CloudEvents extension: the RFC 3339 time after which the event is no longer worth an answer.
pub const CE_EXPIRYTIME: &str = "ce_expirytime";
/// CloudEvents: the event's id.
pub const CE_ID: &str = "ce_id";
/// CloudEvents extension: what a message belongs to, for example one run of `lunapark ingest`.
pub const CE_CORRELATIONID: &str = "ce_correlationid";

/// Headers of a dead letter (KIP-1034 names first, then ours).
pub mod dead {
    /// Error type, for example `decode` or `model`.
    pub const EXCEPTION: &str = "__streams.errors.exception";
    /// What is wrong and what to do, one sentence.
    pub const MESSAGE: &str = "__streams.errors.message";
    /// Topic of the message that failed.
    pub const TOPIC: &str = "__streams.errors.topic";
    /// Partition of the message that failed.
    pub const PARTITION: &str = "__streams.errors.partition";
    /// Offset of the message that failed.
    pub const OFFSET: &str = "__streams.errors.offset";
    /// Machine-readable reason, one of a small set.
    pub const CLASS: &str = "error-class";
    /// Which operator rejected it.
    pub const OPERATOR: &str = "error-operator";
    /// How often it was tried.
    pub const ATTEMPTS: &str = "error-attempts";
    /// Which rows failed, as compact ranges, where only some did.
    pub const ROWS: &str = "error-rows";
    /// Bytes of the original's key and value, where the dead letter's topic takes less and they were cut.
    pub const ORIGINAL_BYTES: &str = "error-original-bytes";
    /// All headers that a dead letter adds to the original's.
    pub const ALL: [&str; 10] =
        [EXCEPTION, MESSAGE, TOPIC, PARTITION, OFFSET, CLASS, OPERATOR, ATTEMPTS, ROWS, ORIGINAL_BYTES];
}

const NULL: u32 = u32::MAX;

/// A borrowed view of a message's headers, in their order; duplicates are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Views bytes that [`HeadersBuf`] wrote.
    pub fn from_encoded(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The encoded bytes, for storage.
    pub fn encoded(self) -> &'a [u8] {
        self.bytes
    }

    /// True where there is no header at all.
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The value of the last header of this name, as Kafka's `lastHeader` does; null counts as absent.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.filter(|(n, _)| *n == name).last().and_then(|(_, value)| value)
    }

    /// As [`get`](Self::get), where the value is UTF-8.
    pub fn get_str(self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name_len, rest) = self.bytes.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name_len)))?;
        let (value_len, rest) = rest.split_first_chunk::<4>()?;
        let value_len = u32::from_le_bytes(*value_len);
        let (value, rest) = match value_len {
            NULL => (None, rest),
            len => rest.split_at_checked(len as usize).map(|(v, r)| (Some(v), r))?,
        };
        self.bytes = rest;
        Some((std::str::from_utf8(name).unwrap_or("\u{fffd}"), value))
    }
}

/// Headers under construction; reuse one buffer for many records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadersBuf {
    bytes: Vec<u8>,
}

impl HeadersBuf {
    /// No headers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a header. Names are cut at 65,535 bytes, the most that the encoding holds.
    pub fn push(&mut self, name: &str, value: Option<&[u8]>) -> &mut Self {
        push_header(&mut self.bytes, name, value);
        self
    }

    /// Appends a text header.
    pub fn push_str(&mut self, name: &str, value: &str) -> &mut Self {
        self.push(name, Some(value.as_bytes()))
    }

    /// Appends every header of `other` unless `keep` says no.
    pub fn extend(&mut self, other: Headers<'_>, keep: impl Fn(&str) -> bool) -> &mut Self {
        for (name, value) in other.filter(|(name, _)| keep(name)) {
            self.push(name, value);
        }
        self
    }

    /// Forgets all headers, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The view of what was pushed.
    pub fn view(&self) -> Headers<'_> {
        Headers { bytes: &self.bytes }
    }
}

/// Appends one encoded header to `bytes`.
pub(crate) fn push_header(bytes: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    let mut end = name.len().min(usize::from(u16::MAX));
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    bytes.extend_from_slice(&(end as u16).to_le_bytes());
    bytes.extend_from_slice(&name.as_bytes()[..end]);
    match value {
        None => bytes.extend_from_slice(&NULL.to_le_bytes()),
        Some(value) => {
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_order_duplicates_and_nulls() {
        let mut headers = HeadersBuf::new();
        headers.push_str("a", "1").push("b", None).push_str("a", "2");
        let read: Vec<_> = headers.view().collect();
        assert_eq!(read, [("a", Some(&b"1"[..])), ("b", None), ("a", Some(&b"2"[..]))]);
        assert_eq!(headers.view().get_str("a"), Some("2"));
        assert_eq!(headers.view().get("b"), None);
    }

    #[test]
    fn cut_bytes_end_the_iteration() {
        let mut headers = HeadersBuf::new();
        headers.push_str("name", "value");
        let bytes = headers.view().encoded();
        for end in 0..bytes.len() {
            assert_eq!(Headers::from_encoded(&bytes[..end]).count(), 0);
        }
    }
}
