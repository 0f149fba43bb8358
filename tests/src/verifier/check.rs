//! The comparison of what was accepted, what was read back, and what an undisturbed run gave.

use std::collections::HashMap;

use super::fault::{Fault, Totals, Verdict};
use super::{Accepted, Baseline, Kind, Plan};
use crate::harness::{OwnedRecord, header_list};

/// The whole of the topics, each sorted by partition and offset, and what the load was promised.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The event topic.
    pub events: Vec<OwnedRecord>,
    /// The result topic.
    pub results: Vec<OwnedRecord>,
    /// The dead-letter topic.
    pub dead: Vec<OwnedRecord>,
    /// Events that the log acknowledged.
    pub accepted: Vec<Accepted>,
}

/// Counts every message and row, and names everything that is wrong.
pub fn verify(plan: &Plan, baseline: &Baseline, evidence: &Evidence) -> Verdict {
    let mut verifier = Verifier { plan, baseline, found: Verdict::default(), sources: HashMap::new() };
    verifier.read_events(evidence);
    verifier.check_accepted(&evidence.accepted);
    verifier.read_answers(&evidence.results, Answers::Results);
    verifier.read_answers(&evidence.dead, Answers::Dead);
    for event in &evidence.events {
        verifier.check_end(event);
    }
    verifier.found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    Results,
    Dead,
}

/// One message of the event topic and what answers it.
struct Source<'a> {
    event: &'a OwnedRecord,
    number: u64,
    result: Option<&'a OwnedRecord>,
    dead: Option<&'a OwnedRecord>,
}

struct Verifier<'a> {
    plan: &'a Plan,
    baseline: &'a Baseline,
    found: Verdict,
    sources: HashMap<(i32, i64), Source<'a>>,
}

impl<'a> Verifier<'a> {
    fn fault(&mut self, fault: Fault) {
        self.found.faults.push(fault);
    }

    /// Everything on the event topic was issued by the oracle, once, and is stored as it was sent.
    fn read_events(&mut self, evidence: &'a Evidence) {
        let mut numbers = HashMap::new();
        for event in &evidence.events {
            self.found.totals.messages += 1;
            let Some(number) = number_of(event).filter(|number| self.as_issued(*number, event)) else {
                self.fault(Fault::NotIssued { at: event.position() });
                continue;
            };
            if numbers.insert(number, ()).is_some() {
                self.fault(Fault::StoredTwice { number, at: event.position() });
            }
            let source = Source { event, number, result: None, dead: None };
            self.sources.insert((event.partition, event.offset), source);
        }
    }

    fn as_issued(&self, number: u64, event: &OwnedRecord) -> bool {
        let issued = self.plan.event(number, 1);
        issued.value.as_deref().unwrap_or_default() == event.value.as_deref().unwrap_or_default()
            && header_list(issued.headers.view()) == event.headers
    }

    /// An accepted number is an obligation: it stands in the topic, where the log said.
    fn check_accepted(&mut self, accepted: &[Accepted]) {
        self.found.totals.accepted = accepted.len() as u64;
        let places: HashMap<u64, (i32, i64)> = self.sources.iter().map(|(at, source)| (source.number, *at)).collect();
        for Accepted { number, at } in accepted {
            let stored = places.get(number).is_some_and(|place| at.is_none_or(|said| said == *place));
            if !stored {
                self.fault(Fault::NotStored { number: *number, at: *at });
            }
        }
    }

    fn read_answers(&mut self, records: &'a [OwnedRecord], answers: Answers) {
        let mut last = (-1, -1);
        for record in records {
            let named = self.source_of(record, answers);
            let (partition, offset) = match named {
                Ok(at) => at,
                Err(what) => {
                    self.fault(Fault::WrongSource { at: record.position(), what });
                    continue;
                }
            };
            if last.0 == partition && offset < last.1 {
                let source = self.name(partition, offset);
                self.fault(Fault::OutOfOrder { at: record.position(), source });
            }
            last = (partition, offset);
            self.take(record, answers, (partition, offset));
        }
    }

    /// The message that an answer names, where it is there and the answer carries its key, time, partition and id.
    fn source_of(&self, record: &OwnedRecord, answers: Answers) -> Result<(i32, i64), String> {
        let header = |name: &str| record.header(name).unwrap_or_default().to_owned();
        let named = match answers {
            Answers::Results => header("lunapark-source"),
            Answers::Dead => {
                let [topic, partition, offset] =
                    ["topic", "partition", "offset"].map(|what| header(&format!("__streams.errors.{what}")));
                format!("{topic}/{partition}/{offset}")
            }
        };
        let mut parts = named.rsplitn(3, '/');
        let offset = parts.next().and_then(|text| text.parse().ok());
        let partition = parts.next().and_then(|text| text.parse().ok());
        let (Some(offset), Some(partition)) = (offset, partition) else { return Err(format!("it names `{named}`")) };
        let source = self.sources.get(&(partition, offset)).ok_or_else(|| format!("there is no message {named}"))?;
        let event = source.event;
        let differs = |what: &str| Err(format!("its {what} is not that of {named}"));
        match () {
            () if parts.next() != Some(&event.topic) => differs("topic"),
            () if record.partition != event.partition => differs("partition"),
            () if record.key != event.key => differs("key"),
            () if record.timestamp != event.timestamp => differs("timestamp"),
            () if record.header("ce_id") != event.header("ce_id") => differs("ce_id"),
            () => Ok((partition, offset)),
        }
    }

