//! Producing: the shared sink, plain writer, and transaction without a group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_schemas::Record;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};

use super::config::KafkaOptions;
use super::context::{Complaint, FailedDelivery, SinkContext};
use super::error::{kind_of_code, log_error};
use super::native::{OutputTopics, bootstrap_again};
use crate::error::{LogError, LogErrorKind as Kind};
use crate::log::{Transaction, Writer};

/// How long to wait between two looks at the queue. Not by `poll` or `flush`: rust-rdkafka's spin through the last
/// millisecond of any wait, which costs the broker beside us a core.
const NAP: Duration = Duration::from_micros(100);
/// A record that began to linger while a flush was under way waits for so many naps at most.
const NAPS_PER_FLUSH: u32 = 10;
/// The reports of records that were refused come right behind the refusal of what comes next: so many naps are ample.
const NAPS_FOR_REPORTS: u32 = 1000;
/// One try of an abort; reports of the purged records are served between two.
const ABORT_SLICE: Duration = Duration::from_millis(10);
/// Delivery reports are served once per so many records, so that none waits behind a long batch.
const SERVE_EVERY: u32 = 4096;

/// What an abort leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aborted {
    /// The producer can go on.
    Clean,
    /// Records were refused for good: their sequence numbers are missing, and the producer cannot commit again.
    Broken,
}

/// A producer with its failed deliveries.
pub(super) struct Sink {
    /// Before the producer: it must go first.
    topics: OutputTopics,
    /// Shared only with a call that librdkafka may never come back from, see [`super::patience`].
    producer: Arc<BaseProducer<SinkContext>>,
    bootstrap: String,
    transactional_id: Option<String>,
    timeout: Duration,
    since_served: u32,
}

impl Sink {
    pub(super) fn open(config: &ClientConfig, timeout: Duration) -> Result<Self, LogError> {
        let created = config.create_with_context(SinkContext::default());
        let producer = created.map_err(|e| log_error("producer", &e, None))?;
        let bootstrap = config.get("bootstrap.servers").unwrap_or_default().to_owned();
        let transactional_id = config.get("transactional.id").map(str::to_owned);
        let (topics, producer) = (OutputTopics::default(), Arc::new(producer));
        Ok(Self { topics, producer, bootstrap, transactional_id, timeout, since_served: 0 })
    }

    /// Registers the transactional id and ends what an earlier owner of it left open.
    pub(super) fn init_transactions(&mut self) -> Result<(), LogError> {
        let deadline = Instant::now() + self.timeout;
        // librdkafka asks once and, where no broker is connected yet, again after 500 ms: connect first.
        let connected = self.producer.client().fetch_metadata(Some(super::NOBODYS), self.timeout);
        connected.map_err(|e| self.error("connect", &e))?;
        loop {
            match self.producer.init_transactions(self.timeout) {
                Ok(()) => return Ok(()),
                Err(error) if retriable(&error) && Instant::now() < deadline => self.nap(),
                Err(error) => return Err(self.error("init transactions", &error)),
            }
        }
    }

    pub(super) fn begin(&self) -> Result<(), LogError> {
        self.producer.begin_transaction().map_err(|e| self.error("begin transaction", &e))
    }

    pub(super) fn send(&mut self, record: &Record<'_>, tag: usize) -> Result<(), LogError> {
        self.since_served += 1;
        if self.since_served >= SERVE_EVERY {
            self.serve();
        }
        let client = self.producer.client().native_ptr();
        // The clock is only read once the queue is full: a look at it costs as much as a short header.
        let mut deadline = None;
        while let Err(error) = self.topics.produce(client, record, tag) {
            let until = *deadline.get_or_insert_with(|| Instant::now() + self.timeout);
            if !queue_full(&error) || Instant::now() >= until {
                return Err(self.error(&format!("produce to {}", record.topic), &error));
            }
            self.nap();
        }
        Ok(())
    }

    /// Serves what has arrived without waiting.
    pub(super) fn serve(&mut self) {
        self.since_served = 0;
        self.producer.poll(Duration::ZERO);
    }

    /// The records whose refusal is reported now or in a moment.
    pub(super) fn refused_soon(&mut self) -> Vec<FailedDelivery> {
        for _ in 0..NAPS_FOR_REPORTS {
            self.serve();
            let refused = self.producer.context().take_failed();
            if !refused.is_empty() {
                return refused;
            }
            self.nap();
        }
        Vec::new()
    }

    fn nap(&mut self) {
        std::thread::park_timeout(NAP);
        self.serve();
    }

    /// Waits until nothing is in flight; then says which records failed.
    pub(super) fn drain(&mut self, within: Duration) -> Result<Vec<FailedDelivery>, LogError> {
        let deadline = Instant::now() + within;
        while self.producer.in_flight_count() > 0 && !self.producer.context().barred() {
            if Instant::now() > deadline {
                bootstrap_again(self.producer.client(), &self.bootstrap);
                let message = format!("{} records not acknowledged in {within:?}", self.producer.in_flight_count());
                return Err(LogError::new(Kind::Timeout, self.with_detail(message)));
            }
            // With no time to wait a flush only sends what lingers; each one wakes the client's threads.
            let _pending = self.producer.flush(Duration::ZERO);
            for _ in 0..NAPS_PER_FLUSH {
                self.nap();
                if self.producer.in_flight_count() == 0 || self.producer.context().barred() {
                    break;
                }
            }
        }
        self.serve();
        Ok(self.producer.context().take_failed())
    }

