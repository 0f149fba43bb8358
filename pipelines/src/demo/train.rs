//! `lunapark demo train`: real collision events on a topic become a model of the catalog, which then scores a stream of
//! other such events: first as a shadow, then, from recorded offsets on, in place of the model before.
//!
//! ```text
//! higgs-sample.tsv ──▶ demo.rows ──▶ training.requests ──▶ train (the service itself) ──▶ training.status, models
//!     the other rows ──▶ detector ──▶ inference.events ──▶ score ──▶ inference.results, inference.shadow
//!                                       shadow, promote ──▶ models ──▶ model.cuts
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use lunapark_schemas::training::{TaskStatus, TrainingRequest, TrainingStatus};
use lunapark_schemas::{Record, Share, TopicPartition};
use lunapark_topics::{Catalog, Log, TopicSpec, embedded};
use serde_json::{Map, Value, json};

use super::detector::{Detector, Plan};
use super::sample::Sample;
use super::switched::Switched;
use super::{empty, prove, suggestion};
use crate::audit::report::AuditReport;
use crate::audit::{AuditRequest, audit};
use crate::cli::Context;
use crate::cli::output::{self, Output, Table, number};
use crate::cli::promote;
use crate::cli::train::follow::{self, Follower};
use crate::cli::train::send::send;
use crate::config::{Config, ModelConfig};
use crate::service::Service;
use crate::stop::Stop;

/// Rows that are trained on, the first of the sample; the stream holds none of them.
pub const TRAINED_ROWS: usize = 2400;
/// The topic of the rows.
const ROWS: &str = "demo.rows";
/// The embedded log takes a few thousand rows in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// The share that the shadow scores.
const SHADOWED: f64 = 0.5;
/// Scores of the shadow, and results after the switch, that are waited for: enough for an AUC to a few per cent.
const ENOUGH: i64 = 2_000;
/// The stream gives these within a second or two; a machine that is busy with other things takes longer.
const WITHIN: Duration = Duration::from_secs(60);

/// What the training came to.
struct Trained {
    status: TrainingStatus,
    training: AuditReport,
    /// None where the training failed: nothing was promoted.
    stream: Option<Streamed>,
    seconds: f64,
}

/// What became of the stream.
struct Streamed {
    promoted: String,
    /// First offset of each partition that the new model scored.
    cut: BTreeMap<i32, i64>,
    audit: AuditReport,
    seen: Switched,
}

/// Runs the demo.
pub(super) fn run(config: &Config, data: Option<PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    let data = data.unwrap_or_else(|| std::env::temp_dir().join("lunapark-demo-train"));
    empty(&data)?;
    let config = settings(config, &data);
    let log = embedded::open(&data, &Default::default())?;
    let trained = play(&config, log, json)?;
    output::on_stdout(json, |out| finish(&trained, &data, out))
}

/// The user's settings, on the demo's own log and store, with one stream thread that scores and one that trains.
fn settings(config: &Config, data: &Path) -> Config {
    let mut config = config.clone();
    (config.kafka, config.listen, config.mongodb) = (None, None, None);
    config.data = data.to_owned();
    config.artifacts = data.join("store").to_string_lossy().into_owned();
    (config.score.threads, config.train.threads) = (1, 1);
    // A laptop that is busy elsewhere for a second must not end the demo's shadow.
    config.score.shadow_patience = Duration::from_secs(60);
    let (name, version, path) = ("trees".into(), "1".into(), "builtin:higgs-xgb".into());
    config.score.models = vec![ModelConfig { name, version, path, sha256: None, device: lunapark_models::Device::Cpu }];
    config
}

