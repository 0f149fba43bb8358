//! Cuts of one stream thread on the embedded log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_models::Device;
use lunapark_operator::VersionName;
use lunapark_schemas::cuts::{CutRecord, Role};
use lunapark_schemas::promotion::{FORMAT, Planned, Promotion, PromotionKind, PromotionStage};
use lunapark_schemas::{Position, Record, Share, TopicPartition};
use lunapark_score::{Cut, CutTable, ShadowCut, Taker, Version};
use lunapark_stores::S3Options;
use lunapark_topics::catalog::CatalogOptions;
use lunapark_topics::embedded::{self, EmbeddedOptions};
use lunapark_topics::{Catalog, Delivery, Log};

use super::{Premises, Switchboard, Switcher};
use crate::config::ModelConfig;
use crate::health::Health;
use crate::models;

const NET: &str = "builtin:higgs-mlp";
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Place {
    pub(super) log: Arc<dyn Log>,
    pub(super) catalog: Catalog,
    pub(super) board: Arc<Switchboard>,
    pub(super) _dir: tempfile::TempDir,
}

pub(super) fn s3() -> S3Options {
    let none = String::new;
    S3Options { endpoint: none(), region: none(), access_key_id: none(), secret_access_key: none() }
}

pub(super) fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let log = embedded::open(dir.path(), &EmbeddedOptions::default()).unwrap();
    let options = CatalogOptions {
        prefix: String::new(),
        partitions: 2,
        ledger_partitions: 1,
        retention: None,
        jobs_retention: None,
        control_retention: None,
        max_message_bytes: 1 << 20,
        replication: 1,
    };
    let catalog = Catalog::new(&options);
    for spec in catalog.specs() {
        log.create_topic(&spec).unwrap();
    }
    let board = board(&log, &catalog);
    Place { log, catalog, board, _dir: dir }
}

/// A board as a fresh process has it.
pub(super) fn board(log: &Arc<dyn Log>, catalog: &Catalog) -> Arc<Switchboard> {
    board_delivering(log, catalog, Delivery::ExactlyOnce)
}

pub(super) fn board_delivering(log: &Arc<dyn Log>, catalog: &Catalog, delivery: Delivery) -> Arc<Switchboard> {
    let (name, version, path) = ("higgs".into(), "1".into(), "builtin:higgs-xgb".into());
    let set = models::load_all(&[ModelConfig { name, version, path, sha256: None, device: Device::Cpu }], &s3().into())
        .unwrap();
    let premises = Premises {
        log: log.clone(),
        cuts: catalog.model_cuts.clone(),
        source: catalog.inference_events.name().clone(),
        pipeline: "score".into(),
        default_artifact: "builtin:higgs-xgb".into(),
        delivery,
    };
    Arc::new(Switchboard::new(premises, Arc::new(set), s3().into()))
}

pub(super) fn promotion(id: u64, version: &str, at: &[Planned]) -> Promotion {
    Promotion {
        format: FORMAT,
        id,
        pipeline: "score".into(),
        model: "higgs".into(),
        version: version.into(),
        digest: models::load(NET, None, &s3().into()).unwrap().digest,
        artifact: NET.into(),
        kind: PromotionKind::Switch,
        share: None,
        stage: PromotionStage::On,
        at: at.to_vec(),
        reason: None,
        created_at: 0,
    }
}

impl Place {
    pub(super) fn at(&self, offsets: [i64; 2]) -> Vec<Position> {
        let at = |partition: usize| {
            TopicPartition::new(self.catalog.inference_events.name().clone(), partition as i32).at(offsets[partition])
        };
        vec![at(0), at(1)]
    }

    pub(super) fn want(&self, promotion: Promotion) {
        let kept = (promotion.kind != PromotionKind::ShadowEnd).then(|| self.board.load_promoted(&promotion).unwrap());
        self.board.want(promotion, kept);
    }

    pub(super) fn write(&self, cuts: &[CutRecord]) {
        let mut writer = self.log.writer().unwrap();
        for cut in cuts {
            writer.produce(&self.catalog.model_cuts.encode(cut).unwrap().record(Some(cut.partition))).unwrap();
        }
        writer.flush(Duration::from_secs(10)).unwrap();
    }

    /// One that has not taken its partitions over yet.
    pub(super) fn waiting(&self, health: &Arc<Health>) -> (Switcher, Arc<CutTable>) {
        self.waiting_at([5, 7], health)
    }

