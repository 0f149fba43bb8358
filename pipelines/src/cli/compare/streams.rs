//! The results of two versions, event by event: streams in the order of their events, merged by source position.
//!
//! A result lies in the partition of its event's number and in the order of the events, so a merge of the topics holds
//! no more than a step of each.

use std::collections::VecDeque;

use anyhow::bail;
use lunapark_schemas::headers::MODEL;
use lunapark_schemas::{Message, TopicPartition};
use lunapark_topics::Log;

use super::super::replay::answers::scores;
use crate::audit::scan::Scan;
use crate::audit::source::Source;
use crate::labels::KeyHash;

/// Offsets of a topic that are read at a time.
const STEP: i64 = 4096;

/// Which results are compared.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// `name/version` of both.
    pub models: [String; 2],
    /// Topic of the events.
    pub events: String,
    /// Topics with results.
    pub topics: Vec<String>,
    /// Whether keys are needed.
    pub keys: bool,
}

/// One model's answer to an event.
pub(super) struct Answer {
    offset: i64,
    /// Of the event's key, where it is asked for and there is one.
    pub key: Option<KeyHash>,
    /// A score per row; `None` where the payload has none that can be read.
    pub scores: Option<Vec<Option<f64>>>,
}

/// Results of one model in one partition of one topic.
struct Stream {
    scan: Scan,
    topic: TopicPartition,
    end: i64,
    side: usize,
    tag: String,
    /// Events of which results are wanted.
    range: (i64, i64),
    /// The last event: what comes again after a crash, or from a second replay, is left out.
    last: i64,
    ahead: VecDeque<Answer>,
}

impl Stream {
    fn open(log: &dyn Log, wanted: &Wanted, topic: &TopicPartition, side: usize, range: Range) -> anyhow::Result<Self> {
        let ends = log.watermarks(topic)?;
        let start = range.since.map_or(Ok(ends.low), |millis| log.offset_for_time(topic, millis))?;
        let scan = Scan::open(log, topic, start)?;
        let tag = format!("{}#", wanted.models[side]);
        let (last, ahead) = (i64::MIN, VecDeque::new());
        Ok(Self { scan, topic: topic.clone(), end: ends.high, side, tag, range: range.events, last, ahead })
    }

    /// Reads on until there is an answer, or no more.
    fn fill(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        while self.ahead.is_empty() && self.scan.position() < self.end {
            let next = (self.scan.position() + STEP).min(self.end);
            let Self { scan, topic, tag, range, last, ahead, .. } = self;
            scan.until(next, |message| {
                if let Some(answer) = answer(message, wanted, topic, tag, *range)?
                    && answer.offset > *last
                {
                    *last = answer.offset;
                    ahead.push_back(answer);
                }
                Ok::<(), anyhow::Error>(())
            })?;
        }
        Ok(())
    }
}

/// The answer that a record holds, where it is one of this model to an event of the range.
fn answer(
    message: &Message<'_>,
    wanted: &Wanted,
    at: &TopicPartition,
    tag: &str,
    (from, to): (i64, i64),
) -> anyhow::Result<Option<Answer>> {
    let ours = message.headers.get_str(MODEL).is_some_and(|model| model.starts_with(tag));
    let source = Source::of_result(message.headers).filter(|source| ours && source.topic == wanted.events);
    let Some((source, value)) = source.zip(message.value) else { return Ok(None) };
    if source.partition != at.partition {
        bail!(
            "{at} holds a result of {source}: results are compared partition by partition; give {} as many partitions as \
             {} has, and replay once more",
            at.topic,
            wanted.events
        );
    }
    if source.offset < from || source.offset >= to {
        return Ok(None);
    }
    let key = message.key.filter(|_| wanted.keys).map(KeyHash::of);
    Ok(Some(Answer { offset: source.offset, key, scores: scores(value, message.headers) }))
}

/// The events of one partition that are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// Their offsets.
    pub events: (i64, i64),
    /// A time before which no result of them lies.
    pub since: Option<i64>,
}

/// Visits every event of a partition that has a result of either model: its offset, and both answers.
pub(super) fn each(
    log: &dyn Log,
    wanted: &Wanted,
    partition: i32,
    range: Range,
    mut visit: impl FnMut(i64, [Option<Answer>; 2]),
) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for topic in &wanted.topics {
        if partition < log.topic(topic)?.partitions {
            let at = TopicPartition::new(topic.as_str(), partition);
            for side in [0, 1] {
                streams.push(Stream::open(log, wanted, &at, side, range)?);
            }
        }
    }
    loop {
        streams.iter_mut().try_for_each(|stream| stream.fill(wanted))?;
        let heads = streams.iter().filter_map(|stream| stream.ahead.front());
        let Some(offset) = heads.map(|answer| answer.offset).min() else { return Ok(()) };
        let mut pair = [None, None];
        for stream in &mut streams {
            if let Some(answer) = stream.ahead.pop_front_if(|answer| answer.offset == offset) {
                // Of two answers of one model the first topic's counts.
                pair[stream.side].get_or_insert(answer);
            }
        }
        visit(offset, pair);
    }
}

#[cfg(test)]
impl Answer {
    /// An answer of a test.
    pub(super) fn of(scores: Vec<Option<f64>>) -> Self {
        Self { offset: 0, key: None, scores: Some(scores) }
    }
}
