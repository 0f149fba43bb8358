//! Swaps where something is missing, broken, or of another version.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunapark_operator::VersionName;
use lunapark_schemas::catalog::CatalogRecord;
use lunapark_schemas::control::ControlRecord;
use lunapark_schemas::cuts::CutRecord;
use lunapark_schemas::promotion::{FORMAT, Promotion, PromotionKind, PromotionStage};
use lunapark_schemas::{Event, Record, TopicPartition};
use lunapark_score::{Cut, ShadowCut, Version};

use super::Agent;
use super::tests::{PATIENCE, Place, arrivals, away, board, live, named, offsets, place, promotion, s3, share};
use crate::health::Health;
use crate::models;
use crate::stop::Stop;

#[test]
fn a_shadow_that_cannot_be_loaded_is_ended_and_holds_no_partition_up() {
    let place = place();
    let (mut switcher, _) = place.switcher();
    place.want(Promotion { kind: PromotionKind::Shadow, share: share(0.2), ..promotion(1, "2", &[]) });
    let cuts = switcher.cut(&place.at([5, 7]));
    let lost = |cut: &CutRecord| CutRecord { artifact: "nowhere.json".into(), ..cut.clone() };
    place.write(&cuts.iter().map(lost).collect::<Vec<_>>());
    let place = Place { board: board(&place.log, &place.catalog), ..place };
    let (mut switcher, table) = place.switcher();
    assert_eq!(table.of(0).shadow, [ShadowCut { from: 5, taker: None }]);
    for _ in 0..2 {
        assert!(switcher.due());
        let ends = switcher.cut(&place.at([6, 8]));
        assert_eq!(offsets(&ends), [6, 8]);
        assert!(ends[0].reason.as_ref().unwrap().contains("nowhere.json"), "{ends:?}");
        switcher.aborted();
    }
    switcher.cut(&place.at([6, 8]));
    switcher.committed();
    assert!(!switcher.due());
}

#[test]
fn a_partition_whose_model_is_gone_waits_and_the_others_go_on() {
    let place = place();
    let model = place._dir.path().join("model.json");
    let bytes = models::read("builtin:higgs-xgb", &s3()).unwrap().into_owned();
    std::fs::write(&model, &bytes).unwrap();
    let (mut switcher, _) = place.switcher();
    let artifact = model.to_str().unwrap().to_owned();
    let digest = models::load(&artifact, None, &s3().into()).unwrap().digest;
    place.want(Promotion { artifact, digest, ..promotion(1, "2", &[]) });
    let cuts = switcher.cut(&place.at([5, 7]));
    place.write(&cuts[..1]);
    std::fs::remove_file(&model).unwrap();

    // Another process.
    let place = Place { board: board(&place.log, &place.catalog), ..place };
    let health = Arc::new(Health::default());
    health.running("score-a-0");
    let (mut switcher, table) = place.waiting(&health);
    assert_eq!(arrivals(&mut switcher, |_, found| found == [1] && !health.ready()), [1]);
    let paused = health.paused();
    let reason = &paused["inference.events/0"];
    assert!(reason.contains("higgs/2") && reason.contains("model.json"), "{reason}");
    assert!(live(&table, 0).is_empty(), "nothing is scored by another version: the partition is paused");
    std::fs::write(&model, &bytes).unwrap();
    assert_eq!(arrivals(&mut switcher, |switcher, _| !switcher.waits()), [0]);
    assert_eq!(live(&table, 0), [Cut::to(1, 5)]);
    assert!(health.ready());
}

#[test]
fn a_version_of_long_ago_that_is_gone_holds_a_partition_up_only_where_an_event_names_it() {
    let place = place();
    let model = place._dir.path().join("model.json");
    let bytes = models::read("builtin:higgs-xgb", &s3()).unwrap().into_owned();
    std::fs::write(&model, &bytes).unwrap();
    let (mut switcher, _) = place.switcher();
    let artifact = model.to_str().unwrap().to_owned();
    let digest = models::load(&artifact, None, &s3().into()).unwrap().digest;
    place.want(Promotion { artifact, digest, ..promotion(1, "2", &[]) });
    place.write(&switcher.cut(&place.at([6, 8])));
    switcher.committed();
    place.want(promotion(2, "3", &[]));
    place.write(&switcher.cut(&place.at([7, 9])));
    std::fs::remove_file(&model).unwrap();

    // Another process, at the offset where the second one begins.
    let place = Place { board: board(&place.log, &place.catalog), ..place };
    let health = Arc::new(Health::default());
    health.running("score-a-0");
    let (mut switcher, table) = place.waiting_at([7, 9], &health);
    assert_eq!(arrivals(&mut switcher, |switcher, _| !switcher.waits()), [0, 1]);
    assert!(health.ready());
    assert_eq!(live(&table, 0), [Cut::to(1, 7)]);
    assert_eq!(named(&table), [(6, away("2")), (7, Version::Loaded(1))]);
    let wanted = VersionName { name: "higgs".into(), version: "2".into() };
    switcher.wait_for(&place.at([7, 9])[..1], &[(0, wanted)]);
    arrivals(&mut switcher, |_, _| !health.ready());
    assert!(health.paused()["inference.events/0"].contains("model.json"), "{:?}", health.paused());
    assert_eq!(live(&table, 1), [Cut::to(1, 9)], "the other one goes on");
    std::fs::write(&model, &bytes).unwrap();
    assert_eq!(arrivals(&mut switcher, |switcher, _| !switcher.waits()), [0]);
    assert_eq!(named(&table), [(6, Version::Loaded(2)), (7, Version::Loaded(1))]);
    assert!(health.ready() && live(&table, 0).len() == 2);
    // Once more: what events have named stays loaded.
    switcher.wait_for(&place.at([7, 9])[..1], &[]);
    std::fs::remove_file(&model).unwrap();
    assert_eq!(arrivals(&mut switcher, |switcher, _| !switcher.waits()), [0]);
    assert_eq!(named(&table)[0], (6, Version::Loaded(2)));
}

