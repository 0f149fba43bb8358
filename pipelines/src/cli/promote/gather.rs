//! Gathers what the running instances say to a promotion.
//!
//! *Running* is an instance whose last sign of life on `control` is younger than [`SILENCE`] and that has not said that
//! it stopped. One that this misses, or that starts later, is no danger: whoever takes a partition over reads its cuts
//! first and loads their models before its first event.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lunapark_schemas::control::{Alive, Answer, ControlRecord};
use lunapark_schemas::promotion::{FORMAT, Promotion};
use lunapark_schemas::{Messages, TopicPartition};
use lunapark_topics::{Limit, Reader};

use super::super::Context;
use crate::clock;
use crate::swap::HEARTBEAT;

/// Five missed signs of life: an instance that was killed is waited for so long.
const SILENCE: Duration = HEARTBEAT.saturating_mul(5);
/// Within this a running instance is heard again: so long nobody at all may be heard of one that runs. So long is also waited
/// for a namesake of an instance that stopped and that does not name its runs, as older versions do.
const HEARD_AGAIN: Duration = HEARTBEAT.saturating_add(Duration::from_secs(1));
const LIMIT: Limit = Limit { messages: 4096, bytes: 4 << 20 };
const WAIT: Duration = Duration::from_millis(100);

/// Listens on `control`, from before the announcement.
pub(super) struct Ear {
    reader: Box<dyn Reader>,
    at: TopicPartition,
    /// What was there at the beginning: before it is read, who runs is not known.
    caught_up: i64,
    roll: Roll,
}

/// Who runs, as far as it was heard.
#[derive(Default)]
struct Roll {
    /// Instance, its run, its last sign of life, and which format of promotions it obeys.
    alive: BTreeMap<String, (String, i64, u32)>,
    /// When an instance without a run last said that it stopped, milliseconds since 1970.
    stopped: Option<i64>,
}

/// What the instances said.
pub(super) struct Gathered {
    /// Those that are ready.
    pub(super) ready: BTreeSet<String>,
    cannot: BTreeMap<String, String>,
    silent: BTreeSet<String>,
    /// Those of older versions, which would take the promotion for another one.
    outdated: BTreeSet<String>,
    deadline: Duration,
    force: bool,
}

impl Gathered {
    /// Not even by force: whoever takes a shadow for a switch has scored with it before anybody notices.
    pub(super) fn misled(&self) -> Option<String> {
        let all: Vec<&str> = self.outdated.iter().map(String::as_str).collect();
        (!all.is_empty()).then(|| {
            let all = all.join(", ");
            format!("of an older version, which would take it for a switch of all events: {all}; upgrade them first")
        })
    }

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
        let told = || self.told().filter(|_| !self.force).map(|told| format!("{told}; --force switches the others"));
        self.misled().map(|misled| format!("there are instances {misled}")).or_else(told)
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
        Ok(Self { reader, at, caught_up, roll: Roll::default() })
    }

    /// Waits until every running instance has answered, or the deadline.
    pub(super) fn gather(mut self, to: &Promotion, deadline: Duration, force: bool) -> anyhow::Result<Gathered> {
        let asked = Instant::now();
        let mut gathered = Gathered::none(deadline, force);
        loop {
            if !self.listen((&to.pipeline, to.id), &mut gathered)? {
                continue;
            }
            gathered.silent = self.roll.running().filter(|i| !gathered.answered(i)).cloned().collect();
            gathered.outdated = self.roll.outdated(to).cloned().collect();
            let all_heard = gathered.somebody() || asked.elapsed() >= HEARD_AGAIN;
            let all_answered = gathered.silent.is_empty() && all_heard && !self.roll.just_stopped();
            if all_answered || asked.elapsed() >= deadline {
                return Ok(gathered);
            }
            // One that cannot decides it, whatever the others say.
            if (!gathered.cannot.is_empty() && !force) || !gathered.outdated.is_empty() {
                gathered.silent.clear();
                return Ok(gathered);
            }
        }
    }

    /// Who runs now, without asking anything.
    pub(super) fn running_now(mut self, pipeline: &str, within: Duration) -> anyhow::Result<Gathered> {
        let asked = Instant::now();
        let mut gathered = Gathered::none(within, true);
        loop {
            let caught_up = self.listen((pipeline, 0), &mut gathered)?;
            gathered.ready = self.roll.running().cloned().collect();
            gathered.outdated =
                self.roll.obeying().filter(|(_, obeys)| *obeys < FORMAT).map(|(i, _)| i.clone()).collect();
            if caught_up && (gathered.somebody() || asked.elapsed() >= HEARD_AGAIN.min(within)) {
                return Ok(gathered);
            }
        }
    }

    /// Hears what has come; whether everything was heard that was there at the beginning.
    fn listen(&mut self, to: (&str, u64), gathered: &mut Gathered) -> anyhow::Result<bool> {
        let mut messages = Messages::new();
        self.reader.poll(&mut messages, LIMIT, WAIT)?;
        let records = messages.iter().filter_map(|m| Some((m.timestamp, ControlRecord::read(m.value?)?)));
        records.for_each(|(said_at, record)| self.roll.hear(said_at, record, to, gathered));
        Ok(self.reader.position(&self.at)? >= self.caught_up)
    }
}

