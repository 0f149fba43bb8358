//! `/metrics`, `/healthz`, `/readyz`, and the same figures on the topic `metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use lunapark_schemas::metrics::MetricsRecord;
use lunapark_tests::harness::{Backend, Event, Workplace, until};

use super::{higgs, on_both, wait_ends};

on_both!(the_endpoint_and_the_topic_say_the_same);

/// The samples of a Prometheus text, without the labels that name pipeline and instance.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
        let own =
            |label: &&str| !label.is_empty() && !label.starts_with("instance=") && !label.starts_with("pipeline=");
        let labels: Vec<_> = labels.trim_end_matches('}').split(',').filter(own).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        (format!("{name}{labels}"), value.parse().expect("a number"))
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

fn the_endpoint_and_the_topic_say_the_same(backend: Backend) {
    let place = Workplace::new(backend).with("metrics.interval", "\"300ms\"");
    place.create_topics();
    let good = higgs::sample(50).into_iter().map(|event| Event::new(higgs::v1(&[event])));
    let expired = Event::new("{}").header("ce_expirytime", "2020-01-01T00:00:00Z");
    let events: Vec<_> = good.chain([Event::new("{"), Event::new(""), expired]).collect();
    place.produce("inference.events", &events);
    let service = place.service("one", &[("score.threads", "2")]);
    wait_ends(&place, 50, 2);
    for endpoint in ["/healthz", "/readyz"] {
        let answer = service.get(endpoint);
        assert_eq!(answer.status, 200, "{answer:?}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["threads"].as_object().unwrap().len(), 2, "{body:#}");
    }
    assert_eq!(service.get("/nonsense").status, 404);
    let shown = until(Duration::from_secs(30), "every message is counted", || {
        let shown = samples(&service.get("/metrics").body);
        let counted = |outcome| shown.get(&format!("lunapark_messages_total{{outcome=\"{outcome}\"}}")).copied();
        let all = ["result", "dead", "filtered"].map(|outcome| counted(outcome).unwrap_or(0.0));
        (all == [50.0, 2.0, 1.0]).then_some(shown)
    });
    assert_eq!(shown["lunapark_dead_letters_total{class=\"malformed\"}"], 1.0);
    assert_eq!(shown["lunapark_dead_letters_total{class=\"empty\"}"], 1.0);
    assert_eq!(shown["lunapark_rows_total{outcome=\"result\"}"], 50.0);
    assert!(shown["lunapark_commits_total"] >= 1.0);
    assert_eq!(shown["lunapark_batch_rows_sum"], 50.0);
    assert_eq!(shown["lunapark_latency_ms_count"], 53.0);
    service.terminate().ok();
    check_last_record(&place, &shown);
}

fn check_last_record(place: &Workplace, shown: &BTreeMap<String, f64>) {
    let records = place.read_all("metrics");
    let last: MetricsRecord = serde_json::from_str(records.last().expect("reports").text()).unwrap();
    assert_eq!(last.instance, "one");
    assert!(last.pipeline.ends_with("score"), "{}", last.pipeline);
    for counter in [
        "lunapark_messages_total{outcome=\"result\"}",
        "lunapark_messages_total{outcome=\"dead\"}",
        "lunapark_messages_total{outcome=\"filtered\"}",
        "lunapark_rows_total{outcome=\"result\"}",
        "lunapark_dead_letters_total{class=\"malformed\"}",
        "lunapark_commits_total",
        "lunapark_aborts_total",
        "lunapark_restarts_total",
        "lunapark_batch_rows_sum",
        "lunapark_batch_rows_count",
    ] {
        assert_eq!(last.counters.get(counter), shown.get(counter), "{counter}");
    }
    let digest = last.latencies["lunapark_latency_ms"];
    assert_eq!(digest.count as f64, shown["lunapark_latency_ms_count"]);
    assert_eq!(digest.p99_ms, shown["lunapark_latency_ms{quantile=\"0.99\"}"]);
}
