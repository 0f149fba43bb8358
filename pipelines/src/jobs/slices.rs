//! Data sets from topics: `topic://NAME?from=…&to=…`, a JSON object of columns per record.

use lunapark_schemas::training::{Dataset, TopicRange};
use lunapark_schemas::{Message, TopicPartition};
use lunapark_topics::{Log, LogError, LogErrorKind, Watermarks};
use lunapark_train::Refusal;

use super::dataset::too_large;
use super::fault::Fault;
use super::joined::{self, Labels};
use crate::audit::scan::Scan;
use crate::clock;
use crate::labels::LabelBook;

/// Longest name of a topic, as Kafka has it.
const MAX_TOPIC_BYTES: usize = 249;
/// Memory that a label takes in a book.
const LABEL_BYTES: u64 = 64;

/// The address of a range, for people.
pub(super) fn address(range: &TopicRange) -> String {
    let parts =
        range.partitions.iter().enumerate().map(|(partition, (from, to))| {
            format!("{}{partition}:{from}-{to}", if partition == 0 { "?" } else { "&" })
        });
    let labels = range.labels.as_ref().map(|labels| format!("&labels={}", address(labels)));
    format!("topic://{}{}{}", range.topic, parts.collect::<String>(), labels.unwrap_or_default())
}

/// Reads `NAME?from=…&to=…&labels=NAME`, where the first two are an offset of every partition or a time; without them the
/// whole topic as it is now.
pub(super) fn resolve(text: &str, log: &dyn Log) -> Result<TopicRange, Fault> {
    let (topic, query) = text.split_once('?').unwrap_or((text, ""));
    check_topic(topic)?;
    let (mut from, mut to, mut labels) = (None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("from", value)) => from = Some(Bound::parse(value)?),
            Some(("to", value)) => to = Some(Bound::parse(value)?),
            Some(("labels", value)) => labels = Some(Box::new(whole(value, log)?)),
            _ => {
                let what = format!("`dataset.path`: `{pair}` is neither from=… nor to=… nor labels=…");
                return Err(Refusal::request(what).into());
            }
        }
    }
    let info = log.topic(topic).map_err(|error| missing(topic, error))?;
    let ends = |partition| -> Result<(i64, i64), LogError> {
        let at = TopicPartition::new(topic, partition);
        let ends = log.watermarks(&at)?;
        let place = |bound: Option<Bound>, default| bound.map_or(Ok(default), |bound| bound.offset(log, &at));
        let from = place(from, ends.low)?.max(ends.low).min(ends.high);
        Ok((from, place(to, ends.high)?.min(ends.high)))
    };
    let partitions = (0..info.partitions).map(ends).collect::<Result<_, _>>()?;
    Ok(TopicRange { topic: topic.to_owned(), partitions, labels })
}

/// All that a topic holds now.
fn whole(topic: &str, log: &dyn Log) -> Result<TopicRange, Fault> {
    match topic.contains('?') {
        true => Err(Refusal::request("`dataset.path`: labels=… takes the name of a topic alone").into()),
        false => resolve(topic, log),
    }
}

/// Visits every record of a range, in the order of partition and offset.
fn each(
    range: &TopicRange,
    log: &dyn Log,
    mut visit: impl FnMut(&Message<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for (partition, (from, to)) in range.partitions.iter().enumerate() {
        let at = TopicPartition::new(range.topic.as_str(), partition as i32);
        let Watermarks { low, high } = log.watermarks(&at)?;
        if low > *from && from < to {
            return Err(Refusal::data(format!("{at}: retention has deleted records before offset {low}")).into());
        }
        if *to > high {
            return Err(Refusal::data(format!("{at} ends at offset {high}, before the data set does")).into());
        }
        Scan::open(log, &at, *from)?.until(*to, &mut visit)?;
    }
    Ok(())
}

/// A name that no log takes is not asked for.
fn check_topic(topic: &str) -> Result<(), Refusal> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match (1..=MAX_TOPIC_BYTES).contains(&topic.len()) && topic.chars().all(plain) {
        true => Ok(()),
        false => Err(Refusal::request(format!(
            "`dataset.path`: `{}` is no name of a topic; use 1 to {MAX_TOPIC_BYTES} letters, digits, `-`, `_` and `.`",
            topic.escape_debug()
        ))),
    }
}

fn missing(topic: &str, error: LogError) -> Fault {
    match error.kind {
        LogErrorKind::TopicMissing => Refusal::data(format!("`dataset.path`: there is no topic `{topic}`")).into(),
        _ => error.into(),
    }
}

#[derive(Clone, Copy)]
enum Bound {
    Offset(i64),
    Millis(i64),
}

impl Bound {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let offset = text.parse().ok().filter(|offset| *offset >= 0).map(Bound::Offset);
        let found = offset.or_else(|| clock::parse_rfc3339_millis(text).map(Bound::Millis));
        found.ok_or_else(|| {
            Refusal::request(format!(
                "`dataset.path`: `{text}` is neither an offset nor a time such as 2026-01-31T12:00:00Z"
            ))
        })
    }

    fn offset(self, log: &dyn Log, at: &TopicPartition) -> Result<i64, LogError> {
        match self {
            Bound::Offset(offset) => Ok(offset),
            Bound::Millis(millis) => log.offset_for_time(at, millis),
        }
    }
}

/// The records of a range as lines of JSON, in the order of partition and offset.
pub(super) struct Slices {
    lines: Vec<u8>,
    most: u64,
    /// Records that were left out, because the topic of labels has none for them.
    pub(super) unlabelled: u64,
}

impl Slices {
    pub(super) fn new(most: u64) -> Self {
        Self { lines: Vec::new(), most, unlabelled: 0 }
    }

    pub(super) fn lines(self) -> Vec<u8> {
        self.lines
    }

    pub(super) fn read(&mut self, range: &TopicRange, dataset: &Dataset, log: &dyn Log) -> Result<(), Fault> {
        let mut labels = match &range.labels {
            Some(of) => Some(self.labels(of, dataset, log)?),
            None => None,
        };
        each(range, log, |message| Ok(joined::rows(message, labels.as_mut(), |line| self.push(line))?))?;
        let Some(labels) = labels else { return Ok(()) };
        self.unlabelled = labels.unlabelled;
        if labels.labelled == 0 && labels.unlabelled > 0 {
            return Err(Refusal::data(format!(
                "none of the {} records has a label: the keys of the labels must be those of the events",
                labels.unlabelled
            ))
            .into());
        }
        Ok(())
    }

    /// All labels, which must fit into the same memory.
    fn labels(&self, range: &TopicRange, dataset: &Dataset, log: &dyn Log) -> Result<Labels, Fault> {
        let mut book = LabelBook::of_any(usize::try_from(self.most / LABEL_BYTES).unwrap_or(usize::MAX));
        each(range, log, |message| {
            book.take(message);
            Ok(())
        })?;
        if book.share() < 1.0 {
            return Err(too_large(self.most).into());
        }
        Ok(Labels::new(book, dataset)?)
    }

    /// A line break within a record would part it.
    fn push(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if (self.lines.len() + value.len()) as u64 >= self.most {
            return Err(too_large(self.most));
        }
        if !value.is_empty() {
            self.lines.extend(value.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
            self.lines.push(b'\n');
        }
        Ok(())
    }
}
