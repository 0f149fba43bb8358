//! More than one process: killed ones, refused ones, and those that come through the socket.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lunapark_schemas::{Record, TopicPartition};
use lunapark_topics::embedded::{self, EmbeddedOptions};
use lunapark_topics::{Log, LogErrorKind, TopicSpec};

use super::backends::{Backend, Kind};
use super::child::Running;
use super::support::*;

/// Ready again within this after a kill, opening included.
const READY: Duration = Duration::from_secs(1);

/// Kills a process that commits at random moments; afterwards everything acknowledged is there, nothing half.
pub fn kill_9(backend: &dyn Backend) {
    let context = Context::new(backend);
    let (left, right, id) = (context.topic("left", 1), context.topic("right", 1), context.name("id"));
    drop(context.log);
    let mut random = Random::new();
    let (mut acknowledged, mut present) = (None, 0);
    for round in 0..kills(backend.kind()) {
        backend.close();
        let task = if round % 2 == 0 { "commit" } else { "commit-os" };
        let began = Instant::now();
        let mut child = Running::start(backend, task, &format!("{left} {right} {id} {present}"));
        assert_eq!(child.says().as_deref(), Some("ready"));
        let ready = began.elapsed();
        assert!(backend.kind() == Kind::Kafka || ready < READY, "ready after {ready:?}");
        for _ in 0..random.below(30) {
            acknowledged = child.says().map(|number| number.parse::<usize>().expect("a number")).or(acknowledged);
        }
        random.spin();
        let last_words = child.kill();
        acknowledged = last_words.last().map(|number| number.parse().expect("a number")).or(acknowledged);
        present = whole(&*backend.log(), &left, &right, &id);
        assert!(
            acknowledged.is_none_or(|number| number < present),
            "{acknowledged:?} was acknowledged, {present} are there (round {round}, seed {})",
            random.seed
        );
    }
    assert!(present > 0, "some transactions were committed");
}

/// How many transactions are there; each must be there once and as a whole.
fn whole(log: &dyn Log, left: &str, right: &str, id: &str) -> usize {
    // Ends what the killed process left open.
    drop(log.transaction(id).expect("the transactional id opens"));
    let ones = numbers(&read_all(log, left, 0));
    let threes = numbers(&read_all(log, right, 0));
    let expected: Vec<_> = (0..ones.len()).collect();
    assert_eq!(ones, expected, "each transaction once");
    assert_eq!(threes, expected.iter().flat_map(|number| [*number; 3]).collect::<Vec<_>>(), "and as a whole");
    ones.len()
}

fn kills(kind: Kind) -> usize {
    match (kind, std::env::var("LUNAPARK_TEST_LONG")) {
        (Kind::Embedded, Ok(_)) => 50,
        (Kind::Embedded, Err(_)) => 12,
        (Kind::Kafka, _) => 3,
    }
}

/// Small numbers that differ from run to run; the seed is printed when a check fails.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
        Self { seed, state: seed }
    }

    /// xorshift64
    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % bound
    }

    /// Lets up to two milliseconds pass, so that the kill falls anywhere into a commit.
    fn spin(&mut self) {
        let end = Instant::now() + Duration::from_micros(self.below(2000));
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }
}

pub fn second_owner_refused(backend: &dyn Backend) {
    let log = backend.log();
    let refused = embedded::open(backend.dir(), &EmbeddedOptions::default()).map(drop).unwrap_err();
    assert_eq!(refused.kind, LogErrorKind::Owned);
    assert!(refused.to_string().contains(&std::process::id().to_string()), "`{refused}` names the owner");
    drop(log);
    backend.close();
    let mut owner = Running::start(backend, "own", "");
    owner.says().expect("it owns the log");
    let refused = embedded::open(backend.dir(), &EmbeddedOptions::default()).map(drop).unwrap_err();
    assert_eq!(refused.kind, LogErrorKind::Owned);
    assert!(refused.to_string().contains(&owner.pid().to_string()), "`{refused}` names the owner");
    let mut third = Running::start(backend, "refused", "");
    let said = third.says().expect("an answer");
    assert!(said.starts_with("Owned ") && said.contains(&owner.pid().to_string()), "{said}");
    owner.end();
    embedded::open(backend.dir(), &EmbeddedOptions::default()).expect("free again");
}

