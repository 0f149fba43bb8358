//! How long the stream stands still where another model takes over: the gaps between the commits around a cut, against the
//! gaps between all other commits of the same minutes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::bench::{Bench, Common, Side, free_port};
use crate::job::{Job, MODEL, Mode, PARTITIONS, Payload};
use crate::memory::wait_ready;
use crate::process::{Running, nap};
use crate::report::{Bar, Report, Table, note, number, ratio};
use crate::rig::{Rig, record};
use crate::watch::{Committed, watch};
use crate::workload::Workload;

/// Between two looks at the committed offsets: one small request each.
const PERIOD: Duration = Duration::from_millis(1);
/// Between two looks of the generator at its schedule.
const TICK: Duration = Duration::from_millis(1);
/// Before the first switch, and before the looks begin: the scorer catches up with what came while it started.
const WARM_UP: Duration = Duration::from_secs(3);
/// What was sent last is acknowledged within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `swap` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// HIGGS events for the scorer's own maximum.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Events per second instead of half of that maximum.
    #[arg(long)]
    rate: Option<f64>,
    /// Promotions and rollbacks, in turn.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    switches: u32,
    /// Milliseconds between two of them.
    #[arg(long, default_value_t = 300)]
    pause: u64,
}

/// Committed offsets, as they were first seen.
#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    offsets: Vec<i64>,
}

/// What a run came to.
struct Seen {
    looks: Vec<Look>,
    /// The first offset that each switch gave to the other model, by partition.
    cuts: Vec<Vec<i64>>,
    sent: u64,
    /// Lost and duplicated events, as the audit has them.
    faults: u64,
}

/// Of each commit, milliseconds to the one before it or to the one behind it: the longer of the two.
#[derive(Debug, Default, PartialEq)]
struct Gaps {
    at_cuts: Vec<f64>,
    elsewhere: Vec<f64>,
}

/// Switches under load.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let bench = Bench::filled(&args.common, Payload::Json, Mode::ExactlyOnce, args.events)?;
    let rate = match args.rate {
        Some(rate) => rate,
        None => bench.run(Side::Scorer, Mode::ExactlyOnce)?.rate / 2.0,
    };
    ensure!(rate.is_finite() && rate >= 1.0, "no rate could be measured; use more --events, or give a --rate");
    let seen = switch_under_load(&bench, args, rate)?;
    let gaps = gaps(&seen.looks, &seen.cuts);
    ensure!(!gaps.at_cuts.is_empty(), "no commit ends at a cut: the looks were too rare; is the machine quiet?");
    bench.finish(report(args, rate, &seen, gaps))
}

fn switch_under_load(bench: &Bench, args: &Args, rate: f64) -> anyhow::Result<Seen> {
    bench.rig.fresh_events()?;
    bench.rig.fresh_outputs()?;
    let (job, port) = (bench.job(Side::Scorer, Mode::ExactlyOnce), free_port()?);
    let committed = bench.committed(&job)?;
    let mut running = bench.start(Side::Scorer, &job, port)?;
    wait_ready(port, &mut running)?;
    let (rig, workload, stop) = (&bench.rig, &bench.workload, AtomicBool::new(false));
    let (cuts, looks, sent) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| generate(rig, workload, rate, &stop));
        nap(WARM_UP);
        let looking = scope.spawn(|| look(&committed, &stop));
        let cuts = switches(bench, args, &job, &mut running);
        stop.store(true, Ordering::Release);
        let looks = looking.join().unwrap_or_else(|_| anyhow::bail!("the watcher panicked"));
        let sent = sending.join().unwrap_or_else(|_| anyhow::bail!("the generator panicked"));
        anyhow::Ok((cuts?, looks?, sent?))
    })?;
    watch(&committed, &mut running, sent)?;
    let faults = faults(&Running::command(&bench.config(&job), &["audit"])?)?;
    Ok(Seen { looks, cuts, sent, faults })
}

/// Promotes a second version of the model and takes it back, in turn.
fn switches(bench: &Bench, args: &Args, job: &Job, running: &mut Running) -> anyhow::Result<Vec<Vec<i64>>> {
    let (config, other) = (bench.config(job), format!("{}/2", MODEL.0));
    let mut cuts = Vec::new();
    for switch in 0..args.switches {
        running.check()?;
        let switched = match switch.is_multiple_of(2) {
            true => Running::command(&config, &["models", "promote", &other, "--model", job.model.path()])?,
            false => Running::command(&config, &["models", "rollback"])?,
        };
        cuts.push(cuts_of(&switched)?);
        note(format!("{}: {}", switch + 1, switched["promoted"]));
        nap(Duration::from_millis(args.pause));
    }
    Ok(cuts)
}

/// The offsets that the command printed.
fn cuts_of(switched: &Value) -> anyhow::Result<Vec<i64>> {
    let cut = |partition: i32| switched["cut"][partition.to_string()].as_i64();
    let cuts: Option<Vec<_>> = (0..PARTITIONS).map(cut).collect();
    cuts.with_context(|| format!("a partition has no cut in {switched:#}"))
}

fn faults(audit: &Value) -> anyhow::Result<u64> {
    let count = |name: &str| audit[name].as_u64().with_context(|| format!("no {name} in {audit:#}"));
    Ok(count("lost")? + count("duplicated")?)
}

