//! 256 events per Arrow message: the scorer's rows per second against the bare model's.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::bench::{Bench, Common, Side};
use crate::job::{Mode, Payload};
use crate::report::{Bar, Report, Table, median, number, ratio};
use crate::workload::{Workload, model_rows};

/// How long the bare model runs in each round.
const SPELL: Duration = Duration::from_secs(1);

/// What `arrow` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// HIGGS events; 256 make a message. Fewer are over before connections and caches are warm.
    #[arg(long, default_value_t = 40_000_000)]
    events: u64,
}

struct Round {
    model: f64,
    scorer: f64,
    cpu_per_million: f64,
}

/// Runs the bare model and the scorer in alternation.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let rows = Payload::Arrow.rows();
    let bench = Bench::filled(&args.common, Payload::Arrow, Mode::ExactlyOnce, args.events.div_ceil(rows as u64))?;
    let (mut rounds, largest) = (Vec::new(), bench.workload.batch()? * rows);
    for _ in 0..args.common.rounds() {
        // As large as one message and as large as a batch of the scorer: the faster one is the limit.
        let mut model = 0.0;
        for batch in [rows, largest] {
            model = bare_model(&bench.workload, batch, args.common.threads, SPELL)?.max(model);
        }
        let run = bench.run(Side::Scorer, Mode::ExactlyOnce)?;
        rounds.push(Round { model, scorer: run.rate * rows as f64, cpu_per_million: run.cpu_per_million });
    }
    bench.finish(report(args, &rounds))
}

/// Rows per second of so many threads that do nothing but score.
fn bare_model(workload: &Workload, rows: usize, threads: usize, spell: Duration) -> anyhow::Result<f64> {
    let batch = model_rows(&workload.models, rows)?;
    let model = &workload.entry()?.model().ok_or_else(|| anyhow::anyhow!("the model is not loaded"))?;
    let started = Instant::now();
    let score = || -> anyhow::Result<usize> {
        let mut done = 0;
        while started.elapsed() < spell {
            black_box(model.infer(&batch)?);
            done += rows;
        }
        Ok(done)
    };
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(score)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<usize>>| {
            thread.join().unwrap_or_else(|_| anyhow::bail!("the model panicked"))
        };
        threads.into_iter().map(join).sum::<anyhow::Result<usize>>()
    })?;
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

fn report(args: &Args, rounds: &[Round]) -> Report {
    let mut table = Table::new(&["round", "bare model, rows/s", "scorer, rows/s", "ratio", "scorer, CPU s/M"]);
    let share = |round: &Round| round.scorer / round.model;
    for (n, round) in rounds.iter().enumerate() {
        table.row(vec![
            (n + 1).to_string(),
            number(round.model),
            number(round.scorer),
            ratio(share(round)),
            ratio(round.cpu_per_million),
        ]);
    }
    Report {
        section: args.common.section("arrow"),
        what: format!(
            "{} HIGGS events, 256 per Arrow message, model {:?}, exactly once, {} thread(s) on both sides.",
            number(args.events as f64),
            args.common.model,
            args.common.threads
        ),
        table,
        bars: vec![Bar::at_least("scorer / bare model, rows/s, median", median(rounds.iter().map(share)), 0.8)],
        notes: Vec::new(),
    }
}
