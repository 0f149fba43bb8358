//! `lunapark demo`: real collision events as a detector stream, scored live, then audited.
//!
//! ```text
//! higgs-sample.tsv ──▶ detector (steady, bursts, late and broken events) ──▶ inference.events
//!                                                                               │ score (the service itself)
//!           view ◀── observer ◀── inference.results, inference.events.dead ◀────┘
//! ```

mod detector;
mod observer;
mod report;
mod roc;
mod sample;
mod search;
mod switched;
mod train;
mod view;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lunapark_topics::embedded;
use lunapark_topics::{Catalog, Log};

use crate::audit::report::AuditReport;
use crate::audit::{AuditRequest, audit};
use crate::cli::run::stop_on_signals;
use crate::config::Config;
use crate::service::Service;
use crate::stop::Stop;
use detector::{Detector, Plan};
use observer::Observer;
use sample::Sample;

/// Replay real collision events, score them, and audit the account; ends by itself within ten seconds.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lunapark demo                     about eight seconds, then the audit
  lunapark demo --forever           until Ctrl-C
  lunapark demo train               train a model on such events, shadow it, promote it
  lunapark demo search              papers on a topic become searchable (after `lunapark models pull minilm`)
  lunapark demo --json | tail -n 1  the figures, for a program")]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Keep the stream running until Ctrl-C.
    #[arg(long)]
    forever: bool,
    /// Folder of the demo's embedded log; emptied at the start. Default: lunapark-demo in the temporary folder.
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Train a model on the shipped events, through the topics, and let it take over a stream; ends within a minute.
    #[command(after_help = "Examples:\n  lunapark demo train\n  lunapark demo train --json | tail -n 1")]
    Train,
    /// Index 200 abstracts of papers by way of the topics, and answer three questions; ends within a minute.
    #[command(after_help = "Examples:\n  lunapark models pull minilm && lunapark demo search\n  \
                            lunapark demo search --json | tail -n 1")]
    Search,
}

/// How long the stream runs: with start, drain and audit the demo stays within ten seconds.
const STREAMED: Duration = Duration::from_millis(6500);
/// How often the view is drawn in a terminal, and a line printed elsewhere.
const FRAME: Duration = Duration::from_millis(100);
const LINE: Duration = Duration::from_secs(1);
/// How long the last results may take to appear.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs the demo.
pub fn run(config: &Config, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    match args.what {
        Some(What::Train) => return train::run(config, args.data.clone(), json),
        Some(What::Search) => return search::run(config, args.data.clone(), json),
        None => {}
    }
    let data = args.data.clone().unwrap_or_else(|| std::env::temp_dir().join("lunapark-demo"));
    empty(&data)?;
    let config = settings(config, &data);
    let log = embedded::open(&data, &Default::default())?;
    let stop = Stop::new();
    stop_on_signals(stop.clone())?;
    let shown = play(&config, log, args.forever, json, &stop)?;
    let code = report::finish(&shown, &data, json)?;
    Ok(code)
}

/// The user's settings, on the demo's own log and model, and without the HTTP port, which a running service may hold.
fn settings(config: &Config, data: &Path) -> Config {
    let mut config = config.clone();
    config.kafka = None;
    config.data = data.to_owned();
    config.listen = None;
    config.score.models = vec![crate::config::ModelConfig {
        name: "higgs".into(),
        version: "1".into(),
        path: "builtin:higgs-xgb".into(),
        sha256: None,
        device: lunapark_models::Device::Cpu,
    }];
    config
}

/// Removes an earlier demo's log; a folder that holds anything else is left alone.
fn empty(data: &Path) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(data) else { return Ok(()) };
    let names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    let ours = |name: &String| name.starts_with("lunapark.") || name.starts_with("log.redb") || name == "store";
    if !names.iter().all(ours) {
        anyhow::bail!("{} holds other files; name an empty folder with --data", data.display());
    }
    drop(embedded::open(data, &Default::default()).context("an earlier demo is still running")?);
    std::fs::remove_dir_all(data).with_context(|| format!("cannot empty {}", data.display()))
}

/// What the demo saw and what the audit says.
pub(crate) struct Played {
    observer: Observer,
    audit: AuditReport,
    streamed: Duration,
}

fn play(config: &Config, log: Arc<dyn Log>, forever: bool, json: bool, stop: &Stop) -> anyhow::Result<Played> {
    let sample = Arc::new(Sample::load()?);
    let service_stop = Stop::new();
    let service = Service::start(config, log.clone(), service_stop.clone(), None)?;
    let plan = Plan { length: (!forever).then_some(STREAMED), topic: service.catalog.inference_events.name().clone() };
    let mut observer = Observer::open(log.as_ref(), &service.catalog, sample.clone())?;
    let detector = Detector::start(log.clone(), sample, plan, stop.clone())?;
    let started = Instant::now();
    watch(&mut observer, &detector, json, started)?;
    let streamed = started.elapsed();
    let sent = detector.join()?;
    drain(&mut observer, &service, sent)?;
    service_stop.request();
    service.join()?;
    let audit = prove(log.as_ref(), config)?;
    Ok(Played { observer, audit, streamed })
}

/// Draws what is seen until the stream ends.
fn watch(observer: &mut Observer, detector: &Detector, json: bool, started: Instant) -> anyhow::Result<()> {
    let mut view = view::View::new(json);
    let every = if view.live() { FRAME } else { LINE };
    let mut drawn = Instant::now();
    while !detector.finished() {
        observer.poll(Duration::from_millis(10))?;
        if drawn.elapsed() >= every {
            drawn = Instant::now();
            view.draw(observer, started.elapsed(), detector.sent())?;
        }
    }
    view.draw(observer, started.elapsed(), detector.sent())
}

/// Reads on until the service has committed every event, and the last results are seen.
fn drain(observer: &mut Observer, service: &Service, sent: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + DRAIN;
    let open = |observer: &Observer| {
        let [results, filtered, dead] = service.metrics.messages();
        results + filtered + dead < sent || observer.scored() + observer.dead_letters() < results + dead
    };
    while open(observer) && Instant::now() < deadline {
        observer.poll(Duration::from_millis(10))?;
    }
    Ok(())
}

fn prove(log: &dyn Log, config: &Config) -> anyhow::Result<AuditReport> {
    let catalog = Catalog::new(&config.topics);
    let group = format!("{}{}", catalog.prefix(), config.score.name);
    let request = AuditRequest { deep: true, ..AuditRequest::scorer(&catalog, &group, &group) };
    Ok(audit(log, &request)?)
}

/// The log again, for the commands that the demo suggests.
pub(crate) fn suggestion(data: &Path, command: &str) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "lunapark".into());
    format!("LUNAPARK_DATA={} {program} {command}", data.display())
}
