//! A place of its own for one test: a folder, topics under a prefix, a configuration, the binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lunapark_schemas::{Messages, TopicPartition};
use lunapark_topics::catalog::CatalogOptions;
use lunapark_topics::embedded::{self, EmbeddedOptions};
use lunapark_topics::kafka::{KafkaLog, KafkaOptions};
use lunapark_topics::{Catalog, Limit, Log};
use tempfile::TempDir;

use super::child::{Outcome, Running, Service, run_to_end};
use super::records::{Event, OwnedRecord};

/// A read to the end must be done within this; a killed instance's transaction may hold it up for 10 s.
const READ: Duration = Duration::from_secs(60);
/// The tests' own requests outlast a broker that stood still with its machine for as long as a controller waits (9 s).
const REQUEST: Duration = Duration::from_secs(60);
const REQUEST_TIMEOUT: &str = "kafka.request_timeout";
/// Enough to keep both threads of a service busy, few enough to be created quickly.
const PARTITIONS: i32 = 4;

/// The Apache Kafka of this test run.
#[derive(Clone, Copy, Debug)]
pub struct Kafka;

impl Kafka {
    /// `host:port`, from KAFKA_BOOTSTRAP.
    #[track_caller]
    pub fn bootstrap() -> String {
        variable("KAFKA_BOOTSTRAP")
    }
}

/// An environment variable that `tests/run` sets.
#[track_caller]
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/run, which starts the servers"))
}

/// Which log a workplace is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The embedded log in the workplace's folder.
    Embedded,
    /// The Apache Kafka that KAFKA_BOOTSTRAP names.
    Kafka,
}

/// A folder, a topic prefix, and a configuration that every command started here gets.
pub struct Workplace {
    dir: TempDir,
    prefix: String,
    kafka: Option<KafkaOptions>,
    settings: BTreeMap<String, String>,
    log: OnceLock<Arc<dyn Log>>,
    runs: AtomicU32,
}

impl Workplace {
    /// On the given log.
    #[track_caller]
    pub fn new(backend: Backend) -> Self {
        match backend {
            Backend::Embedded => Self::embedded(),
            Backend::Kafka => Self::kafka(),
        }
    }

    /// On the embedded log.
    pub fn embedded() -> Self {
        Self::on(None)
    }

    /// On the Apache Kafka of this test run.
    #[track_caller]
    pub fn kafka() -> Self {
        let patient = KafkaOptions {
            request_timeout: REQUEST,
            transaction_timeout: REQUEST,
            ..KafkaOptions::new(Kafka::bootstrap())
        };
        Self::on(Some(patient))
    }

    /// On another cluster, with librdkafka properties.
    pub fn on_cluster(bootstrap: &str, properties: &[(&str, &str)]) -> Self {
        let mut options = KafkaOptions::new(bootstrap);
        options.properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self::on(Some(options))
    }

    fn on(kafka: Option<KafkaOptions>) -> Self {
        let dir = tempfile::Builder::new().prefix("lunapark-test-").tempdir().expect("a temporary folder");
        let prefix = if kafka.is_some() { unique_prefix() } else { String::new() };
        let mut settings = BTreeMap::new();
        let mut set = |key: &str, literal: String| drop(settings.insert(key.to_owned(), literal));
        set("topics.partitions", PARTITIONS.to_string());
        set("topics.ledger_partitions", PARTITIONS.to_string());
        set("topics.prefix", quoted(&prefix));
        set("http.listen", quoted("127.0.0.1:0"));
        set("embedded.data", quoted(&dir.path().join("data").to_string_lossy()));
        if let Some(options) = &kafka {
            set("kafka.bootstrap", quoted(&options.bootstrap));
            options.properties.iter().for_each(|(k, v)| set(&format!("kafka.{}", quoted(k)), quoted(v)));
        }
        Self { dir, prefix, kafka, settings, log: OnceLock::new(), runs: AtomicU32::new(0) }
    }

    /// With another setting: a dotted key and a TOML literal (text through [`quoted`]).
    pub fn with(mut self, key: &str, literal: impl ToString) -> Self {
        self.set(key, literal);
        self
    }

    /// Changes a setting for commands started from now on.
    pub fn set(&mut self, key: &str, literal: impl ToString) {
        self.settings.insert(key.to_owned(), literal.to_string());
    }

    /// The folder: files put here go with the workplace.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What stands before every topic and group.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The full name of a topic, for example of `inference.events`.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The scorer's consumer group.
    pub fn group(&self) -> String {
        format!("{}score", self.prefix)
    }

