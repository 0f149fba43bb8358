//! The contract suite, once per log.

use lunapark_tests::contract::{Backend, Case, Embedded, kafka_or_reason, run_child, suite};

fn case(name: &str) -> Case {
    suite().into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("the suite has no case {name}"))
}

fn on_embedded(name: &str) {
    case(name).check(&Embedded::new());
}

#[expect(clippy::print_stderr, reason = "a half that is left out says so")]
fn on_kafka(name: &str) {
    match kafka_or_reason() {
        Ok(kafka) => case(name).check(&kafka as &dyn Backend),
        Err(reason) => eprintln!("{name} on kafka: {reason}"),
    }
}

/// One test per case and log.
macro_rules! cases {
    ($($case:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($case)),*];
        mod embedded {
            $(#[test] fn $case() { super::on_embedded(stringify!($case)); })*
        }
        mod kafka {
            $(#[test] fn $case() { super::on_kafka(stringify!($case)); })*
        }
    };
}

cases! {
    ordering
    partitions_and_keys
    headers
    nulls_and_empties
    timestamps
    limits_and_fairness
    waiting_reader_wakes
    replay_from_offset
    replay_from_time
    large_messages
    too_large_names_its_source
    group_splits_and_takes_over
    closes_at_any_moment_of_joining
    committed_offsets_survive
    start_earliest_and_latest
    commit_after_revoke_refused
    lost_assignment
    paused_partitions_bring_nothing
    paused_partition_moves
    partitions_paused_at_once_bring_nothing
    transaction_is_atomic_across_topics
    aborted_is_invisible_and_rewinds
    stream_zombie_is_fenced
    transaction_zombie_is_fenced
    at_least_once_is_visible_before_commit
    reads_on_during_a_commit
    topic_exists_or_differs
    missing_topic_says_what_to_do
    deleted_topic_is_gone
    retention
    compaction
    space_is_given_back
    kill_9
    second_owner_refused
    socket
    stale_socket_is_replaced
}

#[test]
fn every_case_of_the_suite_is_run() {
    assert_eq!(NAMES, suite().iter().map(|case| case.name).collect::<Vec<_>>());
}

/// Not a test: what the cases start in a process of its own.
#[test]
#[ignore = "started by the cases that need another process"]
fn child() {
    run_child();
}
