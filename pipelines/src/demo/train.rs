//! `lunapark demo train`: real collision events on a topic become a model of the catalog, through the training service.
//!
//! ```text
//! higgs-sample.tsv ──▶ demo.rows ──▶ training.requests ──▶ train (the service itself) ──▶ training.status, models
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_schemas::Record;
use lunapark_schemas::training::{TrainingRequest, TrainingStatus};
use lunapark_topics::{Catalog, Log, TopicSpec, embedded};
use serde_json::{Map, Value, json};

use super::sample::Sample;
use super::{empty, suggestion};
use crate::audit::report::AuditReport;
use crate::audit::{AuditRequest, audit};
use crate::cli::output::{self, Output, number};
use crate::cli::train::follow::{self, Follower};
use crate::cli::train::send::send;
use crate::config::Config;
use crate::service::Service;
use crate::stop::Stop;

/// Rows that are trained on, the first of the sample; the rest is for a stream that must hold none of them.
pub const TRAINED_ROWS: usize = 2400;
/// The topic of the rows.
const ROWS: &str = "demo.rows";
/// The embedded log takes a few thousand rows in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the training came to.
struct Trained {
    status: TrainingStatus,
    audit: AuditReport,
    seconds: f64,
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

/// The user's settings, on the demo's own log and store, with one stream thread that trains.
fn settings(config: &Config, data: &Path) -> Config {
    let mut config = config.clone();
    (config.kafka, config.listen, config.mongodb) = (None, None, None);
    config.data = data.to_owned();
    config.artifacts = data.join("store").to_string_lossy().into_owned();
    (config.score.threads, config.train.threads) = (0, 1);
    config
}

fn play(config: &Config, log: Arc<dyn Log>, json: bool) -> anyhow::Result<Trained> {
    let (stop, started) = (Stop::new(), Instant::now());
    let service = Service::start(config, log.clone(), stop.clone(), None)?;
    let topic = produce_rows(log.as_ref(), &service.catalog)?;
    let mut follower = Follower::open(log.as_ref(), &service.catalog)?;
    let task_id = send(log.as_ref(), &service.catalog, request(&topic)?)?;
    let status = follow::watch(&mut follower, &task_id, &mut Output::new(std::io::sink(), json))?;
    stop.request();
    let catalog = service.catalog.clone();
    service.join()?;
    let pipeline = format!("{}{}", catalog.prefix(), config.train.name);
    let request = AuditRequest { deep: true, ..AuditRequest::training(&catalog, &pipeline) };
    let audit = audit(log.as_ref(), &request)?;
    Ok(Trained { status, audit, seconds: started.elapsed().as_secs_f64() })
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
    let Trained { status, audit, seconds } = trained;
    if out.json {
        let model = status.model.as_ref().map(|model| format!("{}/{}", model.name, model.version));
        out.json_line(&json!({
            "task_status": status.task_status, "auc": status.evaluation.get("auc"), "model": model,
            "error": status.error, "in": audit.messages.input, "results": audit.messages.results, "lost": audit.lost,
            "duplicated": audit.duplicated, "proven": audit.proven, "seconds": seconds
        }))?;
    } else {
        follow::conclude(status, None, out)?;
        let (input, results) = (number(audit.messages.input), number(audit.messages.results));
        out.line(format_args!(
            "\naudit   requests {input} = answers {results}, lost {}, duplicated {}: {}; {seconds:.1} s",
            audit.lost,
            audit.duplicated,
            if audit.proven { "proven" } else { "NOT proven" },
        ))?;
        out.line("\ntry next")?;
        for command in ["train list", "models list", "models show higgs/1"] {
            out.line(format_args!("  {}", suggestion(data, command)))?;
        }
    }
    match audit.proven {
        true => Ok(follow::exit_code(status)),
        false => Ok(ExitCode::FAILURE),
    }
}
