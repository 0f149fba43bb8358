//! Switches, canaries and shadows through the whole runner, over a log that is told when to abort and when a promotion
//! comes. The real codec and scorer: each result names its model.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lunapark_operator::{Batch, Operator, OperatorError, Scored};
use lunapark_schemas::cuts::{CutRecord, Role, governing};
use lunapark_schemas::headers::{MODEL, SOURCE};
use lunapark_schemas::inference::Limits;
use lunapark_schemas::messages::At;
use lunapark_schemas::promotion::{Promotion, PromotionKind, PromotionStage};
use lunapark_schemas::{Messages, Outcome, Position, Record, Share, TopicPartition};
use lunapark_score::{CutTable, InferenceCodec, Scorer};
use lunapark_stores::S3Options;
use lunapark_topics::embedded::{self, EmbeddedOptions};
use lunapark_topics::{Ahead, Delivery, Limit, LogError, LogErrorKind, Polled, Stream};

use super::tests::{catalog, settings};
use super::{Runner, Settings};
use crate::config::ModelConfig;
use crate::metrics::PipelineMetrics;
use crate::models;
use crate::stop::Stop;
use crate::swap::{Premises, Switchboard, Switcher};

const TOPIC: &str = "inference.events";
const MESSAGES: i64 = 120;
/// Messages of one poll.
const FEW: i64 = 3;

/// What is written of one transaction.
#[derive(Clone, Debug, Default)]
struct Transaction {
    /// Source offset and version.
    results: Vec<(i64, String)>,
    shadow: Vec<(i64, String)>,
    cuts: Vec<CutRecord>,
}

/// What the log does, and what it has seen; offsets of one partition.
struct Seen {
    assigned: bool,
    paused: bool,
    next: i64,
    /// Messages to be read while a commit is under way.
    reads_on: usize,
    left: usize,
    /// The promotion comes while the commit of this many transactions is under way, after what is read on.
    promotes: Vec<(usize, Promotion)>,
    /// Commits of transactions with cuts that fail.
    fails: usize,
    open: Transaction,
    committed: Vec<Transaction>,
    aborted: Vec<Transaction>,
}

#[derive(Clone)]
struct Script {
    seen: Arc<Mutex<Seen>>,
    board: Arc<Switchboard>,
    stop: Stop,
}

impl Seen {
    fn read(&mut self, into: &mut Messages) -> usize {
        if self.paused {
            return 0;
        }
        let end = (self.next + FEW).min(MESSAGES);
        for offset in self.next..end {
            let at = At { topic: TOPIC, partition: 0, offset, timestamp: 0 };
            let features: Vec<_> = (0..28).map(|n| format!("0.{}", (offset + n) % 10)).collect();
            let value = format!("{{\"instances\":[[{}]]}}", features.join(","));
            into.push(at, Some(offset.to_string().as_bytes()), Some(value.as_bytes()), std::iter::empty());
        }
        let count = end - self.next;
        self.next = end;
        count as usize
    }
}

impl Ahead for Script {
    fn poll(&mut self, into: &mut Messages, _: Limit) -> Result<usize, LogError> {
        let mut seen = self.seen.lock().unwrap();
        seen.left = seen.left.saturating_sub(1);
        Ok(seen.read(into))
    }

    fn committing(&self) -> bool {
        self.seen.lock().unwrap().left > 0
    }
}

impl Stream for Script {
    fn poll(&mut self, into: &mut Messages, _: Limit, _: Duration) -> Result<Polled, LogError> {
        let mut seen = self.seen.lock().unwrap();
        if !std::mem::replace(&mut seen.assigned, true) {
            return Ok(Polled::Assigned(vec![TopicPartition::new(TOPIC, 0).at(0)]));
        }
        Ok(Polled::Messages(seen.read(into)))
    }

    fn release(&mut self, _: &[TopicPartition]) -> Result<(), LogError> {
        Ok(())
    }

    fn pause(&mut self, _: &[TopicPartition]) -> Result<(), LogError> {
        self.seen.lock().unwrap().paused = true;
        Ok(())
    }

    fn resume(&mut self, _: &[TopicPartition]) -> Result<(), LogError> {
        self.seen.lock().unwrap().paused = false;
        Ok(())
    }

