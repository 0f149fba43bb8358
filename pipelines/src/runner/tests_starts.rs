//! A group that starts with what is still to come, and the audit of it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lunapark_schemas::TopicPartition;
use lunapark_topics::log::Start;
use lunapark_topics::{Catalog, Delivery, Log, StreamSpec};

use super::tests::{Moody, Text, catalog, new_log, settings, spec, write};
use super::{StreamThread, supervise};
use crate::audit::report::AuditReport;
use crate::audit::{AuditRequest, audit};
use crate::health::Health;
use crate::metrics::PipelineMetrics;
use crate::stop::Stop;

struct Place {
    log: Arc<dyn Log>,
    catalog: Catalog,
    _dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let catalog = catalog();
        let (_dir, log) = new_log(&catalog);
        Self { log, catalog, _dir }
    }

    fn produce(&self, texts: &[&str]) {
        write(&*self.log, &self.catalog, texts);
    }

    fn committed(&self) -> Option<i64> {
        let input = TopicPartition::new(self.catalog.inference_events.name().clone(), 0);
        self.log.committed("p", &[input]).unwrap()[0]
    }

    /// Runs the pipeline, started with the latest, until it has committed this offset.
    fn run_to(&self, offset: i64, delivery: Delivery) {
        let text = Text { seen: Mutex::default() };
        let operator = Moody { text: &text, holds: Mutex::new(0) };
        let thread = StreamThread {
            log: self.log.clone(),
            spec: StreamSpec { start: Start::Latest, delivery, ..spec(&self.catalog) },
            settings: settings(&self.catalog),
            codec: &text,
            operator: &operator,
            metrics: Arc::new(PipelineMetrics::new("p", "i").unwrap()),
            health: Arc::new(Health::default()),
            swap: None,
        };
        let stop = Stop::new();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| supervise(&thread, &stop));
            let deadline = Instant::now() + Duration::from_secs(20);
            while !worker.is_finished() && self.committed() != Some(offset) {
                assert!(Instant::now() < deadline, "{:?} committed", self.committed());
                std::thread::park_timeout(Duration::from_millis(2));
            }
            stop.request();
            worker.join().unwrap().unwrap();
        });
    }

    fn audit(&self, deep: bool) -> AuditReport {
        audit(&*self.log, &AuditRequest { deep, ..AuditRequest::scorer(&self.catalog, "p", "p") }).unwrap()
    }
}

#[test]
fn what_was_there_before_a_group_started_with_the_latest_is_not_lost() {
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let place = Place::new();
        place.produce(&["before"; 5]);
        // Settled before the first message: a restart does not skip what has come since.
        place.run_to(5, delivery);
        for deep in [false, true] {
            let report = place.audit(deep);
            assert!(report.empty && !report.faulty(), "{report:?}");
            assert_eq!((report.lost, report.pending), (0, 0), "{report:?}");
        }
        place.produce(&["a", "b", "c"]);
        assert_eq!(place.audit(false).pending, 3);
        place.run_to(8, delivery);
        for deep in [false, true] {
            let report = place.audit(deep);
            assert!(report.proven, "{report:?}");
            assert_eq!((report.messages.input, report.lost, report.pending), (3, 0, 0), "{report:?}");
        }
        let whole = AuditRequest { from_beginning: true, ..AuditRequest::scorer(&place.catalog, "p", "p") };
        assert_eq!(audit(&*place.log, &whole).unwrap().unprovable, 5);
    }
}
