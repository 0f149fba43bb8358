//! The whole ingestion against the bare embedder: from records on Kafka to a collection that can be searched.

use std::path::Path;
use std::time::{Duration, Instant};

use lunapark_embed::{Encoder, PrecisionChoice, Role};
use lunapark_index::Document;
use lunapark_schemas::TopicPartition;
use lunapark_topics::kafka::{KafkaLog, KafkaOptions};

use super::cranfield::Cranfield;
use super::service::{Place, children, documents};
use super::{Places, load};
use crate::bench::free_port;
use crate::broker::{Broker, warm_up};
use crate::memory::wait_ready;
use crate::process::{Running, build_scorer, nap};
use crate::report::{Bar, Report, Table, median, note, number, ratio};
use crate::watch::Committed;

/// Documents of one batch of the service, as its default has it.
const BATCH: usize = 256;

/// Pause between two looks at what is committed: a few thousandths of a measurement's seconds. At 5 ms broker and clients
/// spent a tenth of the two cores on answering them.
const LOOK: Duration = Duration::from_millis(50);

/// What the measurement takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    places: Places,
    /// How often each side runs, in alternation; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// One round: tokens a second of either side.
struct Round {
    service: f64,
    bare: f64,
    seconds: f64,
}

/// The service on Kafka and the encoder alone, on the same passages.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    build_scorer()?;
    let encoder = args.places.encoder()?;
    let cranfield = Cranfield::read(&args.places.cranfield())?;
    let broker = Broker::start()?;
    let alone = load(&encoder, 2, PrecisionChoice::F32)?;
    let warmed_up = warm_up(|| serve(&broker.bootstrap, &encoder, &cranfield).map(drop))?;
    let one = |_| round(&broker.bootstrap, &encoder, &alone, &cranfield);
    let rounds = (0..args.rounds).map(one).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(report(&cranfield, &rounds, warmed_up))
}

fn round(bootstrap: &str, encoder: &Path, alone: &Encoder, cranfield: &Cranfield) -> anyhow::Result<Round> {
    let (seconds, documents) = serve(bootstrap, encoder, cranfield)?;
    let (tokens, bare) = embed_alone(alone, &documents)?;
    let round = Round { service: tokens / seconds, bare: tokens / bare, seconds };
    note(format!("service {:.0} tokens/s, encoder alone {:.0}", round.service, round.bare));
    Ok(round)
}

/// Seconds of the service, and what it wrote.
fn serve(bootstrap: &str, encoder: &Path, cranfield: &Cranfield) -> anyhow::Result<(f64, Vec<Document>)> {
    let port = free_port()?;
    let prefix = format!("bench-ingest-{}.", lunapark::clock::now_millis());
    let place = Place::new(encoder, Some((bootstrap, &prefix)), port)?;
    place.command(&["topics", "create"])?;
    place.ingest(cranfield, &[])?;
    let mut running = place.start()?;
    wait_ready(port, &mut running)?;
    let started = Instant::now();
    wait_indexed(bootstrap, &prefix, &mut running, cranfield.documents.len() as u64)?;
    let seconds = started.elapsed().as_secs_f64();
    drop(running);
    let documents = documents(&*place.snapshot()?)?;
    remove(bootstrap, &prefix)?;
    Ok((seconds, documents))
}

/// Waits until everything is committed.
fn wait_indexed(bootstrap: &str, prefix: &str, running: &mut Running, total: u64) -> anyhow::Result<()> {
    let log = KafkaLog::open(&KafkaOptions::new(bootstrap))?;
    let topic = format!("{prefix}documents.ingest");
    let partitions = log.topic(&topic)?.partitions;
    let partitions: Vec<_> = (0..partitions).map(|p| TopicPartition::new(topic.as_str(), p)).collect();
    let committed = Committed::kafka(bootstrap, &format!("{prefix}documents"), &partitions)?;
    while committed.messages().unwrap_or(0) < total {
        running.check()?;
        nap(LOOK);
    }
    Ok(())
}

/// Tokens of all children, and seconds of the encoder alone, in batches as the service has them.
fn embed_alone(encoder: &Encoder, documents: &[Document]) -> anyhow::Result<(f64, f64)> {
    let (mut tokens, mut seconds) = (0, 0.0);
    for batch in documents.chunks(BATCH) {
        let texts: Vec<&str> = batch.iter().flat_map(children).collect();
        let started = Instant::now();
        tokens += encoder.embed(&texts, Role::Passage)?.tokens.iter().sum::<usize>();
        seconds += started.elapsed().as_secs_f64();
    }
    Ok((tokens as f64, seconds))
}

fn remove(bootstrap: &str, prefix: &str) -> anyhow::Result<()> {
    let log = KafkaLog::open(&KafkaOptions::new(bootstrap))?;
    let all = log.topics()?;
    all.iter().filter(|topic| topic.name.starts_with(prefix)).try_for_each(|topic| Ok(log.delete_topic(&topic.name)?))
}

fn report(cranfield: &Cranfield, rounds: &[Round], warmed_up: String) -> Report {
    let mut table = Table::new(&["round", "service, tokens/s", "encoder alone, tokens/s", "ratio", "service, s"]);
    let share = |round: &Round| round.service / round.bare;
    for (index, round) in rounds.iter().enumerate() {
        let figures = [number(round.service), number(round.bare), ratio(share(round)), ratio(round.seconds)];
        table.row([(index + 1).to_string()].into_iter().chain(figures).collect());
    }
    Report {
        section: "ingest".to_owned(),
        what: format!(
            "{} abstracts of Cranfield on Kafka, all-MiniLM-L6-v2 in f32, two threads on both sides.",
            number(cranfield.documents.len() as f64)
        ),
        table,
        bars: vec![Bar::at_least("service / encoder alone, tokens/s, median", median(rounds.iter().map(share)), 0.9)],
        notes: vec![
            "The service's time is from /readyz 200 to the commit of the last record: fetched, extracted, chunked, embedded, \
             written as segments and manifests to a folder, answered on documents.indexed. The encoder alone gets the very \
             same passages in batches of 256 documents."
                .to_owned(),
            warmed_up,
        ],
    }
}