#[test]
fn a_cut_that_does_not_read_pauses_its_partition_until_it_is_mended() {
    let mut place = place();
    let (mut switcher, _) = place.switcher();
    place.want(promotion(1, "2", &[]));
    let cuts = switcher.cut(&place.at([5, 7]));
    place.write(&cuts);
    let mut newer = serde_json::to_value(&cuts[0]).unwrap();
    newer["format"] = 2.into();
    place.write_raw("other/inference.events/0/5", Some(b"not of this pipeline"));
    for (value, says) in [(&b"{\"pipeline\":"[..], "damaged"), (newer.to_string().as_bytes(), "newer version")] {
        place.write_raw("score/inference.events/0/5", Some(value));
        place.board = board(&place.log, &place.catalog);
        let health = Arc::new(Health::default());
        health.running("score-a-0");
        let (mut switcher, table) = place.waiting(&health);
        assert_eq!(arrivals(&mut switcher, |_, found| found == [1] && !health.ready()), [1]);
        let reason = &health.paused()["inference.events/0"];
        assert!(reason.contains("model.cuts/0") && reason.contains("score/inference.events/0/5"), "{reason}");
        assert!(reason.contains(says) && reason.contains("offset"), "{reason}");
        let read = super::history::read(&*place.log, "model.cuts", "score", "inference.events", &[0, 1]);
        assert!(read.unwrap_err().to_string().contains(says), "nor is it passed over by who looks at the past");
        place.write(&cuts[..1]);
        assert_eq!(arrivals(&mut switcher, |switcher, _| !switcher.waits()), [0]);
        assert_eq!(live(&table, 0), [Cut::to(1, 5)]);
    }
    place.write_raw("score/inference.events/0/5", None);
    let tracks = super::history::read(&*place.log, "model.cuts", "score", "inference.events", &[0, 1]).unwrap();
    assert_eq!(tracks.keys().copied().collect::<Vec<_>>(), [1], "a record without a value takes a cut back");
}

#[test]
fn a_shadow_that_has_failed_is_not_begun_again_in_this_process() {
    let place = place();
    let (mut switcher, table) = place.switcher();
    place.want(Promotion { kind: PromotionKind::Shadow, share: share(0.2), ..promotion(1, "2", &[]) });
    place.write(&switcher.cut(&place.at([5, 7])));
    switcher.committed();
    let failed = switcher.fail_shadows("it was slow");
    let told: Vec<_> = failed.iter().map(|failed| (failed.promotion, failed.version.as_str())).collect();
    assert_eq!((told, switcher.fail_shadows("again")), (vec![(1, "2")], vec![]));
    // The transaction with its end is aborted; the next one begins with the end.
    assert_eq!(offsets(&switcher.end_shadows(&place.at([6, 8]), "it was slow")), [6, 8]);
    switcher.aborted();
    assert!(switcher.due() && table.of(0).shadow[0].taker.is_some());
    let ends = switcher.cut(&place.at([5, 7]));
    assert_eq!((offsets(&ends), ends[0].share, ends[0].reason.as_deref()), (vec![5, 7], None, Some("it was slow")));
    assert_eq!(table.of(0).shadow.last().unwrap().taker, None);
    // Or the thread is opened again, before any end was written.
    let (mut switcher, table) = place.switcher();
    assert!(switcher.due());
    assert_eq!(switcher.cut(&place.at([5, 7])), ends);
    assert_eq!(table.of(0).shadow.last().unwrap().taker, None);
    // A partition where it never began has a cut that says why it never will.
    let elsewhere = self::place();
    elsewhere.board.shadow_failed(1, "it was slow");
    elsewhere.want(Promotion { kind: PromotionKind::Shadow, share: share(0.2), ..promotion(1, "2", &[]) });
    let (mut switcher, table) = elsewhere.switcher();
    let cuts = switcher.cut(&elsewhere.at([9, 9]));
    assert_eq!((cuts.len(), cuts[0].promotion, cuts[0].share), (2, 1, None));
    assert_eq!((cuts[0].reason.as_deref(), table.of(0).shadow[0].taker), (Some("it was slow"), None));
}

