//! Promotions, cuts, rollbacks and replays.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lunapark_tests::harness::{Backend, Event, OwnedRecord, Workplace, until};
use lunapark_tests::verifier::CutBook;
use serde_json::{Value, json};

use super::higgs::{self, Format, PERCEPTRON, TREES};
use super::{PATIENCE, assert_proven, on_both};

on_both!(
    a_promotion_under_load_is_recorded_to_the_offset,
    a_refused_promotion_switches_nothing,
    planned_cuts_outlive_a_restart,
    a_replay_gives_the_same_bytes,
);

const NET: &str = "builtin:higgs-mlp";
/// Every so many events one pins the first version.
const PINNED: usize = 10;
const SAMPLE: usize = 50;

fn old() -> String {
    higgs::tag("higgs/1", TREES)
}

fn new() -> String {
    higgs::tag("higgs/2", PERCEPTRON)
}

fn event(number: usize, partitions: i32) -> Event {
    let features = &higgs::sample(SAMPLE)[number % SAMPLE];
    let event = Event::new(higgs::v1(std::slice::from_ref(features))).to(number as i32 % partitions);
    if number.is_multiple_of(PINNED) { event.header("lunapark-model", "higgs/1") } else { event }
}

fn produce(place: &Workplace, numbers: std::ops::Range<usize>) {
    let events: Vec<_> = numbers.map(|number| event(number, place.partitions())).collect();
    place.produce("inference.events", &events);
}

/// Events go in all the while; how many in the end, some of them after everything was done.
fn under_load(place: &Workplace, act: impl FnOnce()) -> usize {
    const CHUNK: usize = 40;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut sent = 0;
            loop {
                let last = done.load(Ordering::Acquire);
                produce(place, sent..sent + CHUNK);
                sent += CHUNK;
                if last {
                    return sent;
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        // The load ends even where a check fails.
        let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        done.store(true, Ordering::Release);
        let sent = load.join().expect("the load");
        acted.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent
    })
}

fn is_pinned(results: &OwnedRecord, events: &HashMap<String, OwnedRecord>) -> bool {
    let source = results.header("lunapark-source").expect("a source");
    events[source].header("lunapark-model").is_some()
}

fn a_promotion_under_load_is_recorded_to_the_offset(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let service = place.service("one", &[("score.threads", "2")]);
    let sent = under_load(&place, || {
        let promoted = place.cli_json(&["models", "promote", "higgs/2", "--model", NET]);
        assert_eq!((&promoted["promoted"], &promoted["ready"]), (&json!("higgs/2"), &json!(["one"])), "{promoted:#}");
        assert_cut(&place, &promoted, &new());
        let back = place.cli_json(&["models", "rollback"]);
        assert_eq!(back["promoted"], "higgs/1", "{back:#}");
        assert_cut(&place, &back, &old());
    });
    let results = place.wait_records("inference.results", sent, PATIENCE);
    let events = place.read_all("inference.events");
    let events: HashMap<_, _> = events.into_iter().map(|event| (event.position(), event)).collect();
    let (pinned, free): (Vec<_>, Vec<_>) = results.into_iter().partition(|result| is_pinned(result, &events));
    assert!(pinned.iter().all(|result| result.header("lunapark-model") == Some(&old())), "pinned is pinned");
    let by_model = CutBook::read(&place).assert_obeyed(&free, &old());
    assert!(by_model[&old()] > 0 && by_model[&new()] > 0, "{by_model:?}");
    assert_scores(&free, &events);
    assert_proven(&place, sent);
    service.terminate().ok();
}

/// The command printed the cuts that the topic has, one for each partition.
fn assert_cut(place: &Workplace, printed: &Value, tag: &str) {
    let written = CutBook::read(place).of(tag);
    assert_eq!(written.len(), place.partitions() as usize);
    for (partition, offset) in written {
        assert_eq!(printed["cut"][partition.to_string()], offset, "{printed:#}");
    }
}

/// The score is that of the model which the result names.
fn assert_scores(results: &[OwnedRecord], events: &HashMap<String, OwnedRecord>) {
    let sample = higgs::sample(SAMPLE);
    let payloads: HashMap<Vec<u8>, usize> =
        sample.iter().enumerate().map(|(n, features)| (higgs::v1(std::slice::from_ref(features)).into(), n)).collect();
    let (trees, net) = (higgs::scores(TREES, &sample), higgs::scores(PERCEPTRON, &sample));
    for result in results {
        let event = &events[result.header("lunapark-source").unwrap()];
        let number = payloads[event.value.as_ref().unwrap()];
        let expected = if result.header("lunapark-model") == Some(&new()) { net[number] } else { trees[number] };
        assert_eq!(Format::KserveV1.scores(result), [expected], "{}", result.position());
    }
}

