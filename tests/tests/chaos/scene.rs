//! A workplace on Kafka under load, and what must hold of it in the end.

use std::time::Duration;

use lunapark_tests::harness::{Service, Workplace, until};
use lunapark_tests::verifier::{
    Baseline, Evidence, KafkaLoad, Progress, Totals, hanging_transactions, read_topic, topics_under, verify,
};

/// Every partition moves again within this after a kill: the project's promise.
pub(super) const MOVES_AGAIN: Duration = Duration::from_secs(30);
/// What is left when the load ends, after a session time-out and a transaction time-out.
const SETTLES: Duration = Duration::from_secs(120);
const EVENTS: &str = "inference.events";
const RESULTS: &str = "inference.results";
const DEAD: &str = "inference.events.dead";

/// Six partitions, so that two instances with two threads each have some to move.
pub(super) const PARTITIONS: i32 = 6;
const THREADS: u32 = 2;

/// A workplace with its load.
pub(super) struct Scene {
    pub(super) work: Workplace,
    pub(super) progress: Progress,
    bootstrap: String,
    load: KafkaLoad,
}

impl Scene {
    /// Creates the topics and starts the load.
    #[track_caller]
    pub(super) fn open(work: Workplace, bootstrap: &str, per_second: f64) -> Self {
        let (plan, _) = Baseline::higgs();
        let level = std::env::var("LUNAPARK_TEST_LOG").unwrap_or_else(|_| "info".to_owned());
        let work = work.with("topics.partitions", PARTITIONS).with("score.threads", THREADS);
        let work = work.with("log.level", format!("{level:?}"));
        work.create_topics();
        let events = work.topic(EVENTS);
        let progress = Progress::of(bootstrap, &work.group(), &events);
        let load = KafkaLoad::start(bootstrap, &events, PARTITIONS, plan, per_second);
        Self { work, progress, bootstrap: bootstrap.to_owned(), load }
    }

    /// `lunapark run` under this name, ready.
    #[track_caller]
    pub(super) fn instance(&self, name: &str) -> Service {
        self.work.service(name, &[])
    }

    /// `lunapark run` under this name, as soon as its process answers.
    #[track_caller]
    pub(super) fn instance_unready(&self, name: &str) -> Service {
        self.work.service_unready(name, &[])
    }

    /// Ends the load, waits until all is processed, stops the services in order, and has everything verified.
    #[track_caller]
    pub(super) fn close(self, services: Vec<Service>) {
        let (work, evidence) = self.end(services);
        prove(&work, &evidence);
    }

    /// As [`close`](Self::close), but only reads what there is to verify.
    #[track_caller]
    pub(super) fn end(self, services: Vec<Service>) -> (Workplace, Evidence) {
        let Self { work, progress, bootstrap, load } = self;
        let produced = load.finish();
        assert_eq!(produced.in_doubt, 0, "the load itself was disturbed");
        progress.caught_up(SETTLES);
        for service in services {
            service.terminate().ok();
        }
        check_no_transaction_hangs(&work, &bootstrap);
        check_nothing_else(&work, &bootstrap);
        let [events, results, dead] = [EVENTS, RESULTS, DEAD].map(|name| read_topic(&bootstrap, &work.topic(name)));
        (work, Evidence { events, results, dead, accepted: produced.accepted })
    }
}

fn check_no_transaction_hangs(work: &Workplace, bootstrap: &str) {
    for name in [RESULTS, DEAD, "ledger"] {
        let topic = work.topic(name);
        until(SETTLES, &format!("no reader of {topic} is held back"), || {
            hanging_transactions(bootstrap, &topic).is_empty().then_some(())
        });
    }
}

fn check_nothing_else(work: &Workplace, bootstrap: &str) {
    let switching = ["models", "control", "model.cuts", "inference.shadow"];
    let mut expected: Vec<_> =
        [EVENTS, DEAD, RESULTS, "ledger", "metrics"].iter().chain(&switching).map(|name| work.topic(name)).collect();
    expected.sort();
    assert_eq!(topics_under(bootstrap, work.prefix()), expected);
}

/// The verifier counts the records; `lunapark audit` must come to the same numbers.
#[track_caller]
pub(super) fn prove(work: &Workplace, evidence: &Evidence) {
    let (plan, baseline) = Baseline::higgs();
    assert!(evidence.accepted.len() > 1000, "only {} events were accepted", evidence.accepted.len());
    let verdict = verify(plan, baseline, evidence);
    verdict.assert_proven();
    println!("verified: {:?}", verdict.totals);
    check_audit(work, &verdict.totals);
}

#[track_caller]
fn check_audit(work: &Workplace, totals: &Totals) {
    for arguments in [&["audit"][..], &["audit", "--deep"]] {
        let audit = work.cli_json(arguments);
        let number = |name: &str| audit[name].as_u64().unwrap_or_else(|| panic!("no {name} in {audit:#}"));
        assert_eq!((&audit["proven"], number("lost"), number("duplicated")), (&true.into(), 0, 0), "{audit:#}");
        let counted = ["in", "results", "filtered", "dead", "partial"].map(number);
        let Totals { messages, results, filtered, dead, partial, .. } = *totals;
        assert_eq!(counted, [messages, results, filtered, dead, partial], "{audit:#}");
        let rows = ["in", "results"].map(|name| audit["rows"][name].as_u64());
        assert_eq!(rows, [Some(totals.rows), Some(totals.scored_rows)], "{audit:#}");
    }
}
