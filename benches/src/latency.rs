//! Latency at half load, at least once: from the scheduled send time to the result in a consumer's hands. A generator
//! that falls behind its schedule lengthens the latencies; it never hides them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use lunapark_topics::kafka::{KafkaLog, KafkaOptions};
use lunapark_topics::log::Writer;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::bench::{Bench, Common, Side};
use crate::job::{self, Job, Mode, PARTITIONS, Payload};
use crate::process::nap;
use crate::report::{Bar, Report, Table, median, note, number};
use crate::rig::record;

/// Messages that are sent before the schedule starts, one to a partition: their results say that the side is up.
const PROBES: u64 = PARTITIONS as u64;
/// Between two looks of the generator at its schedule.
const TICK: Duration = Duration::from_micros(250);
/// A result that is not there so long after the last send will not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tails scatter more than rates: the median of five ratios; all of it takes about three minutes.
const ROUNDS: u32 = 5;

/// What `latency` takes.
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
    /// Seconds that count.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Seconds before them that do not.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
}

/// Microseconds.
type Latencies = Histogram<u64>;

struct Round {
    side: Side,
    latencies: Latencies,
    /// How late the generator was.
    late: Latencies,
}

/// When which message is due.
#[derive(Clone, Copy)]
struct Schedule {
    start: Instant,
    rate: f64,
    first_counted: u64,
    messages: u64,
}

impl Schedule {
    fn due(&self, index: u64) -> Instant {
        self.start + Duration::from_secs_f64(index.saturating_sub(PROBES) as f64 / self.rate)
    }

    /// Messages that are due now.
    fn due_by(&self, now: Instant) -> u64 {
        let Some(elapsed) = now.checked_duration_since(self.start) else { return PROBES };
        // The first one is due at the start itself.
        (PROBES + 1 + (elapsed.as_secs_f64() * self.rate) as u64).min(self.messages)
    }
}

/// Measures both sides at the same rate in alternation.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let bench = Bench::filled(&args.common, Payload::Json, Mode::AtLeastOnce, args.events)?;
    let rate = match args.rate {
        Some(rate) => rate,
        None => bench.run(Side::Scorer, Mode::AtLeastOnce)?.rate / 2.0,
    };
    ensure!(rate.is_finite() && rate >= 1.0, "no rate could be measured; use more --events, or give a --rate");
    let mut rounds = Vec::new();
    for round in 0..args.common.rounds_or(ROUNDS) {
        for side in Side::alternating(round) {
            rounds.push(run_side(&bench, side, args, rate)?);
        }
    }
    bench.finish(report(args, rate, &rounds))
}

fn run_side(bench: &Bench, side: Side, args: &Args, rate: f64) -> anyhow::Result<Round> {
    bench.rig.fresh_events()?;
    bench.rig.fresh_outputs()?;
    let counted = |seconds: u64| PROBES + (seconds as f64 * rate) as u64;
    let (first_counted, messages) = (counted(args.warm_up), counted(args.warm_up + args.seconds));
    let job = Job { messages, ..bench.job(side, Mode::AtLeastOnce) };
    let mut options = KafkaOptions::new(&job.bootstrap);
    options.properties.insert("linger.ms".into(), "1".into());
    let mut writer = KafkaLog::open(&options)?.writer()?;
    let results = results(&options)?;
    let mut running = bench.start(side, &job, 0)?;
    send(bench, &mut *writer, 0..PROBES)?;
    writer.flush(PATIENCE)?;
    let deadline = Instant::now() + PATIENCE;
    let mut seen = 0;
    while seen < PROBES {
        running.check()?;
        ensure!(Instant::now() < deadline, "{} answers no event", side.name());
        seen += u64::from(results.poll(TICK).transpose()?.is_some());
    }
    let schedule = Schedule { start: Instant::now() + Duration::from_millis(100), rate, first_counted, messages };
    let (latencies, late) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| collect(&results, schedule));
        let late = generate(bench, &mut *writer, schedule);
        let latencies = reading.join().unwrap_or_else(|_| anyhow::bail!("the reader panicked"));
        anyhow::Ok((latencies?, late?))
    })?;
    note(format!("{}: p50 {:.2} ms, p99 {:.2} ms", side.name(), at(&latencies, 0.5), at(&latencies, 0.99)));
    Ok(Round { side, latencies, late })
}

