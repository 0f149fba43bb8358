//! The same pipeline on the embedded log and on Kafka.

use std::path::Path;
use std::time::{Duration, Instant};

use lunapark_topics::LogErrorKind;
use lunapark_topics::embedded::{self, EmbeddedOptions};

use crate::bench::{Bench, Common, Run, Side};
use crate::job::{Job, Mode, Payload};
use crate::process::{Running, nap, scorer_config};
use crate::report::{Bar, Report, Table, median, note, number, ratio};
use crate::rig::Rig;
use crate::watch::{Committed, watch};

/// A scorer that starts opens its socket within this.
const PATIENCE: Duration = Duration::from_secs(20);

/// What `embedded` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// HIGGS events as KServe v1 JSON.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
}

/// Runs the scorer on both logs in alternation.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let bench = Bench::filled(&args.common, Payload::Json, Mode::ExactlyOnce, args.events)?;
    // Beside the binary: `/tmp` may be memory, where syncs cost nothing.
    let beside = std::env::current_exe()?;
    let folder = tempfile::tempdir_in(beside.parent().unwrap_or(Path::new(".")))?;
    let data = folder.path().join("data");
    note(format!("filling: {} messages on the embedded log", args.events));
    own(&data)?.fill(&bench.workload, args.events)?;
    let mut rounds = Vec::new();
    for _ in 0..args.common.rounds() {
        let kafka = bench.run(Side::Scorer, Mode::ExactlyOnce)?;
        let job = Job { bootstrap: String::new(), ..bench.job(Side::Scorer, Mode::ExactlyOnce) };
        rounds.push((kafka, run_embedded(&job, folder.path(), &data)?));
    }
    bench.finish(report(args, &rounds))
}

/// Owns the log until dropped; the scorer that ran before may need a moment to let go.
fn own(data: &Path) -> anyhow::Result<Rig> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match embedded::open(data, &EmbeddedOptions::default()) {
            Err(error) if error.kind == LogErrorKind::Owned && Instant::now() < deadline => {
                nap(Duration::from_millis(10));
            }
            opened => return Ok(Rig::new(opened?)),
        }
    }
}

fn run_embedded(job: &Job, folder: &Path, data: &Path) -> anyhow::Result<Run> {
    own(data)?.fresh_outputs()?;
    let file = folder.join("scorer.toml");
    std::fs::write(&file, scorer_config(job, data, 0))?;
    let mut running = Running::scorer(&file, &folder.join("scorer.log"))?;
    let rig = connect(data, &mut running)?;
    let committed = Committed::Log(rig.log.clone(), job.group(), rig.partitions());
    let span = watch(&committed, &mut running, job.messages)?;
    let run = Run { rate: span.rate(), cpu_per_million: running.cpu_seconds()? * 1e6 / job.messages as f64 };
    note(format!("embedded: {:.0} messages/s, {:.2} CPU s/M", run.rate, run.cpu_per_million));
    Ok(run)
}

/// The scorer's log, through its socket, as soon as it serves one.
fn connect(data: &Path, running: &mut Running) -> anyhow::Result<Rig> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match embedded::connect(data) {
            Err(error) if error.kind == LogErrorKind::Unreachable && Instant::now() < deadline => {
                running.check()?;
                nap(Duration::from_millis(1));
            }
            connected => return Ok(Rig::new(connected?)),
        }
    }
}

fn report(args: &Args, rounds: &[(Run, Run)]) -> Report {
    let mut table =
        Table::new(&["round", "Kafka, events/s", "embedded, events/s", "ratio", "Kafka, CPU s/M", "embedded, CPU s/M"]);
    let share = |(kafka, embedded): &(Run, Run)| embedded.rate / kafka.rate;
    for (n, round @ (kafka, embedded)) in rounds.iter().enumerate() {
        table.row(vec![
            (n + 1).to_string(),
            number(kafka.rate),
            number(embedded.rate),
            ratio(share(round)),
            ratio(kafka.cpu_per_million),
            ratio(embedded.cpu_per_million),
        ]);
    }
    Report {
        section: args.common.section("embedded"),
        what: format!(
            "{} HIGGS events as KServe v1 JSON, model {:?}, exactly once, commits every 50 ms; embedded log with sync = \"disk\".",
            number(args.events as f64),
            args.common.model
        ),
        table,
        bars: vec![Bar::at_least("embedded / Kafka, events/s, median", median(rounds.iter().map(share)), 0.3)],
        notes: vec![
            "CPU on the embedded log includes the log itself; on Kafka the broker's is not counted.".to_owned(),
        ],
    }
}
