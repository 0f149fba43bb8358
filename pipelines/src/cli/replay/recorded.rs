//! The recorded results beside a replay: both lie in source order, so one reader follows the other.

use std::collections::BTreeMap;

use lunapark_schemas::{HeadersBuf, TopicPartition};

use super::super::Context;
use crate::audit::scan::Scan;
use crate::audit::source::Source;

/// Offsets of the result topic that are read at a time.
const STEP: i64 = 4096;

/// A recorded result.
pub(super) struct Result {
    pub(super) value: Vec<u8>,
    pub(super) headers: HeadersBuf,
}

/// The results of one partition of events.
pub(super) struct Recorded {
    /// None where results of this topic are not kept.
    scan: Option<Scan>,
    source: TopicPartition,
    end: i64,
    /// Those that were read and not asked for yet.
    ahead: BTreeMap<i64, Result>,
}

impl Recorded {
    /// The results up to their present end.
    pub(super) fn open(context: &Context, source: &TopicPartition) -> anyhow::Result<Self> {
        let results = context.catalog.inference_results.name();
        // A result lies in the partition of its event's number.
        let at = TopicPartition::new(results.clone(), source.partition);
        let ends = context.log.watermarks(&at)?;
        let scan = Some(Scan::open(&*context.log, &at, ends.low)?);
        Ok(Self { scan, source: source.clone(), end: ends.high, ahead: BTreeMap::new() })
    }

    /// The result of the event at this offset; offsets are asked for in ascending order.
    pub(super) fn of(&mut self, offset: i64) -> anyhow::Result<Option<Result>> {
        while self.ahead.last_key_value().is_none_or(|(last, _)| *last < offset) && self.read_on(offset)? {}
        self.ahead = self.ahead.split_off(&offset);
        Ok(self.ahead.remove(&offset))
    }

    /// Reads a step further; false at the end.
    fn read_on(&mut self, from: i64) -> anyhow::Result<bool> {
        let Some(scan) = self.scan.as_mut().filter(|scan| scan.position() < self.end) else { return Ok(false) };
        let (next, source, ahead) = ((scan.position() + STEP).min(self.end), &self.source, &mut self.ahead);
        scan.until(next, |message| {
            let of = Source::of_result(message.headers).filter(|of| of.topic == &*source.topic && of.offset >= from);
            if let (Some(of), Some(value)) = (of, message.value) {
                let mut headers = HeadersBuf::new();
                headers.extend(message.headers, |_| true);
                ahead.insert(of.offset, Result { value: value.to_vec(), headers });
            }
            Ok::<(), anyhow::Error>(())
        })?;
        Ok(true)
    }
}
