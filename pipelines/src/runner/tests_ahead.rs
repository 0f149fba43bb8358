//! Reading on during a commit, over a log that loses messages to an error on the way, as a broken fetch does.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lunapark_operator::{Batch, Operator, OperatorError, Retry};
use lunapark_schemas::messages::At;
use lunapark_schemas::{Messages, Outcome, Position, Record, TopicPartition};
use lunapark_topics::{Ahead, Limit, LogError, LogErrorKind, Polled, Stream};

use super::tests::{Echo, Moody, Text, catalog, settings};
use super::{Runner, Settings};
use crate::metrics::PipelineMetrics;
use crate::stop::Stop;

const TOPIC: &str = "inference.events";
const MESSAGES: i64 = 200;

/// What the log has seen; offsets of one partition.
#[derive(Default)]
struct Seen {
    assigned: bool,
    next: i64,
    /// Where the next fetch breaks: two messages are gone, and an error says so.
    breaks: Vec<i64>,
    met: Option<LogError>,
    open: Vec<i64>,
    committed: Vec<i64>,
    aborts: usize,
}

#[derive(Clone)]
struct Broken {
    seen: Arc<Mutex<Seen>>,
    stop: Stop,
}

impl Seen {
    fn read(&mut self, into: &mut Messages) -> Result<usize, LogError> {
        if self.next >= MESSAGES {
            return Ok(0);
        }
        if self.breaks.last() == Some(&self.next) {
            self.breaks.pop();
            self.next += 2;
            return Err(LogError::new(LogErrorKind::Rebalanced, "a broken fetch"));
        }
        let at = At { topic: TOPIC, partition: 0, offset: self.next, timestamp: 0 };
        into.push(at, None, Some(self.next.to_string().as_bytes()), std::iter::empty());
        self.next += 1;
        Ok(1)
    }
}

impl Ahead for Broken {
    fn poll(&mut self, into: &mut Messages, _: Limit) -> Result<usize, LogError> {
        let mut seen = self.seen.lock().unwrap();
        assert!(seen.met.is_none(), "read past an error that nobody was told of");
        seen.read(into)
    }

    fn committing(&self) -> bool {
        self.seen.lock().unwrap().next < MESSAGES
    }
}

impl Stream for Broken {
    fn poll(&mut self, into: &mut Messages, _: Limit, _: Duration) -> Result<Polled, LogError> {
        let mut seen = self.seen.lock().unwrap();
        if !std::mem::replace(&mut seen.assigned, true) {
            return Ok(Polled::Assigned(vec![TopicPartition::new(TOPIC, 0).at(0)]));
        }
        if let Some(error) = seen.met.take() {
            return Err(error);
        }
        seen.read(into).map(Polled::Messages)
    }

    fn release(&mut self, _: &[TopicPartition]) -> Result<(), LogError> {
        Ok(())
    }

    fn pause(&mut self, _: &[TopicPartition]) -> Result<(), LogError> {
        Ok(())
    }

    fn resume(&mut self, _: &[TopicPartition]) -> Result<(), LogError> {
        Ok(())
    }

    fn produce(&mut self, _: &Record<'_>, source: Option<(i32, i64)>) -> Result<(), LogError> {
        self.seen.lock().unwrap().open.extend(source.map(|(_, offset)| offset));
        Ok(())
    }

    fn commit(&mut self, next: &[Position]) -> Result<(), LogError> {
        self.commit_while(next, &mut |_| Ok(()))
    }

    fn commit_while(
        &mut self,
        next: &[Position],
        meanwhile: &mut dyn FnMut(&mut dyn Ahead) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let met = meanwhile(&mut self.clone()).err();
        let mut seen = self.seen.lock().unwrap();
        seen.met = seen.met.take().or(met);
        let open = std::mem::take(&mut seen.open);
        seen.committed.extend(open);
        if next[0].offset == MESSAGES {
            self.stop.request();
        }
        Ok(())
    }

    fn abort(&mut self, rewind: &[Position]) -> Result<(), LogError> {
        let mut seen = self.seen.lock().unwrap();
        seen.open.clear();
        if let Some(position) = rewind.first() {
            (seen.next, seen.met) = (position.offset, None);
            seen.aborts += 1;
        }
        Ok(())
    }

