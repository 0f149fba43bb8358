//! The verifier's own hands on Kafka: rdkafka directly, nothing of the pipeline's.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use lunapark_topics::kafka::bootstrap_again;

use super::{Accepted, Plan, Produced};
use crate::harness::{OwnedRecord, until};

/// After this long a broker that answers at all has answered.
const ANSWERS: Duration = Duration::from_secs(60);
/// One request to a broker that may be busy with other tests.
const REQUEST: Duration = Duration::from_secs(20);
/// A whole topic is read within this.
const READ: Duration = Duration::from_secs(120);
/// What is in flight when a load ends is acknowledged within this, also by a broker that is just coming back.
const LAST_ACKS: Duration = Duration::from_secs(90);

// ---- reading ---------------------------------------------------------------------------------------------------

fn consumer(bootstrap: &str, group: &str, isolation: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", group).set("isolation.level", isolation);
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true").set("auto.offset.reset", "error");
    config.set("fetch.queue.backoff.ms", "5").set("reconnect.backoff.max.ms", "500");
    config.create().expect("a consumer")
}

fn partition_count(consumer: &BaseConsumer, topic: &str) -> i32 {
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST).expect("metadata");
    metadata.topics()[0].partitions().len() as i32
}

/// Every committed record of a topic, by partition and offset.
#[track_caller]
pub fn read_topic(bootstrap: &str, topic: &str) -> Vec<OwnedRecord> {
    read_isolated(bootstrap, topic, "read_committed")
}

/// As [`read_topic`], and what was aborted or is open besides: what nobody else sees.
#[track_caller]
pub fn read_uncommitted(bootstrap: &str, topic: &str) -> Vec<OwnedRecord> {
    read_isolated(bootstrap, topic, "read_uncommitted")
}

#[track_caller]
fn read_isolated(bootstrap: &str, topic: &str, isolation: &str) -> Vec<OwnedRecord> {
    let consumer = consumer(bootstrap, "verifier", isolation);
    let partitions = partition_count(&consumer, topic);
    let mut from = TopicPartitionList::new();
    (0..partitions).for_each(|p| from.add_partition_offset(topic, p, Offset::Beginning).expect("a partition"));
    consumer.assign(&from).expect("an assignment");
    let (mut records, mut ended) = (Vec::new(), vec![false; partitions as usize]);
    let deadline = Instant::now() + READ;
    while ended.contains(&false) {
        assert!(Instant::now() < deadline, "{topic} is not read to its end within {READ:?}");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(owned(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => ended[partition as usize] = true,
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => {}
        }
    }
    records.sort_by_key(|record: &OwnedRecord| (record.partition, record.offset));
    records
}

fn owned(message: &BorrowedMessage<'_>) -> OwnedRecord {
    let header = |h: Header<'_, &[u8]>| (h.key.to_owned(), h.value.map(<[u8]>::to_vec));
    OwnedRecord {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map(|all| all.iter().map(header).collect()).unwrap_or_default(),
    }
}

/// All topics whose names begin so.
#[track_caller]
pub fn topics_under(bootstrap: &str, prefix: &str) -> Vec<String> {
    let consumer = consumer(bootstrap, "verifier", "read_committed");
    let metadata = consumer.fetch_metadata(None, REQUEST).expect("metadata");
    let mut names: Vec<String> = metadata.topics().iter().map(|t| t.name().to_owned()).collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names
}

/// Partitions of a topic whose readers are held back by an open transaction.
#[track_caller]
pub fn hanging_transactions(bootstrap: &str, topic: &str) -> Vec<i32> {
    let [committed, all] = ["read_committed", "read_uncommitted"].map(|level| consumer(bootstrap, "verifier", level));
    let end = |consumer: &BaseConsumer, p| consumer.fetch_watermarks(topic, p, REQUEST).expect("watermarks").1;
    (0..partition_count(&all, topic)).filter(|p| end(&committed, *p) < end(&all, *p)).collect()
}

/// How one partition got on while others may have stood still.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// Until it was committed past its former end.
    pub after: Duration,
    /// The longest time in which its committed offset did not change, until every partition moved.
    pub pause: Duration,
}

