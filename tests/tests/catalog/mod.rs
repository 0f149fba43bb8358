//! The contract of the model catalog on each implementation, and MongoDB as a copy of the topic.

mod copy;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lunapark::catalog::TopicCatalog;
use lunapark_schemas::training::TrainingStatus;
use lunapark_stores::catalog::mongo::MongoCatalog;
use lunapark_stores::catalog::{Catalog, Tasks};
use lunapark_tests::catalog::{Shelf, suite};
use lunapark_tests::harness::{Workplace, variable};
use lunapark_topics::Log;
use lunapark_topics::catalog::CatalogOptions;
use lunapark_topics::kafka::{KafkaLog, KafkaOptions};

/// The topics of a workplace. On Kafka each handle has clients of its own.
struct Topics {
    place: Workplace,
    bootstrap: Option<String>,
    embedded: Option<Arc<dyn Log>>,
}

impl Topics {
    fn embedded() -> Self {
        let place = Workplace::embedded();
        let embedded = Some(place.log());
        Self { place, bootstrap: None, embedded }
    }

    fn kafka() -> Self {
        Self { place: Workplace::kafka(), bootstrap: Some(variable("KAFKA_BOOTSTRAP")), embedded: None }
    }

    fn log(&self) -> Arc<dyn Log> {
        match (&self.embedded, &self.bootstrap) {
            (Some(log), _) => log.clone(),
            (None, bootstrap) => {
                let options = KafkaOptions::new(bootstrap.as_deref().unwrap_or_default());
                KafkaLog::open(&options).expect("Kafka")
            }
        }
    }

    fn topics(&self) -> lunapark_topics::Catalog {
        lunapark_topics::Catalog::new(&CatalogOptions {
            prefix: self.place.prefix().to_owned(),
            partitions: 1,
            ledger_partitions: 1,
            retention: None,
            jobs_retention: None,
            control_retention: None,
            max_message_bytes: 1 << 20,
            replication: 1,
        })
    }
}

impl Shelf for Topics {
    fn open(&self) -> Box<dyn Catalog> {
        Box::new(TopicCatalog::new(self.log(), &self.topics()))
    }

    fn tell(&self, statuses: &[TrainingStatus]) {
        let (log, topic) = (self.log(), self.topics().training_status);
        log.create_topic(&topic.spec).expect("a topic");
        let mut writer = log.writer().expect("a writer");
        for status in statuses {
            writer.produce(&topic.encode(status).expect("JSON").record(Some(0))).expect("a record");
        }
        writer.flush(Duration::from_secs(30)).expect("acknowledged");
    }
}

impl Drop for Topics {
    /// Makes the workplace remove what was created under its prefix.
    fn drop(&mut self) {
        self.embedded = None;
        let _ = self.bootstrap.is_some().then(|| self.place.log());
    }
}

#[test]
fn numbers_that_models_outside_the_catalog_have_are_passed_over() {
    let topics = Topics::embedded();
    let numbers = [("a", 4), ("a", 2)].map(|(name, number)| (name.to_owned(), number));
    let catalog = TopicCatalog::new(topics.log(), &topics.topics()).beside(numbers.into_iter());
    let reserved = [("a", "one"), ("a", "two"), ("a", "one"), ("b", "one")].map(|(n, task)| catalog.reserve(n, task));
    assert_eq!(reserved, [Ok(5), Ok(6), Ok(5), Ok(1)]);
    assert_eq!(topics.open().reserve("a", "two"), Ok(6));
}

/// Collections of one test.
struct Documents {
    uri: String,
    prefix: String,
    /// Offset of the next status.
    next: AtomicI64,
}

impl Documents {
    fn new() -> Self {
        Self { uri: variable("MONGODB_URI"), prefix: unique(), next: AtomicI64::new(0) }
    }

    fn open(&self) -> MongoCatalog {
        MongoCatalog::open(&self.uri, &self.prefix).expect("a client")
    }
}

impl Shelf for Documents {
    fn open(&self) -> Box<dyn Catalog> {
        Box::new(Documents::open(self))
    }

    /// Each status by itself: what a batch of them amounts to is told by the unit tests.
    fn tell(&self, statuses: &[TrainingStatus]) {
        let mongo = Documents::open(self);
        for status in statuses {
            let mut tasks = Tasks::default();
            tasks.apply(status.clone(), self.next.fetch_add(1, Ordering::Relaxed));
            mongo.project_tasks(&tasks).expect("an upsert");
        }
    }
}

/// No two tests, nor two runs, share collections or objects.
fn unique() -> String {
    use std::sync::atomic::AtomicU32;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    format!("t{millis:x}-{}-{}.", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn check(name: &str, shelf: &dyn Shelf) {
    let case = suite().into_iter().find(|case| case.name == name);
    (case.unwrap_or_else(|| panic!("the suite has no case {name}")).run)(shelf);
}

/// One test per case and implementation.
macro_rules! cases {
    ($($case:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($case)),*];
        mod embedded {
            $(#[test] fn $case() { super::check(stringify!($case), &super::Topics::embedded()); })*
        }
        mod kafka {
            $(#[test] fn $case() { super::check(stringify!($case), &super::Topics::kafka()); })*
        }
        mod mongodb {
            $(#[test] fn $case() { super::check(stringify!($case), &super::Documents::new()); })*
        }
    };
}

cases! {
    numbers_belong_to_tasks
    a_version_never_changes
    what_is_not_reserved_is_not_registered
    versions_are_listed_and_found
    stages_change_from_where_they_are
    searches_find_all_words_in_any_case
    registrations_at_once_never_share_a_number
    one_of_the_changes_at_once_wins
    a_task_stands_where_its_last_status_says
    an_end_is_never_taken_back
    tasks_are_listed_the_newest_first
    a_status_keeps_everything_that_is_in_it
}

#[test]
fn every_case_of_the_suite_is_run() {
    assert_eq!(NAMES, suite().iter().map(|case| case.name).collect::<Vec<_>>());
}