    /// Number of partitions of the events.
    pub fn partitions(&self) -> i32 {
        self.number("topics.partitions")
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> T {
        self.settings[key].parse().unwrap_or_else(|_| panic!("{key} is a number"))
    }

    // ---- the log, from this process ----------------------------------------------------------------------------

    /// The log. Drop the handle before a service is to own an embedded one.
    #[track_caller]
    pub fn log(&self) -> Arc<dyn Log> {
        match &self.kafka {
            Some(options) => self.log.get_or_init(|| KafkaLog::open(options).expect("Kafka")).clone(),
            None => {
                let data = self.dir.path().join("data");
                embedded::open_or_connect(&data, &EmbeddedOptions::default()).expect("the embedded log")
            }
        }
    }

    /// Creates the topics as `lunapark run` would.
    #[track_caller]
    pub fn create_topics(&self) {
        let max_message_bytes = self.settings.get("topics.max_message_bytes");
        let options = CatalogOptions {
            prefix: self.prefix.clone(),
            partitions: self.partitions(),
            ledger_partitions: self.number("topics.ledger_partitions"),
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            jobs_retention: None,
            control_retention: Some(Duration::from_secs(30 * 24 * 3600)),
            max_message_bytes: max_message_bytes.map_or(1_048_588, |text| text.parse().expect("a number of bytes")),
            replication: 1,
        };
        let log = self.log();
        for spec in Catalog::new(&options).specs() {
            log.create_topic(&spec).expect("a topic");
        }
    }

    /// Writes events to a topic, in order.
    #[track_caller]
    pub fn produce(&self, topic: &str, events: &[Event]) {
        let topic = self.topic(topic);
        let mut writer = self.log().writer().expect("a writer");
        events.iter().for_each(|event| writer.produce(&event.record(&topic)).expect("room in the queue"));
        writer.flush(READ).expect("every event is acknowledged");
    }

    /// All committed records of a topic, by partition and offset.
    #[track_caller]
    pub fn read_all(&self, topic: &str) -> Vec<OwnedRecord> {
        let log = self.log();
        let topic = self.topic(topic);
        let info = log.topic(&topic).expect("the topic");
        let partitions: Vec<_> =
            (0..info.partitions).map(|number| TopicPartition::new(topic.as_str(), number)).collect();
        let ends: Vec<_> = partitions.iter().map(|at| (at, log.watermarks(at).expect("watermarks"))).collect();
        let starts: Vec<_> = ends.iter().map(|(at, ends)| at.at(ends.low)).collect();
        let mut reader = log.reader(&starts).expect("a reader");
        let (mut read, mut messages) = (Vec::new(), Messages::new());
        let limit = Limit { messages: 10_000, bytes: 64 << 20 };
        super::until(READ, &format!("{topic} is read to its end"), || {
            messages.clear();
            reader.poll(&mut messages, limit, Duration::from_millis(100)).expect("records");
            read.extend(messages.iter().map(|message| OwnedRecord::of(&message)));
            ends.iter().all(|(at, ends)| reader.position(at).is_ok_and(|next| next >= ends.high)).then_some(())
        });
        read.sort_by_key(|record| (record.partition, record.offset));
        read
    }

    /// Waits until a topic holds at least so many committed records, and reads them.
    #[track_caller]
    pub fn wait_records(&self, topic: &str, count: usize, within: Duration) -> Vec<OwnedRecord> {
        let mut seen = 0;
        let started = std::time::Instant::now();
        loop {
            let records = self.read_all(topic);
            if records.len() >= count {
                return records;
            }
            seen = seen.max(records.len());
            assert!(started.elapsed() < within, "{topic} has {seen} of {count} records after {within:?}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// The offsets that the scorer's group has committed, by partition.
    #[track_caller]
    pub fn committed(&self) -> Vec<Option<i64>> {
        let topic = self.topic("inference.events");
        let partitions: Vec<_> = (0..self.partitions()).map(|p| TopicPartition::new(topic.as_str(), p)).collect();
        self.log().committed(&self.group(), &partitions).expect("committed offsets")
    }

    // ---- the binary --------------------------------------------------------------------------------------------

    /// `lunapark run` under this instance name, ready; `settings` hold for it alone.
    #[track_caller]
    pub fn service(&self, instance: &str, settings: &[(&str, &str)]) -> Service {
        self.service_with(instance, settings, &[])
    }

    /// As [`service`](Self::service), with arguments.
    #[track_caller]
    pub fn service_with(&self, instance: &str, settings: &[(&str, &str)], arguments: &[&str]) -> Service {
        let (mut command, base) = self.run_command(instance, settings, arguments);
        Service::start(&mut command, base)
    }

    /// As [`service`](Self::service), without waiting until it is ready.
    #[track_caller]
    pub fn service_unready(&self, instance: &str, settings: &[(&str, &str)]) -> Service {
        let (mut command, base) = self.run_command(instance, settings, &[]);
        Service::spawn(&mut command, base)
    }

    /// `lunapark run` that is expected to end by itself.
    #[track_caller]
    pub fn run_to_end(&self, settings: &[(&str, &str)]) -> Outcome {
        let (mut command, base) = self.run_command("ends", settings, &[]);
        run_to_end(&mut command, base, None)
    }

    fn run_command(&self, instance: &str, settings: &[(&str, &str)], arguments: &[&str]) -> (Command, PathBuf) {
        let instance = quoted(instance);
        let mut all = vec![("instance", instance.as_str())];
        all.extend_from_slice(settings);
        let (mut command, base) = self.command(&all);
        command.arg("run").args(arguments);
        (command, base)
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Outcome {
        let (mut command, base) = self.patient_command();
        run_to_end(command.args(arguments), base, None)
    }

    /// As [`cli`](Self::cli), with these variables in its environment.
    #[track_caller]
    pub fn cli_with_env(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let (mut command, base) = self.patient_command();
        run_to_end(command.args(arguments).envs(variables.iter().copied()), base, None)
    }

    /// As [`cli`](Self::cli), with this on standard input.
    #[track_caller]
    pub fn cli_with_input(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        let (mut command, base) = self.patient_command();
        let stdin = base.with_extension("in");
        std::fs::write(&stdin, input).unwrap();
        run_to_end(command.args(arguments), base, Some(stdin))
    }

    /// Starts a command that runs beside the test.
    #[track_caller]
    pub fn start(&self, arguments: &[&str]) -> Running {
        let (mut command, base) = self.patient_command();
        Running::spawn(command.args(arguments), base, None)
    }

    /// As [`start`](Self::start), with these settings besides the workplace's.
    #[track_caller]
    pub fn start_with(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Running {
        let (mut command, base) = self.command(settings);
        Running::spawn(command.args(arguments), base, None)
    }

    /// Runs a command with `--json`; what it prints.
    #[track_caller]
    pub fn cli_json(&self, arguments: &[&str]) -> serde_json::Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        self.cli(&all).ok().json()
    }

    /// A command that asks the broker as patiently as the tests' own clients do, unless the test says otherwise.
    fn patient_command(&self) -> (Command, PathBuf) {
        let patience = format!("\"{}s\"", REQUEST.as_secs());
        match self.settings.contains_key(REQUEST_TIMEOUT) {
            true => self.command(&[]),
            false => self.command(&[(REQUEST_TIMEOUT, &patience)]),
        }
    }

    /// The binary with the workplace's configuration, and where its output goes.
    pub fn command(&self, settings: &[(&str, &str)]) -> (Command, PathBuf) {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let base = self.dir.path().join(format!("run-{run}"));
        let config = base.with_extension("toml");
        std::fs::write(&config, self.config(settings)).unwrap();
        let mut command = self.bare_command();
        command.arg("--config").arg(config);
        (command, base)
    }

    /// The binary without any configuration.
    pub fn bare_command(&self) -> Command {
        let mut command = Command::new(binary());
        // Only what a test sets on purpose may reach the binary.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LUNAPARK_")) {
            command.env_remove(name);
        }
        command.current_dir(self.dir.path());
        command
    }

    /// The configuration as TOML: `settings` over those of the workplace.
    pub fn config(&self, settings: &[(&str, &str)]) -> String {
        let mut all: BTreeMap<&str, &str> = self.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        all.extend(settings.iter().copied());
        all.iter().map(|(key, literal)| format!("{key} = {literal}\n")).collect()
    }
}

impl Drop for Workplace {
    /// A broker that outlives the tests should not fill up with their topics.
    fn drop(&mut self) {
        if let (Some(log), false) = (self.log.get(), self.prefix.is_empty()) {
            for topic in log.topics().unwrap_or_default().iter().filter(|topic| topic.name.starts_with(&self.prefix)) {
                let _ = log.delete_topic(&topic.name);
            }
        }
        if std::thread::panicking() {
            // What the services wrote down says why a test failed.
            self.dir.disable_cleanup(true);
            eprintln!("--- the workplace is kept: {}", self.dir.path().display());
        }
    }
}

/// Text as a TOML literal.
pub fn quoted(text: &str) -> String {
    // JSON's escapes are a subset of TOML's.
    serde_json::Value::from(text).to_string()
}

/// No two tests, nor two runs of one, share topics.
fn unique_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    format!("t{millis:x}-{}-{}.", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `lunapark`, beside the folder of the test binary.
#[track_caller]
fn binary() -> PathBuf {
    let tests = std::env::current_exe().expect("the path of this test");
    let found = tests.parent().and_then(Path::parent).map(|dir| dir.join("lunapark")).filter(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no binary beside {}: run tests/run, which builds it", tests.display()))
}
