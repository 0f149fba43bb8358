//! The runner on the embedded log, with operators that fail on purpose.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::Schema;
use lunapark_operator::{Batch, Codec, Decoded, Member, Operator, OperatorError, Output, Reply, Retry};
use lunapark_schemas::headers::{SOURCE, dead};
use lunapark_schemas::inference::{Format, Request};
use lunapark_schemas::outcome::FailedRow;
use lunapark_schemas::{ErrorClass, Message, Messages, Outcome, Record, Rejection, TopicPartition};
use lunapark_topics::catalog::CatalogOptions;
use lunapark_topics::embedded::{self, EmbeddedOptions};
use lunapark_topics::log::Start;
use lunapark_topics::{Catalog, Delivery, Limit, Log, StreamSpec};

use super::{Routes, RunError, Settings, StreamThread, supervise};
use crate::health::Health;
use crate::metrics::PipelineMetrics;
use crate::stop::Stop;

/// A message's own text, once it has been through the operator.
pub(super) struct Echo(pub(super) String);

impl Output for Echo {
    fn failed(&self) -> &[FailedRow] {
        &[]
    }
}

/// Messages are text; all of a poll are one batch, save those that are garbled.
pub(super) struct Text {
    pub(super) seen: Mutex<Vec<String>>,
}

impl Codec<Echo> for Text {
    fn decode(&self, messages: &Messages, indices: &[usize]) -> Decoded {
        let request = Request { format: Format::KserveV1, rows: 1, extra: None };
        let member = |(start, &message): (usize, &usize)| Member { message, start, request: request.clone() };
        let garbled = |index: &&usize| messages.get(**index).value.unwrap() == b"garbled";
        let rejection = || Rejection::new(ErrorClass::Malformed, "garbled");
        let rejected = indices.iter().filter(garbled).map(|index| (*index, rejection())).collect();
        let indices: Vec<usize> = indices.iter().filter(|index| !garbled(index)).copied().collect();
        let members: Vec<_> = indices.iter().enumerate().map(member).collect();
        let text = |message: Message<'_>| String::from_utf8_lossy(message.value.unwrap()).into_owned();
        *self.seen.lock().unwrap() = messages.iter().map(text).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(members.len()));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        Decoded { batches: vec![Batch { model: 0, rows, members }], rejected, ..Decoded::default() }
    }

    fn encode(&self, _: &Message<'_>, _: usize, _: &Member, out: &Echo, reply: &mut Reply) -> Result<(), Rejection> {
        reply.value.extend_from_slice(out.0.as_bytes());
        Ok(())
    }

    fn model_tag(&self, _: usize) -> Option<&str> {
        None
    }
}

/// Echoes, unless a message of the batch tells it to fail.
pub(super) struct Moody<'a> {
    pub(super) text: &'a Text,
    pub(super) holds: Mutex<u32>,
}

impl Operator for Moody<'_> {
    type Out = Echo;

    fn name(&self) -> &'static str {
        "moody"
    }

    fn advice_on_size(&self) -> &'static str {
        "say less"
    }

    async fn process(&self, batch: &Batch) -> Result<Vec<Outcome<Echo>>, OperatorError> {
        let seen = self.text.seen.lock().unwrap().clone();
        let texts: Vec<String> = batch.members.iter().map(|m| seen[m.message].clone()).collect();
        if texts.iter().any(|text| text == "poison") {
            return Err(OperatorError::fatal("poisoned"));
        }
        let mut holds = self.holds.lock().unwrap();
        if *holds > 0 {
            *holds -= 1;
            return Err(OperatorError { retry: Retry::After(Duration::from_millis(1)), message: "not now".into() });
        }
        let short = usize::from(texts.iter().any(|text| text == "short"));
        Ok(texts.into_iter().skip(short).map(|text| Outcome::Emit(Echo(text))).collect())
    }
}

struct Ran {
    log: Arc<dyn Log>,
    catalog: Catalog,
    ended: Result<(), RunError>,
    _dir: tempfile::TempDir,
}

