//! What exactly once costs against at least once, under the same scorer.

use crate::bench::{Bench, Common, Run, Side};
use crate::job::{Job, Mode, Payload};
use crate::report::{Bar, Report, Table, median, number, ratio};

/// What `delivery` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// HIGGS events as KServe v1 JSON.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
}

/// Both send batches of the same size: at least once does not wait as long for more by itself (`linger.ms` 1 instead of
/// 5), which is for its latency and makes more, smaller requests.
const LINGER_MS: u32 = 5;

/// Runs the scorer in both modes in alternation.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let bench = Bench::filled(&args.common, Payload::Json, Mode::ExactlyOnce, args.events)?;
    let mut rounds: Vec<(Run, Run)> = Vec::new();
    for round in 0..args.common.rounds() {
        let job = |mode| Job { linger_ms: Some(LINGER_MS), ..bench.job(Side::Scorer, mode) };
        let run = |mode| bench.run_job(Side::Scorer, &job(mode));
        rounds.push(match round.is_multiple_of(2) {
            true => (run(Mode::ExactlyOnce)?, run(Mode::AtLeastOnce)?),
            false => {
                let at_least = run(Mode::AtLeastOnce)?;
                (run(Mode::ExactlyOnce)?, at_least)
            }
        });
    }
    bench.finish(report(args, &rounds))
}

fn report(args: &Args, rounds: &[(Run, Run)]) -> Report {
    let mut table =
        Table::new(&["round", "exactly once, events/s", "at least once, events/s", "cost", "CPU s/M", "CPU s/M "]);
    let cost = |(exactly, at_least): &(Run, Run)| 1.0 - exactly.rate / at_least.rate;
    for (n, round @ (exactly, at_least)) in rounds.iter().enumerate() {
        table.row(vec![
            (n + 1).to_string(),
            number(exactly.rate),
            number(at_least.rate),
            ratio(cost(round)),
            ratio(exactly.cpu_per_million),
            ratio(at_least.cpu_per_million),
        ]);
    }
    Report {
        section: args.common.section("delivery"),
        what: format!("{} HIGGS events as KServe v1 JSON, model {:?}.", number(args.events as f64), args.common.model),
        table,
        bars: vec![Bar::at_most(
            "cost of exactly once, share of events/s, median",
            median(rounds.iter().map(cost)),
            0.15,
        )],
        notes: vec![format!(
            "Both modes read on during commits and let records wait {LINGER_MS} ms for others (`linger.ms`); by default at \
             least once sends after 1 ms, for its latency."
        )],
    }
}
