//! Cuts of one stream thread on the embedded log.

use std::sync::Arc;
use std::time::Duration;

use lunapark_models::Device;
use lunapark_schemas::cuts::CutRecord;
use lunapark_schemas::promotion::{Planned, Promotion, PromotionStage};
use lunapark_schemas::{Position, TopicPartition};
use lunapark_score::{Cut, CutTable};
use lunapark_stores::S3Options;
use lunapark_topics::catalog::CatalogOptions;
use lunapark_topics::embedded::{self, EmbeddedOptions};
use lunapark_topics::{Catalog, Delivery, Log};

use super::{Switchboard, Switcher};
use crate::config::ModelConfig;
use crate::models;

const NET: &str = "builtin:higgs-mlp";

struct Place {
    log: Arc<dyn Log>,
    catalog: Catalog,
    board: Arc<Switchboard>,
    _dir: tempfile::TempDir,
}

fn s3() -> S3Options {
    let none = String::new;
    S3Options { endpoint: none(), region: none(), access_key_id: none(), secret_access_key: none() }
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let log = embedded::open(dir.path(), &EmbeddedOptions::default()).unwrap();
    let options = CatalogOptions {
        prefix: String::new(),
        partitions: 2,
        ledger_partitions: 1,
        retention: None,
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
fn board(log: &Arc<dyn Log>, catalog: &Catalog) -> Arc<Switchboard> {
    board_delivering(log, catalog, Delivery::ExactlyOnce)
}

fn board_delivering(log: &Arc<dyn Log>, catalog: &Catalog, delivery: Delivery) -> Arc<Switchboard> {
    let (name, version, path) = ("higgs".into(), "1".into(), "builtin:higgs-xgb".into());
    let set = models::load_all(&[ModelConfig { name, version, path, sha256: None, device: Device::Cpu }], &s3().into())
        .unwrap();
    let (cuts, source) = (catalog.model_cuts.clone(), catalog.inference_events.name().clone());
    let (pipeline, models, places) = ("score".into(), Arc::new(set), s3().into());
    Arc::new(Switchboard::new(log.clone(), cuts, source, pipeline, models, places, delivery))
}

fn promotion(id: u64, version: &str, at: &[Planned]) -> Promotion {
    Promotion {
        id,
        pipeline: "score".into(),
        model: "higgs".into(),
        version: version.into(),
        digest: models::load(NET, None, &s3().into()).unwrap().digest,
        artifact: NET.into(),
        stage: PromotionStage::On,
        at: at.to_vec(),
        reason: None,
        created_at: 0,
    }
}

impl Place {
    fn at(&self, offsets: [i64; 2]) -> Vec<Position> {
        let at = |partition: usize| {
            TopicPartition::new(self.catalog.inference_events.name().clone(), partition as i32).at(offsets[partition])
        };
        vec![at(0), at(1)]
    }

    fn want(&self, promotion: Promotion) {
        self.board.load_promoted(&promotion).unwrap();
        self.board.want(promotion);
    }

    fn write(&self, cuts: &[CutRecord]) {
        let mut writer = self.log.writer().unwrap();
        for cut in cuts {
            writer.produce(&self.catalog.model_cuts.encode(cut).unwrap().record(Some(cut.partition))).unwrap();
        }
        writer.flush(Duration::from_secs(10)).unwrap();
    }

    fn switcher(&self) -> (Switcher, Arc<CutTable>) {
        let table = Arc::new(CutTable::default());
        let mut switcher = Switcher::new(self.board.clone(), table.clone());
        switcher.assigned(&self.at([5, 7])).unwrap();
        (switcher, table)
    }
}

fn offsets(cuts: &[CutRecord]) -> Vec<i64> {
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
    assert_eq!(*table.of(0), [Cut { from: 5, model: 1 }]);
    switcher.aborted();
    assert!(table.of(0).is_empty() && switcher.due());
    assert_eq!(
        offsets(&switcher.cut(&place.at([6, 30]))),
        [6, 30],
        "a planned offset that has passed is the present one"
    );
    switcher.committed();
    assert!(!switcher.is_open() && !switcher.due());
    assert_eq!(*table.of(1), [Cut { from: 30, model: 1 }]);
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
    assert_eq!(*table.of(0), [Cut { from: 5, model: 1 }]);
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
    let error = place.board.load_promoted(&wrong).unwrap_err().to_string();
    assert!(error.contains("higgs/2") && error.contains(&wrong.digest), "{error}");
    let error = place.board.load_promoted(&promotion(1, "1", &[])).unwrap_err().to_string();
    assert!(error.contains("a version of its own"), "{error}");
}

#[test]
fn at_least_once_makes_no_cuts() {
    let place = place();
    let board = board_delivering(&place.log, &place.catalog, Delivery::AtLeastOnce);
    let place = Place { board, ..place };
    let error = place.board.load_promoted(&promotion(1, "2", &[])).unwrap_err().to_string();
    assert!(error.contains("set score.delivery = \"exactly_once\""), "{error}");
    let (mut switcher, _) = place.switcher();
    place.board.want(promotion(1, "2", &[]));
    assert!(!switcher.due());
    assert_eq!(switcher.cut(&place.at([5, 7])), []);
}