/// Runs the pipeline over these messages until all have ended, or it stops by itself.
fn run(texts: &[&str], holds: u32, change: impl FnOnce(&mut Settings)) -> Ran {
    let catalog = catalog();
    let (dir, log) = new_log(&catalog);
    write(&*log, &catalog, texts);
    let text = Text { seen: Mutex::default() };
    let operator = Moody { text: &text, holds: Mutex::new(holds) };
    let metrics = Arc::new(PipelineMetrics::new("p", "i").unwrap());
    let mut settings = settings(&catalog);
    change(&mut settings);
    let thread = StreamThread {
        log: log.clone(),
        spec: spec(&catalog),
        settings,
        codec: &text,
        operator: &operator,
        metrics: metrics.clone(),
        health: Arc::new(Health::default()),
        swap: None,
    };
    let stop = Stop::new();
    let ended = std::thread::scope(|scope| {
        let worker = scope.spawn(|| supervise(&thread, &stop));
        let deadline = Instant::now() + Duration::from_secs(20);
        while !worker.is_finished() && metrics.messages().iter().sum::<u64>() < texts.len() as u64 {
            assert!(Instant::now() < deadline, "messages end: {:?}", metrics.messages());
            std::thread::park_timeout(Duration::from_millis(2));
        }
        stop.request();
        worker.join().unwrap()
    });
    Ran { log, catalog, ended, _dir: dir }
}

/// A log of its own, with the catalog's topics.
pub(super) fn new_log(catalog: &Catalog) -> (tempfile::TempDir, Arc<dyn Log>) {
    let dir = tempfile::tempdir().unwrap();
    let log = embedded::open(dir.path(), &EmbeddedOptions::default()).unwrap();
    for spec in catalog.specs() {
        log.create_topic(&spec).unwrap();
    }
    (dir, log)
}

/// Writes events, one for each text.
pub(super) fn write(log: &dyn Log, catalog: &Catalog, texts: &[&str]) {
    let mut writer = log.writer().unwrap();
    for text in texts {
        let (topic, value) = (catalog.inference_events.name(), Some(text.as_bytes()));
        let headers = Default::default();
        writer.produce(&Record { topic, partition: Some(0), key: None, value, headers, timestamp: None }).unwrap();
    }
    writer.flush(Duration::from_secs(10)).unwrap();
}

pub(super) fn catalog() -> Catalog {
    Catalog::new(&CatalogOptions {
        prefix: String::new(),
        partitions: 1,
        ledger_partitions: 1,
        retention: None,
        jobs_retention: None,
        control_retention: None,
        max_message_bytes: 1 << 20,
        replication: 1,
    })
}

pub(super) fn settings(catalog: &Catalog) -> Settings {
    Settings {
        pipeline: "p".into(),
        member: "p-i-0".into(),
        routes: Routes {
            results: catalog.inference_results.name().clone(),
            shadow: Some(catalog.inference_shadow.name().clone()),
            dead: catalog.inference_events.dead().name().clone(),
            ledger: catalog.ledger.clone(),
            ledger_partition: 0,
        },
        commit_interval: Duration::from_millis(5),
        commit_messages: 1000,
        commit_bytes: 1 << 20,
        batch_messages: 1000,
        batch_bytes: 1 << 20,
        gather: Duration::ZERO,
        reject_share: 0.5,
        reject_window: 0,
        shadow_patience: Duration::from_secs(60),
        accept_rejects_until: None,
        homes: None,
        holdings: None,
    }
}

pub(super) fn spec(catalog: &Catalog) -> StreamSpec {
    let (results, dead) = (catalog.inference_results.name().clone(), catalog.inference_events.dead().name().clone());
    StreamSpec {
        group: "p".into(),
        member: "p-i-0".into(),
        topics: vec![catalog.inference_events.name().clone()],
        outputs: vec![results, dead, catalog.ledger.name().clone()],
        delivery: Delivery::ExactlyOnce,
        start: Start::Earliest,
    }
}

impl Ran {
    fn records(&self, topic: &str) -> Messages {
        let from = TopicPartition::new(topic, 0).at(0);
        let mut messages = Messages::new();
        let limit = Limit { messages: 10_000, bytes: 1 << 30 };
        self.log.reader(&[from]).unwrap().poll(&mut messages, limit, Duration::from_millis(10)).unwrap();
        messages
    }

    /// Source offset and value of each result.
    fn results(&self) -> Vec<(String, String)> {
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let records = self.records(self.catalog.inference_results.name());
        records.iter().map(|m| (text(m.headers.get(SOURCE)), text(m.value))).collect()
    }

