//! Reads cuts back from the topic `model.cuts`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lunapark_schemas::cuts::{CutRecord, UnreadableCut, effective};
use lunapark_schemas::{Message, Messages, TopicPartition};
use lunapark_topics::{Limit, Log, LogError, LogErrorKind, Reader};

const LIMIT: Limit = Limit { messages: 4096, bytes: 4 << 20 };
const WAIT: Duration = Duration::from_millis(100);
/// A log that moves nothing for so long although records are due is given up: three times the transaction time-out.
const STALL: Duration = Duration::from_secs(30);

/// The effective cuts of one partition, ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tracks {
    /// Whose scores are the results.
    pub live: Vec<CutRecord>,
    /// Whose scores are not.
    pub shadow: Vec<CutRecord>,
}

/// The cuts of one pipeline and input topic, by partition.
pub type Cuts = BTreeMap<i32, Tracks>;

/// As [`Cuts`]: a partition one of whose cuts cannot be read has none that could be trusted.
pub type Readable = BTreeMap<i32, Result<Tracks, LogError>>;

/// All cuts of these partitions, those of transactions included that were decided before this call but whose end is
/// still on its way: they are waited for.
pub fn read(log: &dyn Log, cuts: &str, pipeline: &str, source: &str, partitions: &[i32]) -> Result<Cuts, LogError> {
    let found = read_unless(log, cuts, pipeline, source, partitions, &AtomicBool::new(false))?;
    found.into_iter().map(|(partition, tracks)| Ok((partition, tracks?))).collect()
}

/// As [`read`], a partition at a time; ends with an error where it is given up meanwhile.
pub fn read_unless(
    log: &dyn Log,
    cuts: &str,
    pipeline: &str,
    source: &str,
    partitions: &[i32],
    given_up: &AtomicBool,
) -> Result<Readable, LogError> {
    let places: Vec<_> = partitions.iter().map(|partition| TopicPartition::new(cuts, *partition)).collect();
    let ours = |cut: &CutRecord| cut.pipeline == pipeline && cut.topic == source && partitions.contains(&cut.partition);
    let keys = format!("{pipeline}/{source}/");
    let mut found: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
    let visit = |message: &Message<'_>| {
        let key = message.key.unwrap_or_default();
        match message.value.map(CutRecord::read) {
            Some(Ok(cut)) if ours(&cut) => drop(found.insert(key.to_vec(), Found::Cut(Box::new(cut)))),
            // The next record of the key mends it. Other pipelines' keys begin with another name.
            Some(Err(error)) if key.starts_with(keys.as_bytes()) => {
                found.insert(key.to_vec(), Found::Unreadable(message.partition, unreadable(message, source, &error)));
            }
            Some(Err(error)) => tracing::warn!(at = %message.position(), %error, "a record that is no cut of ours"),
            // A tombstone: its range has expired.
            Some(Ok(_)) | None => drop(found.remove(key)),
        }
    };
    read_to_end_unless(log, &places, visit, given_up)?;
    Ok(tracks(found.into_values()))
}

/// What stands under a key.
enum Found {
    Cut(Box<CutRecord>),
    /// Of this partition, and what is to be said.
    Unreadable(i32, LogError),
}

fn unreadable(message: &Message<'_>, source: &str, error: &UnreadableCut) -> LogError {
    let key = String::from_utf8_lossy(message.key.unwrap_or_default());
    let text = format!(
        "the record at offset {} with the key `{}` is no cut that can be obeyed: {error}. Until then partition {} of \
         {source} is not scored, because nobody knows by which model",
        message.offset,
        key.escape_debug(),
        message.partition
    );
    LogError::new(LogErrorKind::Corrupt, text).at(message.topic_partition())
}

fn tracks(found: impl Iterator<Item = Found>) -> Readable {
    let mut all: BTreeMap<i32, [Vec<CutRecord>; 2]> = BTreeMap::new();
    let mut broken = BTreeMap::new();
    for found in found {
        match found {
            Found::Cut(cut) => all.entry(cut.partition).or_default()[usize::from(!cut.role.is_live())].push(*cut),
            Found::Unreadable(partition, error) => drop(broken.insert(partition, error)),
        }
    }
    let tracks = |[live, shadow]: [Vec<CutRecord>; 2]| Tracks { live: effective(live), shadow: effective(shadow) };
    let read = all.into_iter().map(|(partition, cuts)| (partition, Ok(tracks(cuts))));
    read.chain(broken.into_iter().map(|(partition, error)| (partition, Err(error)))).collect()
}

/// Visits every record of these partitions up to their ends, open transactions included.
pub fn read_to_end(log: &dyn Log, places: &[TopicPartition], visit: impl FnMut(&Message<'_>)) -> Result<(), LogError> {
    read_to_end_unless(log, places, visit, &AtomicBool::new(false))
}

fn read_to_end_unless(
    log: &dyn Log,
    places: &[TopicPartition],
    mut visit: impl FnMut(&Message<'_>),
    given_up: &AtomicBool,
) -> Result<(), LogError> {
    let ends = log.ends(places)?;
    let lows = places.iter().map(|at| Ok(log.watermarks(at)?.low)).collect::<Result<Vec<_>, LogError>>()?;
    let due: Vec<_> = places.iter().zip(lows).zip(ends).filter(|((_, low), end)| low < end).collect();
    if due.is_empty() {
        return Ok(());
    }
    let starts: Vec<_> = due.iter().map(|((at, low), _)| at.at(*low)).collect();
    let mut reader = log.reader(&starts)?;
    let ends: Vec<_> = due.iter().map(|((at, _), end)| ((*at).clone(), *end)).collect();
    let (mut messages, mut moved, mut left) = (Messages::new(), Instant::now(), i64::MAX);
    while left > 0 {
        if given_up.load(Ordering::Acquire) {
            return Err(LogError::new(LogErrorKind::Timeout, "given up: nobody waits for these records any more"));
        }
        messages.clear();
        reader.poll(&mut messages, LIMIT, WAIT)?;
        messages.iter().for_each(|message| visit(&message));
        let now = missing(&*reader, &ends)?;
        if now < left {
            (left, moved) = (now, Instant::now());
        } else if moved.elapsed() > STALL {
            return Err(stalled(&ends, left));
        }
    }
    Ok(())
}

/// Offsets between the reader and the ends.
fn missing(reader: &dyn Reader, ends: &[(TopicPartition, i64)]) -> Result<i64, LogError> {
    ends.iter().map(|(at, end)| Ok((end - reader.position(at)?).max(0))).sum()
}

fn stalled(ends: &[(TopicPartition, i64)], left: i64) -> LogError {
    let topic = ends.first().map(|(at, _)| at.topic.to_string()).unwrap_or_default();
    let message = format!(
        "topic `{topic}`: {left} offsets are due and nothing came for {} s; an open transaction holds them back, or look \
         at the broker's log",
        STALL.as_secs()
    );
    LogError::new(LogErrorKind::Timeout, message)
}