fn play(config: &Config, log: Arc<dyn Log>, json: bool) -> anyhow::Result<Trained> {
    let (stop, started) = (Stop::new(), Instant::now());
    let service = Service::start(config, log.clone(), stop.clone(), None)?;
    let topic = produce_rows(log.as_ref(), &service.catalog)?;
    let mut follower = Follower::open(log.as_ref(), &service.catalog)?;
    let task_id = send(log.as_ref(), &service.catalog, request(&topic)?)?;
    let status = follow::watch(&mut follower, &task_id, &mut Output::new(std::io::sink(), json))?;
    let promoted = status.model.as_ref().filter(|_| status.task_status == TaskStatus::Succeeded);
    let promoted = promoted.map(|model| format!("{}/{}", model.name, model.version));
    let switched = promoted.map(|promoted| stream(config, &log, &service, promoted)).transpose()?;
    stop.request();
    let catalog = service.catalog.clone();
    service.join()?;
    let pipeline = format!("{}{}", catalog.prefix(), config.train.name);
    let request = AuditRequest { deep: true, ..AuditRequest::training(&catalog, &pipeline) };
    let training = audit(log.as_ref(), &request)?;
    let stream = switched.map(|(promoted, cut)| {
        let seen = Switched::read(log.as_ref(), &catalog, &held_out()?, &cut, &promoted)?;
        Ok::<_, anyhow::Error>(Streamed { promoted, cut, audit: prove(log.as_ref(), config)?, seen })
    });
    Ok(Trained { status, training, stream: stream.transpose()?, seconds: started.elapsed().as_secs_f64() })
}

/// The rows that were not trained on.
fn held_out() -> anyhow::Result<Sample> {
    Ok(Sample { events: Sample::load()?.events.into_iter().skip(TRAINED_ROWS).collect() })
}

/// Streams events while the model scores them as a shadow and is then promoted; what was promoted, and the cuts.
fn stream(
    config: &Config,
    log: &Arc<dyn Log>,
    service: &Service,
    promoted: String,
) -> anyhow::Result<(String, BTreeMap<i32, i64>)> {
    let catalog = &service.catalog;
    let name = |group: &str| format!("{}{group}", catalog.prefix());
    let context = Context {
        log: log.clone(),
        catalog: catalog.clone(),
        group_of_pipeline: name(&config.score.name),
        group_of_training: name(&config.train.name),
        group_of_documents: name(&config.documents.name),
        group_of_search: name(&config.search.name),
        json: true,
    };
    let (topic, ended) = (catalog.inference_events.name().clone(), Stop::new());
    let detector = Detector::start(log.clone(), Arc::new(held_out()?), Plan { length: None, topic }, ended.clone())?;
    let switched = switch(config, &context, service, &promoted);
    ended.request();
    let sent = detector.join()?;
    let cut = switched?;
    wait(service, "every event ends", || Ok(service.metrics.messages().iter().sum::<u64>() >= sent))?;
    Ok((promoted, cut))
}

fn switch(config: &Config, context: &Context, service: &Service, promoted: &str) -> anyhow::Result<BTreeMap<i32, i64>> {
    let catalog = &context.catalog;
    promote::make(context, config, promoted, Some(Share::try_from(SHADOWED)?), WITHIN)?;
    let shadowed = || Ok(records(&*context.log, catalog.inference_shadow.name())? >= ENOUGH);
    wait(service, "the shadow scores", shadowed)?;
    let cut = promote::make(context, config, promoted, None, WITHIN)?;
    let before = records(&*context.log, catalog.inference_results.name())?;
    let more = || Ok(records(&*context.log, catalog.inference_results.name())? >= before + ENOUGH);
    wait(service, "the new model scores", more)?;
    Ok(cut)
}

/// Records of a topic, as far as their offsets tell: the embedded log has nothing else in them.
fn records(log: &dyn Log, topic: &str) -> anyhow::Result<i64> {
    let partitions = log.topic(topic)?.partitions;
    let high = |partition| Ok(log.watermarks(&TopicPartition::new(topic, partition))?.high);
    (0..partitions).map(high).sum()
}

