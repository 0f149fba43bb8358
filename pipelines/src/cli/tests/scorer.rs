//! A scorer whose answers are in the events: `dead`, `filtered`, `partial`, `forgotten`, else a result.

use std::collections::BTreeMap;
use std::time::Duration;

use lunapark_schemas::headers::{SOURCE, dead};
use lunapark_schemas::ledger::{LedgerRange, LedgerRecord, position_hash, push_offset};
use lunapark_schemas::{Headers, HeadersBuf, Message, Messages, Position, Record};
use lunapark_topics::{Delivery, Limit, Polled, Start, Stream, StreamSpec};

use super::Fixture;

/// Few messages a commit, so that ranges are many.
const LIMIT: Limit = Limit { messages: 3, bytes: 1 << 20 };
const WAIT: Duration = Duration::from_millis(20);

/// Scores everything in the input topic.
pub fn score(fixture: &Fixture) {
    let catalog = &fixture.context.catalog;
    let (events, results) = (catalog.inference_events.name().clone(), catalog.inference_results.name().clone());
    let (dead, ledger) = (catalog.inference_events.dead().name().clone(), catalog.ledger.name().clone());
    let spec = StreamSpec {
        group: "lab.score".into(),
        member: "lab.score-a-0".into(),
        topics: vec![events],
        outputs: vec![results, dead, ledger],
        delivery: Delivery::ExactlyOnce,
        start: Start::Earliest,
    };
    let mut scorer = Scorer { stream: fixture.context.log.stream(&spec).unwrap(), next: BTreeMap::new() };
    while !scorer.step(fixture) {}
    scorer.stream.close().unwrap();
}

struct Scorer {
    stream: Box<dyn Stream>,
    next: BTreeMap<i32, i64>,
}

impl Scorer {
    /// True once everything is done.
    fn step(&mut self, fixture: &Fixture) -> bool {
        let mut messages = Messages::new();
        match self.stream.poll(&mut messages, LIMIT, WAIT).unwrap() {
            Polled::Assigned(positions) => {
                self.next.extend(positions.iter().map(|position| (position.partition, position.offset)));
            }
            Polled::Messages(0) => return !self.next.is_empty() && self.at_the_end(fixture),
            Polled::Messages(_) => self.batch(&messages),
            Polled::Revoked(partitions) | Polled::Lost(partitions) => self.stream.release(&partitions).unwrap(),
        }
        false
    }

    fn at_the_end(&self, fixture: &Fixture) -> bool {
        let topic = fixture.context.catalog.inference_events.name();
        let end = |partition: i32| {
            let at = lunapark_schemas::TopicPartition::new(topic.clone(), partition);
            fixture.context.log.watermarks(&at).unwrap().high
        };
        self.next.iter().all(|(partition, next)| *next >= end(*partition))
    }

    fn batch(&mut self, messages: &Messages) {
        let mut ranges: BTreeMap<i32, (LedgerRange, u64)> = BTreeMap::new();
        for message in messages.iter() {
            let first = self.next[&message.partition];
            let (range, sum) = ranges.entry(message.partition).or_insert_with(|| (range(&message, first), 0));
            *sum = sum.wrapping_add(position_hash(message.partition, message.offset));
            self.answer(&message, range);
        }
        let topic = messages.get(0).topic.clone();
        let mut next = Vec::new();
        for (mut range, sum) in ranges.into_values() {
            range.checksum = format!("{sum:016x}");
            self.next.insert(range.partition, range.next);
            next.push(Position { topic: topic.clone(), partition: range.partition, offset: range.next });
            let value = serde_json::to_vec(&LedgerRecord::Range(range)).unwrap();
            self.send("lab.ledger", 1, None, &value, Headers::default());
        }
        self.stream.commit(&next).unwrap();
    }

    fn answer(&mut self, message: &Message<'_>, range: &mut LedgerRange) {
        let text = std::str::from_utf8(message.value.unwrap()).unwrap();
        let says = |word: &str| text.contains(word);
        range.next = message.offset + 1;
        range.messages.input += 1;
        if says("dead") {
            range.messages.dead += 1;
        } else if says("filtered") {
            range.messages.filtered += 1;
            push_offset(&mut range.filtered, message.offset);
        } else {
            range.messages.results += 1;
            range.messages.partial += u64::from(says("partial"));
        }
        if says("dead") || says("partial") {
            self.dead_letter(message, says("partial"));
        }
        if !(says("dead") || says("filtered") || says("forgotten")) {
            let mut headers = HeadersBuf::new();
            headers.push_str(SOURCE, &message.position().to_string());
            self.send("lab.inference.results", message.partition, message.key, b"{}", headers.view());
        }
    }

    fn dead_letter(&mut self, message: &Message<'_>, partial: bool) {
        let mut headers = HeadersBuf::new();
        headers.extend(message.headers, |_| true);
        headers.push_str(dead::TOPIC, message.topic);
        headers.push_str(dead::PARTITION, &message.partition.to_string());
        headers.push_str(dead::OFFSET, &message.offset.to_string());
        headers.push_str(dead::CLASS, if partial { "shape" } else { "malformed" });
        headers.push_str(dead::MESSAGE, "field `x` is missing");
        if partial {
            headers.push_str(dead::ROWS, "2-3");
        }
        self.send(
            "lab.inference.events.dead",
            message.partition,
            message.key,
            message.value.unwrap_or_default(),
            headers.view(),
        );
    }

    fn send(&mut self, topic: &str, partition: i32, key: Option<&[u8]>, value: &[u8], headers: Headers<'_>) {
        let record = Record { topic, partition: Some(partition), key, value: Some(value), headers, timestamp: None };
        self.stream.produce(&record, None).unwrap();
    }
}

fn range(message: &Message<'_>, first: i64) -> LedgerRange {
    LedgerRange {
        pipeline: "lab.score".into(),
        instance: "lab.score-a-0".into(),
        topic: message.topic.to_string(),
        partition: message.partition,
        first,
        next: first,
        ..Default::default()
    }
}