#[test]
fn a_promotion_that_this_version_does_not_know_is_refused_by_name_and_readiness_tells() {
    let place = place();
    let (health, stop) = (Arc::new(Health::default()), Stop::new());
    health.running("score-a-0");
    let agent = Agent {
        board: place.board.clone(),
        models: place.catalog.models.clone(),
        control: place.catalog.control.clone(),
        instance: "a".into(),
        health: health.clone(),
        run: "1".into(),
        spoken: Arc::default(),
    };
    let say = |promotion: Promotion, intent: &str| {
        let mut record = serde_json::to_value(CatalogRecord::Promotion(promotion.clone())).unwrap();
        record["intent"] = intent.into();
        let (key, value) = (promotion.key(), record.to_string());
        let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        let topic = place.catalog.models.name();
        let record = Record { topic, partition: Some(0), key, value, headers: Default::default(), timestamp: None };
        let mut writer = place.log.writer().unwrap();
        writer.produce(&record).unwrap();
        writer.flush(PATIENCE).unwrap();
    };
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "{what}");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    };
    std::thread::scope(|scope| {
        let _ends = StopAtEnd(&stop);
        scope.spawn(|| agent.run(&stop));
        say(Promotion { stage: PromotionStage::Announced, ..promotion(3, "2", &[]) }, "bandit");
        until("it says that it cannot", &|| {
            control(&place).into_iter().any(|record| match record {
                ControlRecord::CannotSwitch(answer) => answer.promotion == 3 && answer.reason.contains("`bandit`"),
                ControlRecord::Ready(answer) => panic!("{answer:?}"),
                _ => false,
            })
        });
        assert!(health.ready(), "it was only asked");
        say(promotion(3, "2", &[]), "bandit");
        until("readiness tells", &|| !health.ready());
        assert!(health.paused()["promotions"].contains("`bandit`"), "{:?}", health.paused());
        assert_eq!(place.board.wanted_id(PromotionKind::Switch), 0, "and is not taken for a switch");
        let known = super::promotions::read(&*place.log, place.catalog.models.name(), "score").unwrap();
        assert!(known.next_id().is_err_and(|error| error.to_string().contains("`bandit`")));
        say(promotion(4, "2", &[]), "switch");
        until("a later one is obeyed", &|| health.ready() && place.board.wanted_id(PromotionKind::Switch) == 4);
        let obeys = |record: &ControlRecord| matches!(record, ControlRecord::Alive(alive) if alive.obeys == FORMAT);
        assert!(control(&place).iter().any(obeys), "signs of life say what this version obeys");
    });
}

/// Stops what runs beside a test, also where it fails.
struct StopAtEnd<'a>(&'a Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// What was said on the topic `control`.
fn control(place: &Place) -> Vec<ControlRecord> {
    let at = TopicPartition::new(place.catalog.control.name().clone(), 0);
    let mut records = Vec::new();
    super::history::read_to_end(&*place.log, &[at], |message| {
        records.extend(message.value.and_then(ControlRecord::read));
    })
    .unwrap();
    records
}

#[test]
fn a_partition_whose_model_takes_long_holds_no_other_up_and_readiness_tells() {
    let place = place();
    let slow = place._dir.path().join("slow.json");
    // A pipe gives nothing until somebody writes into it.
    assert!(Command::new("mkfifo").arg(&slow).status().unwrap().success());
    let (mut switcher, _) = place.switcher();
    place.want(promotion(1, "2", &[]));
    let cut = switcher.cut(&place.at([5, 7])).remove(0);
    let digest = models::load("builtin:higgs-xgb", None, &s3().into()).unwrap().digest;
    place.write(&[CutRecord { artifact: slow.to_str().unwrap().into(), digest, ..cut }]);
    let place = Place { board: board(&place.log, &place.catalog), ..place };
    let health = Arc::new(Health::default());
    health.running("score-a-0");
    let (mut switcher, table) = place.waiting(&health);
    assert_eq!(arrivals(&mut switcher, |_, found| found == [1] && !health.ready()), [1]);
    assert!(health.paused()["inference.events/0"].contains("being taken over"), "{:?}", health.paused());
    std::fs::write(&slow, models::read("builtin:higgs-xgb", &s3()).unwrap()).unwrap();
    assert_eq!(arrivals(&mut switcher, |switcher, _| !switcher.waits()), [0]);
    assert_eq!(live(&table, 0), [Cut::to(1, 5)]);
    assert!(health.ready());
}
