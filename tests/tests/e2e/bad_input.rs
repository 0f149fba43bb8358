//! Every broken event becomes one dead letter that says what is wrong and where; its neighbours are scored.

use lunapark_tests::harness::{Backend, Event, OwnedRecord, Workplace, header_list};

use super::higgs::{self, Features, Format, TREES};
use super::{assert_proven, now_millis, on_both, wait_ends};

on_both!(
    each_broken_event_is_one_dead_letter_and_its_neighbours_are_scored,
    unknown_and_duplicate_headers_travel_through,
    a_message_of_which_one_row_is_bad_has_a_result_and_a_dead_letter,
    a_message_of_100_mb_is_scored_or_rejected_like_any_other,
    a_result_that_is_too_large_for_its_topic_becomes_a_dead_letter,
    expired_events_are_filtered_counted_and_in_the_ledger,
);

/// A broken event: its reason, and words that its message must contain.
struct Broken {
    event: Event,
    class: &'static str,
    words: &'static [&'static str],
}

fn broken(event: Event, class: &'static str, words: &'static [&'static str]) -> Broken {
    Broken { event, class, words }
}

/// The first event of the sample with one feature replaced.
fn with_feature(index: usize, text: &'static str) -> Features {
    let mut features = higgs::sample(1).remove(0);
    features[index] = text;
    features
}

fn every_kind() -> Vec<Broken> {
    let good = higgs::v1(&higgs::sample(1));
    let short: Features = higgs::sample(1)[0][..27].to_vec();
    let deep = format!("{{\"instances\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let arrow = || lying_arrow().header("content-type", "application/vnd.apache.arrow.stream");
    let tensor = Format::Binary.message(&higgs::sample(1));
    let cut_tensor = Event { value: tensor.value.as_ref().map(|value| value[..value.len() - 1].to_vec()), ..tensor };
    let v1 = |features: Features| Event::new(higgs::v1(&[features]));
    vec![
        broken(Event::new(&good.as_bytes()[..good.len() / 2]), "malformed", &["truncated", "byte"]),
        broken(v1(short), "shape", &["row 0", "27 values", "28", "`input`"]),
        broken(v1(with_feature(3, "NaN")), "malformed", &["NaN", "null"]),
        broken(v1(with_feature(5, "\"0.7\"")), "shape", &["row 0", "`jet1_pt`", "string"]),
        broken(v1(with_feature(5, "1e400")), "value", &["row 0", "`jet1_pt`", "1e400"]),
        broken(
            Event::new(good.clone()).header("lunapark-model", "nosuch/9"),
            "unknown-model",
            &["nosuch/9", "higgs/1"],
        ),
        broken(Event::new(""), "empty", &["empty"]),
        broken(Event::default(), "empty", &["empty"]),
        broken(Event::new(deep), "malformed", &["nesting"]),
        broken(arrow(), "malformed", &["bytes"]),
        broken(cut_tensor, "malformed", &["bytes"]),
        broken(Event::new(good).header("content-type", "text/csv"), "content-type", &["text/csv", "application/json"]),
        broken(Event::new([0xff, 0xfe]), "malformed", &["byte 0"]),
    ]
}

/// A stream whose first message claims two gigabytes of metadata.
fn lying_arrow() -> Event {
    let mut stream = higgs::arrow(&higgs::sample(2));
    stream[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
    Event::new(stream)
}

fn good(number: usize) -> Event {
    Event::new(higgs::v1(&higgs::sample(number + 1)[number..])).key(format!("good/{number}"))
}

fn each_broken_event_is_one_dead_letter_and_its_neighbours_are_scored(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let kinds = every_kind();
    let mut sent = Vec::new();
    let made_at = now_millis() - 3_600_000;
    for (number, kind) in kinds.iter().enumerate() {
        // Two of the same name and one without a value: all are kept.
        let event = kind.event.clone().header("experiment", "one").header("experiment", "two");
        let mut event = event.key(format!("bad/{number}")).to(number as i32 % 2).at(made_at + number as i64);
        event.headers.push("empty", None);
        sent.extend([good(number).to(number as i32 % 2), event]);
    }
    sent.push(good(kinds.len()).to(0));
    place.produce("inference.events", &sent);
    let service = place.service("one", &[]);
    let (results, dead) = wait_ends(&place, kinds.len() + 1, kinds.len());
    assert_eq!((results.len(), dead.len()), (kinds.len() + 1, kinds.len()));
    check_neighbours(&results);
    for (number, kind) in kinds.iter().enumerate() {
        check_letter(&place, kind, &sent[2 * number + 1], &dead);
    }
    assert_proven(&place, sent.len());
    assert!(!service.log().contains("panicked"), "{}", service.log());
    service.terminate().ok();
}

fn check_neighbours(results: &[OwnedRecord]) {
    let expected = higgs::scores(TREES, &higgs::sample(results.len()));
    for result in results {
        let key = String::from_utf8(result.key.clone().expect("a key")).unwrap();
        let number: usize = key.strip_prefix("good/").expect("only good ones have results").parse().unwrap();
        assert_eq!(Format::KserveV1.scores(result), [expected[number]], "{key}");
    }
}

fn check_letter(place: &Workplace, kind: &Broken, sent: &Event, dead: &[OwnedRecord]) {
    let letter = dead.iter().find(|letter| letter.key == sent.key).expect("its dead letter");
    assert_eq!(letter.value.as_deref().unwrap_or_default(), sent.value.as_deref().unwrap_or_default());
    assert_eq!(letter.value.is_none(), sent.value.is_none());
    assert_eq!((Some(letter.partition), Some(letter.timestamp)), (sent.partition, sent.timestamp));
    let own = header_list(sent.headers.view());
    assert_eq!(letter.headers[..own.len()], own, "{:?}", letter.headers);
    let source =
        place.read_all("inference.events").into_iter().find(|event| event.key == sent.key).expect("its source");
    let header = |name: &str| letter.header(name).unwrap_or_else(|| panic!("no header {name}"));
    assert_eq!(header("__streams.errors.topic"), source.topic);
    assert_eq!(header("__streams.errors.partition"), source.partition.to_string());
    assert_eq!(header("__streams.errors.offset"), source.offset.to_string());
    assert_eq!((header("error-class"), header("error-operator"), header("error-attempts")), (kind.class, "score", "1"));
    let message = header("__streams.errors.message");
    assert!(message.starts_with(&format!("{}: ", source.position())), "{message}");
    kind.words.iter().for_each(|word| assert!(message.contains(word), "no `{word}` in: {message}"));
    assert_eq!(letter.header("error-rows"), None);
}

fn unknown_and_duplicate_headers_travel_through(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let mut event = good(0).header("experiment", "one").header("ce_id", "7").header("experiment", "two");
    event.headers.push("empty", None).push("binary", Some(&[0xff, 0x00]));
    place.produce("inference.events", &[event.clone().to(0)]);
    let service = place.service("one", &[]);
    let (results, _) = wait_ends(&place, 1, 0);
    let ours = ["lunapark-model", "lunapark-source", "content-type"];
    let others: Vec<_> =
        results[0].headers.iter().filter(|(name, _)| !ours.contains(&name.as_str())).cloned().collect();
    assert_eq!(others, header_list(event.headers.view()));
    service.terminate().ok();
}

fn a_message_of_which_one_row_is_bad_has_a_result_and_a_dead_letter(backend: Backend) {
    let place = Workplace::new(backend);
    place.create_topics();
    let mut events = higgs::sample(3);
    events[1][5] = "\"heavy\"";
    let text = higgs::v1(&events);
    place.produce("inference.events", &[Event::new(text.clone()).key("three").to(1), good(0).to(1)]);
    let service = place.service("one", &[]);
    let (results, dead) = wait_ends(&place, 2, 1);
    let scores = higgs::scores(TREES, &higgs::sample(3));
    let reply = results[0].json();
    assert_eq!(reply["predictions"][1], serde_json::Value::Null);
    assert_eq!(reply["predictions"][0].as_f64().map(|score| score as f32), Some(scores[0]));
    assert_eq!(reply["predictions"][2].as_f64().map(|score| score as f32), Some(scores[2]));
    assert_eq!((&reply["failed"][0]["row"], &reply["failed"][0]["class"]), (&1.into(), &"shape".into()));
    assert_eq!((dead.len(), dead[0].text(), dead[0].header("error-rows")), (1, text.as_str(), Some("1")));
    let message = dead[0].header("__streams.errors.message").unwrap();
    assert!(message.contains("row 1") && message.contains("`jet1_pt`"), "{message}");
    let report = place.cli_json(&["audit", "--deep"]);
    assert_eq!(
        (&report["in"], &report["results"], &report["partial"]),
        (&2.into(), &2.into(), &1.into()),
        "{report:#}"
    );
    assert_eq!((&report["rows"]["in"], &report["rows"]["dead"]), (&4.into(), &1.into()), "{report:#}");
    service.terminate().ok();
}

/// Peak memory of a process in bytes, where the system tells.
fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib << 10)
}

fn a_message_of_100_mb_is_scored_or_rejected_like_any_other(backend: Backend) {
    const SIZE: usize = 100_000_000;
    let place = Workplace::new(backend).with("topics.partitions", 1).with("topics.max_message_bytes", SIZE + 1_000_000);
    place.create_topics();
    let mut rows = 2000;
    let per_row = higgs::v1(&higgs::sample(rows)).len() as f64 / rows as f64;
    rows = (SIZE as f64 / per_row) as usize;
    let large = higgs::v1(&higgs::sample(rows));
    assert!(large.len() > SIZE * 99 / 100 && large.len() <= SIZE + 500_000, "{}", large.len());
    let nonsense = vec![b'['; SIZE];
    place
        .produce("inference.events", &[good(0), Event::new(large).key("large"), Event::new(nonsense.clone()), good(1)]);
    let service = place.service("one", &[]);
    let (results, dead) = wait_ends(&place, 3, 1);
    assert_eq!((results.len(), dead.len()), (3, 1));
    let scores = Format::KserveV1.scores(&results[1]);
    assert_eq!(scores.len(), rows);
    assert_eq!(scores[..3000], higgs::scores(TREES, &higgs::sample(3000)));
    assert!(dead[0].value.as_deref() == Some(&nonsense), "the dead letter is not verbatim");
    if let Some(peak) = peak_memory(service.pid()) {
        assert!(peak < 8 * SIZE as u64, "{} MB of memory", peak / 1_000_000);
    }
    assert_proven(&place, 4);
    service.terminate().ok();
}

fn a_result_that_is_too_large_for_its_topic_becomes_a_dead_letter(backend: Backend) {
    let place = Workplace::new(backend);
    let results = place.topic("inference.results");
    place.cli(&["topics", "create", &results, "--max-message-bytes", "4000"]).ok();
    place.create_topics();
    let many = Event::new(higgs::v1(&higgs::sample(1000))).key("many");
    place.produce("inference.events", &[good(0).to(0), many.clone().to(0), good(1).to(0)]);
    let service = place.service("one", &[]);
    let (results, dead) = wait_ends(&place, 2, 1);
    check_neighbours(&results);
    assert_eq!((dead.len(), &dead[0].key, &dead[0].value), (1, &many.key, &many.value));
    assert_eq!(dead[0].header("error-class"), Some("result-too-large"));
    assert!(dead[0].header("__streams.errors.message").unwrap().contains("4000"), "{:?}", dead[0].headers);
    assert_proven(&place, 3);
    service.terminate().ok();
}

fn expired_events_are_filtered_counted_and_in_the_ledger(backend: Backend) {
    let place = Workplace::new(backend).with("topics.partitions", 1);
    place.create_topics();
    let event = |number, expiry: &str| good(number).header("ce_expirytime", expiry);
    let past = |number| event(number, "2020-01-01T00:00:00Z");
    place.produce("inference.events", &[past(9), event(0, "2120-01-01T00:00:00Z"), past(8), past(7), good(1)]);
    let service = place.service("one", &[]);
    let (results, dead) = wait_ends(&place, 2, 0);
    assert_eq!((results.len(), dead.len()), (2, 0));
    check_neighbours(&results);
    let filtered: Vec<_> = place.read_all("ledger").iter().flat_map(filtered_of).collect();
    assert_eq!(filtered, [[0, 0], [2, 3]]);
    assert_eq!(place.cli_json(&["audit", "--deep"])["filtered"], 3);
    let metrics = service.get("/metrics").body;
    let line = metrics.lines().find(|line| line.contains("outcome=\"filtered\"") && line.contains("messages_total"));
    assert!(line.is_some_and(|line| line.ends_with(" 3")), "{metrics}");
    service.terminate().ok();
}

fn filtered_of(record: &OwnedRecord) -> Vec<[i64; 2]> {
    let range = record.json();
    let reasons: u64 =
        range["reasons"].as_array().into_iter().flatten().map(|reason| reason[1].as_u64().unwrap()).sum();
    let filtered: Vec<[i64; 2]> = serde_json::from_value(range["filtered"].clone()).unwrap_or_default();
    assert_eq!(reasons, filtered.iter().map(|[from, to]| (to - from + 1) as u64).sum::<u64>(), "{range:#}");
    filtered
}
