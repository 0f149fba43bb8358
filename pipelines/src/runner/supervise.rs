//! Keeps a stream thread alive: one that must give up its producer is restarted in place, with back-off.

use std::sync::Arc;
use std::time::Duration;

use lunapark_operator::{Codec, Operator};
use lunapark_score::CutTable;
use lunapark_topics::error::Recovery;
use lunapark_topics::{Log, LogErrorKind, StreamSpec};

use super::{RunError, Runner, Settings};
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
    let member = &thread.settings.member;
    let (mut pause, mut ran) = (FIRST_PAUSE, false);
    while !stop.requested() {
        let opened = std::time::Instant::now();
        let error = match run_once(thread, stop, &mut ran) {
            Ok(()) => break,
            // An abort that itself could not be done is reopened too: opening ends the old transaction.
            Err(RunError::Log(error)) if error.recovery() != Recovery::Stop => error.to_string(),
            // Others may be able to; and a store that is down comes back.
            Err(RunError::Swap(error)) => error.to_string(),
            // What was there and allowed once will be again: a broker that has just started knows neither its topics
            // nor its users yet; a certificate is being changed.
            Err(RunError::Log(error)) if ran && passes(error.kind) => error.to_string(),
            Err(error) => {
                thread.health.failed(member, &error.to_string());
                return Err(error);
            }
        };
        if opened.elapsed() > LONGEST_PAUSE * 2 {
            pause = FIRST_PAUSE;
        }
        tracing::warn!(%member, %error, ?pause, "stream thread restarts");
        thread.health.waiting(member, &error);
        thread.metrics.restarted();
        stop.wait(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    thread.health.stopped(member);
    Ok(())
}

fn run_once<C: Codec<O::Out>, O: Operator>(
    thread: &StreamThread<'_, C, O>,
    stop: &Stop,
    ran: &mut bool,
) -> Result<(), RunError> {
    let stream = thread.log.stream(&thread.spec)?;
    *ran = true;
    thread.health.running(&thread.settings.member);
    let runner = Runner::new(thread.codec, thread.operator, stream, &thread.settings, thread.metrics.clone());
    let switcher = thread.swap.clone().map(|swap| Switcher::new(swap.board, swap.table));
    runner.switching(switcher).run(stop)
}

fn passes(kind: LogErrorKind) -> bool {
    matches!(kind, LogErrorKind::Unauthorised | LogErrorKind::TopicMissing)
}
