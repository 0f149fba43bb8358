//! The two logs under test.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lunapark_topics::Log;
use lunapark_topics::embedded::{EmbeddedLog, EmbeddedOptions};
use lunapark_topics::kafka::{KafkaLog, KafkaOptions};
use tempfile::TempDir;

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The embedded log.
    Embedded,
    /// Apache Kafka.
    Kafka,
}

impl Kind {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Kafka => "kafka",
        }
    }
}

/// A log that can be closed, opened again, and told to clean up.
pub trait Backend {
    /// Which one it is.
    fn kind(&self) -> Kind;

    /// The log, opened where it is not.
    fn log(&self) -> Arc<dyn Log>;

    /// Lets go of the log; who still holds a handle keeps it open.
    fn close(&self);

    /// Cleans up now, where that is possible.
    fn maintain(&self);

    /// How long a silent member keeps its partitions.
    fn session_timeout(&self) -> Duration;

    /// Where a child process finds the log: the data folder or the bootstrap servers.
    fn address(&self) -> String;

    /// The data folder of the embedded log.
    fn dir(&self) -> &Path;
}

/// An embedded log in a folder of its own.
pub struct Embedded {
    dir: TempDir,
    open: Mutex<Option<EmbeddedLog>>,
    options: EmbeddedOptions,
}

impl Embedded {
    /// A new, empty one. Its sessions are short, so that expulsion can be waited for.
    pub fn new() -> Self {
        let options = EmbeddedOptions {
            session_timeout: Duration::from_millis(1500),
            tombstone_grace: Duration::ZERO,
            ..EmbeddedOptions::default()
        };
        let dir = TempDir::with_prefix("lunapark-contract-").expect("a temporary folder");
        Self { dir, open: Mutex::new(None), options }
    }

    fn embedded(&self) -> EmbeddedLog {
        let mut open = self.open.lock().unwrap();
        let log = open.get_or_insert_with(|| EmbeddedLog::open(self.dir.path(), &self.options).expect("opens"));
        log.clone()
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for Embedded {
    fn kind(&self) -> Kind {
        Kind::Embedded
    }

    fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.embedded())
    }

    fn close(&self) {
        drop(self.open.lock().unwrap().take());
    }

    fn maintain(&self) {
        self.embedded().maintain_now().expect("maintenance");
    }

    fn session_timeout(&self) -> Duration {
        self.options.session_timeout
    }

    fn address(&self) -> String {
        self.dir.path().to_str().expect("a plain path").to_owned()
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A Kafka cluster that runs already.
pub struct Kafka {
    options: KafkaOptions,
}

impl Kafka {
    /// The cluster at these servers.
    pub fn at(bootstrap: &str) -> Self {
        Self { options: KafkaOptions::new(bootstrap) }
    }
}

impl Backend for Kafka {
    fn kind(&self) -> Kind {
        Kind::Kafka
    }

    fn log(&self) -> Arc<dyn Log> {
        KafkaLog::open(&self.options).expect("Kafka answers")
    }

    fn close(&self) {}

    fn maintain(&self) {}

    fn session_timeout(&self) -> Duration {
        self.options.session_timeout
    }

    fn address(&self) -> String {
        self.options.bootstrap.clone()
    }

    fn dir(&self) -> &Path {
        Path::new("")
    }
}

/// The cluster of `KAFKA_BOOTSTRAP`, or the reason why its cases are left out. Without either the test fails: a
/// suite that passes because half of it did not run proves nothing.
pub fn kafka_or_reason() -> Result<Kafka, &'static str> {
    match std::env::var("KAFKA_BOOTSTRAP") {
        Ok(bootstrap) if !bootstrap.is_empty() => Ok(Kafka::at(&bootstrap)),
        _ if std::env::var("LUNAPARK_TEST_QUICK").is_ok_and(|quick| quick == "1") => {
            Err("left out: LUNAPARK_TEST_QUICK=1 and no KAFKA_BOOTSTRAP")
        }
        _ => panic!("KAFKA_BOOTSTRAP is not set: run tests/run, which starts Apache Kafka for the tests"),
    }
}
