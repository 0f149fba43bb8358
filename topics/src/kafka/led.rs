//! Questions that only the leader of a partition answers.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaResult, RDKafkaErrorCode};

/// Between two questions: an election takes some tens of milliseconds.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until the partition has a leader, where this client looks for it: one that was made a moment ago, or whose broker
/// has just gone, has none yet.
pub(super) fn ask<T>(within: Duration, mut question: impl FnMut() -> KafkaResult<T>) -> KafkaResult<T> {
    let deadline = Instant::now() + within;
    loop {
        match question().map_err(|error| (is_leaderless(error.rdkafka_error_code()), error)) {
            Err((true, _)) if Instant::now() + PAUSE < deadline => std::thread::park_timeout(PAUSE),
            answer => return answer.map_err(|(_, error)| error),
        }
    }
}

fn is_leaderless(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(code, Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable))
}

#[cfg(test)]
mod tests {
    use rdkafka::error::KafkaError;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_partition_without_a_leader_is_asked_again() {
        let mut left = vec![RDKafkaErrorCode::NotLeaderForPartition, RDKafkaErrorCode::LeaderNotAvailable];
        let answer = ask(LONG, || left.pop().map_or(Ok(7), |code| Err(KafkaError::MetadataFetch(code))));
        assert_eq!((answer, left.len()), (Ok(7), 0));
    }

    #[test]
    fn other_errors_and_the_end_of_patience_are_told() {
        let other = || Err::<(), _>(KafkaError::MetadataFetch(RDKafkaErrorCode::TopicAuthorizationFailed));
        assert_eq!(ask(LONG, other), other());
        let never = || Err::<(), _>(KafkaError::MetadataFetch(RDKafkaErrorCode::NotLeaderForPartition));
        assert_eq!(ask(Duration::ZERO, never), never());
    }
}