    pub(super) fn waiting_at(&self, offsets: [i64; 2], health: &Arc<Health>) -> (Switcher, Arc<CutTable>) {
        let table = Arc::new(CutTable::default());
        let mut switcher = Switcher::new(self.board.clone(), table.clone(), health.clone(), "score-a-0");
        switcher.assigned(&self.at(offsets));
        (switcher, table)
    }

    /// Puts anything under a key of the cuts of the first partition.
    pub(super) fn write_raw(&self, key: &str, value: Option<&[u8]>) {
        let (topic, key) = (self.catalog.model_cuts.name(), Some(key.as_bytes()));
        let record = Record { topic, partition: Some(0), key, value, headers: Default::default(), timestamp: None };
        let mut writer = self.log.writer().unwrap();
        writer.produce(&record).unwrap();
        writer.flush(PATIENCE).unwrap();
    }

    pub(super) fn switcher(&self) -> (Switcher, Arc<CutTable>) {
        let (mut switcher, table) = self.waiting(&Arc::default());
        assert_eq!(arrivals(&mut switcher, |switcher, _| !switcher.waits()), [0, 1]);
        (switcher, table)
    }
}

/// Partitions that arrive until something holds.
pub(super) fn arrivals(switcher: &mut Switcher, done: impl Fn(&Switcher, &[i32]) -> bool) -> Vec<i32> {
    let (mut found, began) = (Vec::new(), Instant::now());
    while !done(switcher, &found) {
        assert!(began.elapsed() < PATIENCE, "partitions are taken over: {found:?}");
        found.extend(switcher.arrived().iter().map(|start| start.partition));
        std::thread::park_timeout(Duration::from_millis(1));
    }
    found.sort_unstable();
    found
}

/// The model of each live cut of a partition, by offset.
pub(super) fn live(table: &CutTable, partition: i32) -> Vec<Cut> {
    table.of(partition).live.clone()
}

pub(super) fn offsets(cuts: &[CutRecord]) -> Vec<i64> {
    cuts.iter().map(|cut| cut.next_offset).collect()
}

#[test]
fn an_aborted_cut_never_was() {
    let place = place();
    let (mut switcher, table) = place.switcher();
    assert!(!switcher.due());
    place.want(promotion(1, "2", &[Planned { partition: 1, offset: 20 }]));
    assert!(switcher.due());
    assert_eq!(offsets(&switcher.cut(&place.at([5, 7]))), [5, 20]);
    assert!(switcher.is_open() && !switcher.due());
    assert_eq!(live(&table, 0), [Cut::to(1, 5)]);
    switcher.aborted();
    assert!(live(&table, 0).is_empty() && switcher.due());
    assert_eq!(
        offsets(&switcher.cut(&place.at([6, 30]))),
        [6, 30],
        "a planned offset that has passed is the present one"
    );
    switcher.committed();
    assert!(!switcher.is_open() && !switcher.due());
    assert_eq!(live(&table, 1), [Cut::to(1, 30)]);
}

#[test]
fn the_next_owner_knows_the_cuts_and_makes_none_again() {
    let place = place();
    let (mut switcher, _) = place.switcher();
    place.want(promotion(1, "2", &[]));
    place.want(promotion(2, "3", &[]));
    let cuts = switcher.cut(&place.at([5, 7]));
    assert_eq!(cuts.iter().map(|cut| cut.promotion).collect::<Vec<_>>(), [2, 2], "only the latest counts");
    place.write(&cuts);

    // A process that has not heard of the second promotion yet, and loads what the cuts name.
    let place = Place { board: board(&place.log, &place.catalog), ..place };
    let (mut switcher, table) = place.switcher();
    assert_eq!(live(&table, 0), [Cut::to(1, 5)]);
    place.want(promotion(1, "2", &[]));
    assert_eq!(switcher.cut(&place.at([6, 8])), [], "an older promotion undoes no newer cut");
    assert!(!switcher.is_open());
}

#[test]
fn partitions_that_are_gone_are_not_cut() {
    let place = place();
    let (mut switcher, _) = place.switcher();
    switcher.forget(&[TopicPartition::new(place.catalog.inference_events.name().clone(), 0)]);
    place.want(promotion(1, "2", &[]));
    assert_eq!(offsets(&switcher.cut(&place.at([5, 7]))), [7]);
}

#[test]
fn a_model_that_is_not_what_was_promoted_is_refused() {
    let place = place();
    let wrong = Promotion { digest: "0".repeat(64), ..promotion(1, "2", &[]) };
    let refused = |promotion: &Promotion| place.board.load_promoted(promotion).err().unwrap().to_string();
    let error = refused(&wrong);
    assert!(error.contains("higgs/2") && error.contains(&wrong.digest), "{error}");
    let error = refused(&promotion(1, "1", &[]));
    assert!(error.contains("a version of its own"), "{error}");
}

