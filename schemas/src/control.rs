//! What running instances tell each other on the topic `control`, which every one of them reads without a group: a
//! word on it never queues behind work.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One record of the topic `control`. A reader passes over kinds that it does not know: another instance may be newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ControlRecord {
    /// A training task is to end as cancelled, whether it waits or runs.
    Cancel {
        /// Which task.
        task_id: String,
    },
    /// An instance of a pipeline runs: sent every two seconds, from before its first event.
    Alive(Alive),
    /// An instance has stopped and is not waited for any more.
    Stopped {
        /// Pipeline (consumer group).
        pipeline: String,
        /// Stable instance name.
        instance: String,
        /// Which run of the instance: the late word of a process says nothing of its namesake after it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        run: String,
    },
    /// An instance has loaded and checked the model of a promotion.
    Ready(Answer),
    /// An instance cannot score with the model of a promotion.
    CannotSwitch(Answer),
    /// A job of a project whose jobs are limited takes one of its seats, or gives it back.
    Seat(Seat),
}

/// One of the seats of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seat {
    /// Pipeline (consumer group).
    pub pipeline: String,
    /// Stable instance name.
    pub instance: String,
    /// Whose seat.
    pub project: String,
    /// Position of the message that the job is of.
    pub job: String,
    /// Taken, or given back.
    pub taken: bool,
    /// When it was sent, milliseconds since 1970.
    pub sent_at: i64,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alive {
    /// Pipeline (consumer group).
    pub pipeline: String,
    /// Stable instance name.
    pub instance: String,
    /// Which run of the instance said it: a restarted one is another. Empty in records of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
    /// When it was sent, milliseconds since 1970.
    pub sent_at: i64,
    /// The last format of promotions that it obeys. 0 in records of older versions: they take a canary or a shadow for a
    /// switch, so none is begun while such an instance runs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub obeys: u32,
}

fn is_zero(format: &u32) -> bool {
    *format == 0
}

/// What an instance says to a promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Pipeline (consumer group).
    pub pipeline: String,
    /// Stable instance name.
    pub instance: String,
    /// Which run of the instance said it: a restarted one is another. Empty in records of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
    /// Number of the promotion.
    pub promotion: u64,
    /// Why it cannot; empty where it can.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl ControlRecord {
    /// The record that these bytes hold; `None` where they hold none that this version knows.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_record_reads_back_and_unknown_kinds_are_passed_over() {
        let record = ControlRecord::Cancel { task_id: "t-1".into() };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(text, r#"{"kind":"cancel","task_id":"t-1"}"#);
        assert_eq!(ControlRecord::read(text.as_bytes()), Some(record));
        assert_eq!(ControlRecord::read(br#"{"kind":"of tomorrow"}"#), None);
    }
}
