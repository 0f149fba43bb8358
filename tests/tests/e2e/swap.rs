//! Promotions, cuts, rollbacks and replays.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lunapark_tests::harness::{Backend, Event, Kafka, OwnedRecord, Workplace, until};
use lunapark_tests::verifier::CutBook;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::config::ClientConfig;
use serde_json::{Value, json};

use super::higgs::{self, Format, PERCEPTRON, TREES};
use super::{PATIENCE, assert_proven, on_both};

on_both!(
    a_promotion_under_load_is_recorded_to_the_offset,
    a_refused_promotion_switches_nothing,
    planned_cuts_outlive_a_restart,
    promoters_at_once_decide_one_after_the_other,
    a_replay_gives_the_same_bytes,
    shadow_and_canary_take_their_shares,
    a_pinned_version_counts_from_its_cut_on,
    the_past_does_not_change_with_the_configuration,
    a_partition_whose_model_is_gone_waits_and_readiness_tells,
    a_version_of_long_ago_is_loaded_when_an_event_names_it,
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
    // Some have no key: for them the position decides.
    let event = if number % 7 == 3 { event } else { event.key(format!("event-{number}")) };
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
    let cuts = place.read_all("model.cuts");
    assert!(cuts.iter().all(|cut| cut.json()["promotion"] == 0), "only those of the configuration: {cuts:?}");
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

/// Each fences those before it: who is overtaken looks again, and gives way at most to a later promotion.
fn promoters_at_once_decide_one_after_the_other(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let service = place.service("one", &[]);
    let promote = &|version: &str| {
        let ended = place.cli(&["models", "promote", version, "--model", NET, "--deadline", "30s"]);
        let gave_way = ended.stderr.contains("came after it");
        assert!(ended.code == Some(0) || gave_way, "{version}: {}", ended.stderr);
    };
    std::thread::scope(|scope| {
        for version in ["higgs/2", "higgs/3", "higgs/4"] {
            scope.spawn(move || promote(version));
        }
    });
    let records = place.read_all("models");
    let promotions = records.iter().filter(|r| r.key.as_deref().is_some_and(|key| key.starts_with(b"promotion/")));
    let mut by_number: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    promotions.map(OwnedRecord::json).for_each(|p| by_number.entry(p["id"].as_u64().unwrap()).or_default().push(p));
    assert_eq!(by_number.keys().copied().collect::<Vec<_>>(), [1, 2, 3], "a number for each: {by_number:#?}");
    for promotions in by_number.values() {
        assert!(promotions.iter().all(|p| p["version"] == promotions[0]["version"]), "of one version: {promotions:#?}");
        assert_ne!(promotions.last().unwrap()["stage"], "announced", "and decided: {promotions:#?}");
    }
    let last = by_number[&3].last().unwrap();
    assert_eq!(last["stage"], "on", "nobody came after the last: {last:#}");
    produce(&place, 0..40);
    let results = place.wait_records("inference.results", 40, PATIENCE);
    let tag = higgs::tag(&format!("higgs/{}", last["version"].as_str().unwrap()), PERCEPTRON);
    let by_last = results.iter().filter(|result| result.header("lunapark-model") == Some(&tag)).count();
    assert_eq!(by_last, 36, "all but the four that pin another");
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
    let picture = place.dir().join("scores.svg");
    let drawn = ["--threshold", "0.5", "--picture", picture.to_str().unwrap()];
    let other = place.cli_json(&[&["replay", "--model", "higgs/2", "--diff"], &drawn[..]].concat());
    let svg = std::fs::read_to_string(picture).unwrap();
    assert!(svg.contains("recorded") && svg.contains("replayed with higgs/2"), "{svg}");
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

fn shadow_and_canary_take_their_shares(backend: Backend) {
    let place = Workplace::new(backend).with("score.shadow_patience", r#""60s""#);
    place.create_topics();
    let service = place.service("one", &[("score.threads", "2")]);
    place.cli(&["models", "shadow", "--stop"]).failed().says(&["no shadow scores"]);
    let sent = under_load(&place, || {
        let shadow = place.cli_json(&["models", "shadow", "higgs/2", "--model", NET, "--share", "0.5"]);
        assert_eq!((&shadow["intent"], &shadow["share"]), (&json!("shadow"), &json!(0.5)), "{shadow:#}");
        assert_eq!(shadow["cut"].as_object().unwrap().len(), place.partitions() as usize);
        place.wait_records("inference.shadow", 20, PATIENCE);
        let canary = place.cli_json(&["models", "promote", "higgs/2", "--share", "0.3"]);
        assert_eq!((&canary["promoted"], &canary["intent"]), (&json!("higgs/2"), &json!("canary")), "{canary:#}");
        let tried = |result: &&OwnedRecord| result.header("lunapark-model") == Some(&new());
        until(PATIENCE, "the canary scores", || {
            (place.read_all("inference.results").iter().filter(tried).count() > 20).then_some(())
        });
        let back = place.cli_json(&["models", "rollback"]);
        assert_eq!((&back["promoted"], &back["intent"]), (&json!("higgs/1"), &json!("switch")), "{back:#}");
        place.cli_json(&["models", "promote", "higgs/2", "--share", "0.9"]);
        place.cli_json(&["models", "promote", "higgs/2"]);
        place.cli_json(&["models", "shadow", "--stop"]);
    });
    let results = place.wait_records("inference.results", sent, PATIENCE);
    let events = place.read_all("inference.events");
    let events: HashMap<_, _> = events.into_iter().map(|event| (event.position(), event)).collect();
    let book = CutBook::read(&place);
    let free: Vec<_> = results.iter().filter(|result| !is_pinned(result, &events)).cloned().collect();
    let by_model = book.assert_obeyed(&free, &old());
    assert!(by_model[&old()] > 0 && by_model[&new()] > 0, "{by_model:?}");
    assert_scores(&free, &events);
    assert_shadowed(&place, &book, &free, &events);
    // What is scored again obeys the shares.
    until(PATIENCE, "offsets are committed", || {
        (place.committed().iter().flatten().sum::<i64>() == sent as i64).then_some(())
    });
    let again = place.cli_json(&["replay", "--diff"]);
    assert_eq!((&again["in"], &again["diff"]["identical"]), (&json!(sent), &json!(sent)), "{again:#}");
    assert_proven(&place, sent);
    service.terminate().ok();
    let list = place.cli_json(&["models", "shadow", "--list"]);
    let scored = place.read_all("inference.shadow").len();
    let [shown] = list.as_array().unwrap().as_slice() else { panic!("one shadow: {list:#}") };
    assert_eq!((&shown["model"], &shown["scoring"], &shown["partitions"]), (&json!("higgs/2"), &json!(0), &json!(4)));
    assert_eq!((&shown["scored"], &shown["rejected"], &shown["reason"]), (&json!(scored), &json!(0), &json!(null)));
}

/// The shadow's scores are those that its cuts and the hash say, and are written as results are.
fn assert_shadowed(place: &Workplace, book: &CutBook, free: &[OwnedRecord], events: &HashMap<String, OwnedRecord>) {
    let offset = |source: &str| source.rsplit('/').next().unwrap().parse::<i64>().unwrap();
    let due = free.iter().filter(|result| {
        let source = result.header("lunapark-source").unwrap();
        book.shadow(result.partition, offset(source), events[source].key.as_deref()) == Some(&new())
    });
    let mut due: Vec<_> = due.map(|result| result.header("lunapark-source").unwrap().to_owned()).collect();
    let shadow = place.read_all("inference.shadow");
    let mut found: Vec<_> = shadow.iter().map(|r| r.header("lunapark-source").unwrap().to_owned()).collect();
    due.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, due);
    assert!(found.len() > 20 && found.len() < free.len());
    assert!(shadow.iter().all(|record| record.header("lunapark-model") == Some(&new())));
    assert_scores(&shadow, events);
}

fn a_pinned_version_counts_from_its_cut_on(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let service = place.service("one", &[]);
    let features = &higgs::sample(1)[0];
    let send = |count: usize, header: &str| {
        let event = Event::new(higgs::v1(std::slice::from_ref(features))).to(0).header("lunapark-model", header);
        place.produce("inference.events", &vec![event; count]);
    };
    // It is loaded here as soon as it is promoted, and elsewhere maybe not: only the cut counts.
    place.cli_json(&["models", "promote", "higgs/2", "--model", NET, "--at", "0:4"]);
    send(6, "higgs/2");
    send(2, "higgs/1");
    send(2, "higgs/9");
    let results = place.wait_records("inference.results", 4, PATIENCE);
    let dead = place.wait_records("inference.events.dead", 6, PATIENCE);
    let sources: Vec<_> = results.iter().map(|result| result.header("lunapark-source").unwrap().to_owned()).collect();
    let topic = place.topic("inference.events");
    assert_eq!(sources, [4, 5, 6, 7].map(|offset| format!("{topic}/0/{offset}")));
    assert!(dead.iter().all(|letter| letter.header("error-class") == Some("unknown-model")), "{dead:?}");
    until(PATIENCE, "offsets are committed", || (place.committed()[0] == Some(10)).then_some(()));
    let same = place.cli_json(&["replay", "--diff"]);
    assert_eq!((&same["diff"]["identical"], &same["rejected"]), (&json!(4), &json!(6)), "{same:#}");
    service.terminate().ok();
}

fn the_past_does_not_change_with_the_configuration(backend: Backend) {
    let mut place = Workplace::new(backend);
    place.create_topics();
    let service = place.service("one", &[]);
    produce(&place, 0..20);
    let expired = |number: usize| event(number, place.partitions()).header("ce_expirytime", "2001-01-01T00:00:00Z");
    place.produce("inference.events", &(0..4).map(expired).collect::<Vec<_>>());
    place.wait_records("inference.results", 20, PATIENCE);
    until(PATIENCE, "offsets are committed", || (place.committed() == vec![Some(6); 4]).then_some(()));
    service.terminate().ok();
    // Another model under another name, without any promotion: from here on it scores, and that is recorded.
    place.set("score.models", format!("[{{ name = \"net\", version = \"1\", path = \"{NET}\", sha256 = \"\" }}]"));
    let service = place.service("one", &[]);
    let free = |number: usize| Event::new(higgs::v1(&higgs::sample(SAMPLE)[number..=number])).to(number as i32 % 4);
    place.produce("inference.events", &(0..8).map(free).collect::<Vec<_>>());
    let results = place.wait_records("inference.results", 28, PATIENCE);
    until(PATIENCE, "offsets are committed", || (place.committed() == vec![Some(8); 4]).then_some(()));
    let net = higgs::tag("net/1", PERCEPTRON);
    let new = results.iter().filter(|result| result.header("lunapark-model") == Some(&net)).count();
    assert_eq!(new, 8);
    let cuts: Vec<_> = place.read_all("model.cuts").iter().map(OwnedRecord::json).collect();
    assert_eq!(cuts.len(), 8);
    for cut in cuts {
        let due = if cut["model"] == "higgs" { 0 } else { 6 };
        assert_eq!((&cut["promotion"], &cut["next_offset"]), (&json!(0), &json!(due)), "{cut:#}");
    }
    // The replay scores the past with the model of then, although the configuration names another one now.
    let again = place.cli_json(&["replay", "--diff"]);
    let counts = ["in", "filtered"].map(|name| again[name].as_u64().unwrap());
    assert_eq!(counts, [32, 4], "{again:#}");
    assert_eq!((&again["diff"]["identical"], &again["diff"]["only_recorded"]), (&json!(28), &json!(0)), "{again:#}");
    assert_eq!(again["diff"]["only_replayed"], 0, "{again:#}");
    service.terminate().ok();
}

fn a_partition_whose_model_is_gone_waits_and_readiness_tells(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let model = place.dir().join("net.safetensors");
    std::fs::write(&model, PERCEPTRON).unwrap();
    let service = place.service("one", &[]);
    place.cli_json(&["models", "promote", "higgs/2", "--model", model.to_str().unwrap()]);
    service.terminate().ok();
    std::fs::remove_file(&model).unwrap();
    let mut service = place.service_unready("one", &[]);
    produce(&place, 0..8);
    until(PATIENCE, "readiness names the partitions and the model", || {
        let answer = service.get("/readyz");
        (answer.status == 503 && answer.body.contains("inference.events/3") && answer.body.contains("net.safetensors"))
            .then_some(())
    });
    assert_eq!(place.read_all("inference.results"), [], "nothing is scored by another model");
    std::fs::write(&model, PERCEPTRON).unwrap();
    service.wait_ready(PATIENCE);
    let results = place.wait_records("inference.results", 8, PATIENCE);
    // Number 0 pins the first version.
    let by_new = results.iter().filter(|result| result.header("lunapark-model") == Some(&new())).count();
    assert_eq!(by_new, 7);
    assert_proven(&place, 8);
    service.terminate().ok();
}

fn a_version_of_long_ago_is_loaded_when_an_event_names_it(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let model = place.dir().join("net.safetensors");
    std::fs::write(&model, PERCEPTRON).unwrap();
    let service = place.service("one", &[]);
    place.cli_json(&["models", "promote", "higgs/2", "--model", model.to_str().unwrap()]);
    produce(&place, 0..40);
    place.wait_records("inference.results", 40, PATIENCE);
    place.cli_json(&["models", "promote", "higgs/3", "--model", "builtin:higgs-xgb"]);
    until(PATIENCE, "offsets are committed", || (place.committed() == vec![Some(10); 4]).then_some(()));
    service.terminate().ok();
    std::fs::remove_file(&model).unwrap();
    // Nothing from here on needs it: a start without it is ready.
    let mut service = place.service("one", &[]);
    produce(&place, 40..80);
    place.wait_records("inference.results", 80, PATIENCE);
    // One partition has events that name it: these wait, with what comes behind them, and the others go on.
    let features = &higgs::sample(1)[0];
    let named = |_| Event::new(higgs::v1(std::slice::from_ref(features))).to(2).header("lunapark-model", "higgs/2");
    place.produce("inference.events", &(0..4).map(named).collect::<Vec<_>>());
    until(PATIENCE, "readiness names the partition and the model", || {
        let answer = service.get("/readyz");
        let told = answer.body.contains("inference.events/2") && answer.body.contains("net.safetensors");
        (answer.status == 503 && told && !answer.body.contains("inference.events/1")).then_some(())
    });
    produce(&place, 80..120);
    place.wait_records("inference.results", 110, PATIENCE);
    std::fs::write(&model, PERCEPTRON).unwrap();
    service.wait_ready(PATIENCE);
    let results = place.wait_records("inference.results", 124, PATIENCE);
    let counted = |tag: &str| results.iter().filter(|result| result.header("lunapark-model") == Some(tag)).count();
    // Numbers 0 to 39 without those that pin the first version, and the four; of the later ones, all that pin nothing.
    assert_eq!((counted(&new()), counted(&higgs::tag("higgs/3", TREES)), counted(&old())), (40, 72, 12));
    assert_proven(&place, 124);
    service.terminate().ok();
}

/// The broker's answer, not ours: the topic takes less than it did when the service started.
#[test]
fn kafka_a_shadow_whose_topic_refuses_it_is_ended_and_every_result_comes_once() {
    let place = Workplace::kafka().with("score.shadow_patience", r#""60s""#);
    place.create_topics();
    let service = place.service("one", &[]);
    place.cli_json(&["models", "shadow", "higgs/2", "--model", NET, "--share", "1"]);
    let sent = under_load(&place, || {
        place.wait_records("inference.shadow", 20, PATIENCE);
        set_topic(&place.topic("inference.shadow"), "max.message.bytes", "80");
        until(PATIENCE, "the shadow is ended, and why", || {
            let told = |cut: &Value| cut["reason"].as_str().is_some_and(|reason| reason.contains("inference.shadow"));
            let ended = place.read_all("model.cuts").iter().map(OwnedRecord::json).filter(told).count();
            (ended == place.partitions() as usize).then_some(())
        });
    });
    let results = place.wait_records("inference.results", sent, PATIENCE);
    assert!(results.iter().all(|result| result.header("lunapark-model") == Some(&old())));
    let events = place.read_all("inference.events");
    let events: HashMap<_, _> = events.into_iter().map(|event| (event.position(), event)).collect();
    let free: Vec<_> = results.iter().filter(|result| !is_pinned(result, &events)).cloned().collect();
    assert_shadowed(&place, &CutBook::read(&place), &free, &events);
    assert_proven(&place, sent);
    service.terminate().ok();
}

/// Changes a setting of a topic on the broker.
fn set_topic(topic: &str, name: &str, value: &str) {
    let admin: AdminClient<_> =
        ClientConfig::new().set("bootstrap.servers", Kafka::bootstrap()).create().expect("an admin client");
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let changed = runtime.block_on(admin.alter_configs([&change], &AdminOptions::new())).expect("an answer");
    assert!(changed.iter().all(Result::is_ok), "{changed:?}");
}
