//! Memory of one scorer, and how soon it is ready.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::ensure;
use lunapark_topics::Start;
use lunapark_topics::kafka::KafkaOptions;
use lunapark_topics::log::StreamSpec;

use crate::bench::{Bench, Common, Side, free_port};
use crate::job::{Job, Mode, Payload};
use crate::process::{Running, nap};
use crate::report::{Bar, Report, Table, median, note, ratio};
use crate::watch::watch;

const MIB: f64 = 1048576.0;
/// A scorer that is not ready by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `memory` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// HIGGS events as KServe v1 JSON.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
}

struct Round {
    ready: f64,
    first_result: f64,
    at_ready: f64,
    peak: f64,
}

/// Starts a scorer again and again on a full topic.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let bench = Bench::filled(&args.common, Payload::Json, Mode::ExactlyOnce, args.events)?;
    let mut rounds = Vec::new();
    for _ in 0..args.common.rounds() {
        bench.rig.fresh_outputs()?;
        rounds.push(round(&bench, &bench.job(Side::Scorer, Mode::ExactlyOnce))?);
    }
    let queue = fetch_queue_mib(&bench.job(Side::Scorer, Mode::ExactlyOnce));
    bench.finish(report(args, &rounds, queue * args.common.threads as f64))
}

fn round(bench: &Bench, job: &Job) -> anyhow::Result<Round> {
    let committed = bench.committed(job)?;
    let port = free_port()?;
    let mut running = bench.start(Side::Scorer, job, port)?;
    let ready = wait_ready(port, &mut running)?;
    let at_ready = running.peak_memory()? as f64 / MIB;
    let span = watch(&committed, &mut running, job.messages)?;
    let first_result = (span.first() - running.started).as_secs_f64();
    let peak = running.peak_memory()? as f64 / MIB;
    note(format!("ready {ready:.3} s, first result {first_result:.3} s, peak {peak:.0} MiB"));
    Ok(Round { ready, first_result, at_ready, peak })
}

/// Seconds from the start to the first 200 of `/readyz`.
pub fn wait_ready(port: u16, running: &mut Running) -> anyhow::Result<f64> {
    while !ready(port) {
        running.check()?;
        ensure!(running.started.elapsed() < PATIENCE, "/readyz did not answer 200 within {PATIENCE:?}");
        nap(Duration::from_millis(2));
    }
    Ok(Instant::now().duration_since(running.started).as_secs_f64())
}

fn ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// The bound of what one stream thread's consumer fetches ahead.
fn fetch_queue_mib(job: &Job) -> f64 {
    let spec = StreamSpec {
        group: job.group(),
        member: job.group(),
        topics: Vec::new(),
        outputs: Vec::new(),
        delivery: job.mode.delivery(),
        start: Start::Earliest,
    };
    let config = KafkaOptions::new(&job.bootstrap).stream_consumer(&spec);
    let kib = config.get("queued.max.messages.kbytes").and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn report(args: &Args, rounds: &[Round], queues: f64) -> Report {
    let mut table = Table::new(&[
        "round",
        "ready, s",
        "first result, s",
        "peak when ready, MiB",
        "peak, MiB",
        "beyond queues, MiB",
    ]);
    for (n, round) in rounds.iter().enumerate() {
        table.row(vec![
            (n + 1).to_string(),
            ratio(round.ready),
            ratio(round.first_result),
            format!("{:.1}", round.at_ready),
            format!("{:.1}", round.peak),
            format!("{:.1}", round.peak - queues),
        ]);
    }
    let worst = rounds.iter().map(|round| round.peak - queues).fold(f64::NAN, f64::max);
    Report {
        section: args.common.section("memory"),
        what: format!(
            "One scorer, model {:?}, {} stream thread(s), on a topic of {} events.",
            args.common.model, args.common.threads, args.events
        ),
        table,
        // 100 MB are 95.4 MiB.
        bars: vec![
            Bar::at_most("peak beyond librdkafka's queues, worst round", worst * MIB / 1e6, 100.0).in_unit(" MB"),
            Bar::at_most("from exec to /readyz 200, median", median(rounds.iter().map(|r| r.ready)), 1.0).in_unit(" s"),
        ],
        notes: vec![format!(
            "Queues: only the fetch queues (`queued.max.messages.kbytes`, {queues:.0} MiB in all) are taken off; the \
             producers' bound (1 GiB by default) is not, and librdkafka's bookkeeping per queued message counts as ours."
        )],
    }
}
