//! Shorthand of the cases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lunapark_schemas::{Headers, Message, Messages, Position, Record, TopicPartition};
use lunapark_topics::{Created, Delivery, Limit, Log, Polled, Reader, Start, Stream, StreamSpec, TopicSpec, Writer};

use super::backends::Backend;

/// Nothing that is waited for takes longer, on a busy machine with a broker beside it.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// One wait of one poll.
pub const WAIT: Duration = Duration::from_millis(100);
/// As much as there is.
pub const ALL: Limit = Limit { messages: 10_000, bytes: 64 << 20 };

/// A case's log and its names, which no other case and no earlier run uses.
pub struct Context {
    pub log: Arc<dyn Log>,
    unique: String,
}

impl Context {
    pub fn new(backend: &dyn Backend) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let unique = format!("contract-{}-{count}-{}", std::process::id(), now_millis());
        Self { log: backend.log(), unique }
    }

    pub fn name(&self, name: &str) -> Arc<str> {
        format!("{}-{name}", self.unique).into()
    }

    /// A new topic that keeps its records.
    pub fn topic(&self, name: &str, partitions: i32) -> Arc<str> {
        self.create(TopicSpec { retention: None, ..TopicSpec::new(self.name(name), partitions) })
    }

    pub fn create(&self, spec: TopicSpec) -> Arc<str> {
        assert_eq!(self.log.create_topic(&spec).expect("a topic is created"), Created::New);
        spec.name
    }

    pub fn spec(&self, member: &str, topics: &[&Arc<str>], outputs: &[&Arc<str>]) -> StreamSpec {
        StreamSpec {
            group: self.name("group").to_string(),
            member: self.name(member).to_string(),
            topics: topics.iter().map(|topic| (*topic).clone()).collect(),
            outputs: outputs.iter().map(|topic| (*topic).clone()).collect(),
            delivery: Delivery::ExactlyOnce,
            start: Start::Earliest,
        }
    }

    pub fn join(&self, spec: &StreamSpec) -> Member {
        Member::new(self.log.stream(spec).expect("a stream joins"))
    }

    /// Writes values 0..count, round the partitions.
    pub fn fill(&self, topic: &str, partitions: i32, values: std::ops::Range<usize>) {
        let mut writer = self.log.writer().expect("a writer");
        for value in values {
            let record = Record { partition: Some(value as i32 % partitions), ..plain(topic) };
            writer.produce(&Record { value: Some(value.to_string().as_bytes()), ..record }).expect("produce");
        }
        flush(&mut *writer);
    }

    /// Everything in a topic, once there are so many records; more is a failure.
    pub fn read(&self, topic: &str, count: usize) -> Vec<Got> {
        let read = read_all(&*self.log, topic, count);
        assert_eq!(read.len(), count, "records in {topic}");
        read
    }
}

pub fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A record with nothing in it.
pub fn plain(topic: &str) -> Record<'_> {
    Record { topic, partition: None, key: None, value: None, headers: Headers::default(), timestamp: None }
}

pub fn flush(writer: &mut dyn Writer) {
    writer.flush(PATIENCE).expect("everything is acknowledged");
}

/// A message, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub at: TopicPartition,
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Got {
    pub fn of(message: Message<'_>) -> Self {
        let headers = message.headers.map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)));
        Self {
            at: message.topic_partition(),
            offset: message.offset,
            timestamp: message.timestamp,
            key: message.key.map(<[u8]>::to_vec),
            value: message.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }

    /// The value as a number, as [`Context::fill`] writes it.
    pub fn number(&self) -> usize {
        std::str::from_utf8(self.value.as_deref().expect("a value")).unwrap().parse().expect("a number")
    }
}

/// Numbers in order.
pub fn numbers(got: &[Got]) -> Vec<usize> {
    let mut numbers: Vec<_> = got.iter().map(Got::number).collect();
    numbers.sort_unstable();
    numbers
}

/// Asks until there is an answer.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, ask)
}

