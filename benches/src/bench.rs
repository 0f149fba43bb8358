//! One measurement on Kafka: broker, topics, workload, and runs of either side.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use crate::broker::{Broker, warm_up};
use crate::job::{Job, Mode, ModelKind, Payload};
use crate::process::{Running, build_scorer, scorer_config};
use crate::report::{self, Report};
use crate::rig::Rig;
use crate::watch::{Committed, watch};
use crate::workload::Workload;

/// What most measurements take.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Which model scores.
    #[arg(long, value_enum, default_value = "mlp")]
    pub model: ModelKind,
    /// How often each side runs, in alternation; the median counts. Default: 3, for latency 5
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Stream threads of either side.
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub threads: usize,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=crate::job::PARTITIONS as usize).contains(n)).ok_or("give 1 to 6 threads".into())
}

impl Common {
    /// How often each side runs.
    pub fn rounds(&self) -> u32 {
        self.rounds_or(3)
    }

    /// The same, where a measurement has its own default.
    pub fn rounds_or(&self, default: u32) -> u32 {
        self.rounds.unwrap_or(default)
    }

    /// Name of the section in the results: other models and thread counts do not replace the main figures.
    pub fn section(&self, name: &str) -> String {
        let model = if self.model == ModelKind::Mlp { "" } else { "-xgb" };
        let threads = if self.threads == 1 { String::new() } else { format!("-{}-threads", self.threads) };
        format!("{name}{model}{threads}")
    }
}

/// Which process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `lunapark run`.
    Scorer,
    /// The bare loop.
    Bare,
}

impl Side {
    /// Both, the other one first in every second round.
    pub fn alternating(round: u32) -> [Side; 2] {
        if round.is_multiple_of(2) { [Side::Bare, Side::Scorer] } else { [Side::Scorer, Side::Bare] }
    }

    /// For tables and group names.
    pub fn name(self) -> &'static str {
        match self {
            Side::Scorer => "scorer",
            Side::Bare => "bare",
        }
    }
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Messages per second from the first committed results to the last.
    pub rate: f64,
    /// CPU seconds of the process until then, for a million events.
    pub cpu_per_million: f64,
}

/// A measurement on Kafka.
pub struct Bench {
    /// Its topics. Before the broker, for its clients must go first.
    pub rig: Rig,
    /// Its events.
    pub workload: Workload,
    job: Job,
    folder: tempfile::TempDir,
    broker: Broker,
    runs: Cell<u32>,
    /// How the broker was warmed up.
    warmed_up: String,
}

impl Bench {
    /// Broker, scorer binary and workload, and an empty events topic.
    pub fn new(common: &Common, payload: Payload, mode: Mode, messages: u64) -> anyhow::Result<Self> {
        build_scorer()?;
        let workload = Workload::new(common.model, payload)?;
        let broker = Broker::start()?;
        let rig = Rig::kafka(&broker.bootstrap)?;
        let bootstrap = broker.bootstrap.clone();
        let (model, threads) = (common.model, common.threads);
        let job = Job { bootstrap, model, payload, messages, threads, mode, linger_ms: None, run: String::new() };
        Ok(Self {
            rig,
            workload,
            job,
            folder: tempfile::tempdir()?,
            broker,
            runs: Cell::new(0),
            warmed_up: String::new(),
        })
    }

    /// As [`new`](Self::new), with the events written and runs that do not count: a broker that has just started is
    /// slower and takes a third of a core for compiling itself, so whoever goes first would pay for it.
    pub fn filled(common: &Common, payload: Payload, mode: Mode, messages: u64) -> anyhow::Result<Self> {
        let bench = Self::new(common, payload, mode, messages)?;
        report::note(format!("filling: {messages} messages on {}", bench.rig.log.describe()));
        bench.rig.fill(&bench.workload, messages)?;
        let warmed_up = warm_up(|| {
            bench.run(Side::Bare, mode)?;
            bench.run(Side::Scorer, mode).map(drop)
        })?;
        Ok(Self { warmed_up, ..bench })
    }

    /// A new run: new group, same everything else.
    pub fn job(&self, side: Side, mode: Mode) -> Job {
        self.runs.set(self.runs.get() + 1);
        // The broker's data may outlive this process: milliseconds keep the groups of two invocations apart.
        let run = format!("{}-{}-{}", side.name(), lunapark::clock::now_millis(), self.runs.get());
        Job { mode, run, ..self.job.clone() }
    }

    /// Starts a side.
    pub fn start(&self, side: Side, job: &Job, port: u16) -> anyhow::Result<Running> {
        match side {
            Side::Bare => Running::bare(job),
            Side::Scorer => {
                let config = self.config(job);
                std::fs::write(&config, scorer_config(job, &config.with_extension("data"), port))?;
                Running::scorer(&config, &config.with_extension("log"))
            }
        }
    }

    /// Where the scorer's configuration for this job is, once it was started.
    pub fn config(&self, job: &Job) -> PathBuf {
        self.folder.path().join(format!("{}.toml", job.run))
    }

    /// Committed offsets of a run.
    pub fn committed(&self, job: &Job) -> anyhow::Result<Committed> {
        Committed::kafka(&self.broker.bootstrap, &job.group(), &self.rig.partitions())
    }

    /// Runs a side over the whole events topic, on new result topics and in a new group.
    pub fn run(&self, side: Side, mode: Mode) -> anyhow::Result<Run> {
        self.run_job(side, &self.job(side, mode))
    }

    /// As [`run`](Self::run), of this job.
    pub fn run_job(&self, side: Side, job: &Job) -> anyhow::Result<Run> {
        self.rig.fresh_outputs()?;
        let committed = self.committed(job)?;
        let mut running = self.start(side, job, 0)?;
        let span = watch(&committed, &mut running, job.messages)?;
        let cpu = running.cpu_seconds()?;
        let run = Run { rate: span.rate(), cpu_per_million: cpu * 1e6 / job.rows() as f64 };
        let (name, mode) = (side.name(), job.mode.name());
        report::note(format!("{name}, {mode}: {:.0} messages/s, {:.2} CPU s/M", run.rate, run.cpu_per_million));
        Ok(run)
    }

    /// Removes the topics and stops the broker where it is an own one. The report, with how the broker was warmed up.
    pub fn finish(self, mut report: Report) -> anyhow::Result<Report> {
        self.rig.clear()?;
        report.notes.push(self.warmed_up);
        Ok(report)
    }
}

/// A port of this machine that is free at the moment.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// How long one figure of the in-process measurements is taken, five times.
pub const WINDOW: Duration = Duration::from_millis(400);
