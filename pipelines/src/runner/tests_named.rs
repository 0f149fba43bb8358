//! Events that name versions of long ago, through the whole runner.

use lunapark_schemas::cuts::{CutRecord, FORMAT, Role};

use super::tests_switch::{MESSAGES, TOPIC, Told, run, s3};
use crate::models;

/// A cut as an earlier promotion made it.
fn past(id: u64, version: &str, artifact: &str, next_offset: i64) -> CutRecord {
    CutRecord {
        format: FORMAT,
        pipeline: "p".into(),
        topic: TOPIC.into(),
        partition: 0,
        next_offset,
        model: "higgs".into(),
        version: version.into(),
        digest: models::load(artifact, None, &s3().into()).unwrap().digest,
        artifact: artifact.into(),
        promotion: id,
        role: Role::Live,
        canary: None,
        share: None,
        reason: None,
    }
}

#[test]
fn events_that_name_a_version_of_long_ago_wait_for_it_and_nothing_is_lost_or_doubled() {
    for reads_on in [0, 3] {
        let before = vec![past(1, "2", "builtin:higgs-mlp", 3), past(2, "3", "builtin:higgs-xgb", 10)];
        let pins = vec![(20, "higgs/3"), (50, "higgs/2"), (51, "higgs/2"), (80, "higgs/1"), (90, "higgs/2")];
        let ran = run(Told { reads_on, before: (before, 18), pins: pins.clone(), ..Told::default() });
        let results: Vec<_> = ran.committed.iter().flat_map(|transaction| transaction.results.clone()).collect();
        let due = (18..MESSAGES).map(|offset| {
            let pinned = pins.iter().find(|(at, _)| *at == offset).and_then(|(_, name)| name.split_once('/'));
            (offset, pinned.map_or("3", |(_, version)| version).to_owned())
        });
        assert_eq!(results, due.collect::<Vec<_>>());
        assert_eq!(ran.aborted.len(), 1, "it stays loaded");
        assert!(ran.aborted[0].results.is_empty(), "what was done before was committed");
    }
}