    pub(super) fn commit_transaction(&self) -> Result<(), LogError> {
        self.producer.commit_transaction(self.timeout).map_err(|e| match &e {
            // Whether the commit took effect is unknown, and librdkafka cannot find out (no KIP-890): give up.
            KafkaError::Transaction(t) if t.is_retriable() => {
                let what = format!("commit not confirmed within {:?}", self.timeout);
                LogError::new(Kind::Timeout, self.with_detail(what))
            }
            _ => self.error("commit transaction", &e),
        })
    }

    /// Only librdkafka may purge: it moves the sequence numbers past what it threw away. A purge of our own would leave a
    /// gap in them, and the next transaction would fail.
    pub(super) fn abort_transaction(&mut self) -> Result<Aborted, LogError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            // What was purged reports back through the queue, and the call waits for it: it must be served in between.
            match self.producer.abort_transaction(ABORT_SLICE) {
                Ok(()) => break,
                Err(error) if retriable(&error) && Instant::now() < deadline => self.nap(),
                Err(error) => return Err(self.error("abort transaction", &error)),
            }
        }
        self.serve();
        let refused = self.producer.context().take_failed();
        tracing::debug!(refused = refused.len(), "transaction aborted");
        Ok(if refused.is_empty() { Aborted::Clean } else { Aborted::Broken })
    }

    pub(super) fn producer(&self) -> &Arc<BaseProducer<SinkContext>> {
        &self.producer
    }

    pub(super) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn error(&self, doing: &str, error: &KafkaError) -> LogError {
        // After a fatal error every call only says that there was one; the client remembers which.
        let fatal = self.producer.client().fatal_error().map(|(code, reason)| Complaint { code: Some(code), reason });
        let detail = fatal.or_else(|| self.producer.context().events.last_error());
        match &self.transactional_id {
            Some(id) => log_error(&format!("transactional id `{id}`: {doing}"), error, detail),
            None => log_error(doing, error, detail),
        }
    }

    fn with_detail(&self, message: String) -> String {
        match self.producer.context().events.last_error() {
            Some(complaint) => format!("{message} ({}); check that the brokers are up", complaint.reason),
            None => message,
        }
    }
}

/// The error for records that failed; too large ones first, since those have a remedy.
pub(super) fn delivery_error(failed: &[FailedDelivery]) -> Option<LogError> {
    let worst = failed.iter().find(|f| f.too_large()).or(failed.first())?;
    let kind = worst.error.rdkafka_error_code().map_or(Kind::Internal, kind_of_code);
    Some(LogError::new(kind, format!("{} records refused by `{}`: {}", failed.len(), worst.topic, worst.error)))
}

pub(super) fn retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(e) if e.is_retriable() && !e.is_fatal())
}

fn queue_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

/// Produces outside transactions.
pub(super) struct KafkaWriter {
    sink: Sink,
}

impl KafkaWriter {
    pub(super) fn open(options: &KafkaOptions) -> Result<Self, LogError> {
        Ok(Self { sink: Sink::open(&options.producer(), options.request_timeout)? })
    }

    pub(super) fn announcing(options: &KafkaOptions) -> Result<Self, LogError> {
        Ok(Self { sink: Sink::open(&options.announcer(), options.request_timeout)? })
    }
}

impl Writer for KafkaWriter {
    fn produce(&mut self, record: &Record<'_>) -> Result<(), LogError> {
        self.sink.send(record, 0)
    }

    fn flush(&mut self, within: Duration) -> Result<(), LogError> {
        delivery_error(&self.sink.drain(within)?).map_or(Ok(()), Err)
    }
}

/// Produces atomically without consuming.
pub(super) struct KafkaTransaction {
    sink: Sink,
    open: bool,
}

impl KafkaTransaction {
    pub(super) fn open(options: &KafkaOptions, id: &str) -> Result<Self, LogError> {
        let mut sink =
            Sink::open(&options.transactional(id), options.transaction_timeout.max(options.request_timeout))?;
        sink.init_transactions()?;
        Ok(Self { sink, open: false })
    }
}

impl Transaction for KafkaTransaction {
    fn produce(&mut self, record: &Record<'_>) -> Result<(), LogError> {
        if !self.open {
            self.sink.begin()?;
            self.open = true;
        }
        self.sink.send(record, 0)
    }

    fn commit(&mut self) -> Result<(), LogError> {
        if !self.open {
            return Ok(());
        }
        let failed = self.sink.drain(self.sink.timeout())?;
        match delivery_error(&failed) {
            Some(error) => Err(error),
            None => {
                self.open = false;
                self.sink.commit_transaction()
            }
        }
    }

    fn abort(&mut self) -> Result<(), LogError> {
        match std::mem::take(&mut self.open) {
            true => self.sink.abort_transaction().map(drop),
            false => Ok(()),
        }
    }
}
