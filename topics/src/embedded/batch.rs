//! Runs of records as they are stored: one run is one value of the file, so that a commit of 30,000 records is a
//! handful of inserts.
//!
//! Run: version (u8), records (u32), offset of the last record above the first (u32), newest timestamp (i64), then
//! the records. Record: offset above the first (u32), timestamp (i64), lengths of key, value and headers (u32 each,
//! `u32::MAX` is null), their bytes. Little endian; no checksum, the file's pages carry one.

use lunapark_schemas::{Headers, TopicPartition};

use crate::error::{LogError, LogErrorKind};

const VERSION: u8 = 1;
const HEADER: usize = 1 + 4 + 4 + 8;
const RECORD_HEADER: usize = 4 + 8 + 3 * 4;
const NULL: u32 = u32::MAX;
/// A run is closed before it passes this; with the page header it fills one 1 MiB page of the file, and a reader
/// that wants one record never reads more.
pub(crate) const RUN_BYTES: usize = (1 << 20) - 512;
/// No record is larger, whatever its topic says: lengths must stay far from what 32 bits hold.
pub(crate) const MAX_RECORD_BYTES: usize = 1 << 30;

/// One record inside a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Offset above that of the run's first record.
    pub delta: u32,
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

impl Entry<'_> {
    /// Bytes that it takes in a run.
    pub fn len(&self) -> usize {
        let len = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        RECORD_HEADER + len(self.key) + len(self.value) + self.headers.encoded().len()
    }

    /// What a topic's `max_message_bytes` is compared with; agrees with [`lunapark_schemas::Record::wire_size`].
    pub fn wire_size(&self) -> usize {
        self.len() - RECORD_HEADER + 128
    }
}

/// A run without its place in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    bytes: Vec<u8>,
}

impl Run {
    /// Takes bytes that claim to be a run; only the header is looked at, [`Run::check`] reads the records.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Damaged> {
        match (bytes.len() >= HEADER, bytes.first()) {
            (true, Some(&VERSION)) => Ok(Self { bytes }),
            (true, Some(version)) => {
                Err(Damaged(format!("stored with format {version}, this program reads {VERSION}")))
            }
            _ => Err(Damaged(format!("{} bytes are too few for a run of records", bytes.len()))),
        }
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of records.
    pub fn count(&self) -> u32 {
        self.u32_at(1)
    }

    /// Offset of the last record above the first.
    pub fn span(&self) -> u32 {
        self.u32_at(5)
    }

    /// Newest timestamp.
    pub fn newest(&self) -> i64 {
        self.bytes[9..].first_chunk().map_or(-1, |bytes| i64::from_le_bytes(*bytes))
    }

    /// Where the first record stands.
    pub fn start(&self) -> usize {
        HEADER
    }

    /// The record at `place` and the place of the next one; `None` at the end.
    pub fn entry_at(&self, place: usize) -> Result<Option<(Entry<'_>, usize)>, Damaged> {
        match self.bytes.get(place..) {
            Some([]) => Ok(None),
            Some(bytes) => {
                let (entry, len) =
                    entry(bytes).ok_or_else(|| Damaged(format!("a record is cut off at byte {place}")))?;
                Ok(Some((entry, place + len)))
            }
            None => Err(Damaged(format!("byte {place} lies past the end of a run"))),
        }
    }

    /// Reads every record, hands each to `look`, and compares with what the header says.
    pub fn check(&self, mut look: impl FnMut(Entry<'_>) -> Result<(), LogError>) -> Result<(), LogError> {
        let (mut place, mut count, mut last, mut newest) = (self.start(), 0, None, i64::MIN);
        while let Some((entry, next)) = self.entry_at(place)? {
            if last.is_some_and(|last| entry.delta <= last) {
                return Err(Damaged("offsets in a run do not rise".to_owned()).into());
            }
            (place, count, last, newest) = (next, count + 1, Some(entry.delta), newest.max(entry.timestamp));
            look(entry)?;
        }
        match count == self.count() && last == Some(self.span()) && newest == self.newest() {
            true => Ok(()),
            false => Err(Damaged("the header of a run does not fit its records".to_owned()).into()),
        }
    }

    /// True where offsets rise by one from the first on, as those of a fresh run do.
    pub fn is_dense(&self) -> bool {
        self.count().checked_sub(1) == Some(self.span())
    }

    /// Memory held.
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    fn u32_at(&self, place: usize) -> u32 {
        self.bytes[place..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }
}

fn entry(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let (delta, rest) = bytes.split_first_chunk::<4>()?;
    let (timestamp, rest) = rest.split_first_chunk::<8>()?;
    let (lengths, rest) = rest.split_first_chunk::<12>()?;
    let length = |at: usize| lengths[at..].first_chunk().map_or(NULL, |bytes| u32::from_le_bytes(*bytes));
    let (key, rest) = part(rest, length(0))?;
    let (value, rest) = part(rest, length(4))?;
    let (headers, rest) = part(rest, length(8))?;
    let entry = Entry {
        delta: u32::from_le_bytes(*delta),
        timestamp: i64::from_le_bytes(*timestamp),
        key,
        value,
        headers: Headers::from_encoded(headers.unwrap_or_default()),
    };
    Some((entry, bytes.len() - rest.len()))
}

fn part(bytes: &[u8], len: u32) -> Option<(Option<&[u8]>, &[u8])> {
    match len {
        NULL => Some((None, bytes)),
        len => bytes.split_at_checked(len as usize).map(|(part, rest)| (Some(part), rest)),
    }
}

/// A run and the offset of its first record.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub base: i64,
    pub run: Run,
}

impl Batch {
    /// Offset of the last record.
    pub fn last(&self) -> i64 {
        self.base + i64::from(self.run.span())
    }
}

/// A run being written.
#[derive(Debug, Default)]
pub(crate) struct RunBuilder {
    bytes: Vec<u8>,
    count: u32,
    last: u32,
    newest: i64,
}

impl RunBuilder {
    /// True before the first record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Records so far, which is also the delta that the next dense record takes.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether this record would make the run too long, or its offset cannot be said in it.
    pub fn is_full_for(&self, entry: &Entry<'_>) -> bool {
        !self.is_empty() && self.bytes.len() + entry.len() > RUN_BYTES
    }

