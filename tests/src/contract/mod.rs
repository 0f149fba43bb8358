//! The contract of a log: one suite, run against the embedded log and against Apache Kafka.
//!
//! A case that only one of them can have says so in [`Case::only`]; the other one's run then asserts what it does
//! instead, so that nothing is skipped silently.

mod backends;
mod child;
mod groups;
mod keeping;
mod pausing;
mod processes;
mod records;
mod support;
mod topics;
mod transactions;

pub use backends::{Backend, Embedded, Kafka, Kind, kafka_or_reason};
pub use child::{CHILD_TASK, run_child};

/// One promise and the code that checks it.
pub struct Case {
    /// Name of its test.
    pub name: &'static str,
    /// The check.
    pub run: fn(&dyn Backend),
    /// Where only one log can have it.
    pub only: Option<Only>,
}

/// Why a case belongs to one log, and what the other does instead.
pub struct Only {
    /// The log that has it.
    pub kind: Kind,
    /// Why the other one has not.
    pub why: &'static str,
    /// What the other one does, asserted.
    pub elsewhere: fn(&dyn Backend),
}

impl Case {
    const fn both(name: &'static str, run: fn(&dyn Backend)) -> Self {
        Self { name, run, only: None }
    }

    const fn embedded(
        name: &'static str,
        run: fn(&dyn Backend),
        why: &'static str,
        elsewhere: fn(&dyn Backend),
    ) -> Self {
        Self { name, run, only: Some(Only { kind: Kind::Embedded, why, elsewhere }) }
    }

    /// Runs the case, or, on a log that cannot have it, what that does instead.
    pub fn check(&self, backend: &dyn Backend) {
        match &self.only {
            Some(only) if only.kind != backend.kind() => {
                eprintln!("{}: {} here, {}", self.name, only.why, backend.kind().name());
                (only.elsewhere)(backend);
            }
            _ => (self.run)(backend),
        }
    }
}

/// All cases.
pub fn suite() -> Vec<Case> {
    const CLEANS_UP: &str = "Kafka cleans up by itself, when its own settings say so";
    vec![
        Case::both("ordering", records::ordering),
        Case::both("partitions_and_keys", records::partitions_and_keys),
        Case::both("headers", records::headers),
        Case::both("nulls_and_empties", records::nulls_and_empties),
        Case::both("timestamps", records::timestamps),
        Case::both("limits_and_fairness", records::limits_and_fairness),
        Case::both("waiting_reader_wakes", records::waiting_reader_wakes),
        Case::both("replay_from_offset", records::replay_from_offset),
        Case::both("replay_from_time", records::replay_from_time),
        Case::both("large_messages", records::large_messages),
        Case::both("too_large_names_its_source", records::too_large_names_its_source),
        Case::both("group_splits_and_takes_over", groups::splits_and_takes_over),
        Case::both("closes_at_any_moment_of_joining", groups::closes_at_any_moment_of_joining),
        Case::both("committed_offsets_survive", groups::committed_offsets_survive),
        Case::both("start_earliest_and_latest", groups::start_earliest_and_latest),
        Case::both("commit_after_revoke_refused", groups::commit_after_revoke_refused),
        Case::embedded(
            "lost_assignment",
            groups::lost_assignment,
            "librdkafka keeps a membership alive from its own thread; a lost one needs a dead process",
            groups::silent_member_stays,
        ),
        Case::both("paused_partitions_bring_nothing", pausing::bring_nothing),
        Case::both("paused_partition_moves", pausing::moves),
        Case::both("partitions_paused_at_once_bring_nothing", pausing::at_once),
        Case::both("transaction_is_atomic_across_topics", transactions::atomic_across_topics),
        Case::both("aborted_is_invisible_and_rewinds", transactions::aborted_is_invisible_and_rewinds),
        Case::both("stream_zombie_is_fenced", transactions::stream_zombie_is_fenced),
        Case::both("transaction_zombie_is_fenced", transactions::transaction_zombie_is_fenced),
        Case::both("at_least_once_is_visible_before_commit", transactions::at_least_once_is_visible_before_commit),
        Case::both("reads_on_during_a_commit", transactions::reads_on_during_a_commit),
        Case::both("topic_exists_or_differs", topics::exists_or_differs),
        Case::both("missing_topic_says_what_to_do", topics::missing_says_what_to_do),
        Case::both("deleted_topic_is_gone", topics::deleted_is_gone),
        Case::embedded("retention", keeping::retention, CLEANS_UP, keeping::expires_under_a_group),
        Case::embedded("compaction", keeping::compaction, CLEANS_UP, keeping::asked_cleanup_is_kept),
        Case::embedded(
            "space_is_given_back",
            keeping::space_is_given_back,
            CLEANS_UP,
            keeping::asked_retention_is_kept,
        ),
        Case::both("kill_9", processes::kill_9),
        Case::embedded(
            "second_owner_refused",
            processes::second_owner_refused,
            "Kafka has no owner: any number of processes",
            processes::second_process_works,
        ),
        Case::embedded(
            "socket",
            processes::socket,
            "Kafka is reached by its own protocol",
            processes::second_process_works,
        ),
        Case::embedded(
            "stale_socket_is_replaced",
            processes::stale_socket_is_replaced,
            "Kafka is reached by its own protocol",
            processes::second_process_works,
        ),
    ]
}