impl Roll {
    fn hear(&mut self, said_at: i64, record: ControlRecord, to: (&str, u64), gathered: &mut Gathered) {
        match record {
            ControlRecord::Alive(Alive { pipeline, instance, run, sent_at, obeys }) if pipeline == to.0 => {
                if self.alive.get(&instance).is_some_and(|(before, ..)| *before != run) {
                    gathered.forget(&instance);
                }
                self.alive.insert(instance, (run, sent_at, obeys));
            }
            ControlRecord::Stopped { pipeline, instance, run } if pipeline == to.0 && !self.late(&instance, &run) => {
                self.alive.remove(&instance);
                gathered.forget(&instance);
                if run.is_empty() {
                    self.stopped = self.stopped.max(Some(said_at));
                }
            }
            ControlRecord::Ready(answer) if self.answers(&answer, to) => {
                gathered.cannot.remove(&answer.instance);
                gathered.ready.insert(answer.instance);
            }
            ControlRecord::CannotSwitch(answer) if self.answers(&answer, to) => {
                gathered.ready.remove(&answer.instance);
                gathered.cannot.insert(answer.instance, answer.reason);
            }
            _ => {}
        }
    }

    fn answers(&self, answer: &Answer, to: (&str, u64)) -> bool {
        (answer.pipeline.as_str(), answer.promotion) == to && !self.late(&answer.instance, &answer.run)
    }

    /// Whether this is the word of a process whose namesake runs already: it comes late, and says nothing of that one.
    fn late(&self, instance: &str, run: &str) -> bool {
        !run.is_empty() && self.alive.get(instance).is_some_and(|(now, ..)| now != run)
    }

    /// Whether a namesake of an instance that stopped may still have to be heard. A clock ahead of ours holds nothing up.
    fn just_stopped(&self) -> bool {
        let ago = self.stopped.map(|stopped| clock::now_millis() - stopped);
        ago.is_some_and(|ago| (0..HEARD_AGAIN.as_millis() as i64).contains(&ago))
    }

    fn running(&self) -> impl Iterator<Item = &String> {
        self.obeying().map(|(instance, _)| instance)
    }

    /// Those that run and would take a promotion for another one: versions without formats know switches only.
    fn outdated(&self, to: &Promotion) -> impl Iterator<Item = &String> {
        let needed = if to.kind.is_switch() { 0 } else { to.format };
        self.obeying().filter(move |(_, obeys)| *obeys < needed).map(|(instance, _)| instance)
    }

    /// Those that run, and which format of promotions each obeys.
    fn obeying(&self) -> impl Iterator<Item = (&String, u32)> {
        let since = clock::now_millis() - SILENCE.as_millis() as i64;
        let runs = self.alive.iter().filter(move |(_, (_, sent_at, _))| *sent_at >= since);
        runs.map(|(instance, (_, _, obeys))| (instance, *obeys))
    }
}

