//! The `lunapark` binary as a child process; its output goes to files of the workplace.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::http::{self, Answer};
use super::wait::until;

/// A service must be up within this: a cold broker beside other tests, with all the topics to create.
const START: Duration = Duration::from_secs(60);
/// A command must end within this.
const COMMAND: Duration = Duration::from_secs(120);
/// A service must drain within this: its budget is at most 10 s.
const STOP: Duration = Duration::from_secs(30);

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Itself, where the exit code is 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "it failed\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Itself, where the exit code is neither 0 nor a signal.
    #[track_caller]
    pub fn failed(self) -> Self {
        let refused = self.code.is_some_and(|code| code != 0);
        assert!(refused, "it did not fail: {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked at"), "{}", self.stderr);
        self
    }

    /// Itself, where standard error contains all of these.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in:\n{}", self.stderr);
        }
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in:\n{}", self.stdout))
    }

    /// Standard output as one JSON value per line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in:\n{line}"));
        self.stdout.lines().filter(|text| !text.is_empty()).map(line).collect()
    }
}

/// A command that runs beside the test; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts `command`; its output goes to `base.out` and `base.err`.
    pub(super) fn spawn(command: &mut Command, base: PathBuf, stdin: Option<PathBuf>) -> Self {
        let (stdout, stderr) = (base.with_extension("out"), base.with_extension("err"));
        let stdin = stdin.map_or(Stdio::null(), |path| File::open(path).expect("standard input").into());
        command.stdin(stdin).stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, stdout, stderr }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Standard output so far.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// Standard error so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// SIGTERM, without waiting.
    pub fn signal_terminate(&self) {
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.pid())]).status();
        assert!(sent.expect("sh").success(), "SIGTERM could not be sent");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn outcome(mut self, within: Duration) -> Outcome {
        let status = self.exit(within);
        let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        Outcome { code: status.code(), stdout: read(&self.stdout), stderr: read(&self.stderr) }
    }

    #[track_caller]
    fn exit(&mut self, within: Duration) -> ExitStatus {
        let what = format!("the end of pid {}; its log: {}", self.child.id(), self.log());
        until(within, &what, || self.child.try_wait().expect("a child of ours"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.stderr.display(), tail(&self.log()));
        }
    }
}

/// The last lines: what a person wants to see first of a failure.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Runs a command to its end.
#[track_caller]
pub(super) fn run_to_end(command: &mut Command, base: PathBuf, stdin: Option<PathBuf>) -> Outcome {
    until(COMMAND, "the embedded log is free", || {
        let outcome = Running::spawn(command, base.clone(), stdin.clone()).outcome(COMMAND);
        (!still_ours(&outcome.stderr)).then_some(outcome)
    })
}

/// Whether an embedded log was refused because this very process has it. It has given it up, but a child that another
/// test is just starting holds a copy of the lock's descriptor for the moment between fork and exec.
fn still_ours(log: &str) -> bool {
    log.contains(&format!("is owned by another process (pid {})", std::process::id()))
}

/// `lunapark run`, up and ready; killed when dropped.
#[derive(Debug)]
pub struct Service {
    running: Running,
    /// Where its HTTP endpoints are.
    pub http: SocketAddr,
}

impl Service {
    /// Starts it and waits until `/readyz` says 200.
    #[track_caller]
    pub(super) fn start(command: &mut Command, base: PathBuf) -> Self {
        let mut service = Self::spawn(command, base);
        service.wait_ready(START);
        service
    }

    /// Starts it and waits only until its HTTP port is open.
    #[track_caller]
    pub(super) fn spawn(command: &mut Command, base: PathBuf) -> Self {
        until(START, "the service starts", || match Self::try_spawn(command, base.clone()) {
            Ok(service) => Some(service),
            Err(log) if still_ours(&log) => None,
            Err(log) => panic!("the service ended:\n{log}"),
        })
    }

    /// Its log where it ends at once.
    #[track_caller]
    fn try_spawn(command: &mut Command, base: PathBuf) -> Result<Self, String> {
        let mut running = Running::spawn(command, base, None);
        let http = until(START, "the service says where its HTTP endpoints are", || match address(&running.log()) {
            Some(http) => Some(Ok(http)),
            None => (!running.is_running()).then(|| Err(running.log())),
        });
        Ok(Self { running, http: http? })
    }

    /// Waits until every stream thread polls.
    #[track_caller]
    pub fn wait_ready(&mut self, within: Duration) {
        let ready = |service: &mut Self| {
            if let Some(status) = service.running.child.try_wait().unwrap() {
                panic!("the service ended with {status}:\n{}", service.log());
            }
            http::get(service.http, "/readyz").filter(|answer| answer.status == 200)
        };
        until(within, "/readyz says 200", || ready(self));
    }

    /// GET of one of its endpoints.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        http::get(self.http, path).unwrap_or_else(|| panic!("no answer on {path}; its log:\n{}", self.log()))
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.running.log()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.running.is_running()
    }

    /// SIGTERM, without waiting.
    pub fn signal_terminate(&self) {
        self.running.signal_terminate();
    }

    /// SIGTERM, then its end.
    #[track_caller]
    pub fn terminate(self) -> Outcome {
        self.signal_terminate();
        self.outcome(STOP)
    }

    /// kill -9.
    pub fn kill9(mut self) {
        self.running.child.kill().expect("a child of ours");
        self.running.child.wait().expect("a child of ours");
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn outcome(self, within: Duration) -> Outcome {
        let Self { running, .. } = self;
        running.outcome(within)
    }
}

/// The address in the line `scoring … ; http://127.0.0.1:9464/metrics`.
fn address(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("; http://")?;
    let (address, _) = rest.split_once("/metrics\n")?;
    address.parse().ok()
}