    fn refused(&mut self) -> Vec<(i32, i64)> {
        Vec::new()
    }

    fn max_message_bytes(&self, _: &str) -> Option<usize> {
        None
    }

    fn close(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}

/// Offsets of the results in the order of their commits, and how often the work was thrown away.
fn run(breaks: &[i64], change: impl FnOnce(&mut Settings)) -> (Vec<i64>, usize) {
    let mut settings = settings(&catalog());
    change(&mut settings);
    let text = Text { seen: Mutex::default() };
    let operator = Moody { text: &text, holds: Mutex::new(0) };
    let breaks = breaks.iter().rev().copied().collect();
    let stop = Stop::new();
    let log = Broken { seen: Arc::new(Mutex::new(Seen { breaks, ..Seen::default() })), stop: stop.clone() };
    let metrics = Arc::new(PipelineMetrics::new("p", "i").unwrap());
    Runner::new(&text, &operator, Box::new(log.clone()), &settings, metrics).run(&stop).unwrap();
    let seen = log.seen.lock().unwrap();
    (seen.committed.clone(), seen.aborts)
}

/// Each batch is a message and each message makes a commit due, so that work read ahead is written between commits.
#[test]
fn an_error_met_while_reading_on_leaves_no_gap() {
    for at in 1..30 {
        let (committed, aborts) = run(&[at, at + 40], |settings| settings.commit_messages = 1);
        assert_eq!(committed, (0..MESSAGES).collect::<Vec<_>>(), "broken at {at}");
        assert_eq!(aborts, 2, "broken at {at}");
    }
}

/// What an operator did that keeps what it is given.
#[derive(Default)]
struct Keeping {
    kept: Mutex<Vec<i64>>,
    refused: Mutex<HashSet<i64>>,
}

/// Keeps a message at the second try, as an operator does whose store fails now and then.
struct Forgetful<'a> {
    text: &'a Text,
    keeping: &'a Keeping,
}

impl Operator for Forgetful<'_> {
    type Out = Echo;

    fn name(&self) -> &'static str {
        "forgetful"
    }

    async fn process(&self, batch: &Batch) -> Result<Vec<Outcome<Echo>>, OperatorError> {
        let seen = self.text.seen.lock().unwrap().clone();
        let numbers: Vec<i64> = batch.members.iter().map(|member| seen[member.message].parse().unwrap()).collect();
        if numbers.iter().any(|number| number % 3 == 0 && self.keeping.refused.lock().unwrap().insert(*number)) {
            return Err(OperatorError { retry: Retry::After(Duration::ZERO), message: "not now".into() });
        }
        self.keeping.kept.lock().unwrap().extend(&numbers);
        Ok(numbers.iter().map(|number| Outcome::Emit(Echo(number.to_string()))).collect())
    }
}

/// Offsets in an index, for one, only ascend: what is kept after a later one is not kept.
#[test]
fn nothing_overtakes_what_is_to_be_tried_again() {
    let mut settings = settings(&catalog());
    settings.commit_messages = 1;
    let (text, keeping, stop) = (Text { seen: Mutex::default() }, Keeping::default(), Stop::new());
    let log = Broken { seen: Arc::default(), stop: stop.clone() };
    let metrics = Arc::new(PipelineMetrics::new("p", "i").unwrap());
    let operator = Forgetful { text: &text, keeping: &keeping };
    Runner::new(&text, &operator, Box::new(log.clone()), &settings, metrics).run(&stop).unwrap();
    let all: Vec<_> = (0..MESSAGES).collect();
    assert_eq!(*keeping.kept.lock().unwrap(), all);
    assert_eq!(log.seen.lock().unwrap().committed, all);
}

#[test]
fn an_error_met_by_a_poll_leaves_no_gap() {
    let (committed, aborts) = run(&[0, 50], |settings| settings.commit_messages = 7);
    assert_eq!((committed, aborts), ((0..MESSAGES).collect::<Vec<_>>(), 2));
}