#[test]
fn at_least_once_makes_no_cuts() {
    let place = place();
    let board = board_delivering(&place.log, &place.catalog, Delivery::AtLeastOnce);
    let place = Place { board, ..place };
    let error = place.board.load_promoted(&promotion(1, "2", &[])).err().unwrap().to_string();
    assert!(error.contains("set score.delivery = \"exactly_once\""), "{error}");
    let (mut switcher, _) = place.switcher();
    place.board.want(promotion(1, "2", &[]), None);
    assert!(!switcher.due());
    assert_eq!(offsets(&switcher.configured(&place.at([5, 7]))), [5, 7], "but says which configured model scores");
    assert_eq!(switcher.cut(&place.at([5, 7])), []);
}

#[test]
fn a_partition_that_leaves_while_it_is_taken_over_does_not_arrive() {
    let place = place();
    let (mut switcher, _) = place.waiting(&Arc::default());
    switcher.forget(&[TopicPartition::new(place.catalog.inference_events.name().clone(), 0)]);
    assert_eq!(arrivals(&mut switcher, |switcher, _| !switcher.waits()), [1]);
}

/// The versions that events may name, and where they may.
pub(super) fn named(table: &CutTable) -> Vec<(i64, Version)> {
    table.of(0).named.iter().map(|named| (named.from, named.version.clone())).collect()
}

pub(super) fn away(version: &str) -> Version {
    Version::Away(VersionName { name: "higgs".into(), version: version.into() })
}

#[test]
fn every_version_that_can_be_wanted_is_loaded_and_none_other() {
    let place = place();
    let (mut switcher, table) = place.switcher();
    for (id, version) in [(1, "2"), (2, "3")] {
        place.want(promotion(id, version, &[]));
        place.write(&switcher.cut(&place.at([5 + id as i64, 7 + id as i64])));
        switcher.committed();
    }
    let both = [(6, Version::Loaded(1)), (7, Version::Loaded(2))];
    assert_eq!(named(&table), both);
    let loaded = |board: &Switchboard, version| {
        let index = board.models.find("higgs", version);
        index.is_some_and(|index| board.models.get(index).unwrap().model().is_some())
    };
    let fresh = board(&place.log, &place.catalog);
    let place = Place { board: fresh.clone(), ..place };
    let (mut switcher, table) = place.switcher();
    assert_eq!(named(&table), both, "the same at whoever takes over before them");
    assert!(loaded(&fresh, "2") && loaded(&fresh, "3"));
    place.board.load_promoted(&promotion(3, "4", &[])).map(drop).unwrap();
    assert!(!loaded(&fresh, "4"), "a promotion that was not made keeps nothing");
    switcher
        .forget(&[0, 1].map(|partition| TopicPartition::new(place.catalog.inference_events.name().clone(), partition)));
    assert!(!loaded(&fresh, "2") && loaded(&fresh, "1"), "nobody holds it; the default stays");
}

#[test]
fn the_configured_model_is_recorded_where_it_first_scores_and_where_it_changes() {
    let place = place();
    let (mut switcher, table) = place.switcher();
    let cuts = switcher.configured(&place.at([5, 7])[..1]);
    assert_eq!((offsets(&cuts), cuts[0].promotion, cuts[0].version.as_str()), (vec![5], 0, "1"));
    switcher.aborted();
    let cuts = switcher.configured(&place.at([5, 7])[..1]);
    assert_eq!(offsets(&cuts), [5], "an aborted one is made again");
    place.write(&cuts);
    switcher.committed();
    assert_eq!(switcher.configured(&place.at([9, 7])[..1]), [], "once is enough");
    assert!(live(&table, 0).is_empty() && !switcher.is_open());

    // The same configuration needs none; a promotion's cut none either; another configuration one more.
    let again = Place { board: board(&place.log, &place.catalog), ..place };
    let (mut switcher, _) = again.switcher();
    assert_eq!(offsets(&switcher.configured(&again.at([9, 7]))), [7]);
    switcher.aborted();
    let other =
        ModelConfig { name: "other".into(), version: "1".into(), path: NET.into(), sha256: None, device: Device::Cpu };
    let set = models::load_all(&[other], &s3().into()).unwrap();
    let premises = Premises {
        log: again.log.clone(),
        cuts: again.catalog.model_cuts.clone(),
        source: again.catalog.inference_events.name().clone(),
        pipeline: "score".into(),
        default_artifact: NET.into(),
        delivery: Delivery::ExactlyOnce,
    };
    let board = Arc::new(Switchboard::new(premises, Arc::new(set), s3().into()));
    let place = Place { board, ..again };
    let (mut switcher, _) = place.switcher();
    let cuts = switcher.configured(&place.at([9, 7])[..1]);
    assert_eq!((offsets(&cuts), cuts[0].model.as_str()), (vec![9], "other"));
    place.want(promotion(1, "2", &[]));
    switcher.committed();
    switcher.cut(&place.at([12, 12]));
    switcher.committed();
    assert_eq!(switcher.configured(&place.at([13, 13])), []);
}

