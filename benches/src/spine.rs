//! The scorer against the bare loop: the framework's own cost.

use crate::bench::{Bench, Common, Run, Side, WINDOW};
use crate::job::{Mode, Payload};
use crate::parts::Parts;
use crate::report::{Bar, Report, Table, median, note, number, ratio};
use crate::verify::digest;

/// What `spine` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// HIGGS events as KServe v1 JSON.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Delivery mode of both sides.
    #[arg(long, value_enum, default_value = "exactly_once")]
    delivery: Mode,
}

/// Runs both sides in alternation.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let bench = Bench::filled(&args.common, Payload::Json, args.delivery, args.events)?;
    let parts = Parts::measure(&bench.workload, Payload::Json, WINDOW)?;
    let mut rounds = Vec::new();
    let mut digests = Vec::new();
    for round in 0..args.common.rounds() {
        let (mut bare, mut scorer) = (None, None);
        for side in Side::alternating(round) {
            let run = bench.run(side, args.delivery)?;
            if round == 0 {
                digests.push(digest(&bench.rig, args.events)?);
            }
            *(if side == Side::Bare { &mut bare } else { &mut scorer }) = Some(run);
        }
        rounds.extend(bare.zip(scorer));
    }
    let same = digests.windows(2).all(|pair| pair[0] == pair[1]);
    note(if same { "both sides wrote the same results" } else { "the sides wrote different results" });
    bench.finish(report(args, &rounds, &parts, same))
}

/// CPU of the scorer over that of bare loop, decoding, model and encoding.
fn cpu_ratio((bare, scorer): &(Run, Run), parts: &Parts) -> f64 {
    // Nanoseconds per event are thousandths of seconds per million.
    scorer.cpu_per_million / (bare.cpu_per_million + parts.sum() / 1000.0)
}

fn report(args: &Args, rounds: &[(Run, Run)], parts: &Parts, same: bool) -> Report {
    let mut table = Table::new(&[
        "round",
        "bare loop, events/s",
        "scorer, events/s",
        "ratio",
        "bare loop, CPU s/M",
        "scorer, CPU s/M",
        "CPU ratio",
    ]);
    for (n, round @ (bare, scorer)) in rounds.iter().enumerate() {
        table.row(vec![
            (n + 1).to_string(),
            number(bare.rate),
            number(scorer.rate),
            ratio(scorer.rate / bare.rate),
            ratio(bare.cpu_per_million),
            ratio(scorer.cpu_per_million),
            ratio(cpu_ratio(round, parts)),
        ]);
    }
    let speed = median(rounds.iter().map(|(bare, scorer)| scorer.rate / bare.rate));
    let cpu = median(rounds.iter().map(|round| cpu_ratio(round, parts)));
    let bars = vec![
        Bar::at_least("scorer / bare loop, events/s, median", speed, 0.85),
        Bar::at_most("scorer's CPU / (bare loop + decode + model + encode), median", cpu, 1.2),
        Bar::at_least("both sides wrote the same results (1 is yes)", f64::from(u8::from(same)), 1.0),
    ];
    let Parts { decode, model, encode } = parts;
    Report {
        section: args.common.section(if args.delivery == Mode::ExactlyOnce { "spine" } else { "spine-at-least-once" }),
        what: format!(
            "{} HIGGS events as KServe v1 JSON, model {:?}, {}, commits every 50 ms, {} stream thread(s).",
            number(args.events as f64),
            args.common.model,
            args.delivery.name(),
            args.common.threads
        ),
        table,
        bars,
        notes: vec![format!(
            "Measured alone, in memory, CPU per event: decode {decode:.0} ns, model {model:.0} ns, encode {encode:.0} ns."
        )],
    }
}