/// As [`until`], for what comes when the log thinks it right.
pub fn until_within<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what} did not happen within {patience:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// The first place of each partition of a topic.
pub fn start_of(log: &dyn Log, topic: &str) -> Vec<Position> {
    let partitions = log.topic(topic).expect("the topic is there").partitions;
    let all = (0..partitions).map(|partition| TopicPartition::new(topic, partition));
    all.map(|at| at.at(log.watermarks(&at).expect("watermarks").low)).collect()
}

/// Reads until `count` messages came, then on to the end, where nothing more may come.
pub fn read_all(log: &dyn Log, topic: &str, count: usize) -> Vec<Got> {
    let from = start_of(log, topic);
    let mut reader = log.reader(&from).expect("a reader");
    let mut got = Vec::new();
    until(&format!("reading {count} records of {topic}"), || {
        poll_into(&mut *reader, &mut got);
        let at_end = || {
            from.iter()
                .map(Position::topic_partition)
                .all(|at| reader.position(&at).unwrap() >= log.watermarks(&at).unwrap().high)
        };
        (got.len() >= count && at_end()).then_some(())
    });
    got
}

pub fn poll_into(reader: &mut dyn Reader, got: &mut Vec<Got>) -> usize {
    let mut batch = Messages::new();
    let count = reader.poll(&mut batch, ALL, WAIT).expect("poll");
    assert_eq!(count, batch.len());
    got.extend(batch.iter().map(Got::of));
    count
}

/// A stream and what it knows: what it owns, and where it stands.
pub struct Member {
    pub stream: Box<dyn Stream>,
    pub next: BTreeMap<TopicPartition, i64>,
    pub got: Vec<Got>,
}

impl Member {
    fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, next: BTreeMap::new(), got: Vec::new() }
    }

    /// One poll; assignments and messages are noted, everything else is handed to the caller.
    pub fn poll(&mut self) -> Polled {
        let mut batch = Messages::new();
        let polled = self.stream.poll(&mut batch, ALL, WAIT).expect("poll");
        if let Polled::Assigned(positions) = &polled {
            self.next.extend(positions.iter().map(|position| (position.topic_partition(), position.offset)));
        }
        self.take(&batch);
        polled
    }

    /// Notes messages.
    pub fn take(&mut self, batch: &Messages) {
        for message in batch.iter().map(Got::of) {
            let next = self.next.get_mut(&message.at).expect("messages come from assigned partitions");
            assert!(message.offset >= *next, "offsets rise");
            *next = message.offset + 1;
            self.got.push(message);
        }
    }

    /// One poll, and what a well-behaved member does then: commit what it read, and give up what it must.
    pub fn step(&mut self) {
        match self.poll() {
            Polled::Revoked(partitions) => {
                self.commit();
                self.give_up(&partitions);
            }
            Polled::Lost(partitions) => {
                self.stream.abort(&[]).expect("abort");
                self.give_up(&partitions);
            }
            Polled::Messages(count) if count > 0 => self.commit(),
            Polled::Messages(_) | Polled::Assigned(_) => {}
        }
    }

    pub fn give_up(&mut self, partitions: &[TopicPartition]) {
        self.stream.release(partitions).expect("release");
        self.next.retain(|at, _| !partitions.contains(at));
    }

    pub fn positions(&self) -> Vec<Position> {
        self.next.iter().map(|(at, next)| at.at(*next)).collect()
    }

    pub fn commit(&mut self) {
        self.stream.commit(&self.positions()).expect("commit");
    }

    /// Polls until it owns so many partitions.
    pub fn until_owning(&mut self, count: usize) {
        until(&format!("an assignment of {count}"), || {
            if self.next.len() != count {
                self.step();
            }
            (self.next.len() == count).then_some(())
        });
    }

    /// Polls until so many messages came in all, without committing.
    pub fn until_got(&mut self, count: usize) {
        until(&format!("{count} messages"), || {
            if self.got.len() < count {
                let polled = self.poll();
                assert!(matches!(polled, Polled::Messages(_) | Polled::Assigned(_)), "{polled:?}");
            }
            (self.got.len() >= count).then_some(())
        });
        assert_eq!(self.got.len(), count);
    }
}