    /// Offset and attempts of each dead letter.
    fn dead(&self) -> Vec<(String, u32)> {
        let header = |m: &Message<'_>, name| m.headers.get_str(name).unwrap_or_default().to_owned();
        let records = self.records(self.catalog.inference_events.dead().name());
        records.iter().map(|m| (header(&m, dead::OFFSET), header(&m, dead::ATTEMPTS).parse().unwrap())).collect()
    }
}

#[test]
fn one_poison_message_costs_one_message_and_order_is_kept() {
    let texts = ["a", "b", "c", "poison", "d", "e", "poison", "f"];
    let ran = run(&texts, 0, |_| {});
    ran.ended.as_ref().unwrap();
    let good = texts.iter().enumerate().filter(|(_, text)| **text != "poison");
    let wanted: Vec<_> = good.map(|(at, text)| (format!("inference.events/0/{at}"), (*text).to_owned())).collect();
    assert_eq!(ran.results(), wanted);
    let dead = ran.dead();
    assert_eq!(dead.iter().map(|(offset, _)| offset.as_str()).collect::<Vec<_>>(), ["3", "6"]);
    assert!(dead.iter().all(|(_, attempts)| *attempts == 4), "8, 4, 2, 1 messages: {dead:?}");
}

#[test]
fn an_operator_that_asks_for_patience_gets_it() {
    let ran = run(&["a", "b"], 3, |_| {});
    ran.ended.as_ref().unwrap();
    assert_eq!(ran.results().len(), 2);
    assert!(ran.dead().is_empty());
}

#[test]
fn too_few_outcomes_stop_the_pipeline_and_nothing_is_written() {
    let ran = run(&["a", "short", "b"], 0, |_| {});
    let error = ran.ended.as_ref().unwrap_err().to_string();
    assert!(error.contains("`moody`: 2 outcomes for 3 messages"), "{error}");
    assert!(ran.results().is_empty() && ran.records(ran.catalog.ledger.name()).is_empty());
    let input = TopicPartition::new(ran.catalog.inference_events.name().clone(), 0);
    assert_eq!(ran.log.committed("p", &[input]).unwrap(), [None]);
}

#[test]
fn the_breaker_stops_with_nothing_committed_past_the_stop_and_can_be_passed() {
    let texts = vec!["poison"; 20];
    let window = |settings: &mut Settings| settings.reject_window = 10;
    let ran = run(&texts, 0, window);
    let error = ran.ended.as_ref().unwrap_err().to_string();
    assert!(error.contains("inference.events/0/9") && error.contains("--accept-rejects-until 10"), "{error}");
    assert!(ran.dead().is_empty());
    let ran = run(&texts, 0, |settings| {
        window(settings);
        settings.accept_rejects_until = Some(20);
    });
    ran.ended.as_ref().unwrap();
    assert_eq!(ran.dead().len(), 20);
}

#[test]
fn what_nobody_could_read_does_not_trip_the_breaker() {
    let mut texts = vec!["garbled"; 40];
    texts.extend(["poison"; 9]);
    let ran = run(&texts, 0, |settings| settings.reject_window = 10);
    ran.ended.as_ref().unwrap();
    assert_eq!(ran.dead().len(), 49);
    // Nor does it hide what does.
    let texts: Vec<_> = ["garbled", "garbled", "poison"].into_iter().cycle().take(60).collect();
    let ran = run(&texts, 0, |settings| settings.reject_window = 10);
    let error = ran.ended.as_ref().unwrap_err().to_string();
    assert!(error.contains("inference.events/0/29"), "{error}");
}

#[test]
fn a_result_too_large_for_its_topic_becomes_a_dead_letter() {
    let large = "x".repeat((1 << 20) - 130);
    let ran = run(&["a", &large, "b"], 0, |_| {});
    ran.ended.as_ref().unwrap();
    assert_eq!(ran.results().iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(ran.dead(), [("1".to_owned(), 1)]);
    let dead = ran.records(ran.catalog.inference_events.dead().name());
    let why = dead.iter().next().and_then(|letter| letter.headers.get_str(dead::MESSAGE).map(str::to_owned)).unwrap();
    assert!(why.contains("takes 1048576; say less"), "{why}");
}