pub(super) fn share(part: f64) -> Option<Share> {
    Some(Share::try_from(part).unwrap())
}

#[test]
fn a_canary_is_tried_on_what_governs_and_a_switch_ends_it() {
    let place = place();
    let (mut switcher, table) = place.switcher();
    place.want(Promotion { kind: PromotionKind::Canary, share: share(0.1), ..promotion(1, "2", &[]) });
    let cuts = switcher.cut(&place.at([5, 7]));
    let canary = cuts[0].canary.as_ref().unwrap();
    assert_eq!((cuts[0].version.as_str(), canary.version.as_str(), Some(canary.share)), ("1", "2", share(0.1)));
    assert_eq!(cuts[0].artifact, "builtin:higgs-xgb");
    let taker = Taker { model: 1, share: canary.share };
    assert_eq!(live(&table, 0), [Cut { canary: Some(taker), ..Cut::to(0, 5) }]);
    switcher.committed();
    place.write(&cuts);
    // Whoever takes over knows it; a second canary is tried on the same base; a switch is for all.
    let place = Place { board: board(&place.log, &place.catalog), ..place };
    let (mut switcher, table) = place.switcher();
    assert_eq!(live(&table, 1), [Cut { canary: Some(taker), ..Cut::to(0, 7) }]);
    place.want(Promotion { kind: PromotionKind::Canary, share: share(0.5), ..promotion(2, "2", &[]) });
    assert_eq!(switcher.cut(&place.at([9, 9]))[0].version, "1");
    switcher.committed();
    place.want(promotion(3, "2", &[]));
    let cuts = switcher.cut(&place.at([20, 20]));
    assert_eq!((cuts[0].version.as_str(), &cuts[0].canary), ("2", &None));
    assert_eq!(live(&table, 0)[2], Cut::to(1, 20));
}

#[test]
fn a_shadow_has_cuts_of_its_own_and_undoes_no_plan() {
    let place = place();
    let (mut switcher, table) = place.switcher();
    place.want(promotion(1, "2", &[Planned { partition: 0, offset: 50 }]));
    switcher.cut(&place.at([5, 7]));
    switcher.committed();
    place.want(Promotion { kind: PromotionKind::Shadow, share: share(0.2), ..promotion(2, "3", &[]) });
    let cuts = switcher.cut(&place.at([6, 8]));
    assert!(cuts.iter().all(|cut| cut.role == Role::Shadow && cut.share == share(0.2)));
    let taker = Some(Taker { model: 2, share: cuts[0].share.unwrap() });
    assert_eq!(
        (live(&table, 0), table.of(0).shadow.clone()),
        (vec![Cut::to(1, 50)], vec![ShadowCut { from: 6, taker }])
    );
    switcher.committed();
    // It fails: it ends where it stands, once, and by its cut whoever takes over knows.
    let ends = switcher.end_shadows(&place.at([9, 9]), "it panicked");
    assert_eq!((offsets(&ends), ends[0].share, ends[0].reason.as_deref()), (vec![9, 9], None, Some("it panicked")));
    assert_eq!(table.of(0).shadow[1], ShadowCut { from: 9, taker: None });
    assert!(switcher.is_open());
    switcher.aborted();
    assert_eq!(table.of(0).shadow.len(), 1, "an aborted end never was");
    place.write(&cuts);
    place.write(&switcher.end_shadows(&place.at([9, 9]), "it panicked"));
    switcher.committed();
    assert_eq!(switcher.end_shadows(&place.at([10, 10]), "again"), []);
    let place = Place { board: board(&place.log, &place.catalog), ..place };
    let (mut switcher, table) = place.switcher();
    assert_eq!(table.of(0).shadow, [ShadowCut { from: 9, taker: None }]);
    place.want(Promotion { kind: PromotionKind::Shadow, share: share(0.2), ..promotion(2, "3", &[]) });
    assert_eq!(switcher.cut(&place.at([10, 10])), [], "it is not begun again");
}
