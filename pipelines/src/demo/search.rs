//! `lunapark demo search`: abstracts of papers on a topic become a collection, and questions on another are answered.
//!
//! ```text
//! cranfield-sample.ndjson ──▶ documents.ingest ──▶ documents (the service itself) ──▶ documents.indexed
//!                                                       ├──▶ segments, manifests
//!       three questions ──▶ search.requests ──▶ search ◀┘ ──▶ search.results
//! ```

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use lunapark_schemas::documents::{IndexedRecord, IngestRecord};
use lunapark_schemas::search::{SearchMode, SearchReply, SearchRequest, SearchUnit, Texts};
use lunapark_schemas::{Event, TopicPartition};
use lunapark_topics::{Log, Topic, embedded};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{empty, suggestion};
use crate::audit::report::AuditReport;
use crate::audit::scan;
use crate::audit::{AuditRequest, audit};
use crate::cli::output::{self, Output, number};
use crate::cli::search::passage;
use crate::config::Config;
use crate::encoders;
use crate::knowledge;
use crate::service::Service;
use crate::stop::Stop;

/// The shipped sample: one ingest record per line (see `assets/README.md`).
const ABSTRACTS: &str = include_str!("../../assets/cranfield-sample.ndjson");
/// Where they go.
const COLLECTION: &str = "cranfield";
/// Questions of the same test collection; the sample has all abstracts that its judges found to answer them.
const QUESTIONS: [&str; 3] = [
    "what factors have been shown to have a primary influence on sonic boom strength",
    "how can one detect transition phenomena in boundary layers",
    "what data is there on the fatigue of structures under acoustic loading",
];
/// Passages shown for each.
const HITS: usize = 3;
/// Documents of one batch: small, so that a person sees the collection grow.
const BATCH: usize = 25;
/// The embedded log takes the records in milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// A few seconds are enough; a machine that is busy with other things takes longer.
const WITHIN: Duration = Duration::from_secs(600);
/// Between two looks, and between two lines where there is no terminal.
const LOOK: Duration = Duration::from_millis(20);
const LINE: Duration = Duration::from_secs(1);

/// What the demo did.
struct Played {
    indexed: Vec<IndexedRecord>,
    replies: Vec<SearchReply>,
    documents: AuditReport,
    questions: AuditReport,
    indexing: Duration,
    answering: Duration,
}

/// Runs the demo.
pub(super) fn run(config: &Config, data: Option<PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let data = data.unwrap_or_else(|| std::env::temp_dir().join("lunapark-demo-search"));
    empty(&data)?;
    let own = settings(config, &data);
    let encoder = &config.documents.encoder;
    // The demo's log and store can then be asked without the configuration's.
    encoders::copy(encoder, knowledge::store_if_made(config)?.as_ref(), &knowledge::store(&own)?)
        .with_context(|| format!("documents.encoder `{encoder}`"))?;
    let log = embedded::open(&data, &Default::default())?;
    output::on_stdout(json, |out| {
        let played = play(&own, log, out)?;
        finish(&played, &data, started.elapsed(), out)
    })
}

/// The user's settings, on the demo's own log and store, with one stream thread that indexes and one that answers.
fn settings(config: &Config, data: &Path) -> Config {
    let mut config = config.clone();
    (config.kafka, config.listen, config.mongodb) = (None, None, None);
    config.data = data.to_owned();
    config.artifacts = data.join("store").to_string_lossy().into_owned();
    (config.score.threads, config.train.threads) = (0, 0);
    (config.documents.threads, config.search.threads) = (1, 1);
    config.documents.batch_messages = BATCH;
    config
}

fn play(config: &Config, log: Arc<dyn Log>, out: &mut Output<'_>) -> anyhow::Result<Played> {
    let stop = Stop::new();
    let service = Service::start(config, log.clone(), stop.clone(), None)?;
    let catalog = service.catalog.clone();
    let began = Instant::now();
    let records = abstracts()?;
    send(&*log, &catalog.documents_ingest, &records)?;
    say(out, format_args!("{} abstracts sent to {}", records.len(), catalog.documents_ingest.name()))?;
    let indexed = index(&service, records.len(), out)?;
    let indexing = began.elapsed();
    let began = Instant::now();
    let replies = ask(&service, out)?;
    let answering = began.elapsed();
    stop.request();
    service.join()?;
    let name = |group: &str| format!("{}{group}", catalog.prefix());
    let (documents, search) = (name(&config.documents.name), name(&config.search.name));
    let documents = AuditRequest::plain(&catalog, &documents, &catalog.documents_ingest, &catalog.documents_indexed);
    let questions = AuditRequest::plain(&catalog, &search, &catalog.search_requests, &catalog.search_results);
    let proof = |request: AuditRequest| audit(&*log, &AuditRequest { deep: true, ..request });
    Ok(Played { indexed, replies, documents: proof(documents)?, questions: proof(questions)?, indexing, answering })
}