    fn take(&mut self, record: &'a OwnedRecord, answers: Answers, at: (i32, i64)) {
        let Some(source) = self.sources.get_mut(&at) else { return };
        let place = match answers {
            Answers::Results => &mut source.result,
            Answers::Dead => &mut source.dead,
        };
        if place.is_some() {
            let source = source.event.position();
            self.fault(Fault::Duplicate { source, at: record.position() });
        } else {
            *place = Some(record);
        }
    }

    /// Exactly one end, and the one that it must have.
    fn check_end(&mut self, event: &OwnedRecord) {
        let Some(source) = self.sources.get(&(event.partition, event.offset)) else { return };
        let (number, result, dead) = (source.number, source.result, source.dead);
        let kind = self.plan.of(number).kind;
        let wants_result = matches!(kind, Kind::Scored { .. } | Kind::Partial { .. });
        let wants_dead = matches!(kind, Kind::Broken | Kind::Partial { .. });
        self.check_answer(event, result, wants_result, "result");
        self.check_answer(event, dead, wants_dead, "dead letter");
        if let (Some(record), true) = (result, wants_result) {
            self.check_result(event, number, record);
        }
        if let (Some(record), true) = (dead, wants_dead) {
            self.check_dead(event, number, record);
        }
        self.count(kind, result.is_some(), dead.is_some());
    }

    fn check_answer(&mut self, event: &OwnedRecord, found: Option<&OwnedRecord>, wanted: bool, what: &'static str) {
        let source = event.position();
        match (found, wanted) {
            (None, true) => self.fault(Fault::Lost { source, what }),
            (Some(record), false) => self.fault(Fault::Unexpected { source, at: record.position() }),
            _ => {}
        }
    }

    fn check_result(&mut self, event: &OwnedRecord, number: u64, record: &OwnedRecord) {
        let answer = &self.baseline.answers[self.plan.payload_of(number)];
        let what = match &answer.result {
            Some(result) if record.value.as_deref() != Some(result) => "not the bytes of the undisturbed run",
            _ if record.header("lunapark-model") != Some(&self.baseline.model) => {
                "not the model of the undisturbed run"
            }
            Some(_) => return,
            None => "the undisturbed run has no result",
        };
        self.fault(Fault::WrongValue { source: event.position(), at: record.position(), what });
    }

    /// A dead letter is its event verbatim, and says what the undisturbed run said.
    fn check_dead(&mut self, event: &OwnedRecord, number: u64, record: &OwnedRecord) {
        let answer = self.baseline.answers[self.plan.payload_of(number)].dead.as_ref();
        let said = super::baseline::dead_answer(record);
        let what = match () {
            () if record.value.as_deref().unwrap_or_default() != event.value.as_deref().unwrap_or_default() => {
                "not the bytes of its event"
            }
            () if !record.headers.starts_with(&event.headers) => "not the headers of its event",
            () if Some(&said) != answer => "not the reason of the undisturbed run",
            () => return,
        };
        self.fault(Fault::WrongValue { source: event.position(), at: record.position(), what });
    }

    fn count(&mut self, kind: Kind, result: bool, dead: bool) {
        let totals: &mut Totals = &mut self.found.totals;
        totals.results += u64::from(result);
        totals.partial += u64::from(result && dead);
        totals.dead += u64::from(dead && !result);
        totals.filtered += u64::from(!dead && !result && kind == Kind::Expired);
        if let (true, Kind::Scored { rows } | Kind::Partial { rows }) = (result, kind) {
            totals.rows += rows;
            totals.scored_rows += rows - u64::from(matches!(kind, Kind::Partial { .. }));
        }
    }

    fn name(&self, partition: i32, offset: i64) -> String {
        self.sources.get(&(partition, offset)).map(|source| source.event.position()).unwrap_or_default()
    }
}

/// The number that the oracle gave this event: key and id agree on it.
fn number_of(event: &OwnedRecord) -> Option<u64> {
    let id = event.header("ce_id")?;
    (event.key.as_deref() == Some(id.as_bytes())).then(|| id.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