    fn produce(&mut self, record: &Record<'_>, _: Option<(i32, i64)>) -> Result<(), LogError> {
        let open = &mut self.seen.lock().unwrap().open;
        let header = |name| record.headers.get_str(name).unwrap_or_default().to_owned();
        let offset = || header(SOURCE).rsplit('/').next().unwrap().parse().unwrap();
        let version = || header(MODEL).split(['/', '#']).nth(1).unwrap().to_owned();
        match record.topic {
            "inference.results" => open.results.push((offset(), version())),
            "inference.shadow" => open.shadow.push((offset(), version())),
            "model.cuts" => open.cuts.push(serde_json::from_slice(record.value.unwrap()).unwrap()),
            "ledger" => {}
            other => panic!("a record for {other}"),
        }
        Ok(())
    }

    fn commit(&mut self, next: &[Position]) -> Result<(), LogError> {
        self.commit_while(next, &mut |_| Ok(()))
    }

    fn commit_while(
        &mut self,
        next: &[Position],
        meanwhile: &mut dyn FnMut(&mut dyn Ahead) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.left = seen.reads_on;
        }
        meanwhile(&mut self.clone())?;
        let mut seen = self.seen.lock().unwrap();
        let number = seen.committed.len();
        let due = seen.promotes.iter().position(|(at, _)| *at <= number);
        if let Some((_, promotion)) = due.map(|due| seen.promotes.remove(due)) {
            let kept = self.board.load_promoted(&promotion).ok();
            self.board.want(promotion, kept);
        }
        if seen.fails > 0 && seen.open.cuts.iter().any(|cut| cut.promotion > 0) {
            seen.fails -= 1;
            return Err(LogError::new(LogErrorKind::Rebalanced, "told to fail"));
        }
        let open = std::mem::take(&mut seen.open);
        seen.committed.push(open);
        if next[0].offset == MESSAGES && seen.promotes.is_empty() {
            self.stop.request();
        }
        Ok(())
    }

    fn abort(&mut self, rewind: &[Position]) -> Result<(), LogError> {
        let mut seen = self.seen.lock().unwrap();
        let open = std::mem::take(&mut seen.open);
        if let Some(position) = rewind.first() {
            seen.next = position.offset;
            seen.aborted.push(open);
        }
        Ok(())
    }

    fn refused(&mut self) -> Vec<(i32, i64)> {
        Vec::new()
    }

    fn max_message_bytes(&self, _: &str) -> Option<usize> {
        None
    }

    fn close(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}

/// Scores, until it is asked for the model at this index for the so-and-so-many-th time.
struct Brittle {
    scorer: Scorer,
    model: usize,
    good: usize,
    asked: AtomicUsize,
    panics: bool,
}

impl Operator for Brittle {
    type Out = Scored;

    fn name(&self) -> &'static str {
        "brittle"
    }

    async fn process(&self, batch: &Batch) -> Result<Vec<Outcome<Scored>>, OperatorError> {
        if batch.model == self.model && self.asked.fetch_add(1, Ordering::Relaxed) >= self.good {
            assert!(!self.panics, "told to panic");
            return Err(OperatorError::fatal("told to fail"));
        }
        self.scorer.process(batch).await
    }
}

/// What a run is to meet.
struct Told {
    reads_on: usize,
    promotes: Vec<(usize, Promotion)>,
    fails: usize,
    /// Batches that version 2 scores before it fails.
    good: usize,
    panics: bool,
    patience: Duration,
}

impl Default for Told {
    fn default() -> Self {
        let (promotes, patience) = (Vec::new(), Duration::from_secs(60));
        Self { reads_on: 0, promotes, fails: 0, good: usize::MAX, panics: false, patience }
    }
}

fn s3() -> S3Options {
    let none = String::new;
    S3Options { endpoint: none(), region: none(), access_key_id: none(), secret_access_key: none() }
}

fn promotion(id: u64, kind: PromotionKind, share: Option<f64>) -> Promotion {
    Promotion {
        id,
        pipeline: "p".into(),
        model: "higgs".into(),
        version: "2".into(),
        digest: models::load("builtin:higgs-mlp", None, &s3().into()).unwrap().digest,
        artifact: "builtin:higgs-mlp".into(),
        kind,
        share: share.map(|share| Share::try_from(share).unwrap()),
        stage: PromotionStage::On,
        at: Vec::new(),
        reason: None,
        created_at: 0,
    }
}

