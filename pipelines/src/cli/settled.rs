//! Waiting until a pipeline has gone through what a topic holds.

use std::time::{Duration, Instant};

use lunapark_schemas::TopicPartition;
use lunapark_topics::{Log, LogError, Watermarks};

use super::topics;
use crate::audit::scan::Scan;

/// Between two looks at how far the group has come.
const LOOK: Duration = Duration::from_millis(50);

/// Where a partition's messages begin and end.
struct Span {
    at: TopicPartition,
    low: i64,
    next: i64,
}

/// Waits until a group has committed everything that a topic holds now, and then what it has put on other partitions of it
/// meanwhile; `progress` hears how many offsets are left. The number left where patience ends before.
pub fn wait_settled(
    log: &dyn Log,
    group: &str,
    topic: &str,
    patience: Duration,
    progress: &mut dyn FnMut(i64),
) -> anyhow::Result<Result<(), i64>> {
    let began = Instant::now();
    // What was moved came to its place with the offset of the message that it was: it lies before the second ends.
    for _ in 0..2 {
        let spans = spans(log, topic)?;
        loop {
            let left = left(log, group, &spans)?;
            progress(left);
            if left == 0 {
                break;
            }
            if began.elapsed() > patience {
                return Ok(Err(left));
            }
            std::thread::park_timeout(LOOK);
        }
    }
    Ok(Ok(()))
}

fn spans(log: &dyn Log, topic: &str) -> anyhow::Result<Vec<Span>> {
    let found = topics::ends(log, &log.topic(topic)?)?;
    let span =
        |(at, ends): (TopicPartition, Watermarks)| Ok(Span { next: after_last(log, &at, ends)?, low: ends.low, at });
    found.into_iter().map(span).collect()
}

/// The offset after the last message: a transaction's marker behind it is committed by nobody.
fn after_last(log: &dyn Log, at: &TopicPartition, Watermarks { low, high }: Watermarks) -> Result<i64, LogError> {
    let mut back = 1;
    loop {
        let (from, mut last) = ((high - back).max(low), None);
        Scan::open(log, at, from)?.until(high, |message| {
            last = Some(message.offset + 1);
            Ok::<(), LogError>(())
        })?;
        match last {
            Some(next) => return Ok(next),
            None if from <= low => return Ok(low),
            None => back *= 8,
        }
    }
}

fn left(log: &dyn Log, group: &str, spans: &[Span]) -> Result<i64, LogError> {
    let partitions: Vec<_> = spans.iter().map(|span| span.at.clone()).collect();
    let committed = log.committed(group, &partitions)?;
    let of = |(span, committed): (&Span, Option<i64>)| (span.next - committed.unwrap_or(span.low)).max(0);
    Ok(spans.iter().zip(committed).map(of).sum())
}