impl Gathered {
    /// Nobody has said anything.
    pub(super) fn none(deadline: Duration, force: bool) -> Self {
        let (ready, cannot, silent, outdated) = Default::default();
        Self { ready, cannot, silent, outdated, deadline, force }
    }

    /// What an earlier run of an instance said does not hold for it any more.
    fn forget(&mut self, instance: &str) {
        self.ready.remove(instance);
        self.cannot.remove(instance);
    }
}

impl Gathered {
    fn answered(&self, instance: &str) -> bool {
        self.ready.contains(instance) || self.cannot.contains_key(instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunapark_schemas::promotion::PromotionKind;

    const TO: (&str, u64) = ("score", 7);

    fn hear(roll: &mut Roll, gathered: &mut Gathered, record: ControlRecord) {
        roll.hear(clock::now_millis(), record, TO, gathered);
    }

    fn alive(run: &str) -> ControlRecord {
        let (pipeline, instance, sent_at) = ("score".into(), "a".into(), clock::now_millis());
        ControlRecord::Alive(Alive { pipeline, instance, run: run.into(), sent_at, obeys: FORMAT })
    }

    fn stopped(run: &str) -> ControlRecord {
        ControlRecord::Stopped { pipeline: "score".into(), instance: "a".into(), run: run.into() }
    }

    fn ready(run: &str) -> ControlRecord {
        let (pipeline, instance, reason) = ("score".into(), "a".into(), String::new());
        ControlRecord::Ready(Answer { pipeline, instance, run: run.into(), promotion: 7, reason })
    }

    #[test]
    fn the_late_word_of_a_process_says_nothing_of_its_namesake() {
        let (mut roll, mut gathered) = (Roll::default(), Gathered::none(Duration::ZERO, false));
        hear(&mut roll, &mut gathered, alive("one"));
        hear(&mut roll, &mut gathered, ready("one"));
        assert!(gathered.answered("a"));
        hear(&mut roll, &mut gathered, alive("two"));
        assert!(!gathered.answered("a"), "the new process has to answer for itself");
        hear(&mut roll, &mut gathered, ready("one"));
        hear(&mut roll, &mut gathered, stopped("one"));
        assert!(!gathered.answered("a") && roll.running().count() == 1 && !roll.just_stopped());
        hear(&mut roll, &mut gathered, ready("two"));
        assert!(gathered.answered("a"));
        hear(&mut roll, &mut gathered, stopped("two"));
        assert!(!gathered.answered("a") && roll.running().count() == 0);
    }

    #[test]
    fn a_version_that_does_not_name_its_runs_is_waited_for_a_little() {
        let (mut roll, mut gathered) = (Roll::default(), Gathered::none(Duration::ZERO, false));
        hear(&mut roll, &mut gathered, alive(""));
        hear(&mut roll, &mut gathered, stopped(""));
        assert!(roll.just_stopped() && roll.running().count() == 0);
    }

    #[test]
    fn an_instance_that_would_take_a_shadow_for_a_switch_is_asked_for_none_not_even_by_force() {
        let text = include_str!("../../../../schemas/examples/records/models/ok-promotion.json");
        let promotion = Promotion::read(text.as_bytes()).unwrap().unwrap();
        let of = |kind| Promotion { kind, ..promotion.clone() };
        let (mut roll, mut gathered) = (Roll::default(), Gathered::none(Duration::ZERO, true));
        hear(&mut roll, &mut gathered, alive("new"));
        assert_eq!(roll.outdated(&of(PromotionKind::Shadow)).count(), 0);
        // What an older version sends.
        let text = format!(r#"{{"kind":"alive","pipeline":"score","instance":"b","sent_at":{}}}"#, clock::now_millis());
        hear(&mut roll, &mut gathered, ControlRecord::read(text.as_bytes()).unwrap());
        assert_eq!(roll.outdated(&of(PromotionKind::Switch)).count(), 0, "that it knows");
        for kind in [PromotionKind::Canary, PromotionKind::Shadow, PromotionKind::ShadowEnd] {
            gathered.outdated = roll.outdated(&of(kind)).cloned().collect();
            assert!(gathered.refusal().is_some_and(|reason| reason.contains(": b; upgrade them")), "{kind:?}");
        }
    }
}
