//! Messages that lie on another partition than their key's, on the embedded log.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lunapark_operator::{Codec, Decoded, Member, Reply};
use lunapark_schemas::headers::{REKEYED, SOURCE, dead};
use lunapark_schemas::ledger::LedgerRecord;
use lunapark_schemas::{HeadersBuf, Message, Messages, Record, Rejection, TopicPartition};
use lunapark_topics::catalog::CatalogOptions;

use lunapark_topics::log::Start;
use lunapark_topics::partitioner::partition_of;
use lunapark_topics::{Catalog, Delivery, Limit, Log, StreamSpec};

use super::tests::{Echo, Moody, Text, new_log, settings};
use super::{Homes, RunError, StreamThread, supervise};
use crate::health::Health;
use crate::metrics::PipelineMetrics;
use crate::stop::Stop;

const PARTITIONS: i32 = 3;

/// Messages are `KEY:…`.
struct Keyed(Text);

impl Codec<Echo> for Keyed {
    fn decode(&self, messages: &Messages, indices: &[usize]) -> Decoded {
        let decoded = self.0.decode(messages, indices);
        // By number of the message, of which those that are moved have one too.
        *self.0.seen.lock().unwrap() = messages.iter().map(|message| text(message.value)).collect();
        decoded
    }

    fn home_key(&self, message: &Message<'_>) -> Option<Vec<u8>> {
        let value = message.value?;
        value.iter().position(|byte| *byte == b':').map(|end| value[..end].to_vec())
    }

    fn encode(&self, of: &Message<'_>, at: usize, m: &Member, out: &Echo, reply: &mut Reply) -> Result<(), Rejection> {
        self.0.encode(of, at, m, out, reply)
    }

    fn model_tag(&self, _: usize) -> Option<&str> {
        None
    }
}

