//! `kill -9` of scorers and of the promoter while models and shadows are announced and cut: what scored an event is what
//! the cuts say, whoever died.

use std::collections::BTreeMap;
use std::time::Duration;

use lunapark_tests::harness::{Kafka, OwnedRecord, Workplace};
use lunapark_tests::verifier::{Baseline, CutBook, Evidence, Random};

use super::scene::{PARTITIONS, Scene, prove};
use super::{alone, any_moment, times};

const RATE: f64 = 2_000.0;
const NAMES: [&str; 2] = ["left", "right"];
/// Announcement and cuts of one promotion are over in less than this, undisturbed.
const SWITCH: Duration = Duration::from_millis(1_500);
/// Deadline and following, each of 60 s, and a session that has to end.
const COMMAND: Duration = Duration::from_secs(180);

#[test]
fn kafka_scorers_killed_while_they_switch() {
    let _alone = alone();
    let mut random = Random::from_environment("kafka_scorers_killed_while_they_switch");
    let work = Workplace::kafka().with("score.shadow_patience", r#""60s""#);
    let scene = Scene::open(work, &Kafka::bootstrap(), RATE);
    let mut services = NAMES.map(|name| Some(scene.instance(name)));
    for round in 0..times(3, 20) {
        // A shadow before anything else; then some are canaries, which the next promotion ends, and some are shadows.
        let kind = if round == 0 { SHADOW } else { random.below(4) };
        let promoter = scene.work.start(&promotion(&format!("higgs/{}", round + 2), kind));
        any_moment(&mut random, SWITCH);
        match random.below(3) {
            victim @ (0 | 1) => {
                services[victim].take().expect("it runs").kill9();
                services[victim] = Some(scene.instance_unready(NAMES[victim]));
                // Made or refused: the cuts tell which.
                promoter.outcome(COMMAND);
            }
            // Dropped is killed.
            _ => drop(promoter),
        }
    }
    let shadow = scene.work.cli_json(&promotion("higgs/99", SHADOW));
    assert_eq!(shadow["cut"].as_object().map(|cut| cut.len()), Some(PARTITIONS as usize), "{shadow:#}");
    let last = scene.work.cli_json(&["models", "promote", "higgs/100", "--model", "builtin:higgs-xgb"]);
    assert_eq!(last["cut"].as_object().map(|cut| cut.len()), Some(PARTITIONS as usize), "{last:#}");
    let (work, mut evidence) = scene.end(services.into_iter().flatten().collect());
    check_models(&work, &mut evidence);
    prove(&work, &evidence);
}

/// The kind of promotion that is a shadow, and a canary; others take all.
const SHADOW: usize = 0;
const CANARY: usize = 1;

/// The command that promotes the same trees as this version.
fn promotion(version: &str, kind: usize) -> Vec<&str> {
    let verb = if kind == SHADOW { "shadow" } else { "promote" };
    let mut command = vec!["models", verb, version, "--model", "builtin:higgs-xgb"];
    if kind <= CANARY {
        command.extend(["--share", "0.4"]);
    }
    command
}

/// Every result is by the model that the cuts say. All of them are the same trees, so that the rest of the evidence can
/// be held against the undisturbed run, whose model's name it is given then.
fn check_models(work: &Workplace, evidence: &mut Evidence) {
    let (_, baseline) = Baseline::higgs();
    let book = CutBook::read(work);
    let by_model = book.assert_obeyed(&evidence.results, &baseline.model);
    println!("results by model: {by_model:?}");
    assert!(by_model.len() >= 2, "{by_model:?}");
    check_shadows(&book, &evidence.results, &work.read_all("inference.shadow"));
    for (name, value) in evidence.results.iter_mut().flat_map(|result| &mut result.headers) {
        if name == "lunapark-model" {
            *value = Some(baseline.model.clone().into_bytes());
        }
    }
}

/// Every result whose event the cuts and the hash give to a shadow has one score of that shadow, no other has any, and
/// the same trees say the same.
fn check_shadows(book: &CutBook, results: &[OwnedRecord], shadow: &[OwnedRecord]) {
    let due: BTreeMap<_, _> =
        results.iter().filter_map(|result| Some((source(result), shadowed(book, result)?))).collect();
    let found: BTreeMap<_, _> = shadow.iter().map(|record| (source(record), model(record))).collect();
    assert_eq!(found.len(), shadow.len(), "an event has two scores of a shadow");
    let differing = due.iter().filter(|pair| found.get(pair.0) != Some(pair.1)).count();
    let undue = found.keys().filter(|source| !due.contains_key(*source)).count();
    assert_eq!((differing, undue), (0, 0), "{} were due to shadows, {} found", due.len(), found.len());
    assert!(!found.is_empty(), "no shadow scored");
    let scores: BTreeMap<_, _> = results.iter().map(|result| (source(result), predictions(result))).collect();
    let compared = shadow.iter().filter(|record| predictions(record).is_some());
    let compared = compared.inspect(|record| assert_eq!(scores[&source(record)], predictions(record))).count();
    assert!(compared > 0, "no score of a shadow was compared");
    println!("scores of shadows: {}, compared: {compared}", found.len());
}

fn source(record: &OwnedRecord) -> String {
    record.header("lunapark-source").expect("a source").to_owned()
}

fn model(record: &OwnedRecord) -> String {
    record.header("lunapark-model").expect("a model").to_owned()
}

/// The shadow that has to score this result's event.
fn shadowed(book: &CutBook, result: &OwnedRecord) -> Option<String> {
    let source = source(result);
    let offset = source.rsplit('/').next().and_then(|text| text.parse().ok()).expect("an offset");
    book.shadow(result.partition, offset, result.key.as_deref()).map(str::to_owned)
}

/// The scores of a KServe v1 reply.
fn predictions(record: &OwnedRecord) -> Option<serde_json::Value> {
    let reply: serde_json::Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    reply.get("predictions").cloned()
}
