//! Gathers what the running instances say to a promotion.
//!
//! *Running* is an instance whose last sign of life on `control` is younger than [`SILENCE`] and that has not said that
//! it stopped. One that this misses, or that starts later, is no danger: whoever takes a partition over reads its cuts
//! first and loads their models before its first event.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lunapark_schemas::control::ControlRecord;
use lunapark_schemas::promotion::Promotion;
use lunapark_schemas::{Messages, TopicPartition};
use lunapark_topics::{Limit, Reader};

use super::super::Context;
use crate::clock;
use crate::swap::HEARTBEAT;

/// Five missed signs of life: an instance that was killed is waited for so long.
const SILENCE: Duration = HEARTBEAT.saturating_mul(5);
/// Within this a running instance is heard again. So long an instance may run that has not been heard yet, or whose
/// name was taken back by the late word of a process before it that it has stopped.
const HEARD_AGAIN: Duration = HEARTBEAT.saturating_add(Duration::from_secs(1));
const LIMIT: Limit = Limit { messages: 4096, bytes: 4 << 20 };
const WAIT: Duration = Duration::from_millis(100);

/// Listens on `control`, from before the announcement.
pub(super) struct Ear {
    reader: Box<dyn Reader>,
    at: TopicPartition,
    /// What was there at the beginning: before it is read, who runs is not known.
    caught_up: i64,
    /// Instance and its last sign of life.
    alive: BTreeMap<String, i64>,
    /// When an instance last said that it stopped, milliseconds since 1970. What it said after that counts: its place on
    /// the one partition decides.
    stopped: Option<i64>,
}

/// What the instances said.
pub(super) struct Gathered {
    /// Those that are ready.
    pub(super) ready: BTreeSet<String>,
    cannot: BTreeMap<String, String>,
    silent: BTreeSet<String>,
    deadline: Duration,
    force: bool,
}

impl Gathered {
    fn told(&self) -> Option<String> {
        let cannot = self.cannot.iter().map(|(instance, reason)| format!("instance {instance}: {reason}"));
        let silent = self.silent.iter().map(|i| format!("instance {i} did not answer within {:?}", self.deadline));
        let all: Vec<String> = cannot.chain(silent).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Whether anybody runs who could make cuts.
    pub(super) fn somebody(&self) -> bool {
        !(self.ready.is_empty() && self.cannot.is_empty() && self.silent.is_empty())
    }

    /// Why the switch is not made.
    pub(super) fn refusal(&self) -> Option<String> {
        self.told().filter(|_| !self.force).map(|told| format!("{told}; --force switches the others"))
    }

    /// Who was passed over by force.
    pub(super) fn passed_over(&self) -> Option<String> {
        self.told().map(|told| format!("by force, although {told}"))
    }
}

impl Ear {
    pub(super) fn open(context: &Context) -> anyhow::Result<Self> {
        let at = TopicPartition::new(context.catalog.control.name().clone(), 0);
        let since = clock::now_millis() - 2 * SILENCE.as_millis() as i64;
        let start = context.log.offset_for_time(&at, since)?;
        let caught_up = context.log.watermarks(&at)?.high;
        let reader = context.log.reader(&[at.at(start)])?;
        Ok(Self { reader, at, caught_up, alive: BTreeMap::new(), stopped: None })
    }

    /// Waits until every running instance has answered, or the deadline.
    pub(super) fn gather(mut self, to: &Promotion, deadline: Duration, force: bool) -> anyhow::Result<Gathered> {
        let asked = Instant::now();
        let (ready, cannot, silent) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        let mut gathered = Gathered { ready, cannot, silent, deadline, force };
        let mut messages = Messages::new();
        loop {
            messages.clear();
            self.reader.poll(&mut messages, LIMIT, WAIT)?;
            let records = messages.iter().filter_map(|m| Some((m.timestamp, ControlRecord::read(m.value?)?)));
            records.for_each(|(said_at, record)| self.hear(said_at, record, to, &mut gathered));
            if self.reader.position(&self.at)? < self.caught_up {
                continue;
            }
            gathered.silent = self.running().filter(|i| !gathered.answered(i)).cloned().collect();
            let all_heard = gathered.somebody() || asked.elapsed() >= HEARD_AGAIN;
            let all_answered = gathered.silent.is_empty() && all_heard && !self.just_stopped();
            if all_answered || asked.elapsed() >= deadline {
                return Ok(gathered);
            }
            // One that cannot decides it, whatever the others say.
            if !gathered.cannot.is_empty() && !force {
                gathered.silent.clear();
                return Ok(gathered);
            }
        }
    }

    fn hear(&mut self, said_at: i64, record: ControlRecord, to: &Promotion, gathered: &mut Gathered) {
        match record {
            ControlRecord::Alive(alive) if alive.pipeline == to.pipeline => {
                self.alive.insert(alive.instance, alive.sent_at);
            }
            ControlRecord::Stopped { pipeline, instance } if pipeline == to.pipeline => {
                self.stopped = self.stopped.max(Some(said_at));
                self.alive.remove(&instance);
                gathered.ready.remove(&instance);
                gathered.cannot.remove(&instance);
            }
            ControlRecord::Ready(answer) if (&answer.pipeline, answer.promotion) == (&to.pipeline, to.id) => {
                gathered.cannot.remove(&answer.instance);
                gathered.ready.insert(answer.instance);
            }
            ControlRecord::CannotSwitch(answer) if (&answer.pipeline, answer.promotion) == (&to.pipeline, to.id) => {
                gathered.ready.remove(&answer.instance);
                gathered.cannot.insert(answer.instance, answer.reason);
            }
            _ => {}
        }
    }

    /// Whether a namesake of an instance that stopped may still have to be heard. A clock ahead of ours holds nothing up.
    fn just_stopped(&self) -> bool {
        let ago = self.stopped.map(|stopped| clock::now_millis() - stopped);
        ago.is_some_and(|ago| (0..HEARD_AGAIN.as_millis() as i64).contains(&ago))
    }

    fn running(&self) -> impl Iterator<Item = &String> {
        let since = clock::now_millis() - SILENCE.as_millis() as i64;
        self.alive.iter().filter(move |(_, sent_at)| **sent_at >= since).map(|(instance, _)| instance)
    }
}

impl Gathered {
    fn answered(&self, instance: &str) -> bool {
        self.ready.contains(instance) || self.cannot.contains_key(instance)
    }
}
