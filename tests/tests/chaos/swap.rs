//! `kill -9` of scorers and of the promoter while models are announced and cut: what scored an event is what the cuts
//! say, whoever died.

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
    // The same trees, so that it understands what the live ones do; it scores on whatever dies.
    let shadow = ["models", "shadow", "higgs/200", "--model", "builtin:higgs-xgb", "--share", "0.5"];
    scene.work.cli_json(&shadow);
    for round in 0..times(3, 20) {
        let version = format!("higgs/{}", round + 2);
        let mut promote = vec!["models", "promote", &version, "--model", "builtin:higgs-xgb"];
        // Some are canaries, and the next one ends them.
        if random.below(3) == 0 {
            promote.extend(["--share", "0.4"]);
        }
        let promoter = scene.work.start(&promote);
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
    let last = scene.work.cli_json(&["models", "promote", "higgs/100", "--model", "builtin:higgs-xgb"]);
    assert_eq!(last["cut"].as_object().map(|cut| cut.len()), Some(PARTITIONS as usize), "{last:#}");
    let (work, mut evidence) = scene.end(services.into_iter().flatten().collect());
    check_shadow(&work, &evidence);
    check_models(&work, &mut evidence);
    prove(&work, &evidence);
}

/// Every result is by the model that the cuts say. All of them are the same trees, so that the rest of the evidence can
/// be held against the undisturbed run, whose model's name it is given then.
fn check_models(work: &Workplace, evidence: &mut Evidence) {
    let (_, baseline) = Baseline::higgs();
    let by_model = CutBook::read(work).assert_obeyed(&evidence.results, &baseline.model);
    println!("results by model: {by_model:?}");
    assert!(by_model.len() >= 2, "{by_model:?}");
    for (name, value) in evidence.results.iter_mut().flat_map(|result| &mut result.headers) {
        if name == "lunapark-model" {
            *value = Some(baseline.model.clone().into_bytes());
        }
    }
}

fn source(record: &OwnedRecord) -> String {
    record.header("lunapark-source").expect("a source").to_owned()
}

/// The shadow has scored once each event that its cuts and the hash give it, and none other.
fn check_shadow(work: &Workplace, evidence: &Evidence) {
    let book = CutBook::read(work);
    let is_due = |result: &&OwnedRecord| {
        let offset = source(result).rsplit('/').next().and_then(|text| text.parse().ok()).expect("an offset");
        book.shadow(result.partition, offset, result.key.as_deref()).is_some()
    };
    let mut due: Vec<_> = evidence.results.iter().filter(is_due).map(source).collect();
    let mut found: Vec<_> = work.read_all("inference.shadow").iter().map(source).collect();
    due.sort_unstable();
    found.sort_unstable();
    println!("events that the shadow scored: {}", found.len());
    assert!(!found.is_empty());
    assert_eq!(found.len(), due.len());
    assert!(found == due, "the shadow scored other events than its cuts say");
}
