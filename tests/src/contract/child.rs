//! Processes of their own, to be killed: the test binary started again with a task.

use std::io::{BufRead, BufReader, Lines, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use lunapark_schemas::Record;
use lunapark_topics::embedded::{self, EmbeddedOptions, Sync};
use lunapark_topics::kafka::{KafkaLog, KafkaOptions};
use lunapark_topics::{Log, LogError};

use super::backends::{Backend, Kind};
use super::support::plain;

/// Environment variable that tells the test binary to be a child.
pub const CHILD_TASK: &str = "LUNAPARK_CONTRACT_CHILD";
const ADDRESS: &str = "LUNAPARK_CONTRACT_ADDRESS";
const ARGUMENT: &str = "LUNAPARK_CONTRACT_ARGUMENT";

/// A child and the lines that it prints.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts a child on the log of this backend.
    pub fn start(backend: &dyn Backend, task: &str, argument: &str) -> Self {
        let exe = std::env::current_exe().expect("this binary");
        let mut child = Command::new(exe)
            .args(["contract::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CHILD_TASK, format!("{}:{task}", backend.kind().name()))
            .env(ADDRESS, backend.address())
            .env(ARGUMENT, argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    /// The next line that the child says to its test; `None` when it has ended.
    pub fn says(&mut self) -> Option<String> {
        self.lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once(SAYS).map(|(_, text)| text.to_owned()))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9; what it had said before dying.
    pub fn kill(&mut self) -> Vec<String> {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("it is dead");
        std::iter::from_fn(|| self.says()).collect()
    }

    /// Ends it as its owner would: it closes the log and returns.
    pub fn end(&mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be dead already, which is what is wanted.
        let _ = self.child.kill().and_then(|()| self.child.wait().map(drop));
    }
}

/// Lines for the test, apart from those of the test harness.
const SAYS: &str = "child says: ";

fn say(text: &str) {
    println!("\n{SAYS}{text}");
}

/// What the child does, when this process is one.
pub fn run_child() {
    let Ok(task) = std::env::var(CHILD_TASK) else { return };
    let address = std::env::var(ADDRESS).expect("an address");
    let argument = std::env::var(ARGUMENT).expect("an argument");
    let (kind, task) = task.split_once(':').expect("kind:task");
    match task {
        "own" => own(&open(kind, &address, Sync::Disk).expect("the log opens")),
        "refused" => match open(kind, &address, Sync::Disk) {
            Err(error) => say(&format!("{:?} {error}", error.kind)),
            Ok(log) => say(&format!("opened {}", log.describe())),
        },
        "commit" | "commit-os" => {
            let sync = if task == "commit" { Sync::Disk } else { Sync::Os };
            commit_for_ever(&*open(kind, &address, sync).expect("the log opens"), &argument);
        }
        other => panic!("no task {other}"),
    }
}

fn open(kind: &str, address: &str, sync: Sync) -> Result<Arc<dyn Log>, LogError> {
    match kind == Kind::Kafka.name() {
        true => KafkaLog::open(&KafkaOptions::new(address)),
        false => embedded::open(Path::new(address), &EmbeddedOptions { sync, ..EmbeddedOptions::default() }),
    }
}

/// Holds the log open until the test closes our input.
fn own(log: &Arc<dyn Log>) {
    say(&log.describe());
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).expect("input ends");
}

/// Commits numbered transactions, one record to `left` and three to `right` each, and says each number once it is
/// acknowledged.
fn commit_for_ever(log: &dyn Log, argument: &str) {
    let [left, right, id, from] = argument.split(' ').collect::<Vec<_>>().try_into().expect("four words");
    let mut transaction = log.transaction(id).expect("the transactional id opens");
    say("ready");
    for number in from.parse::<usize>().expect("a number").. {
        let value = number.to_string();
        let record = |topic| Record { value: Some(value.as_bytes()), partition: Some(0), ..plain(topic) };
        transaction.produce(&record(left)).expect("produce");
        for _ in 0..3 {
            transaction.produce(&record(right)).expect("produce");
        }
        transaction.commit().expect("commit");
        say(&value);
    }
}
