//! Reads one partition from here to there, in bounded memory.

use std::time::{Duration, Instant};

use lunapark_schemas::{Message, Messages, TopicPartition};
use lunapark_topics::{Limit, Log, LogError, LogErrorKind, Reader};

/// Enough for full fetches, little enough to stay in the cache.
const LIMIT: Limit = Limit { messages: 16_384, bytes: 4 << 20 };
const WAIT: Duration = Duration::from_millis(100);
/// A log that moves nothing for so long although records are due is given up: three times the transaction time-out.
const STALL: Duration = Duration::from_secs(30);

/// A reader of one partition that can be driven to an end, and later on to a further one.
pub struct Scan {
    reader: Box<dyn Reader>,
    at: TopicPartition,
    batch: Messages,
    given: usize,
    position: i64,
}

impl Scan {
    /// Starts at `from`, or at the first record still there.
    pub fn open(log: &dyn Log, at: &TopicPartition, from: i64) -> Result<Self, LogError> {
        let from = from.max(log.watermarks(at)?.low);
        let reader = log.reader(&[at.at(from)])?;
        Ok(Self { reader, at: at.clone(), batch: Messages::new(), given: 0, position: from })
    }

    /// The next offset to be visited.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Visits every message below `end` that no earlier call has visited.
    pub fn until<E: From<LogError>>(
        &mut self,
        end: i64,
        mut visit: impl FnMut(&Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut moved = Instant::now();
        while self.position < end {
            let before = self.position;
            self.refill()?;
            self.give(end, &mut visit)?;
            if self.position > before {
                moved = Instant::now();
            } else if moved.elapsed() > STALL {
                return Err(self.stalled(end).into());
            }
        }
        Ok(())
    }

    fn refill(&mut self) -> Result<(), LogError> {
        if self.given == self.batch.len() {
            self.batch.clear();
            self.given = 0;
            self.reader.poll(&mut self.batch, LIMIT, WAIT)?;
        }
        Ok(())
    }

    fn give<E: From<LogError>>(
        &mut self,
        end: i64,
        visit: &mut impl FnMut(&Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.given < self.batch.len() {
            let message = self.batch.get(self.given);
            if message.offset >= end {
                self.position = end;
                return Ok(());
            }
            visit(&message)?;
            self.given += 1;
            self.position = message.offset + 1;
        }
        self.position = self.position.max(self.reader.position(&self.at)?);
        Ok(())
    }

    fn stalled(&self, end: i64) -> LogError {
        let message = format!(
            "offset {} of {end} reached, then nothing came for {} s; look at the broker's log, then try again",
            self.position,
            STALL.as_secs()
        );
        LogError::new(LogErrorKind::Timeout, message).at(self.at.clone())
    }
}

/// Visits every message that is in a topic now, partition by partition.
pub fn whole<E: From<LogError>>(
    log: &dyn Log,
    topic: &str,
    mut visit: impl FnMut(&Message<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for partition in 0..log.topic(topic)?.partitions {
        let at = TopicPartition::new(topic, partition);
        let end = log.watermarks(&at)?.high;
        Scan::open(log, &at, 0)?.until(end, &mut visit)?;
    }
    Ok(())
}

/// Looking again after less than this only heats the machine.
const PAUSE: Duration = Duration::from_millis(20);

/// Lets a moment pass before a poll loop looks at the log again.
pub fn pause() {
    pause_for(PAUSE);
}

/// Lets some time pass before a poll loop looks again.
#[expect(
    clippy::disallowed_methods,
    reason = "the log cannot call us when it moves: the step of poll loops that have a deadline"
)]
pub fn pause_for(time: Duration) {
    std::thread::sleep(time);
}

/// Number of messages in `[from, to)`: what transaction markers and aborted records do not inflate.
pub fn count(log: &dyn Log, at: &TopicPartition, from: i64, to: i64) -> Result<u64, LogError> {
    let mut messages = 0;
    if from < to {
        Scan::open(log, at, from)?.until(to, |_| {
            messages += 1;
            Ok::<(), LogError>(())
        })?;
    }
    Ok(messages)
}

/// Reading more than so many offsets only to count them takes longer than a person waits.
const EXACT_BELOW: i64 = 100_000;

/// A number of messages that may be an upper bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Work {
    /// Messages; an upper bound unless `exact`.
    pub messages: u64,
    /// True where every message was seen.
    pub exact: bool,
}

impl Work {
    /// Nothing left.
    pub const NONE: Work = Work { messages: 0, exact: true };

    /// Both together.
    pub fn plus(self, other: Work) -> Work {
        Work { messages: self.messages + other.messages, exact: self.exact && other.exact }
    }
}

/// Offsets `[from, to)` of a partition.
pub type Span = (TopicPartition, i64, i64);

/// Messages in each of these spans: counted by reading where all of them together have fewer than 100,000 offsets, the
/// number of offsets beyond.
pub fn works(log: &dyn Log, spans: &[Span]) -> Result<Vec<Work>, LogError> {
    let offsets = |(_, from, to): &Span| (to - from).max(0);
    let exact = spans.iter().map(offsets).sum::<i64>() < EXACT_BELOW;
    let of = |span: &Span| match (exact, offsets(span)) {
        (_, 0) => Ok(Work::NONE),
        (true, _) => Ok(Work { messages: count(log, &span.0, span.1, span.2)?, exact: true }),
        (false, offsets) => Ok(Work { messages: offsets as u64, exact: false }),
    };
    spans.iter().map(of).collect()
}

/// As [`works`], all spans together.
pub fn work(log: &dyn Log, spans: &[Span]) -> Result<Work, LogError> {
    Ok(works(log, spans)?.into_iter().fold(Work::NONE, Work::plus))
}
