//! `kill -9` of scorers and of the promoter while models are announced and cut: what scored an event is what the cuts
//! say, whoever died.

use std::time::Duration;

use lunapark_tests::harness::{Kafka, Workplace};
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
    let scene = Scene::open(Workplace::kafka(), &Kafka::bootstrap(), RATE);
    let mut services = NAMES.map(|name| Some(scene.instance(name)));
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