struct Ran {
    committed: Vec<Transaction>,
    aborted: Vec<Transaction>,
}

/// Runs until every message is committed. Transactions are of two polls.
fn run(told: Told) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let log = embedded::open(dir.path(), &EmbeddedOptions::default()).unwrap();
    let catalog = catalog();
    for spec in catalog.specs() {
        log.create_topic(&spec).unwrap();
    }
    let one = ModelConfig {
        name: "higgs".into(),
        version: "1".into(),
        path: "builtin:higgs-xgb".into(),
        sha256: None,
        device: lunapark_models::Device::Cpu,
    };
    let set = Arc::new(models::load_all(&[one], &s3().into()).unwrap());
    let premises = Premises {
        log,
        cuts: catalog.model_cuts.clone(),
        source: TOPIC.into(),
        pipeline: "p".into(),
        default_artifact: "builtin:higgs-xgb".into(),
        delivery: Delivery::ExactlyOnce,
    };
    let board = Arc::new(Switchboard::new(premises, set.clone(), s3().into()));
    let table = Arc::new(CutTable::default());
    let codec = InferenceCodec::with_cuts(set.clone(), table.clone(), Limits::default());
    let Told { reads_on, promotes, fails, good, panics, patience } = told;
    let operator = Brittle { scorer: Scorer::new(set), model: 1, good, asked: AtomicUsize::new(0), panics };
    let settings = Settings {
        commit_messages: 2 * FEW as u64,
        commit_interval: Duration::from_secs(3600),
        shadow_patience: patience,
        ..settings(&catalog)
    };
    let seen = Seen {
        assigned: false,
        paused: false,
        next: 0,
        reads_on,
        left: 0,
        promotes,
        fails,
        open: Transaction::default(),
        committed: Vec::new(),
        aborted: Vec::new(),
    };
    let script = Script { seen: Arc::new(Mutex::new(seen)), board: board.clone(), stop: Stop::new() };
    let stop = script.stop.clone();
    let metrics = Arc::new(PipelineMetrics::new("p", "i").unwrap());
    let switcher = Switcher::new(board, table, Arc::default(), "p-i-0");
    let runner = Runner::new(&codec, &operator, Box::new(script.clone()), &settings, metrics);
    runner.switching(Some(switcher)).run(&stop).unwrap();
    let seen = script.seen.lock().unwrap();
    Ran { committed: seen.committed.clone(), aborted: seen.aborted.clone() }
}

impl Ran {
    fn cuts(&self, role: Role) -> Vec<CutRecord> {
        let all = self.committed.iter().flat_map(|transaction| transaction.cuts.clone());
        all.filter(|cut| cut.role == role).collect()
    }

    /// Each event has one result, in order, by the model that the committed cuts say.
    fn assert_obeyed(&self) {
        let results: Vec<_> = self.committed.iter().flat_map(|transaction| transaction.results.clone()).collect();
        assert_eq!(results.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (0..MESSAGES).collect::<Vec<_>>());
        let cuts = self.cuts(Role::Live);
        for (offset, version) in results {
            let cut = governing(&cuts, offset).expect("the configured model has its cut, too");
            let canary = cut.canary.as_ref().filter(|canary| taken(canary.share, offset));
            assert_eq!(version, canary.map_or(&cut.version, |canary| &canary.version).as_str(), "offset {offset}");
        }
    }

    /// A cut is in the transaction that begins at its offset.
    fn assert_at_boundaries(&self) {
        for transaction in &self.committed {
            for cut in transaction.cuts.iter().filter(|cut| cut.role == Role::Live) {
                assert_eq!(transaction.results.first().map(|(offset, _)| *offset), Some(cut.next_offset));
            }
        }
    }
}

fn taken(share: Share, offset: i64) -> bool {
    let mut messages = Messages::new();
    let at = At { topic: TOPIC, partition: 0, offset, timestamp: 0 };
    messages.push(at, Some(offset.to_string().as_bytes()), None, std::iter::empty());
    share.takes(&messages.get(0))
}

#[test]
fn what_was_read_ahead_of_a_switch_is_scored_by_the_new_model() {
    for reads_on in 0..4 {
        let ran =
            run(Told { reads_on, promotes: vec![(5, promotion(1, PromotionKind::Switch, None))], ..Told::default() });
        ran.assert_obeyed();
        ran.assert_at_boundaries();
        let cuts = ran.cuts(Role::Live);
        assert_eq!(
            cuts.iter().map(|cut| (cut.promotion, cut.version.as_str())).collect::<Vec<_>>(),
            [(0, "1"), (1, "2")]
        );
        assert!(cuts[1].next_offset < MESSAGES / 2, "it came early: {cuts:?}");
    }
}

