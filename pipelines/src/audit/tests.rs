//! Histories that are clean, and the same with one fault planted: the audit passes the first and names the second.

mod history;

use lunapark_schemas::TopicPartition;
use proptest::prelude::*;
use proptest::sample::Index;

use super::recount::Answer;
use super::report::{Finding, FindingKind, Findings, NAMED_IN_JSON, NAMED_PER_KIND};
use super::verdict::{Expired, Verdict};
use history::{End, History, RESULTS, TOPIC, histories, start_at};

/// What is planted, at a message or range that the index picks.
#[derive(Clone, Copy, Debug)]
enum Fault {
    MissingAnswer,
    DuplicateAnswer,
    ResultBesideDeadLetter,
    OtherTopic,
    OtherPartition,
    NoMessage,
    BeyondTheLedger,
    NoSource,
    Gap,
    DoubleRange,
    LateStart,
    Checksum,
    Unbalanced,
    SwappedCounts,
    ForgottenFilter,
    CommittedBehind,
    CommittedAhead,
    StartInsteadOfRange,
}

const FAULTS: [Fault; 18] = [
    Fault::MissingAnswer,
    Fault::DuplicateAnswer,
    Fault::ResultBesideDeadLetter,
    Fault::OtherTopic,
    Fault::OtherPartition,
    Fault::NoMessage,
    Fault::BeyondTheLedger,
    Fault::NoSource,
    Fault::Gap,
    Fault::DoubleRange,
    Fault::LateStart,
    Fault::Checksum,
    Fault::Unbalanced,
    Fault::SwappedCounts,
    Fault::ForgottenFilter,
    Fault::CommittedBehind,
    Fault::CommittedAhead,
    Fault::StartInsteadOfRange,
];

/// A finding that must be among those found, and whether the ledger alone shows it.
struct Expected {
    kind: FindingKind,
    span: (i64, i64),
    quick: bool,
}

/// Plants the fault; `None` where the history has no place for it.
fn plant(fault: Fault, history: &mut History, pick: Index) -> Option<Expected> {
    let deep = |kind, offset| Some(Expected { kind, span: (offset, offset + 1), quick: false });
    match fault {
        Fault::MissingAnswer => {
            let at = history.pick_answer(pick, |answer| answer.kind != Answer::Partial)?;
            deep(FindingKind::Missing, history.answers.remove(at).source.2)
        }
        Fault::DuplicateAnswer => {
            let at = history.pick_answer(pick, |_| true)?;
            deep(FindingKind::Duplicate, history.repeat(at, |_| {}))
        }
        Fault::ResultBesideDeadLetter => {
            let at = history.pick_answer(pick, |answer| answer.kind == Answer::Dead)?;
            deep(FindingKind::Conflict, history.repeat(at, |answer| answer.kind = Answer::Result))
        }
        Fault::OtherTopic => wrong_source(history, pick, |source| source.0 = "elsewhere"),
        Fault::OtherPartition => wrong_source(history, pick, |source| source.1 += 1),
        Fault::NoMessage => {
            let marker = history.ranges.first()?.next - 1;
            wrong_source(history, pick, |source| source.2 = marker)
        }
        Fault::BeyondTheLedger => {
            let high = history.high;
            wrong_source(history, pick, |source| source.2 = high)
        }
        Fault::NoSource => wrong_source(history, pick, |source| source.2 = -1),
        Fault::Gap => {
            let range = history.ranges.remove(pick.index(history.ranges.len()));
            Some(Expected { kind: FindingKind::Gap, span: (range.first, range.next), quick: true })
        }
        Fault::DoubleRange => {
            let range = history.ranges[pick.index(history.ranges.len())].clone();
            let span = (range.first, range.next);
            history.ranges.push(range);
            Some(Expected { kind: FindingKind::Overlap, span, quick: true })
        }
        Fault::LateStart => {
            let later = history.ranges.len().checked_sub(1).filter(|later| *later > 0)?;
            let at = pick.index(later) + 1;
            history.ranges[at].first -= 1;
            let first = history.ranges[at].first;
            Some(Expected { kind: FindingKind::Overlap, span: (first, first + 1), quick: true })
        }
        Fault::Checksum => ledger(history, pick, FindingKind::Checksum, false, |range| {
            range.checksum = range.checksum.map(|sum| sum ^ 1);
        }),
        Fault::Unbalanced => ledger(history, pick, FindingKind::Unbalanced, true, |range| range.messages.results += 1),
        Fault::SwappedCounts => {
            let has_result = |range: &super::chain::Entry| range.messages.results > range.messages.partial;
            let range = history.ranges.iter_mut().find(|range| has_result(range))?;
            range.messages.results -= 1;
            range.messages.dead += 1;
            Some(Expected { kind: FindingKind::Count, span: (range.first, range.next), quick: false })
        }
        Fault::ForgottenFilter => {
            let range = history.ranges.iter_mut().find(|range| range.messages.filtered > 0)?;
            let (offset, _) = range.filtered.remove(0);
            range.messages.filtered = 0;
            range.filtered.clear();
            Some(Expected { kind: FindingKind::Missing, span: (offset, offset + 1), quick: false })
        }
        Fault::CommittedBehind => {
            let range = history.ranges.last()?;
            history.committed = Some(range.first);
            Some(Expected { kind: FindingKind::Overlap, span: (range.first, range.next), quick: true })
        }
        Fault::CommittedAhead => {
            let end = history.ranges.last()?.next;
            history.high += 3;
            history.committed = Some(history.high);
            Some(Expected { kind: FindingKind::Gap, span: (end, history.high), quick: true })
        }
        Fault::StartInsteadOfRange => {
            let later = history.ranges.len().checked_sub(1).filter(|later| *later > 0)?;
            let range = history.ranges.remove(pick.index(later) + 1);
            history.ranges.push(start_at(range.next));
            Some(Expected { kind: FindingKind::Gap, span: (range.first, range.next), quick: true })
        }
    }
}