/// Everything but streams, through the socket of a process that is then killed.
pub fn socket(backend: &dyn Backend) {
    let nobody = embedded::connect(backend.dir()).map(drop).unwrap_err();
    assert_eq!(nobody.kind, LogErrorKind::Unreachable);
    backend.close();
    let mut owner = Running::start(backend, "own", "");
    owner.says().expect("it owns the log");
    let mode = std::fs::metadata(backend.dir().join("lunapark.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may connect");
    let log = embedded::open_or_connect(backend.dir(), &EmbeddedOptions::default()).unwrap();
    assert!(log.describe().contains("socket"), "{}", log.describe());
    through_socket(&Remote(backend, log.clone()));
    owner.kill();
    let dead = log.topics().unwrap_err();
    assert_eq!(dead.kind, LogErrorKind::Unreachable, "{dead}");
}

/// A backend whose log is the socket's, so that other cases can run through it.
struct Remote<'b>(&'b dyn Backend, std::sync::Arc<dyn Log>);

impl Backend for Remote<'_> {
    fn kind(&self) -> Kind {
        self.0.kind()
    }

    fn log(&self) -> std::sync::Arc<dyn Log> {
        self.1.clone()
    }

    fn close(&self) {}

    fn maintain(&self) {}

    fn session_timeout(&self) -> Duration {
        self.0.session_timeout()
    }

    fn address(&self) -> String {
        self.0.address()
    }

    fn dir(&self) -> &std::path::Path {
        self.0.dir()
    }
}

fn through_socket(remote: &dyn Backend) {
    super::records::ordering(remote);
    super::records::partitions_and_keys(remote);
    super::records::headers(remote);
    super::records::nulls_and_empties(remote);
    super::records::limits_and_fairness(remote);
    super::records::waiting_reader_wakes(remote);
    super::records::replay_from_time(remote);
    super::records::large_messages(remote);
    super::transactions::atomic_across_topics(remote);
    super::transactions::transaction_zombie_is_fenced(remote);
    super::topics::exists_or_differs(remote);
    let context = Context::new(remote);
    let topic = context.topic("t", 1);
    let at = TopicPartition::new(topic.clone(), 0);
    assert_eq!(context.log.committed("nobody", &[at]).unwrap(), [None]);
    assert_eq!(context.log.groups().unwrap(), Vec::<String>::new());
    let refused = context.log.stream(&context.spec("m", &[&topic], &[])).map(drop).unwrap_err();
    assert_eq!(refused.kind, LogErrorKind::Invalid);
    assert!(refused.to_string().contains("kafka.bootstrap"), "`{refused}` says what to do");
}

pub fn stale_socket_is_replaced(backend: &dyn Backend) {
    backend.close();
    let mut owner = Running::start(backend, "own", "");
    owner.says().expect("it owns the log");
    owner.kill();
    assert!(backend.dir().join("lunapark.sock").exists(), "a killed owner leaves its socket");
    let began = Instant::now();
    let context = Context::new(backend);
    assert!(began.elapsed() < READY, "ready after {:?}", began.elapsed());
    let topic = context.create(TopicSpec::new(context.name("t"), 1));
    let remote = embedded::connect(backend.dir()).unwrap();
    let mut writer = remote.writer().unwrap();
    writer.produce(&Record { value: Some(b"1"), ..plain(&topic) }).unwrap();
    flush(&mut *writer);
    drop(writer);
    context.read(&topic, 1);
    drop((context, remote));
    backend.close();
    assert!(!backend.dir().join("lunapark.sock").exists(), "a closed log takes its socket away");
}

/// Kafka: a second process reads and writes beside the first.
pub fn second_process_works(backend: &dyn Backend) {
    let context = Context::new(backend);
    let (left, right) = (context.topic("left", 1), context.topic("right", 1));
    let mut child = Running::start(backend, "commit", &format!("{left} {right} {} 0", context.name("id")));
    assert_eq!(child.says().as_deref(), Some("ready"));
    context.fill(&left, 1, 0..1);
    assert_eq!(child.says().as_deref(), Some("0"));
    until("both are there", || (read_all(&*context.log, &left, 0).len() >= 2).then_some(()));
}