struct Place {
    log: Arc<dyn Log>,
    catalog: Catalog,
    _dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let catalog = Catalog::new(&CatalogOptions {
            prefix: String::new(),
            partitions: PARTITIONS,
            ledger_partitions: 1,
            retention: None,
            jobs_retention: None,
            control_retention: None,
            max_message_bytes: 1 << 20,
            replication: 1,
        });
        let (_dir, log) = new_log(&catalog);
        Self { log, catalog, _dir }
    }

    fn send(&self, partition: i32, value: &str, headers: &HeadersBuf) {
        let mut writer = self.log.writer().unwrap();
        let (topic, value) = (self.catalog.inference_events.name(), Some(value.as_bytes()));
        let (partition, headers) = (Some(partition), headers.view());
        writer.produce(&Record { topic, partition, key: Some(b"other"), value, headers, timestamp: Some(7) }).unwrap();
        writer.flush(Duration::from_secs(10)).unwrap();
    }

    /// Runs until so many messages have ended, or it stops by itself.
    fn run(&self, partitions: i32, ends: u64) -> Result<(), RunError> {
        let codec = Keyed(Text { seen: Mutex::default() });
        let operator = Moody { text: &codec.0, holds: Mutex::new(0) };
        let metrics = Arc::new(PipelineMetrics::new("p", "i").unwrap());
        let input = self.catalog.inference_events.name().clone();
        let mut settings = settings(&self.catalog);
        settings.homes = Some(Homes { partitions });
        let outputs = vec![settings.routes.results.clone(), settings.routes.dead.clone(), input.clone()];
        let thread = StreamThread {
            log: self.log.clone(),
            spec: StreamSpec {
                group: "p".into(),
                member: "p-i-0".into(),
                topics: vec![input],
                outputs: [outputs, vec![self.catalog.ledger.name().clone()]].concat(),
                delivery: Delivery::ExactlyOnce,
                start: Start::Earliest,
            },
            settings,
            codec: &codec,
            operator: &operator,
            metrics: metrics.clone(),
            health: Arc::new(Health::default()),
            swap: None,
        };
        let stop = Stop::new();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| supervise(&thread, &stop));
            let deadline = Instant::now() + Duration::from_secs(60);
            while !worker.is_finished() && metrics.messages().iter().sum::<u64>() < ends {
                assert!(Instant::now() < deadline, "messages end: {:?}", metrics.messages());
                std::thread::park_timeout(Duration::from_millis(2));
            }
            stop.request();
            worker.join().unwrap()
        })
    }

    fn records(&self, topic: &str) -> Messages {
        let partitions = self.log.topic(topic).unwrap().partitions;
        let from: Vec<_> = (0..partitions).map(|number| TopicPartition::new(topic, number).at(0)).collect();
        let (mut messages, mut reader) = (Messages::new(), self.log.reader(&from).unwrap());
        let limit = Limit { messages: 10_000, bytes: 1 << 30 };
        while reader.poll(&mut messages, limit, Duration::from_millis(10)).unwrap() > 0 {}
        messages
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

fn away(key: &str) -> i32 {
    (partition_of(key.as_bytes(), PARTITIONS) + 1) % PARTITIONS
}

#[test]
fn a_message_is_put_on_its_keys_partition_and_ends_there() {
    let (place, mut own) = (Place::new(), HeadersBuf::new());
    own.push_str("ce_id", "7");
    for number in 0..10 {
        place.send(away("a"), &format!("a:{number}"), &own);
        place.send(0, "keyless", &own);
    }
    place.run(PARTITIONS, 30).unwrap();
    let home = partition_of(b"a", PARTITIONS);
    let events = place.records(place.catalog.inference_events.name());
    let moved: Vec<_> = events.iter().filter(|event| event.headers.get(REKEYED).is_some()).collect();
    assert_eq!(moved.len(), 10);
    for (number, event) in moved.iter().enumerate() {
        assert_eq!((event.partition, text(event.key), event.timestamp), (home, "a".into(), 7));
        assert_eq!((text(event.value), event.headers.get_str("ce_id")), (format!("a:{number}"), Some("7")));
        let from = text(event.headers.get(REKEYED));
        assert!(from.starts_with(&format!("inference.events/{}/", away("a"))), "{from}");
    }
    let results = place.records(place.catalog.inference_results.name());
    let of_a: Vec<_> = results.iter().filter(|result| result.value.unwrap().starts_with(b"a:")).collect();
    let values: Vec<_> = of_a.iter().map(|result| text(result.value)).collect();
    assert_eq!(values, (0..10).map(|number| format!("a:{number}")).collect::<Vec<_>>(), "in order");
    for (result, event) in of_a.iter().zip(&moved) {
        assert_eq!(text(result.headers.get(SOURCE)), event.position().to_string());
    }
    assert_eq!(results.len(), 20);
    let ledger = place.records(place.catalog.ledger.name());
    let reasons = ledger.iter().filter_map(|entry| match serde_json::from_slice(entry.value?).ok()? {
        LedgerRecord::Range(range) => Some(range.reasons),
        _ => None,
    });
    let rekeyed: u64 = reasons.flatten().filter(|(reason, _)| reason == "rekeyed").map(|(_, count)| count).sum();
    assert_eq!(rekeyed, 10);
}

#[test]
fn a_message_that_was_moved_often_enough_is_a_dead_letter() {
    let (place, mut moved) = (Place::new(), HeadersBuf::new());
    for number in 0..3 {
        moved.push_str(REKEYED, &format!("inference.events/0/{number}"));
    }
    place.send(away("a"), "a:once more", &moved);
    moved.push_str(REKEYED, "inference.events/0/3");
    place.send(away("a"), "a:no more", &moved);
    place.run(PARTITIONS, 3).unwrap();
    let dead = place.records(place.catalog.inference_events.dead().name());
    let letter = dead.get(0);
    assert_eq!((dead.len(), text(letter.value), letter.partition), (1, "a:no more".into(), away("a")));
    assert!(text(letter.headers.get(dead::MESSAGE)).contains("4 times"), "{:?}", letter.headers.get_str(dead::MESSAGE));
    let results = place.records(place.catalog.inference_results.name());
    assert_eq!(results.iter().map(|result| text(result.value)).collect::<Vec<_>>(), ["a:once more"]);
}

#[test]
fn a_message_that_has_no_room_for_its_key_is_a_dead_letter() {
    let place = Place::new();
    // It is taken with the key "other", and would be too large with its own.
    let value = format!("{}:{}", "k".repeat(500), "x".repeat((1 << 20) - 700));
    let home = partition_of("k".repeat(500).as_bytes(), PARTITIONS);
    place.send((home + 1) % PARTITIONS, &value, &HeadersBuf::new());
    place.run(PARTITIONS, 1).unwrap();
    let dead = place.records(place.catalog.inference_events.dead().name());
    assert!(text(dead.get(0).headers.get(dead::MESSAGE)).contains("murmur2_random"));
}

#[test]
fn a_topic_that_has_grown_stops_the_pipeline_before_it_guesses() {
    let place = Place::new();
    place.send(2, "a:1", &HeadersBuf::new());
    let error = place.run(2, 1).unwrap_err().to_string();
    assert!(error.contains("had 2 partitions") && error.contains("start all instances again"), "{error}");
    assert!(place.records(place.catalog.ledger.name()).is_empty());
}
