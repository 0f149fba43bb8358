//! Switches, canaries and shadows through the whole runner, over a log that is told when to abort and when a promotion
//! comes. The real codec and scorer: each result names its model.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lunapark_schemas::cuts::{CutRecord, Role, governing};
use lunapark_schemas::headers::{MODEL, SOURCE};
use lunapark_schemas::inference::Limits;
use lunapark_schemas::messages::At;
use lunapark_schemas::promotion::{FORMAT, Promotion, PromotionKind, PromotionStage};
use lunapark_schemas::{HeadersBuf, Messages, Position, Record, Share, TopicPartition};
use lunapark_score::{CutTable, InferenceCodec, Scorer};
use lunapark_stores::S3Options;
use lunapark_topics::embedded::{self, EmbeddedOptions};
use lunapark_topics::error::Recovery;
use lunapark_topics::{Ahead, Delivery, Limit, Log, LogError, LogErrorKind, Polled, Refusal, Stream, Topic};

use super::tests::{catalog, settings};
use super::tests_brittle::Brittle;
use super::{RunError, Runner, Settings};
use crate::config::ModelConfig;
use crate::metrics::PipelineMetrics;
use crate::models;
use crate::stop::Stop;
use crate::swap::{Premises, Switchboard, Switcher};

pub(super) const TOPIC: &str = "inference.events";
const SHADOW: &str = "inference.shadow";
pub(super) const MESSAGES: i64 = 120;
/// Messages of one poll.
const FEW: i64 = 3;

/// What is written of one transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    /// Source offset and version.
    pub(super) results: Vec<(i64, String)>,
    pub(super) shadow: Vec<(i64, String)>,
    pub(super) cuts: Vec<CutRecord>,
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
    /// Commits of such transactions that fail, and how.
    fails: usize,
    failing: fn(&Transaction) -> bool,
    kind: LogErrorKind,
    /// From this event on the shadow's records are refused, when they are produced or by the commit.
    refuses: Option<(i64, Refuses)>,
    /// Events that name a model.
    pins: Vec<(i64, &'static str)>,
    /// Where the group has committed.
    at: i64,
    open: Transaction,
    committed: Vec<Transaction>,
    aborted: Vec<Transaction>,
}

/// When a log refuses a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Refuses {
    AtOnce,
    AtCommit,
}

#[derive(Clone)]
struct Script {
    /// Where committed cuts are read back from.
    log: Arc<dyn Log>,
    cuts: Topic<CutRecord>,
    seen: Arc<Mutex<Seen>>,
    board: Arc<Switchboard>,
    stop: Stop,
}

impl Seen {
    /// Whether the open transaction holds a record that the commit refuses.
    fn refused(&self) -> bool {
        let from = self.refuses.filter(|(_, when)| *when == Refuses::AtCommit).map(|(from, _)| from);
        from.is_some_and(|from| self.open.shadow.iter().any(|(offset, _)| *offset >= from))
    }

