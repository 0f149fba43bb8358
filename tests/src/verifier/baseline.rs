//! The undisturbed run: every payload once through a service that nobody kills.

use std::sync::OnceLock;
use std::time::Duration;

use super::{Kind, Plan};
use crate::harness::{OwnedRecord, Workplace};

/// 601 events on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(60);

/// What a dead letter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadAnswer {
    /// Header `error-class`.
    pub class: String,
    /// The sentence, without the position that it begins with.
    pub message: String,
    /// Header `error-rows`.
    pub rows: Option<String>,
}

/// How one payload ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Value of its result.
    pub result: Option<Vec<u8>>,
    /// What its dead letter says.
    pub dead: Option<DeadAnswer>,
}

/// How every payload of a plan ends.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// By payload.
    pub answers: Vec<Answer>,
    /// Header `lunapark-model` of every result.
    pub model: String,
}

impl Baseline {
    /// Of the HIGGS plan with the default model; made once per test process.
    #[track_caller]
    pub fn higgs() -> &'static (Plan, Baseline) {
        static MADE: OnceLock<(Plan, Baseline)> = OnceLock::new();
        MADE.get_or_init(|| {
            let plan = Plan::higgs();
            let baseline = Self::run(&plan);
            (plan, baseline)
        })
    }

    /// Runs every payload through the embedded log and takes down how it ended.
    #[track_caller]
    fn run(plan: &Plan) -> Self {
        let work = Workplace::embedded();
        work.create_topics();
        let count = plan.payloads().len() as u64;
        let events: Vec<_> = (0..count).map(|number| plan.event(number, work.partitions())).collect();
        work.produce("inference.events", &events);
        let service = work.service("undisturbed", &[]);
        let with = |wanted: fn(&Kind) -> bool| plan.payloads().iter().filter(|p| wanted(&p.kind)).count();
        let results = with(|kind| matches!(kind, Kind::Scored { .. } | Kind::Partial { .. }));
        let results = work.wait_records("inference.results", results, SOON);
        let dead = with(|kind| matches!(kind, Kind::Broken | Kind::Partial { .. }));
        let dead = work.wait_records("inference.events.dead", dead, SOON);
        service.terminate().ok();
        Self::of(plan, &results, &dead)
    }

    #[track_caller]
    fn of(plan: &Plan, results: &[OwnedRecord], dead: &[OwnedRecord]) -> Self {
        let mut answers = vec![Answer::default(); plan.payloads().len()];
        let number =
            |record: &OwnedRecord| record.header("ce_id").and_then(|id| id.parse::<usize>().ok()).expect("an id");
        for record in results {
            let value = record.value.clone().expect("a value");
            assert!(answers[number(record)].result.replace(value).is_none(), "two results of {}", number(record));
        }
        for record in dead {
            let answer = dead_answer(record);
            assert!(answers[number(record)].dead.replace(answer).is_none(), "two dead letters of {}", number(record));
        }
        plan.payloads()
            .iter()
            .zip(&answers)
            .enumerate()
            .for_each(|(n, (planned, answer))| fits(n, planned.kind, answer));
        let model = results[0].header("lunapark-model").expect("a model").to_owned();
        Self { answers, model }
    }
}

/// What a dead letter says.
pub(super) fn dead_answer(record: &OwnedRecord) -> DeadAnswer {
    let header = |name: &str| record.header(name).unwrap_or_default().to_owned();
    let message = header("__streams.errors.message");
    let message = message.split_once(": ").map(|(_, sentence)| sentence.to_owned()).unwrap_or(message);
    DeadAnswer { class: header("error-class"), message, rows: record.header("error-rows").map(str::to_owned) }
}

/// The undisturbed run must itself end every payload as planned, every row with a score of its own.
#[track_caller]
fn fits(number: usize, kind: Kind, answer: &Answer) {
    let (result, dead) = match kind {
        Kind::Scored { rows } => (Some((rows, 0)), false),
        Kind::Partial { rows } => (Some((rows, 1)), true),
        Kind::Broken => (None, true),
        Kind::Expired => (None, false),
    };
    let scores = answer.result.as_deref().map(scores_and_gaps);
    assert_eq!((scores, answer.dead.is_some()), (result, dead), "payload {number}, {kind:?}: {answer:?}");
}

/// Number of predictions, and of those that are null.
fn scores_and_gaps(value: &[u8]) -> (u64, u64) {
    let reply: serde_json::Value = serde_json::from_slice(value).expect("JSON");
    let predictions = reply["predictions"].as_array().expect("predictions");
    (predictions.len() as u64, predictions.iter().filter(|p| p.is_null()).count() as u64)
}