/// A line for people, at once.
fn say(out: &mut Output<'_>, text: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    if !out.json {
        out.line(text)?;
        out.flush()?;
    }
    Ok(())
}

fn abstracts() -> anyhow::Result<Vec<IngestRecord>> {
    let read = |(number, line): (usize, &str)| {
        let mut value: Value = serde_json::from_str(line)?;
        value["collection"] = COLLECTION.into();
        let record = IngestRecord::from_json(value.to_string().as_bytes()).map_err(anyhow::Error::msg);
        record.with_context(|| format!("cranfield-sample.ndjson, line {}", number + 1))
    };
    ABSTRACTS.lines().enumerate().map(read).collect()
}

fn send<E: Event>(log: &dyn Log, topic: &Topic<E>, events: &[E]) -> anyhow::Result<()> {
    let mut writer = log.writer()?;
    for event in events {
        writer.produce(&topic.encode(event)?.record(None))?;
    }
    Ok(writer.flush(PATIENCE)?)
}

/// Watches the collection grow until every document has ended; what became of them.
fn index(service: &Service, sent: usize, out: &mut Output<'_>) -> anyhow::Result<Vec<IndexedRecord>> {
    let catalog = &service.catalog;
    let (results, dead) = (catalog.documents_indexed.name(), catalog.documents_ingest.dead());
    let bar = match out.json {
        true => indicatif::ProgressBar::hidden(),
        false => output::progress(Some(sent as u64), "{bar:32} {pos} of {len} indexed, {elapsed}"),
    };
    let (began, mut told) = (Instant::now(), Instant::now());
    let terminal = std::io::stderr().is_terminal();
    wait(service, "every document ends", || {
        let ended = records(&*service.log, results)? + records(&*service.log, dead.name())?;
        bar.set_position(ended as u64);
        if !terminal && told.elapsed() >= LINE {
            told = Instant::now();
            let elapsed = began.elapsed().as_secs_f64();
            say(out, format_args!("{elapsed:4.1} s  {ended} of {sent} indexed"))?;
        }
        Ok(ended as usize >= sent)
    })?;
    bar.finish_and_clear();
    read(&*service.log, results)
}

/// Sends the questions, one request each, and reads the answers, in the order of the questions.
fn ask(service: &Service, out: &mut Output<'_>) -> anyhow::Result<Vec<SearchReply>> {
    let catalog = &service.catalog;
    let requests: Vec<_> = (1..).zip(QUESTIONS).map(|(number, question)| request(number, question)).collect();
    send(&*service.log, &catalog.search_requests, &requests)?;
    let (results, dead) = (catalog.search_results.name(), catalog.search_requests.dead());
    wait(service, "every question ends", || {
        Ok(records(&*service.log, results)? + records(&*service.log, dead.name())? >= requests.len() as i64)
    })?;
    let mut replies: Vec<SearchReply> = read(&*service.log, results)?;
    replies.sort_by(|a, b| a.id.cmp(&b.id));
    if !out.json {
        replies.iter().try_for_each(|reply| show(reply, out))?;
    }
    Ok(replies)
}

fn request(number: usize, question: &str) -> SearchRequest {
    SearchRequest {
        id: Some(format!("question-{number}")),
        collection: COLLECTION.to_owned(),
        query: Some(Texts::One(question.to_owned())),
        search_input: None,
        k: HITS,
        mode: SearchMode::Hybrid,
        unit: SearchUnit::Document,
        filter: None,
        as_of: None,
        recall: None,
    }
}

fn show(reply: &SearchReply, out: &mut Output<'_>) -> anyhow::Result<()> {
    for answer in &reply.answers {
        out.line(format_args!("\n── {}?\n", answer.query))?;
        let words = lunapark_index::question_words(&answer.query);
        for (number, hit) in (1..).zip(&answer.results) {
            passage(out, number, hit, &words, false)?;
        }
    }
    Ok(())
}

/// Records of a topic, as far as their offsets tell: the embedded log has nothing else in them.
fn records(log: &dyn Log, topic: &str) -> anyhow::Result<i64> {
    let partitions = log.topic(topic)?.partitions;
    let high = |partition| Ok(log.watermarks(&TopicPartition::new(topic, partition))?.high);
    (0..partitions).map(high).sum()
}