    fn read(&mut self, into: &mut Messages) -> usize {
        if self.paused {
            return 0;
        }
        let end = (self.next + FEW).min(MESSAGES);
        for offset in self.next..end {
            let at = At { topic: TOPIC, partition: 0, offset, timestamp: 0 };
            let features: Vec<_> = (0..28).map(|n| format!("0.{}", (offset + n) % 10)).collect();
            let value = format!("{{\"instances\":[[{}]]}}", features.join(","));
            let mut headers = HeadersBuf::new();
            if let Some((_, name)) = self.pins.iter().find(|(pinned, _)| *pinned == offset) {
                headers.push_str(MODEL, name);
            }
            into.push(at, Some(offset.to_string().as_bytes()), Some(value.as_bytes()), headers.view());
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
            seen.paused = false;
            seen.next = seen.at;
            return Ok(Polled::Assigned(vec![TopicPartition::new(TOPIC, 0).at(seen.at)]));
        }
        let read = seen.read(into);
        if read == 0 && seen.next == MESSAGES && seen.promotes.is_empty() {
            // What is left is committed on the way out.
            self.stop.request();
        }
        Ok(Polled::Messages(read))
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
        let Seen { open, refuses, .. } = &mut *self.seen.lock().unwrap();
        let header = |name| record.headers.get_str(name).unwrap_or_default().to_owned();
        let offset = || header(SOURCE).rsplit('/').next().unwrap().parse().unwrap();
        let version = || header(MODEL).split(['/', '#']).nth(1).unwrap().to_owned();
        let refused = matches!(refuses, Some((from, Refuses::AtOnce)) if record.topic == SHADOW && offset() >= *from);
        if refused {
            return Err(LogError::new(LogErrorKind::TooLarge, "told to refuse"));
        }
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
        if seen.fails > 0 && (seen.failing)(&seen.open) {
            seen.fails -= 1;
            return Err(LogError::new(seen.kind, "told to fail"));
        }
        if seen.refused() {
            return Err(LogError::new(LogErrorKind::Unauthorised, "told to refuse"));
        }
        let open = std::mem::take(&mut seen.open);
        write(&*self.log, &self.cuts, &open.cuts);
        seen.at = next[0].offset;
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

    fn refusals(&mut self) -> Vec<Refusal> {
        let refusal =
            || Refusal { topic: SHADOW.into(), kind: LogErrorKind::Unauthorised, reason: "told to refuse".into() };
        self.seen.lock().unwrap().refused().then(refusal).into_iter().collect()
    }

    fn max_message_bytes(&self, _: &str) -> Option<usize> {
        None
    }

    fn close(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}

/// What a run is to meet.
pub(super) struct Told {
    pub(super) reads_on: usize,
    pub(super) promotes: Vec<(usize, Promotion)>,
    pub(super) fails: usize,
    pub(super) failing: fn(&Transaction) -> bool,
    pub(super) kind: LogErrorKind,
    pub(super) refuses: Option<(i64, Refuses)>,
    pub(super) rejects: Option<usize>,
    pub(super) pins: Vec<(i64, &'static str)>,
    /// Cuts of earlier times, and where the group has committed.
    pub(super) before: (Vec<CutRecord>, i64),
    /// Batches that version 2 scores before it fails.
    pub(super) good: usize,
    pub(super) panics: bool,
    pub(super) patience: Duration,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            reads_on: 0,
            promotes: Vec::new(),
            fails: 0,
            failing: |open| open.cuts.iter().any(|cut| cut.promotion > 0),
            kind: LogErrorKind::Rebalanced,
            refuses: None,
            rejects: None,
            pins: Vec::new(),
            before: (Vec::new(), 0),
            good: usize::MAX,
            panics: false,
            patience: Duration::from_secs(60),
        }
    }
}

pub(super) fn s3() -> S3Options {
    let none = String::new;
    S3Options { endpoint: none(), region: none(), access_key_id: none(), secret_access_key: none() }
}

pub(super) fn promotion(id: u64, kind: PromotionKind, share: Option<f64>) -> Promotion {
    Promotion {
        format: FORMAT,
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

pub(super) struct Ran {
    pub(super) committed: Vec<Transaction>,
    pub(super) aborted: Vec<Transaction>,
    /// How often version 2 was asked.
    pub(super) asked: usize,
    pub(super) counters: BTreeMap<String, f64>,
}

/// Runs until every message is committed. Transactions are of two polls.
pub(super) fn run(told: Told) -> Ran {
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
    let Told { reads_on, promotes, fails, failing, kind, refuses, rejects, pins, before, good, panics, patience } =
        told;
    write(&*log, &catalog.model_cuts, &before.0);
    let premises = Premises {
        log: log.clone(),
        cuts: catalog.model_cuts.clone(),
        source: TOPIC.into(),
        pipeline: "p".into(),
        default_artifact: "builtin:higgs-xgb".into(),
        delivery: Delivery::ExactlyOnce,
    };
    let board = Arc::new(Switchboard::new(premises, set.clone(), s3().into()));
    let table = Arc::new(CutTable::default());
    let codec = InferenceCodec::with_cuts(set.clone(), table.clone(), Limits::default());
    let operator = Brittle { scorer: Scorer::new(set), model: 1, good, asked: AtomicUsize::new(0), panics, rejects };
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
        failing,
        kind,
        refuses,
        pins,
        at: before.1,
        open: Transaction::default(),
        committed: Vec::new(),
        aborted: Vec::new(),
    };
    let (cuts, seen) = (catalog.model_cuts.clone(), Arc::new(Mutex::new(seen)));
    let script = Script { log, cuts, seen, board: board.clone(), stop: Stop::new() };
    let stop = script.stop.clone();
    let metrics = Arc::new(PipelineMetrics::new("p", "i").unwrap());
    loop {
        // As a stream thread does it.
        let switcher = Switcher::new(board.clone(), table.clone(), Arc::default(), "p-i-0");
        let runner = Runner::new(&codec, &operator, Box::new(script.clone()), &settings, metrics.clone());
        match runner.switching(Some(switcher)).run(&stop) {
            Ok(()) => break,
            Err(RunError::Log(error)) if error.recovery() == Recovery::Reopen => {
                script.seen.lock().unwrap().assigned = false;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let seen = script.seen.lock().unwrap();
    let (committed, aborted) = (seen.committed.clone(), seen.aborted.clone());
    Ran { committed, aborted, asked: operator.asked.load(Ordering::Relaxed), counters: metrics.record().counters }
}

/// Puts cuts where owners read them.
fn write(log: &dyn Log, topic: &Topic<CutRecord>, cuts: &[CutRecord]) {
    let mut writer = log.writer().unwrap();
    cuts.iter().for_each(|cut| writer.produce(&topic.encode(cut).unwrap().record(Some(0))).unwrap());
    writer.flush(Duration::from_secs(60)).unwrap();
}

impl Ran {
    /// What is counted of the shadow of promotion 1.
    pub(super) fn counted(&self, outcome: &str) -> f64 {
        let name =
            format!("lunapark_shadow_total{{model=\"higgs\",outcome=\"{outcome}\",promotion=\"1\",version=\"2\"}}");
        self.counters.get(&name).copied().unwrap_or_default()
    }

    pub(super) fn cuts(&self, role: Role) -> Vec<CutRecord> {
        let all = self.committed.iter().flat_map(|transaction| transaction.cuts.clone());
        all.filter(|cut| cut.role == role).collect()
    }

    /// Each event has one result, in order, by the model that the committed cuts say.
    pub(super) fn assert_obeyed(&self) {
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

pub(super) fn taken(share: Share, offset: i64) -> bool {
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
