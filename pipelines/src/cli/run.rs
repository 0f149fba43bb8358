//! `lunapark run`: the pipelines as a service.

use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use super::output;
use crate::catalog::projection::Projection;
use crate::config::Config;
use crate::service::{Service, open_log};
use crate::stop::Stop;

/// Score events, train models, index documents and answer questions, until SIGTERM or Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lunapark run                                   score on the embedded log in ./lunapark-data
  lunapark run --config lunapark.toml            with your settings
  LUNAPARK_KAFKA_BOOTSTRAP=localhost:9092 lunapark run
  LUNAPARK_TRAIN_THREADS=1 lunapark run          train as well
  lunapark run --accept-rejects-until 48114      go past messages at which the reject breaker stopped")]
pub struct Args {
    /// Accept rejected messages below this offset (of any partition) without counting them in the reject breaker.
    #[arg(long, value_name = "OFFSET")]
    accept_rejects_until: Option<i64>,
}

/// Runs until asked to stop.
pub fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let stop = Stop::new();
    let log = open_log(config)?;
    let where_ = log.describe();
    let service = Service::start(config, log, stop.clone(), args.accept_rejects_until)?;
    let copying = copy_catalog(config, &service, &stop)?;
    stop_on_signals(stop)?;
    let (score, train) = (config.score.threads, config.train.threads);
    let (documents, search) = (config.documents.threads, config.search.threads);
    tracing::info!(log = where_, instance = config.instance, score, train, documents, search, "running");
    let what = [
        (
            config.score.threads,
            "scoring",
            service.catalog.inference_events.name(),
            service.catalog.inference_results.name(),
        ),
        (
            config.train.threads,
            "training",
            service.catalog.training_requests.name(),
            service.catalog.training_status.name(),
        ),
        (documents, "indexing", service.catalog.documents_ingest.name(), service.catalog.documents_indexed.name()),
        (search, "answering", service.catalog.search_requests.name(), service.catalog.search_results.name()),
    ];
    let done = what.iter().filter(|(threads, ..)| *threads > 0);
    let done: Vec<_> = done.map(|(_, doing, from, to)| format!("{doing} {from} → {to}")).collect();
    output::note(format!(
        "{} on {where_}{}",
        done.join(", "),
        service.http.map(|at| format!("; http://{at}/metrics")).unwrap_or_default(),
    ));
    service.join()?;
    if let Some(copying) = copying {
        // What MongoDB lacks is written at the next start.
        Projection::wait(&copying, COPY_PATIENCE);
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// A record that is on its way to MongoDB when the stop comes may arrive.
const COPY_PATIENCE: Duration = Duration::from_secs(1);

/// Keeps MongoDB's copy of the catalog and of job history, where one is wanted.
fn copy_catalog(config: &Config, service: &Service, stop: &Stop) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(projection) = Projection::of(config, service.log.clone(), &service.catalog) else { return Ok(None) };
    if config.create_topics {
        service.log.create_topic(&service.catalog.models.spec)?;
    }
    Ok(Some(projection.spawn(stop.clone()).context("thread of the catalog's copy")?))
}

/// SIGTERM and Ctrl-C ask for a stop.
pub fn stop_on_signals(stop: Stop) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("signal handler")?;
    let _guard = runtime.enter();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    drop(_guard);
    let wait = move || {
        runtime.block_on(async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        });
        stop.request();
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).context("signal handler")?;
    Ok(())
}
