//! Where the rows of a job come from.

use super::*;

#[test]
fn a_range_of_a_topic_is_decided_once() {
    let place = Place::new(1);
    place.log.create_topic(&lunapark_topics::TopicSpec::new("rows", 2)).unwrap();
    let mut writer = place.log.writer().unwrap();
    let row = |n: i32| json!({ "x": n, "y": n * n, "label": n % 2 }).to_string();
    for n in 0..40 {
        let row = row(n);
        let value = Some(row.as_bytes());
        let record = Record {
            topic: "rows",
            partition: Some(n % 2),
            key: None,
            value,
            headers: Default::default(),
            timestamp: None,
        };
        writer.produce(&record).unwrap();
    }
    writer.flush(PATIENCE).unwrap();
    let mut request = place.request("t", 3);
    request["dataset"]["path"] = json!("topic://rows?from=5");
    place.send(&request, 0);
    let worker = place.worker("a");
    assert_eq!(place.ended("t").task_status, TaskStatus::Succeeded);
    worker.end();
    let versions = TopicCatalog::new(place.log.clone(), &place.topics).list().unwrap();
    assert_eq!(versions[0].lineage.dataset.as_deref(), Some("topic://rows?0:5-20&1:5-20"));
    let lines: String = [0, 1].iter().flat_map(|odd| (5..20).map(move |n| row(2 * n + odd) + "\n")).collect();
    assert_eq!(versions[0].dataset_digest, Some(digest_of(lines.as_bytes())));
}
