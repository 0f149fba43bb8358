//! A verifier that finds nothing proves nothing: every fault is planted once.

use super::super::baseline::{Answer, DeadAnswer};
use super::*;

const KINDS: [&str; 2] = ["inference.results", "inference.events.dead"];

fn baseline(plan: &Plan) -> Baseline {
    let answer = |(number, planned): (usize, &super::super::Planned)| {
        let result = matches!(planned.kind, Kind::Scored { .. } | Kind::Partial { .. });
        let dead = matches!(planned.kind, Kind::Broken | Kind::Partial { .. });
        let said = || DeadAnswer { class: "shape".into(), message: "row 2: short".into(), rows: None };
        Answer { result: result.then(|| format!("scores of {number}").into_bytes()), dead: dead.then(said) }
    };
    Baseline { answers: plan.payloads().iter().enumerate().map(answer).collect(), model: "higgs/1#00000000".into() }
}

fn header(name: &str, value: impl ToString) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), Some(value.to_string().into_bytes()))
}

fn record(topic: &str, at: (i32, i64), event: &OwnedRecord) -> OwnedRecord {
    OwnedRecord { topic: topic.to_owned(), partition: at.0, offset: at.1, ..event.clone() }
}

fn result(event: &OwnedRecord, value: &[u8], offset: i64) -> OwnedRecord {
    let mut result = record(KINDS[0], (event.partition, offset), event);
    result.value = Some(value.to_vec());
    result.headers.insert(0, header("lunapark-model", "higgs/1#00000000"));
    result.headers.insert(0, header("lunapark-source", event.position()));
    result
}

fn dead(event: &OwnedRecord, offset: i64) -> OwnedRecord {
    let mut dead = record(KINDS[1], (event.partition, offset), event);
    let message = format!("{}: row 2: short", event.position());
    dead.headers.push(header("__streams.errors.message", message));
    dead.headers.push(header("__streams.errors.topic", &event.topic));
    dead.headers.push(header("__streams.errors.partition", event.partition));
    dead.headers.push(header("__streams.errors.offset", event.offset));
    dead.headers.push(header("error-class", "shape"));
    dead
}

/// 301 events on two partitions and exactly the answers that they must have.
fn undisturbed() -> (Plan, Baseline, Evidence) {
    let plan = Plan::higgs();
    let baseline = baseline(&plan);
    let mut evidence = Evidence::default();
    for number in 0..301 {
        let event = plan.event(number, 2);
        let (partition, offset) = (event.partition.unwrap(), number as i64 / 2);
        let event = OwnedRecord {
            topic: "inference.events".into(),
            partition,
            offset,
            timestamp: 7,
            key: event.key,
            value: event.value,
            headers: header_list(event.headers.view()),
        };
        let answer = &baseline.answers[plan.payload_of(number)];
        if let Some(value) = &answer.result {
            evidence.results.push(result(&event, value, offset));
        }
        if answer.dead.is_some() {
            evidence.dead.push(dead(&event, offset));
        }
        evidence.accepted.push(Accepted { number, at: Some((partition, offset)) });
        evidence.events.push(event);
    }
    for records in [&mut evidence.events, &mut evidence.results, &mut evidence.dead] {
        records.sort_by_key(|record| (record.partition, record.offset));
    }
    (plan, baseline, evidence)
}

/// The faults found after `plant` has changed the evidence.
fn planted(plant: impl FnOnce(&mut Evidence)) -> Vec<Fault> {
    let (plan, baseline, mut evidence) = undisturbed();
    plant(&mut evidence);
    verify(&plan, &baseline, &evidence).faults
}

#[test]
fn an_undisturbed_run_is_proven_and_counted() {
    let (plan, baseline, evidence) = undisturbed();
    let verdict = verify(&plan, &baseline, &evidence);
    verdict.assert_proven();
    let totals = verdict.totals;
    assert_eq!((totals.messages, totals.accepted), (301, 301));
    assert_eq!(totals.results + totals.filtered + totals.dead, 301);
    assert_eq!((totals.filtered, totals.dead, totals.partial), (3, 3, 3));
    assert_eq!(totals.rows - totals.scored_rows, 3);
}