/// Sends at this rate until it is stopped; how many events that were.
fn generate(rig: &Rig, workload: &Workload, rate: f64, stop: &AtomicBool) -> anyhow::Result<u64> {
    let (mut writer, topic) = (rig.log.writer()?, rig.catalog.inference_events.name());
    let (started, mut sent) = (Instant::now(), 0);
    while !stop.load(Ordering::Acquire) {
        let due = (started.elapsed().as_secs_f64() * rate) as u64;
        for index in sent..due {
            writer.produce(&record(topic, workload, index, &index.to_string()))?;
        }
        sent = due.max(sent);
        nap(TICK);
    }
    writer.flush(PATIENCE)?;
    Ok(sent)
}

/// Every change of the committed offsets, until it is stopped.
fn look(committed: &Committed, stop: &AtomicBool) -> anyhow::Result<Vec<Look>> {
    let mut looks: Vec<Look> = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let offsets = committed.offsets()?;
        let at = Instant::now();
        if looks.last().is_none_or(|last| last.offsets != offsets) {
            looks.push(Look { at, offsets });
        }
        nap(PERIOD);
    }
    Ok(looks)
}

/// The gaps of each partition. A cut is made between two transactions: the commit before it ends at its offset, and that
/// transaction is ended early on purpose. So of the gaps before and after a commit the longer one counts for it, and a
/// commit beside a cut counts for neither side.
fn gaps(looks: &[Look], cuts: &[Vec<i64>]) -> Gaps {
    let mut gaps = Gaps::default();
    for partition in 0..PARTITIONS as usize {
        let cuts: HashSet<i64> = cuts.iter().map(|cut| cut[partition]).collect();
        let mut commits: Vec<_> = looks.iter().map(|look| (look.at, look.offsets[partition])).collect();
        commits.dedup_by_key(|(_, offset)| *offset);
        for three in commits.windows(3) {
            let longer = (three[1].0 - three[0].0).max(three[2].0 - three[1].0).as_secs_f64() * 1e3;
            match [0, 1, 2].map(|at| cuts.contains(&three[at].1)) {
                [_, true, _] => gaps.at_cuts.push(longer),
                [false, false, false] => gaps.elsewhere.push(longer),
                _ => {}
            }
        }
    }
    gaps.at_cuts.sort_by(f64::total_cmp);
    gaps.elsewhere.sort_by(f64::total_cmp);
    gaps
}

/// The smallest value that so large a share does not exceed.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn report(args: &Args, rate: f64, seen: &Seen, gaps: Gaps) -> Report {
    let mut table =
        Table::new(&["beside a commit of a partition, the longer gap", "commits", "p50, ms", "p99, ms", "max, ms"]);
    for (name, gaps) in [("at a cut", &gaps.at_cuts), ("elsewhere", &gaps.elsewhere)] {
        let mut cells = vec![name.to_owned(), number(gaps.len() as f64)];
        cells.extend([0.5, 0.99, 1.0].map(|share| format!("{:.2}", quantile(gaps, share))));
        table.row(cells);
    }
    let cost = |share| quantile(&gaps.at_cuts, share) - quantile(&gaps.elsewhere, share);
    Report {
        section: args.common.section("swap"),
        what: format!(
            "{} switches between two versions of {:?}, {} events/s ({}), exactly once, commits every 50 ms.",
            args.switches,
            args.common.model,
            number(rate),
            if args.rate.is_some() { "as given" } else { "half of the scorer's own maximum" }
        ),
        table,
        bars: vec![
            Bar::at_most("gap at a cut − gap elsewhere, p99", cost(0.99), 10.0).in_unit(" ms"),
            Bar::at_most("lost and duplicated events, by the audit", seen.faults as f64, 0.0),
        ],
        notes: vec![
            format!(
                "Gap at a cut − gap elsewhere: p50 {} ms. The p99 at a cut − the median elsewhere, in which is all that the \
                 machine scatters at this load: {} ms.",
                ratio(cost(0.5)),
                ratio(quantile(&gaps.at_cuts, 0.99) - quantile(&gaps.elsewhere, 0.5)),
            ),
            format!(
                "{} events; {} of {} cuts were seen. Committed offsets are asked for every {PERIOD:?}; generator, watcher \
                 and the promoting command, a process of its own for each switch, share the machine with scorer and broker.",
                number(seen.sent as f64),
                gaps.at_cuts.len(),
                seen.cuts.len() * PARTITIONS as usize
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_gap_beside_a_commit_counts_for_it() {
        let start = Instant::now();
        // Commits every 50 ms; the one at 230 ms ends early, at the cut, and the next one comes 60 ms later.
        let commits = [(0, 10), (50, 20), (100, 22), (150, 25), (200, 30), (230, 36), (290, 50), (340, 60), (390, 70)];
        let looks: Vec<_> = commits
            .iter()
            .map(|(at, offset)| Look {
                at: start + Duration::from_millis(*at),
                offsets: vec![*offset; PARTITIONS as usize],
            })
            .collect();
        let found = gaps(&looks, &[vec![36; PARTITIONS as usize]]);
        let partitions = PARTITIONS as usize;
        assert_eq!((found.at_cuts.len(), found.elsewhere.len()), (partitions, 4 * partitions));
        assert!(found.at_cuts.iter().all(|gap| (gap - 60.0).abs() < 1e-6), "{found:?}");
        assert!(found.elsewhere.iter().all(|gap| (gap - 50.0).abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|share| quantile(&values, share)), [50.0, 99.0, 100.0]);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn cuts_are_read_from_what_the_command_prints() {
        let printed = serde_json::json!({ "cut": { "0": 5, "1": 6, "2": 7, "3": 8, "4": 9, "5": 10 } });
        assert_eq!(cuts_of(&printed).unwrap(), [5, 6, 7, 8, 9, 10]);
        assert!(cuts_of(&serde_json::json!({ "cut": { "0": 5 } })).unwrap_err().to_string().contains("no cut"));
    }
}