#[test]
fn a_switch_whose_transaction_is_aborted_is_made_again_and_nothing_of_it_is_left() {
    for reads_on in [0, 2] {
        let ran = run(Told {
            reads_on,
            fails: 2,
            promotes: vec![(5, promotion(1, PromotionKind::Switch, None))],
            ..Told::default()
        });
        assert_eq!(ran.aborted.len(), 2);
        assert!(ran.aborted.iter().all(|transaction| transaction.cuts.iter().any(|cut| cut.promotion == 1)));
        ran.assert_obeyed();
        ran.assert_at_boundaries();
        assert_eq!(ran.cuts(Role::Live).len(), 2);
    }
}

#[test]
fn a_canary_scores_its_share_until_it_is_promoted() {
    let (canary, whole) = (promotion(1, PromotionKind::Canary, Some(0.4)), promotion(2, PromotionKind::Switch, None));
    let ran = run(Told { reads_on: 2, promotes: vec![(3, canary), (9, whole)], ..Told::default() });
    ran.assert_obeyed();
    let cuts = ran.cuts(Role::Live);
    assert_eq!(cuts.len(), 3);
    let tried: Vec<_> = ran.committed.iter().flat_map(|transaction| &transaction.results).collect();
    let tried = &tried[cuts[1].next_offset as usize..cuts[2].next_offset as usize];
    assert!(tried.iter().any(|(_, version)| version == "1") && tried.iter().any(|(_, version)| version == "2"));
}

/// The shadow scored what its cuts say, all of it and nothing else.
fn assert_shadowed(ran: &Ran, share: f64) -> usize {
    let share = Share::try_from(share).unwrap();
    let cuts = ran.cuts(Role::Shadow);
    let on = |offset: i64| governing(&cuts, offset).is_some_and(|cut| cut.share == Some(share));
    let due: Vec<_> = (0..MESSAGES).filter(|offset| on(*offset) && taken(share, *offset)).collect();
    let found: Vec<_> = ran.committed.iter().flat_map(|transaction| transaction.shadow.clone()).collect();
    assert!(found.iter().all(|(_, version)| version == "2"));
    assert_eq!(found.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), due);
    due.len()
}

#[test]
fn a_shadow_scores_its_share_besides_and_no_result_changes() {
    for reads_on in [0, 3] {
        let begin = promotion(1, PromotionKind::Shadow, Some(0.5));
        let end = Promotion { share: None, ..promotion(2, PromotionKind::ShadowEnd, None) };
        let ran = run(Told { reads_on, promotes: vec![(3, begin), (9, end)], ..Told::default() });
        ran.assert_obeyed();
        assert_eq!(ran.cuts(Role::Live).len(), 1, "only that of the configuration");
        assert_eq!(ran.cuts(Role::Shadow).len(), 2);
        assert!(assert_shadowed(&ran, 0.5) > 5);
    }
}

#[test]
fn a_shadow_that_fails_is_ended_at_an_offset_and_the_results_do_not_notice() {
    let begin = || vec![(3, promotion(1, PromotionKind::Shadow, Some(1.0)))];
    for (reads_on, panics) in [(0, false), (0, true), (3, false), (3, true)] {
        let ran = run(Told { reads_on, panics, good: 4, promotes: begin(), ..Told::default() });
        ran.assert_obeyed();
        let cuts = ran.cuts(Role::Shadow);
        assert_eq!(cuts.len(), 2, "{cuts:?}");
        let reason = cuts[1].reason.as_deref().unwrap_or_default();
        assert!(reason.contains(if panics { "panicked" } else { "told to fail" }), "{reason}");
        assert!(assert_shadowed(&ran, 1.0) > 0);
        assert!(ran.aborted.is_empty());
    }
    let slow = run(Told { patience: Duration::ZERO, promotes: begin(), ..Told::default() });
    slow.assert_obeyed();
    assert!(slow.cuts(Role::Shadow)[1].reason.as_deref().unwrap_or_default().contains("score.shadow_patience"));
}
