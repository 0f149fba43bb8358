//! Keeps a stream thread alive: one that must give up its producer is restarted in place, with back-off.

use std::sync::Arc;
use std::time::Duration;

use lunapark_operator::{Codec, Operator};
use lunapark_score::CutTable;
use lunapark_topics::error::Recovery;
use lunapark_topics::{Log, LogErrorKind, Stream, StreamSpec};

use super::{LongRunner, LongWork, RunError, Runner, Settings};
use crate::health::Health;
use crate::metrics::PipelineMetrics;
use crate::stop::Stop;
use crate::swap::{Switchboard, Switcher};

/// First pause before a stream thread is opened again; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a stream thread needs to be opened, again and again.
pub struct StreamThread<'a, C, O> {
    /// The log.
    pub log: Arc<dyn Log>,
    /// What it joins.
    pub spec: StreamSpec,
    /// Its settings.
    pub settings: Settings,
    /// Bytes to batches and back.
    pub codec: &'a C,
    /// What is done to the batches.
    pub operator: &'a O,
    /// Counters.
    pub metrics: Arc<PipelineMetrics>,
    /// What `/readyz` says of it.
    pub health: Arc<Health>,
    /// Where switches of the model come from; none for pipelines that have no such thing.
    pub swap: Option<Swap>,
}

/// What a stream thread needs to switch models.
#[derive(Clone)]
pub struct Swap {
    /// The instance's switches.
    pub board: Arc<Switchboard>,
    /// The cuts that the thread's codec looks at.
    pub table: Arc<CutTable>,
}

/// Runs a stream thread until a stop is asked for, or until an error needs a human.
pub fn supervise<C: Codec<O::Out>, O: Operator>(thread: &StreamThread<'_, C, O>, stop: &Stop) -> Result<(), RunError> {
    let StreamThread { log, spec, settings, codec, operator, metrics, health, swap } = thread;
    let kept = Kept { log: &**log, spec, metrics, health };
    keep(&kept, stop, |stream| {
        let switcher = swap.clone().map(|swap| Switcher::new(swap.board, swap.table, health.clone(), &spec.member));
        Runner::new(*codec, *operator, stream, settings, metrics.clone()).switching(switcher).run(stop)
    })
}

/// As [`StreamThread`], of long work.
pub struct LongThread<'a, W> {
    /// The log.
    pub log: Arc<dyn Log>,
    /// What it joins.
    pub spec: StreamSpec,
    /// Its settings.
    pub settings: Settings,
    /// What is done to the messages.
    pub work: &'a W,
    /// Counters.
    pub metrics: Arc<PipelineMetrics>,
    /// What `/readyz` says of it.
    pub health: Arc<Health>,
}

/// As [`supervise`], of long work.
pub fn supervise_long<W: LongWork>(thread: &LongThread<'_, W>, stop: &Stop) -> Result<(), RunError> {
    let LongThread { log, spec, settings, work, metrics, health } = thread;
    let kept = Kept { log: &**log, spec, metrics, health };
    keep(&kept, stop, |stream| LongRunner::new(*work, stream, settings, metrics.clone()).run(stop))
}

struct Kept<'a> {
    log: &'a dyn Log,
    spec: &'a StreamSpec,
    metrics: &'a PipelineMetrics,
    health: &'a Health,
}

fn keep(
    kept: &Kept<'_>,
    stop: &Stop,
    mut run: impl FnMut(Box<dyn Stream>) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let Kept { log, spec, metrics, health } = kept;
    let member = &spec.member;
    let (mut pause, mut ran) = (FIRST_PAUSE, false);
    while !stop.requested() {
        let opened = std::time::Instant::now();
        let ended = log.stream(spec).map_err(RunError::from).and_then(|stream| {
            health.running(member);
            let ended = run(stream);
            ran |= !matches!(&ended, Err(RunError::Log(error)) if error.kind == LogErrorKind::NotAdmitted);
            ended
        });
        let error = match ended {
            Ok(()) => break,
            // An abort that itself could not be done is reopened too: opening ends the old transaction.
            Err(RunError::Log(error)) if error.recovery() != Recovery::Stop => error.to_string(),
            // What was there and allowed once will be again: a broker that has just started knows neither its topics
            // nor its users yet; a certificate is being changed.
            Err(RunError::Log(error)) if ran && passes(error.kind) => error.to_string(),
            Err(error) => {
                health.failed(member, &error.to_string());
                return Err(error);
            }
        };
        if opened.elapsed() > LONGEST_PAUSE * 2 {
            pause = FIRST_PAUSE;
        }
        tracing::warn!(%member, %error, ?pause, "stream thread restarts");
        health.waiting(member, &error);
        metrics.restarted();
        stop.wait(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    health.stopped(member);
    Ok(())
}

fn passes(kind: LogErrorKind) -> bool {
    matches!(kind, LogErrorKind::Unauthorised | LogErrorKind::NotAdmitted | LogErrorKind::TopicMissing)
}