/// A consumer of the result topic from its beginning, with the product's own settings.
fn results(options: &KafkaOptions) -> anyhow::Result<BaseConsumer> {
    let mut config = options.consumer();
    config.set("group.id", "bench.reader");
    let consumer: BaseConsumer = config.create()?;
    let catalog = job::catalog();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(catalog.inference_results.name(), partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    Ok(consumer)
}

fn send(bench: &Bench, writer: &mut dyn Writer, indices: std::ops::Range<u64>) -> anyhow::Result<()> {
    let topic = bench.rig.catalog.inference_events.name();
    for index in indices {
        writer.produce(&record(topic, &bench.workload, index, &index.to_string()))?;
    }
    Ok(())
}

/// Sends what is due until all is sent; how late each message was.
fn generate(bench: &Bench, writer: &mut dyn Writer, schedule: Schedule) -> anyhow::Result<Latencies> {
    let (mut sent, mut late) = (PROBES, latencies()?);
    while sent < schedule.messages {
        let now = Instant::now();
        let due = schedule.due_by(now);
        if sent < due {
            late.saturating_record(micros(now, schedule.due(sent)));
        }
        send(bench, writer, sent..due)?;
        sent = due.max(sent);
        nap(TICK);
    }
    writer.flush(PATIENCE)?;
    Ok(late)
}

/// Reads every result; the key of a message is its number, which says when it was due.
fn collect(results: &BaseConsumer, schedule: Schedule) -> anyhow::Result<Latencies> {
    let mut latencies = latencies()?;
    let mut left = schedule.messages - PROBES;
    let deadline = schedule.due(schedule.messages) + PATIENCE;
    while left > 0 {
        ensure!(Instant::now() < deadline, "{left} of {} results did not come", schedule.messages);
        let Some(message) = results.poll(Duration::from_millis(50)).transpose()? else { continue };
        let now = Instant::now();
        let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
        let index: u64 = key.and_then(|key| key.parse().ok()).context("a result without its event's key")?;
        left -= 1;
        if index >= schedule.first_counted {
            latencies.saturating_record(micros(now, schedule.due(index)));
        }
    }
    Ok(latencies)
}

fn micros(now: Instant, due: Instant) -> u64 {
    now.saturating_duration_since(due).as_micros() as u64
}

/// From a microsecond to a minute, three significant digits.
fn latencies() -> anyhow::Result<Latencies> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

/// Milliseconds at a quantile.
fn at(latencies: &Latencies, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1000.0
}

fn report(args: &Args, rate: f64, rounds: &[Round]) -> Report {
    let mut table =
        Table::new(&["round", "side", "p50, ms", "p99, ms", "p99.9, ms", "max, ms", "generator late, p99, ms"]);
    for (n, round) in rounds.iter().enumerate() {
        let (all, max) = (&round.latencies, round.latencies.max() as f64 / 1000.0);
        let figures = [at(all, 0.5), at(all, 0.99), at(all, 0.999), max, at(&round.late, 0.99)];
        let mut cells = vec![(n / 2 + 1).to_string(), round.side.name().to_owned()];
        cells.extend(figures.map(|figure| format!("{figure:.2}")));
        table.row(cells);
    }
    Report {
        section: args.common.section("latency"),
        what: format!(
            "At least once, {} events/s on both sides ({}), {} s counted after {} s; from the scheduled send time.",
            number(rate),
            if args.rate.is_some() { "as given" } else { "half of the scorer's own maximum" },
            args.seconds,
            args.warm_up
        ),
        table,
        bars: vec![Bar::at_most("p99, scorer / bare loop, median of the rounds' ratios", ratio(rounds, 0.99), 2.0)],
        notes: vec![format!("p50, scorer / bare loop, median of the rounds' ratios: {:.3}.", ratio(rounds, 0.5))],
    }
}

/// The median of the rounds' ratios, scorer to bare loop: both runs of a round met the same hour of the machine.
fn ratio(rounds: &[Round], quantile: f64) -> f64 {
    let of = |pair: &[Round], side| pair.iter().find(|round| round.side == side).map(|r| at(&r.latencies, quantile));
    median(rounds.chunks(2).filter_map(|pair| Some(of(pair, Side::Scorer)? / of(pair, Side::Bare)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let round = |side, millis: u64| {
            let mut all = latencies().unwrap();
            all.record(millis * 1000).unwrap();
            Round { side, latencies: all, late: latencies().unwrap() }
        };
        use Side::{Bare, Scorer};
        // Slow hours and fast ones: the medians of the sides would say 2, the rounds say 3.
        let rounds = [(Bare, 100, Scorer, 300), (Scorer, 30, Bare, 10), (Bare, 200, Scorer, 200)];
        let rounds: Vec<_> = rounds.into_iter().flat_map(|(a, x, b, y)| [round(a, x), round(b, y)]).collect();
        assert!((ratio(&rounds, 0.5) - 3.0).abs() < 0.01, "{}", ratio(&rounds, 0.5));
    }

    #[test]
    fn a_message_is_due_when_the_schedule_says() {
        let start = Instant::now();
        let schedule = Schedule { start, rate: 1000.0, first_counted: PROBES, messages: PROBES + 10 };
        assert_eq!(schedule.due(PROBES), start);
        assert_eq!(schedule.due(PROBES + 5), start + Duration::from_millis(5));
        assert_eq!(schedule.due_by(start - Duration::from_millis(1)), PROBES);
        assert_eq!(schedule.due_by(start), PROBES + 1);
        assert_eq!(schedule.due_by(start + Duration::from_micros(5500)), PROBES + 6);
        assert_eq!(schedule.due_by(start + Duration::from_secs(9)), PROBES + 10);
    }
}