#[test]
fn a_lost_result_and_a_lost_dead_letter_are_found() {
    let faults = planted(|evidence| drop(evidence.results.remove(17)));
    assert!(matches!(&faults[..], [Fault::Lost { what: "result", .. }]), "{faults:?}");
    let faults = planted(|evidence| drop(evidence.dead.remove(2)));
    assert!(matches!(&faults[..], [Fault::Lost { what: "dead letter", .. }]), "{faults:?}");
}

#[test]
fn a_lost_event_is_found_by_its_acknowledgement() {
    let faults = planted(|evidence| evidence.accepted.push(Accepted { number: 900, at: Some((0, 900)) }));
    assert_eq!(faults, [Fault::NotStored { number: 900, at: Some((0, 900)) }]);
    let faults = planted(|evidence| evidence.accepted[4].at = Some((0, 3)));
    assert_eq!(faults, [Fault::NotStored { number: 4, at: Some((0, 3)) }]);
}

#[test]
fn a_duplicate_is_found() {
    let faults = planted(|evidence| {
        let mut again = evidence.results[9].clone();
        again.offset += 100_000;
        evidence.results.insert(10, again);
    });
    assert!(matches!(&faults[..], [Fault::Duplicate { at, .. }] if at.ends_with("/100009")), "{faults:?}");
}

#[test]
fn an_event_stored_twice_or_by_a_stranger_is_found() {
    let faults = planted(|evidence| {
        let mut again = evidence.events[9].clone();
        again.offset += 100_000;
        evidence.events.push(again);
    });
    assert!(faults.iter().any(|f| matches!(f, Fault::StoredTwice { .. })), "{faults:?}");
    let faults = planted(|evidence| {
        let mut stranger = evidence.events[9].clone();
        (stranger.offset, stranger.key) = (100_000, Some(b"mine".to_vec()));
        evidence.events.push(stranger);
    });
    assert!(matches!(&faults[..], [Fault::NotIssued { .. }]), "{faults:?}");
}

#[test]
fn a_wrong_value_is_found_in_one_bit() {
    let faults = planted(|evidence| evidence.results[5].value.as_mut().unwrap()[3] ^= 1);
    assert!(matches!(&faults[..], [Fault::WrongValue { .. }]), "{faults:?}");
    let faults = planted(|evidence| evidence.dead[1].value = Some(b"something else".to_vec()));
    assert!(matches!(&faults[..], [Fault::WrongValue { .. }]), "{faults:?}");
}

#[test]
fn a_wrong_order_is_found() {
    let faults = planted(|evidence| {
        evidence.results.swap(5, 6);
        let (a, b) = (evidence.results[5].offset, evidence.results[6].offset);
        (evidence.results[5].offset, evidence.results[6].offset) = (b, a);
    });
    assert!(matches!(&faults[..], [Fault::OutOfOrder { .. }]), "{faults:?}");
}

#[test]
fn a_wrong_source_is_found() {
    let other = |to: &str| {
        let to = to.to_owned();
        planted(move |evidence| evidence.results[5].headers[0] = header("lunapark-source", to))
    };
    for named in ["inference.events/0/999999", "another.topic/0/5", "nonsense", "inference.events/0/40"] {
        let faults = other(named);
        assert!(faults.iter().any(|f| matches!(f, Fault::WrongSource { .. })), "{named}: {faults:?}");
        assert!(faults.iter().any(|f| matches!(f, Fault::Lost { .. })), "{named}: {faults:?}");
    }
}

#[test]
fn an_answer_to_a_filtered_message_is_found() {
    let faults = planted(|evidence| {
        let expired = evidence.events.iter().find(|event| event.header("ce_id") == Some("25")).unwrap();
        let answer = result(expired, b"scores of 25", expired.offset);
        let place = evidence.results.iter().position(|r| (r.partition, r.offset) > (answer.partition, answer.offset));
        evidence.results.insert(place.unwrap(), answer);
    });
    assert!(matches!(&faults[..], [Fault::Unexpected { .. }]), "{faults:?}");
}
