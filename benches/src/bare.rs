//! The bare loop: consumes the same messages and produces from memory the very results that the scorer makes of them.
//! No ledger, no dead letters, no rebalancing, no counting: the limit of what this client library does.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lunapark_schemas::headers::SOURCE;
use lunapark_topics::catalog::DEFAULT_MAX_MESSAGE_BYTES;
use lunapark_topics::kafka::KafkaOptions;
use lunapark_topics::log::{Start, StreamSpec};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::job::{self, COMMIT_MS, Job, Mode, PARTITIONS};
use crate::process::{cpu_seconds, nap};
use crate::workload::{Answers, Workload};

/// The product's own way of waiting (`topics/src/kafka/producer.rs`): rust-rdkafka's `poll` and `flush` spin through
/// the last millisecond of any wait, and every flush wakes the client's threads.
const NAP: Duration = Duration::from_micros(100);
const NAPS_PER_FLUSH: u32 = 10;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs until killed. What was spent on preparing the results is told first, so that it can be taken off.
pub fn run(job: &Job) -> anyhow::Result<()> {
    let workload = Workload::new(job.model, job.payload)?;
    let (answers, batch) = (workload.answers()?, workload.batch()?);
    let sources = Sources::new(job.messages);
    writeln!(std::io::stdout(), "{}", cpu_seconds(std::process::id())?)?;
    let (answers, sources) = (&answers, &sources);
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..job.threads).map(|n| scope.spawn(move || stream_thread(job, n, batch, answers, sources))).collect();
        threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|_| anyhow::bail!("a bare loop panicked")))
    })
}

/// `batch` messages, as many as one of the scorer's has, lie between two looks at the clock.
fn stream_thread(job: &Job, thread: usize, batch: usize, answers: &Answers, sources: &Sources) -> anyhow::Result<()> {
    let options = KafkaOptions::new(&job.bootstrap);
    let catalog = job::catalog();
    let (events, results) = (catalog.inference_events.name(), catalog.inference_results.name());
    let spec = StreamSpec {
        group: job.group(),
        member: format!("{}-bare-{thread}", job.group()),
        topics: vec![events.clone()],
        outputs: vec![results.clone()],
        delivery: job.mode.delivery(),
        start: Start::Earliest,
    };
    let producer: BaseProducer = options.stream_producer(&spec, DEFAULT_MAX_MESSAGE_BYTES).create()?;
    if job.mode == Mode::ExactlyOnce {
        producer.init_transactions(TIMEOUT)?;
    }
    let consumer: BaseConsumer = options.stream_consumer(&spec).create()?;
    let mut own = TopicPartitionList::new();
    for partition in (0..PARTITIONS).filter(|p| *p as usize % job.threads == thread) {
        own.add_partition_offset(events, partition, Offset::Beginning)?;
    }
    consumer.assign(&own)?;
    let next = vec![0; PARTITIONS as usize];
    let mut out = Out { mode: job.mode, producer, events, results, answers, sources, next, opened: None };
    loop {
        let mut wait = out.left();
        for _ in 0..batch {
            let Some(message) = consumer.poll(wait) else { break };
            out.answer(&message?)?;
            wait = Duration::ZERO;
        }
        if out.opened.is_some() && out.left() == Duration::ZERO {
            out.commit(&consumer)?;
        }
    }
}

struct Out<'a> {
    mode: Mode,
    producer: BaseProducer,
    events: &'a str,
    results: &'a str,
    answers: &'a Answers,
    sources: &'a Sources,
    /// Next offset of each partition; 0 is none.
    next: Vec<i64>,
    opened: Option<Instant>,
}

impl Out<'_> {
    /// Time left of the commit interval.
    fn left(&self) -> Duration {
        let interval = Duration::from_millis(COMMIT_MS);
        self.opened.map_or(interval, |opened| interval.saturating_sub(opened.elapsed()))
    }

    fn answer(&mut self, message: &BorrowedMessage<'_>) -> anyhow::Result<()> {
        let (partition, offset) = (message.partition(), message.offset());
        if self.opened.is_none() {
            self.opened = Some(Instant::now());
            if self.mode == Mode::ExactlyOnce {
                self.producer.begin_transaction()?;
            }
        }
        let index = job::index_of(partition, offset) as usize % self.answers.values.len();
        let headers = OwnedHeaders::new_with_capacity(4);
        let headers = self.answers.headers.view().fold(headers, |h, (key, value)| h.insert(Header { key, value }));
        let source = Header { key: SOURCE, value: Some(self.sources.of(partition, offset)) };
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(self.results)
            .partition(partition)
            .payload(&self.answers.values[index][..])
            .headers(headers.insert(source));
        (record.key, record.timestamp) = (message.key(), message.timestamp().to_millis());
        self.next[partition as usize] = offset + 1;
        loop {
            match self.producer.send(record) {
                Err((e, back)) if e.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => record = back,
                sent => return sent.map_err(|(error, _)| error.into()),
            }
            self.nap();
        }
    }

    fn nap(&self) {
        nap(NAP);
        self.producer.poll(Duration::ZERO);
    }

    fn commit(&mut self, consumer: &BaseConsumer) -> anyhow::Result<()> {
        self.opened = None;
        // `flush` and `commit_transaction` nap 100 ms at a time; empty the queue before they are called.
        let mut naps = 0;
        while self.producer.in_flight_count() > 0 {
            if naps % NAPS_PER_FLUSH == 0 {
                let _pending = self.producer.flush(Duration::ZERO);
            }
            self.nap();
            naps += 1;
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, next) in self.next.iter().enumerate().filter(|(_, next)| **next > 0) {
            offsets.add_partition_offset(self.events, partition as i32, Offset::Offset(*next))?;
        }
        if self.mode == Mode::AtLeastOnce {
            return Ok(consumer.commit(&offsets, CommitMode::Sync)?);
        }
        let group = consumer.group_metadata().context("the consumer has no group metadata")?;
        self.producer.send_offsets_to_transaction(&offsets, &group, TIMEOUT)?;
        Ok(self.producer.commit_transaction(TIMEOUT)?)
    }
}

/// The values of the header `lunapark-source`, made beforehand: per partition one run of bytes and where each ends.
struct Sources(Vec<(Vec<u8>, Vec<u32>)>);

impl Sources {
    fn new(messages: u64) -> Self {
        let catalog = job::catalog();
        let topic = catalog.inference_events.name();
        let mut all = vec![(Vec::new(), vec![0]); PARTITIONS as usize];
        for index in 0..messages {
            let (partition, offset) = job::place_of(index);
            let (bytes, ends) = &mut all[partition as usize];
            bytes.extend_from_slice(format!("{topic}/{partition}/{offset}").as_bytes());
            ends.push(bytes.len() as u32);
        }
        Self(all)
    }

    fn of(&self, partition: i32, offset: i64) -> &[u8] {
        let (bytes, ends) = &self.0[partition as usize];
        &bytes[ends[offset as usize] as usize..ends[offset as usize + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_its_message() {
        let sources = Sources::new(14);
        assert_eq!(sources.of(0, 0), b"bench.inference.events/0/0");
        assert_eq!(sources.of(1, 2), b"bench.inference.events/1/2");
    }
}
