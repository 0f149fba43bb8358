//! Messages that come one by one are gathered.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lunapark_schemas::ledger::LedgerRecord;
use lunapark_schemas::{Messages, TopicPartition};
use lunapark_topics::{Catalog, Limit, Log};

use super::tests::{Moody, Text, catalog, new_log, settings, spec, write};
use super::{StreamThread, supervise};
use crate::health::Health;
use crate::metrics::PipelineMetrics;
use crate::stop::Stop;

/// First and next offset of each range of the ledger.
fn ranges(log: &dyn Log, catalog: &Catalog) -> Vec<(i64, i64)> {
    let mut messages = Messages::new();
    let limit = Limit { messages: 1000, bytes: 1 << 20 };
    let from = TopicPartition::new(catalog.ledger.name().clone(), 0).at(0);
    log.reader(&[from]).unwrap().poll(&mut messages, limit, Duration::from_millis(10)).unwrap();
    let range = |value: Option<&[u8]>| match serde_json::from_slice(value.unwrap()).unwrap() {
        LedgerRecord::Range(range) => (range.first, range.next),
        other => panic!("{other:?}"),
    };
    messages.iter().map(|message| range(message.value)).collect()
}

#[test]
fn what_comes_soon_after_a_small_batch_is_one_batch() {
    let catalog = catalog();
    let (_dir, log) = new_log(&catalog);
    write(&*log, &catalog, &["a"]);
    let text = Text { seen: Mutex::default() };
    let operator = Moody { text: &text, holds: Mutex::new(0) };
    let metrics = Arc::new(PipelineMetrics::new("p", "i").unwrap());
    let mut settings = settings(&catalog);
    settings.gather = Duration::from_secs(2);
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
    let wait = |count: u64| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while metrics.messages().iter().sum::<u64>() < count {
            assert!(Instant::now() < deadline, "messages end: {:?}", metrics.messages());
            std::thread::park_timeout(Duration::from_millis(2));
        }
    };
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| supervise(&thread, &stop));
        wait(1);
        for text in ["b", "c", "d"] {
            write(&*log, &catalog, &[text]);
        }
        wait(4);
        stop.request();
        worker.join().unwrap().unwrap();
    });
    assert_eq!(ranges(&*log, &catalog), [(0, 1), (1, 4)]);
}
