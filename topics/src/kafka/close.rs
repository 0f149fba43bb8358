//! How a group member leaves, so that librdkafka waits for nothing that nobody would answer any more.

use std::time::{Duration, Instant};

use lunapark_schemas::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::context::{GroupEvent, MemberContext};
use super::error::log_error;
use super::partition_list;
use crate::error::LogError;

/// How long a stream thread waits for a consumer to close before it goes on without.
pub(super) const CLOSES_WITHIN: Duration = Duration::from_secs(5);
/// Patience of each poll while a consumer closes.
pub(super) const CLOSE_POLL: Duration = Duration::from_millis(10);
/// How long a consumer that is given up is read on for rebalances behind messages.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// Answers what is still to be answered, then waits until the consumer has left. `revoked` are partitions whose
/// revocation was handed out and not answered yet. Refused where the member was fenced: then it is out already.
pub(super) fn close_consumer(
    consumer: &BaseConsumer<MemberContext>,
    revoked: Vec<TopicPartition>,
) -> Result<(), LogError> {
    answer_last_rebalances(consumer, revoked);
    consumer.context().leave();
    consumer.close_queue().map_err(|e| log_error("close", &e, consumer.context().events.last_error()))?;
    let deadline = Instant::now() + CLOSES_WITHIN;
    while !consumer.closed() && Instant::now() < deadline {
        let _last_events = consumer.poll(CLOSE_POLL);
    }
    Ok(())
}

fn answer_last_rebalances(consumer: &BaseConsumer<MemberContext>, revoked: Vec<TopicPartition>) {
    let context = consumer.context();
    context.close();
    let unanswered = (!revoked.is_empty()).then_some(GroupEvent::Revoke { partitions: revoked, lost: false });
    for event in unanswered.into_iter().chain(std::iter::from_fn(|| context.next_group_event())) {
        let answered = match event {
            GroupEvent::Assign(partitions) => consumer.incremental_assign(&partition_list(&partitions)),
            GroupEvent::Revoke { partitions, .. } => consumer.incremental_unassign(&partition_list(&partitions)),
            GroupEvent::Failed(_) => Ok(()),
        };
        tracing::debug!(?answered, "rebalance answered on close");
    }
    // A rebalance may still wait in the queue. A fenced consumer refuses to be closed, so nothing else would serve it,
    // and librdkafka would wait for the answer for ever.
    let deadline = Instant::now() + LAST_EVENTS;
    while consumer.poll(CLOSE_POLL).is_some() && Instant::now() < deadline {}
}