fn wait(service: &Service, what: &str, holds: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !holds()? {
        if began.elapsed() > WITHIN || service.finished() {
            bail!("{what}: not within {WITHIN:?}");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

/// A row is a JSON object with a column per feature; the name of the topic.
fn produce_rows(log: &dyn Log, catalog: &Catalog) -> anyhow::Result<String> {
    let topic = format!("{}{ROWS}", catalog.prefix());
    log.create_topic(&TopicSpec::new(topic.as_str(), 1))?;
    let mut writer = log.writer()?;
    for event in Sample::load()?.events.iter().take(TRAINED_ROWS) {
        let mut row = Map::from_iter([("label".to_owned(), json!(i32::from(event.signal)))]);
        for (index, text) in event.features().iter().enumerate() {
            row.insert(format!("feature_{index:02}"), serde_json::from_str(text)?);
        }
        let value = Value::Object(row).to_string();
        let (topic, value, headers) = (topic.as_str(), Some(value.as_bytes()), Default::default());
        writer.produce(&Record { topic, partition: Some(0), key: None, value, headers, timestamp: None })?;
    }
    writer.flush(PATIENCE)?;
    Ok(topic)
}

fn request(topic: &str) -> anyhow::Result<TrainingRequest> {
    Ok(serde_json::from_value(json!({
        "model": { "objective": "classification", "name": "higgs", "architecture": { "hidden": [64, 32] } },
        "model_train": {
            "epochs": 30, "batch_size": 64, "seed": 1,
            "optimizer": { "name": "AdamW", "init_lr": 0.001, "num_warm_steps": 30, "weight_decay_rate": 0.05 },
            "early_stopping": { "patience": 8 }
        },
        "dataset": { "path": format!("topic://{topic}"), "label": "label", "train_test_split": 0.2 }
    }))?)
}

fn finish(trained: &Trained, data: &Path, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let Trained { status, training, stream, seconds } = trained;
    if out.json {
        out.json_line(&document(trained))?;
    } else {
        follow::conclude(status, None, out)?;
        if let Some(stream) = stream {
            show(stream, out)?;
        }
        for (what, report) in [("requests", Some(training)), ("events", stream.as_ref().map(|stream| &stream.audit))] {
            let Some(report) = report else { continue };
            let [input, results, filtered, dead] = counts(report).map(number);
            let verdict = if report.proven { "proven" } else { "NOT proven" };
            out.line(format_args!(
                "audit   {what} {input} = results {results} + filtered {filtered} + dead letters {dead}, lost {}, \
                 duplicated {}: {verdict}",
                report.lost, report.duplicated
            ))?;
        }
        out.line(format_args!("{seconds:.1} s\n\ntry next"))?;
        for command in ["models show higgs/1", "consume model.cuts --max 6", "replay --model trees/1 --diff"] {
            out.line(format_args!("  {}", suggestion(data, command)))?;
        }
    }
    let clean = stream.as_ref().is_some_and(|stream| stream.audit.proven && stream.seen.obeyed);
    match training.proven && clean {
        true => Ok(follow::exit_code(status)),
        false => Ok(ExitCode::FAILURE),
    }
}

fn counts(report: &AuditReport) -> [u64; 4] {
    let messages = &report.messages;
    [messages.input, messages.results, messages.filtered, messages.dead]
}

fn document(trained: &Trained) -> Value {
    let Trained { status, training, stream, seconds } = trained;
    let stream = stream.as_ref();
    let audits = || std::iter::once(training).chain(stream.map(|stream| &stream.audit));
    let [input, results, filtered, dead] = stream.map(|stream| counts(&stream.audit)).unwrap_or_default();
    let cut = stream.map(|stream| stream.cut.iter().map(|(p, offset)| (p.to_string(), json!(offset))).collect());
    json!({
        "task_status": status.task_status,
        "auc": status.evaluation.get("auc"),
        "promoted": stream.map(|stream| &stream.promoted),
        "cut": cut.map(Value::Object),
        "in": input, "results": results, "filtered": filtered, "dead": dead,
        "lost": audits().map(|report| report.lost).sum::<u64>(),
        "duplicated": audits().map(|report| report.duplicated).sum::<u64>(),
        "proven": audits().all(|report| report.proven),
        "as_cut": stream.map(|stream| stream.seen.obeyed),
        "scored": stream.map(|stream| stream.seen.document()),
        "error": status.error,
        "seconds": seconds
    })
}

fn show(stream: &Streamed, out: &mut Output<'_>) -> anyhow::Result<()> {
    let mut table = Table::new(&["partition", ">from offset", "model"]);
    for (partition, offset) in &stream.cut {
        table.row([format!("inference.events/{partition}"), offset.to_string(), stream.promoted.clone()]);
    }
    out.line("")?;
    out.table(&table)?;
    out.line("")?;
    let mut table = Table::new(&["scored by", "topic", ">events", ">AUC"]);
    for (what, model, events, auc) in stream.seen.rows() {
        table.row([model, what, number(events), format!("{auc:.4}")]);
    }
    out.table(&table)?;
    let verdict = if stream.seen.obeyed {
        "every result is by the model that its cut says"
    } else {
        "RESULTS DO NOT FIT THE CUTS"
    };
    Ok(out.line(format_args!("\n{verdict}"))?)
}