/// All records of a topic.
fn read<E: DeserializeOwned>(log: &dyn Log, topic: &str) -> anyhow::Result<Vec<E>> {
    let mut found = Vec::new();
    scan::whole(log, topic, |message| {
        found.push(serde_json::from_slice(message.value.unwrap_or_default())?);
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(found)
}

fn wait(service: &Service, what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !holds()? {
        if began.elapsed() > WITHIN || service.finished() {
            bail!("{what}: not within {WITHIN:?}");
        }
        std::thread::park_timeout(LOOK);
    }
    Ok(())
}

fn finish(played: &Played, data: &Path, took: Duration, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let answered = played.replies.iter().filter(|reply| reply.answers.iter().all(|a| !a.results.is_empty())).count();
    let clean = played.documents.proven && played.questions.proven && answered == QUESTIONS.len();
    if out.json {
        out.json_line(&document(played, took))?;
    } else {
        account(played, took, out)?;
        out.line("\ntry next")?;
        for command in [
            "search \"does flutter depend on the shape of the wing\" --collection cranfield --explain",
            "collections show cranfield",
            "audit --deep --pipeline documents",
        ] {
            out.line(format_args!("  {}", suggestion(data, command)))?;
        }
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn account(played: &Played, took: Duration, out: &mut Output<'_>) -> anyhow::Result<()> {
    let Played { indexed, indexing, answering, .. } = played;
    let passages: u64 = indexed.iter().map(|record| u64::from(record.children)).sum();
    let tokens: u64 = indexed.iter().map(|record| record.tokens).sum();
    let seconds = indexing.as_secs_f64();
    out.line(format_args!(
        "{} documents indexed in {seconds:.1} s: {} passages, {} tokens, {} tokens/s; {} questions answered in {:.0} ms",
        number(indexed.len() as u64),
        number(passages),
        number(tokens),
        number((tokens as f64 / seconds.max(0.001)) as u64),
        played.replies.len(),
        answering.as_secs_f64() * 1000.0
    ))?;
    out.line("")?;
    for (what, report) in [("audit ", &played.documents), ("audit of the questions", &played.questions)] {
        let [input, results, filtered, dead] = counts(report).map(number);
        out.line(format_args!(
            "{what}  in {input} = results {results} + filtered {filtered} + dead letters {dead}, lost {}, duplicated {}",
            report.lost, report.duplicated
        ))?;
        report.findings.iter().try_for_each(|finding| out.line(format_args!("        {finding}")))?;
    }
    let proven = played.documents.proven && played.questions.proven;
    let verdict = if proven { "proven: every document and every question ended exactly once" } else { "NOT proven" };
    Ok(out.line(format_args!("        {verdict}; {:.1} s in all", took.as_secs_f64()))?)
}

fn counts(report: &AuditReport) -> [u64; 4] {
    let messages = &report.messages;
    [messages.input, messages.results, messages.filtered, messages.dead]
}

fn document(played: &Played, took: Duration) -> Value {
    let Played { indexed, replies, documents, questions, indexing, answering } = played;
    let [input, results, filtered, dead] = counts(documents);
    let hit = |hit: &lunapark_schemas::search::Hit| json!({ "document": hit.document, "title": hit.title, "score": hit.score });
    let answers = replies.iter().flat_map(|reply| &reply.answers);
    let answers: Vec<_> = answers
        .map(|answer| json!({ "query": answer.query, "results": answer.results.iter().map(hit).collect::<Vec<_>>() }))
        .collect();
    json!({
        "in": input, "results": results, "filtered": filtered, "dead": dead,
        "lost": documents.lost + questions.lost, "duplicated": documents.duplicated + questions.duplicated,
        "proven": documents.proven && questions.proven,
        "documents": indexed.len(),
        "passages": indexed.iter().map(|record| u64::from(record.children)).sum::<u64>(),
        "tokens": indexed.iter().map(|record| record.tokens).sum::<u64>(),
        "model": indexed.first().map(|record| &record.model),
        "questions": answers,
        "indexing_seconds": indexing.as_secs_f64(),
        "answering_seconds": answering.as_secs_f64(),
        "seconds": took.as_secs_f64()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_sample_is_two_hundred_documents_that_can_be_sent() {
        let records = abstracts().unwrap();
        let ids: BTreeSet<_> = records.iter().map(|record| &record.id).collect();
        assert_eq!((records.len(), ids.len()), (200, 200));
        assert!(records.iter().all(|record| record.content.as_ref().is_some_and(|text| text.len() > 40)));
        assert!((1..).zip(QUESTIONS).all(|(number, question)| request(number, question).check().is_ok()));
    }
}