fn a_refused_promotion_switches_nothing(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let service = place.service("one", &[]);
    place.cli(&["models", "rollback"]).failed().says(&["nothing was promoted"]);
    produce(&place, 0..8);
    place.wait_records("inference.results", 8, PATIENCE);
    until(PATIENCE, "offsets are committed", || (place.committed()[0] == Some(2)).then_some(()));
    let promote = |arguments: &[&str]| place.cli(&[&["models", "promote"], arguments].concat());
    promote(&["higgs/2", "--model", "nowhere.json"]).failed().says(&["nowhere.json"]);
    promote(&["higgs/7"]).failed().says(&["no model higgs/7", "--model"]);
    promote(&["higgs/2", "--model", NET, "--at", "0:1"]).failed().says(&["--at", "scored up to 2"]);
    promote(&["higgs/2", "--model", NET, "--at", "9:1"]).failed().says(&["no partition 9"]);
    // The running instance has another model under that name: it says so, and nothing is switched.
    promote(&["higgs/1", "--model", NET]).failed().says(&["instance one", "higgs/1", "digest", "--force"]);
    let forced = promote(&["higgs/1", "--model", NET, "--force", "--deadline", "1s"]).failed();
    forced.says(&["by force", "instance one", "without a cut"]);
    produce(&place, 8..16);
    let results = place.wait_records("inference.results", 16, PATIENCE);
    assert!(results.iter().all(|result| result.header("lunapark-model") == Some(&old())));
    assert_eq!(place.read_all("model.cuts"), []);
    service.terminate().ok();
}

fn planned_cuts_outlive_a_restart(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let service = place.service("one", &[]);
    let send = |count: usize| {
        let features = &higgs::sample(1)[0];
        let event = Event::new(higgs::v1(std::slice::from_ref(features))).to(0);
        place.produce("inference.events", &vec![event; count]);
    };
    send(10);
    place.wait_records("inference.results", 10, PATIENCE);
    let promoted = place.cli_json(&["models", "promote", "higgs", "--model", NET, "--at", "0:15"]);
    assert_eq!((&promoted["promoted"], &promoted["cut"]["0"]), (&json!("higgs/2"), &json!(15)), "{promoted:#}");
    send(3);
    place.wait_records("inference.results", 13, PATIENCE);
    service.terminate().ok();
    let service = place.service("one", &[]);
    send(7);
    let results = place.wait_records("inference.results", 20, PATIENCE);
    for (offset, result) in results.iter().enumerate() {
        let due = if offset < 15 { old() } else { new() };
        assert_eq!(result.header("lunapark-model"), Some(due.as_str()), "offset {offset}");
    }
    assert_proven(&place, 20);
    service.terminate().ok();
}

fn a_replay_gives_the_same_bytes(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let service = place.service("one", &[]);
    produce(&place, 0..60);
    place.wait_records("inference.results", 60, PATIENCE);
    place.cli_json(&["models", "promote", "higgs/2", "--model", NET]);
    produce(&place, 60..120);
    let results = place.wait_records("inference.results", 120, PATIENCE);
    until(PATIENCE, "offsets are committed", || (place.committed() == vec![Some(30); 4]).then_some(()));

    let same = place.cli_json(&["replay", "--diff"]);
    assert_eq!((&same["in"], &same["diff"]["identical"]), (&json!(120), &json!(120)), "{same:#}");
    assert_eq!((&same["diff"]["flipped"], &same["diff"]["agreement"]), (&json!(0), &json!(1.0)), "{same:#}");
    // 120 events pin a version in every tenth; of the others the first half was scored by the trees.
    let other = place.cli_json(&["replay", "--model", "higgs/2", "--diff", "--threshold", "0.5"]);
    assert_eq!((&other["diff"]["identical"], &other["diff"]["different"]), (&json!(66), &json!(54)), "{other:#}");
    assert!(other["diff"]["kolmogorov_smirnov"].as_f64().unwrap() > 0.0, "{other:#}");
    let by_address = place.cli_json(&["replay", "--model", "builtin:higgs-xgb", "--to", "15", "--diff"]);
    assert_eq!((&by_address["in"], &by_address["diff"]["identical"]), (&json!(60), &json!(60)), "{by_address:#}");

    let file = place.dir().join("replayed.ndjson");
    place.cli(&["replay", "--output", file.to_str().unwrap()]).ok();
    let lines = std::fs::read_to_string(&file).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let replayed: HashMap<String, Value> = lines.map(|line| (line["source"].as_str().unwrap().into(), line)).collect();
    assert_eq!(replayed.len(), 120);
    for result in &results {
        let line = &replayed[result.header("lunapark-source").unwrap()];
        assert_eq!((&line["value"], line["model"].as_str()), (&json!(result.text()), result.header("lunapark-model")));
    }
    let topic = place.topic("replayed");
    place.cli(&["topics", "create", &topic, "--partitions", "4"]).ok();
    place.cli(&["replay", "--output", &topic]).ok();
    let bytes =
        |records: &[OwnedRecord]| -> Vec<_> { records.iter().map(|r| (r.partition, r.value.clone())).collect() };
    assert_eq!(bytes(&place.read_all("replayed")), bytes(&results));
    let results = place.topic("inference.results");
    place.cli(&["replay", "--output", &results]).failed().says(&["--output", &results]);
    assert_eq!(place.committed(), vec![Some(30); 4], "the group did not notice");
    assert_proven(&place, 120);
    service.terminate().ok();
}