struct Watched {
    end: i64,
    since: Instant,
    after: Option<Duration>,
    last: (i64, Instant),
    pause: Duration,
}

impl Watched {
    fn new(end: i64, since: Instant) -> Self {
        Self { end, since, after: None, last: (-1, since), pause: Duration::ZERO }
    }

    fn look(&mut self, offset: i64) {
        self.pause = self.pause.max(self.last.1.elapsed());
        if offset != self.last.0 {
            self.last = (offset, Instant::now());
        }
        if offset > self.end {
            self.after.get_or_insert_with(|| self.since.elapsed());
        }
    }

    fn moved(&self) -> Option<Moved> {
        self.after.map(|after| Moved { after, pause: self.pause })
    }
}

/// Where a group stands and where the topic ends, asked by a client that is no member.
pub struct Progress {
    bootstrap: String,
    group: String,
    topic: String,
    partitions: i32,
    consumer: RefCell<BaseConsumer>,
}

impl Progress {
    /// Of this group on this topic.
    #[track_caller]
    pub fn of(bootstrap: &str, group: &str, topic: &str) -> Self {
        let consumer = Self::client(bootstrap, group);
        let partitions = partition_count(&consumer, topic);
        let [bootstrap, group, topic] = [bootstrap, group, topic].map(str::to_owned);
        Self { bootstrap, group, topic, partitions, consumer: RefCell::new(consumer) }
    }

    /// An open transaction hides the offsets from `read_committed`; here the last stable ones are wanted.
    fn client(bootstrap: &str, group: &str) -> BaseConsumer {
        consumer(bootstrap, group, "read_uncommitted")
    }

    /// The committed offset of each partition (0 where there is none yet); `None` while no broker answers.
    pub fn committed(&self) -> Option<Vec<i64>> {
        let mut asked = TopicPartitionList::new();
        for p in 0..self.partitions {
            asked.add_partition(&self.topic, p);
        }
        let found = self.consumer.borrow().committed_offsets(asked, Duration::from_secs(1));
        let Ok(found) = found else {
            // A client that is no member may never learn of a coordinator that moved or came back.
            self.consumer.replace(Self::client(&self.bootstrap, &self.group));
            return None;
        };
        let offset = |p| match found.find_partition(&self.topic, p)?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => Some(0),
        };
        (0..self.partitions).map(offset).collect()
    }

    /// Where each partition ends.
    #[track_caller]
    pub fn ends(&self) -> Vec<i64> {
        // A broker that was away may not lead its partitions yet.
        let end = |p| until(ANSWERS, "watermarks", || self.end(p));
        (0..self.partitions).map(end).collect()
    }

    /// `None` while no broker answers.
    fn end(&self, partition: i32) -> Option<i64> {
        let found = self.consumer.borrow().fetch_watermarks(&self.topic, partition, Duration::from_secs(5));
        if found.is_err() {
            self.consumer.replace(Self::client(&self.bootstrap, &self.group));
        }
        found.ok().map(|(_, end)| end)
    }

    /// Waits until every partition has been committed past these offsets, which were its ends at `since`.
    #[track_caller]
    pub fn moved_past(&self, offsets: &[i64], since: Instant, within: Duration) -> Vec<Moved> {
        let mut watched: Vec<_> = offsets.iter().map(|end| Watched::new(*end, since)).collect();
        until(within, &format!("every partition is committed past {offsets:?}"), || {
            let committed = self.committed()?;
            watched.iter_mut().zip(committed).for_each(|(watched, offset)| watched.look(offset));
            watched.iter().map(Watched::moved).collect()
        })
    }

    /// Waits until the group has read everything.
    #[track_caller]
    pub fn caught_up(&self, within: Duration) {
        let ends = self.ends();
        let mut seen = None;
        let what = format!("the group is at the end {ends:?}");
        until(within, &what, || {
            seen = self.committed();
            seen.as_ref().is_some_and(|committed| *committed == ends).then_some(())
        });
    }
}