    /// Appends a record; its parts are at most [`MAX_RECORD_BYTES`], which callers have checked.
    pub fn push(&mut self, entry: &Entry<'_>) {
        if self.is_empty() {
            self.bytes.resize(HEADER, 0);
            self.newest = i64::MIN;
        }
        let len = |part: Option<&[u8]>| part.map_or(NULL, |part| part.len() as u32).to_le_bytes();
        self.bytes.reserve(entry.len());
        self.bytes.extend_from_slice(&entry.delta.to_le_bytes());
        self.bytes.extend_from_slice(&entry.timestamp.to_le_bytes());
        self.bytes.extend_from_slice(&len(entry.key));
        self.bytes.extend_from_slice(&len(entry.value));
        self.bytes.extend_from_slice(&len(Some(entry.headers.encoded())));
        self.bytes.extend_from_slice(entry.key.unwrap_or_default());
        self.bytes.extend_from_slice(entry.value.unwrap_or_default());
        self.bytes.extend_from_slice(entry.headers.encoded());
        self.count += 1;
        self.last = entry.delta;
        self.newest = self.newest.max(entry.timestamp);
    }

    /// Closes the run and starts afresh; `None` where it is empty.
    pub fn take(&mut self) -> Option<Run> {
        if self.is_empty() {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes[0] = VERSION;
        bytes[1..5].copy_from_slice(&self.count.to_le_bytes());
        bytes[5..9].copy_from_slice(&self.last.to_le_bytes());
        bytes[9..HEADER].copy_from_slice(&self.newest.to_le_bytes());
        self.count = 0;
        Some(Run { bytes })
    }
}

/// Stored or received bytes that are not a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Damaged(String);

impl Damaged {
    /// Other stored facts that cannot be.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The error of a partition whose stored bytes these are.
    pub fn stored(self, at: TopicPartition, base: i64) -> LogError {
        let message =
            format!("the batch at offset {base} does not read back ({self}): restore the data folder from a copy");
        LogError::new(LogErrorKind::Corrupt, message).at(at)
    }
}

impl From<Damaged> for LogError {
    fn from(damaged: Damaged) -> Self {
        LogError::new(LogErrorKind::Corrupt, damaged.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunapark_schemas::HeadersBuf;
    use proptest::prelude::*;

    fn run(entries: &[Entry<'_>]) -> Run {
        let mut builder = RunBuilder::default();
        entries.iter().for_each(|entry| builder.push(entry));
        builder.take().unwrap()
    }

    type Parts = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

    fn records() -> impl Strategy<Value = Vec<Parts>> {
        let part = || prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
        prop::collection::vec((any::<i64>(), part(), part()), 1..20)
    }

    proptest! {
        #[test]
        fn a_run_reads_back_what_was_written(records in records()) {
            let mut headers = HeadersBuf::new();
            headers.push_str("a", "1").push("a", None);
            let entries: Vec<_> = (0u32..).zip(&records).map(|(delta, (timestamp, key, value))| Entry {
                delta, timestamp: *timestamp, key: key.as_deref(), value: value.as_deref(), headers: headers.view(),
            }).collect();
            let run = Run::parse(run(&entries).bytes().to_vec()).unwrap();
            prop_assert_eq!(run.newest(), records.iter().map(|record| record.0).max().unwrap());
            prop_assert!(run.is_dense());
            let mut place = run.start();
            for expected in &entries {
                let (entry, next) = run.entry_at(place).unwrap().unwrap();
                prop_assert_eq!(&entry, expected);
                place = next;
            }
            prop_assert!(run.entry_at(place).unwrap().is_none());
            prop_assert!(run.check(|_| Ok(())).is_ok());
        }

        #[test]
        fn random_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            if let Ok(run) = Run::parse(bytes) {
                let (mut place, mut seen) = (run.start(), 0);
                while let Ok(Some((entry, next))) = run.entry_at(place) {
                    seen += entry.headers.count() + 1;
                    place = next;
                }
                prop_assert!(seen <= 200);
                let _ = run.check(|_| Ok(()));
            }
        }

        #[test]
        fn a_changed_byte_never_passes_as_another_count(at in 0usize..60, with in any::<u8>()) {
            let entry = |delta| Entry {
                delta, timestamp: 5, key: Some(b"k"), value: Some(b"value"), headers: Headers::default()
            };
            let mut bytes = run(&[entry(0), entry(1)]).bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = with;
            if let Ok(run) = Run::parse(bytes) {
                let mut seen = 0;
                if run.check(|_| { seen += 1; Ok(()) }).is_ok() {
                    prop_assert_eq!(seen, run.count());
                }
            }
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let entry = Entry { delta: 0, timestamp: 1, key: None, value: Some(b"abc"), headers: Headers::default() };
        let whole = run(&[entry]);
        for end in 0..whole.bytes().len() {
            let read = Run::parse(whole.bytes()[..end].to_vec()).map_err(LogError::from);
            assert!(read.and_then(|run| run.check(|_| Ok(()))).is_err(), "{end}");
        }
    }
}