fn wrong_source(
    history: &mut History,
    pick: Index,
    change: impl FnOnce(&mut (&'static str, i32, i64)),
) -> Option<Expected> {
    let at = history.pick_answer(pick, |answer| answer.kind == Answer::Result)?;
    let answer = &mut history.answers[at];
    change(&mut answer.source);
    Some(Expected { kind: FindingKind::WrongSource, span: (answer.own, answer.own + 1), quick: false })
}

fn ledger(
    history: &mut History,
    pick: Index,
    kind: FindingKind,
    quick: bool,
    change: impl FnOnce(&mut super::chain::Entry),
) -> Option<Expected> {
    let at = pick.index(history.ranges.len());
    let range = &mut history.ranges[at];
    change(range);
    Some(Expected { kind, span: (range.first, range.next), quick })
}

fn names(findings: &Findings, expected: &Expected) -> bool {
    let is = |finding: &Finding| finding.kind == expected.kind && (finding.first, finding.next) == expected.span;
    findings.named.iter().any(is)
}

proptest! {
    #[test]
    fn a_clean_history_is_proven(history in histories()) {
        let (findings, verdict, chain) = history.deep();
        prop_assert!(findings.is_empty(), "{findings:?}");
        prop_assert_eq!(verdict, Verdict::default());
        prop_assert_eq!(chain.end, history.high);
        prop_assert!(history.quick().is_empty());
    }

    #[test]
    fn a_planted_fault_is_named(history in histories(), fault in prop::sample::select(&FAULTS[..]), pick: Index) {
        let mut history = history;
        if let Some(expected) = plant(fault, &mut history, pick) {
            let (deep, ..) = history.deep();
            prop_assert!(names(&deep, &expected), "{fault:?}: deep found {:?}", deep.named);
            let quick = history.quick();
            prop_assert_eq!(names(&quick, &expected), expected.quick, "{:?}: quick found {:?}", fault, quick.named);
        }
    }

    #[test]
    fn what_a_group_left_out_before_it_started_is_not_lost(history in histories(), left_out in 1i64..50) {
        let mut history = history;
        history.from_beginning = false;
        let told = history.started_behind(left_out, true);
        let (findings, verdict, chain) = told.deep();
        prop_assert!(findings.is_empty(), "{:?}", findings.named);
        prop_assert_eq!((verdict, chain.start, chain.end), (Verdict::default(), Some(left_out), told.high));
        prop_assert!(told.quick().is_empty());
        // Without a word of it, it is.
        let gap = Expected { kind: FindingKind::Gap, span: (0, left_out), quick: true };
        let untold = history.started_behind(left_out, false);
        prop_assert!(names(&untold.quick(), &gap) && names(&untold.deep().0, &gap));
        prop_assert_eq!(untold.deep().1.lost, left_out as u64);
    }

    #[test]
    fn what_retention_deletes_is_unprovable_and_never_lost(history in histories(), keep: Index) {
        let mut history = history;
        let kept = keep.index(history.answers.len() + 1);
        history.expire_results(kept);
        let (findings, verdict, _) = history.deep();
        prop_assert!(findings.is_empty(), "{:?}", findings.named);
        prop_assert_eq!((verdict.lost, verdict.duplicated), (0, 0));
        prop_assert_eq!(verdict.unprovable > 0, history.expired, "{:?}", verdict);
    }

    #[test]
    fn what_the_input_has_lost_to_retention_is_unprovable(history in histories(), pick: Index) {
        let mut history = history;
        let low = history.messages[pick.index(history.messages.len())] + 1;
        let gone = history.messages.iter().filter(|offset| **offset < low).count() as u64;
        history.expire_input(low);
        let (findings, verdict, _) = history.deep();
        prop_assert!(findings.is_empty(), "{:?}", findings.named);
        prop_assert_eq!(verdict, Verdict { lost: 0, duplicated: 0, unprovable: gone });
    }
}

fn three() -> History {
    History::new(&[vec![(0, End::Result), (0, End::Dead)], vec![(1, End::Filtered)], vec![(0, End::Partial)]])
}

#[test]
fn every_kind_of_fault_can_be_planted_in_a_history() {
    for fault in FAULTS {
        let mut history = three();
        assert!(plant(fault, &mut history, Index::default_for_tests()).is_some(), "{fault:?}");
    }
}

trait DefaultIndex {
    fn default_for_tests() -> Self;
}

impl DefaultIndex for Index {
    /// Picks the first of any collection.
    fn default_for_tests() -> Self {
        use proptest::strategy::ValueTree;
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut tree = any::<Index>().new_tree(&mut runner).unwrap();
        while tree.simplify() {}
        tree.current()
    }
}

#[test]
fn a_duplicate_names_both_positions() {
    let mut history = three();
    let own = history.answers[0].own;
    let source = history.repeat(0, |_| {});
    let (findings, verdict, _) = history.deep();
    let again = history.answers.last().unwrap().own;
    assert_eq!(findings.named[0].message, format!("two results: {RESULTS}/3/{own} and {RESULTS}/3/{again}"));
    assert_eq!((findings.named[0].first, verdict.duplicated), (source, 1));
}

#[test]
fn an_overlap_names_both_instances() {
    let mut history = three();
    history.ranges.push(super::chain::Entry { instance: "intruder".into(), ..history.ranges[1].clone() });
    let text = history.quick().named[0].to_string();
    assert!(text.contains("intruder") && text.contains("instance-1") && text.starts_with("overlap"), "{text}");
}

#[test]
fn a_partial_dead_letter_needs_its_result() {
    let mut history = three();
    let at = history.answers.iter().position(|answer| answer.kind == Answer::Partial).unwrap();
    let source = history.answers[at].source.2;
    history.answers.retain(|answer| answer.source.2 != source || answer.kind == Answer::Partial);
    let (findings, verdict, _) = history.deep();
    assert_eq!((findings.named[0].kind, findings.named[0].first), (FindingKind::Missing, source));
    assert!(findings.named[0].message.contains("some of its rows"));
    assert_eq!(verdict.lost, 1);
}

#[test]
fn what_is_younger_than_the_audit_is_no_fault() {
    let mut history = three();
    history.settled = false;
    history.answers[0].source.2 = history.high + 5;
    let (findings, ..) = history.deep();
    assert!(findings.named.iter().all(|finding| finding.kind != FindingKind::WrongSource), "{findings:?}");
}

#[test]
fn a_ledger_that_has_itself_expired_leaves_no_gap() {
    let mut history = three();
    let range = history.ranges.remove(0);
    history.ledger_expired = history.ranges[0].timestamp;
    let mut findings = Findings::default();
    let chain = history.chain(&mut findings);
    assert!(findings.is_empty());
    assert_eq!((chain.expired, chain.gaps.len()), (vec![(range.first, range.next)], 0));
    history.ledger_expired -= 1;
    assert_eq!(history.quick().named[0].kind, FindingKind::Gap);
}

#[test]
fn only_an_account_from_the_beginning_minds_what_went_before_it() {
    let mut history = three();
    history.low = history.ranges[0].next;
    history.ranges.remove(0);
    for (from_beginning, expired) in [(false, vec![]), (true, vec![(0, history.low)])] {
        history.from_beginning = from_beginning;
        let mut findings = Findings::default();
        assert_eq!(history.chain(&mut findings).expired, expired);
        assert!(findings.is_empty());
    }
}

#[test]
fn a_start_must_be_followed_by_its_chain() {
    let mut history = three().started_behind(10, true);
    let range = history.ranges.remove(1);
    let gap = Expected { kind: FindingKind::Gap, span: (range.first, range.next), quick: true };
    assert!(names(&history.quick(), &gap) && names(&history.deep().0, &gap));
}

#[test]
fn where_the_ledger_has_expired_nobody_knows_what_came_before_a_start() {
    let mut history = three().started_behind(10, true);
    (history.from_beginning, history.ledger_expired) = (false, i64::MIN);
    assert!(history.chain(&mut Findings::default()).expired.is_empty());
    history.ledger_expired = 0;
    let mut findings = Findings::default();
    assert_eq!(history.chain(&mut findings).expired, [(0, 10)]);
    assert!(findings.is_empty());
}

#[test]
fn a_group_that_has_started_and_read_nothing_yet_has_lost_nothing() {
    let mut history = History::new(&[]).started_behind(10, false);
    (history.from_beginning, history.committed) = (false, Some(10));
    history.ranges.push(start_at(10));
    let (findings, verdict, chain) = history.deep();
    assert!(findings.is_empty() && history.quick().is_empty(), "{findings:?}");
    assert_eq!((verdict, chain.end), (Verdict::default(), 10));
}

#[test]
fn an_account_from_the_beginning_minds_what_the_group_left_out() {
    let history = three().started_behind(10, true);
    let mut findings = Findings::default();
    assert_eq!(history.chain(&mut findings).expired, [(0, 10)]);
    assert!(findings.is_empty());
}

#[test]
fn for_programs_more_findings_are_named() {
    let (at, mut findings) = (TopicPartition::new(TOPIC, 0), Findings::naming(NAMED_IN_JSON));
    for offset in 0..NAMED_IN_JSON as i64 + 1 {
        findings.add(FindingKind::Missing, &at, (offset, offset + 1), String::new);
    }
    assert_eq!((findings.named.len() as u64, findings.counts[&FindingKind::Missing]), (10_000, 10_001));
}

#[test]
fn of_many_findings_the_first_are_named_and_all_are_counted() {
    let mut findings = Findings::default();
    let at = TopicPartition::new(TOPIC, 0);
    for offset in 0..50 {
        findings.add(FindingKind::Missing, &at, (offset, offset + 1), String::new);
    }
    assert_eq!((findings.named.len() as u64, findings.counts[&FindingKind::Missing]), (NAMED_PER_KIND, 50));
}

#[test]
fn merged_ranges_prove_the_same() {
    let mut history = three();
    let rest = history.ranges.split_off(1);
    assert!(rest.iter().all(|range| history.ranges[0].merge(range)));
    assert!(history.deep().0.is_empty());
    let after = history.ranges[0].clone();
    assert!(!history.ranges[0].merge(&after));
}

#[test]
fn absurd_ledger_numbers_cost_nothing() {
    let mut history = three();
    history.ranges[0].filtered = vec![(i64::MIN, i64::MAX)];
    history.ranges[0].messages.results = u64::MAX;
    history.ranges[2].next = i64::MAX;
    let (findings, ..) = history.deep();
    let kinds: Vec<_> = findings.counts.keys().collect();
    assert!(kinds.contains(&&FindingKind::Unbalanced) && kinds.contains(&&FindingKind::BadLedger), "{kinds:?}");
    let _ = history.deep_with(Expired { results: true, dead: true });
}