// ---- load ------------------------------------------------------------------------------------------------------

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes acknowledgements down.
#[derive(Default)]
struct Acknowledged {
    produced: Mutex<Produced>,
    /// All brokers were said to be gone since this was looked at.
    lost: AtomicBool,
}

impl ClientContext for Acknowledged {
    fn error(&self, error: KafkaError, _reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.lost.store(true, Ordering::Release);
        }
    }
}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut produced = lock(&self.produced);
        match result {
            Ok(message) => {
                let at = Some((message.partition(), message.offset()));
                produced.accepted.push(Accepted { number: number as u64, at });
            }
            // It waited for a leader and was never sent: as if it had not been produced.
            Err((error, _)) if error.rdkafka_error_code().is_some_and(never_sent) => {}
            Err((error, _)) => {
                eprintln!("load: event {number} is not acknowledged: {error}");
                produced.in_doubt += 1;
            }
        }
    }
}

/// A thread that produces the plan's events at a rate, idempotently, until it is stopped.
pub struct KafkaLoad {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Produced>>,
}

impl KafkaLoad {
    /// Starts at event 0.
    #[track_caller]
    pub fn start(bootstrap: &str, topic: &str, partitions: i32, plan: &Plan, per_second: f64) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("linger.ms", "2");
        config.set("message.timeout.ms", "80000").set("reconnect.backoff.max.ms", "500");
        let producer: BaseProducer<Acknowledged> =
            config.create_with_context(Acknowledged::default()).expect("a producer");
        let (stop, plan, topic) = (Arc::new(AtomicBool::new(false)), plan.clone(), topic.to_owned());
        let (stopped, brokers) = (stop.clone(), bootstrap.to_owned());
        let run = move || {
            let (started, mut next) = (Instant::now(), 0);
            while !stopped.load(Ordering::Acquire) {
                let due = (started.elapsed().as_secs_f64() * per_second) as u64;
                next = send(&producer, &plan, &topic, partitions, next..due);
                producer.poll(Duration::from_millis(2));
                if producer.context().lost.swap(false, Ordering::AcqRel) {
                    bootstrap_again(producer.client(), &brokers);
                }
            }
            producer.flush(LAST_ACKS).expect("the last acknowledgements");
            std::mem::take(&mut *lock(&producer.context().produced))
        };
        Self { stop, thread: std::thread::Builder::new().name("load".into()).spawn(run).ok() }
    }

    /// Ends it; what was acknowledged.
    #[track_caller]
    pub fn finish(mut self) -> Produced {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("a thread").join().expect("the load ends by itself")
    }
}

impl Drop for KafkaLoad {
    /// A test that fails must not leave its load to the others.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Sends these events until the queue is full; the next number to send.
fn send(
    producer: &BaseProducer<Acknowledged>,
    plan: &Plan,
    topic: &str,
    partitions: i32,
    numbers: std::ops::Range<u64>,
) -> u64 {
    for number in numbers.clone() {
        let event = plan.event(number, partitions);
        let headers =
            event.headers.view().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value }));
        let mut record = BaseRecord::with_opaque_to(topic, number as usize).headers(headers);
        record.partition = event.partition;
        let (key, value) = (event.key.unwrap_or_default(), event.value.unwrap_or_default());
        match producer.send(record.key(&key).payload(&value)) {
            Ok(()) => {}
            Err((error, _)) if error.rdkafka_error_code().is_some_and(passes) => return number,
            Err((error, _)) => panic!("event {number}: {error}"),
        }
    }
    numbers.end.max(numbers.start)
}

/// What another try mends: a full queue, and a broker that has just started and does not know its topics yet.
fn passes(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::QueueFull | RDKafkaErrorCode::UnknownTopicOrPartition) || never_sent(code)
}

/// What librdkafka itself says of records that it could send to nobody; a broker's own word is another code.
fn never_sent(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownPartition)
}
