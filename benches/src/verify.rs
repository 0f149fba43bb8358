//! Whether both sides wrote the very same results: otherwise their speeds do not compare.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use anyhow::ensure;
use lunapark_schemas::{Message, Messages, Position};
use lunapark_topics::Limit;

use crate::job::PARTITIONS;
use crate::rig::Rig;

const PATIENCE: Duration = Duration::from_secs(20);
const LIMIT: Limit = Limit { messages: 10_000, bytes: 16 << 20 };

/// A sum over all results that does not depend on their order; fails unless there are exactly `expected`.
pub fn digest(rig: &Rig, expected: u64) -> anyhow::Result<u64> {
    let topic = rig.catalog.inference_results.name();
    let from: Vec<_> =
        (0..PARTITIONS).map(|partition| Position { topic: topic.clone(), partition, offset: 0 }).collect();
    let mut reader = rig.log.reader(&from)?;
    let (mut messages, mut sum, mut count) = (Messages::new(), 0u64, 0);
    let mut deadline = Instant::now() + PATIENCE;
    while count < expected && Instant::now() < deadline {
        messages.clear();
        if reader.poll(&mut messages, LIMIT, Duration::from_millis(100))? > 0 {
            deadline = Instant::now() + PATIENCE;
        }
        count += messages.len() as u64;
        sum = messages.iter().map(|message| hash(&message)).fold(sum, u64::wrapping_add);
    }
    messages.clear();
    count += reader.poll(&mut messages, LIMIT, Duration::from_millis(200))? as u64;
    ensure!(count == expected, "{count} results in {topic} for {expected} messages");
    Ok(sum)
}

/// Everything that a consumer sees of a result but its own offset, which transaction markers move.
fn hash(message: &Message<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (message.partition, message.timestamp, message.key, message.value).hash(&mut hasher);
    message.headers.encoded().hash(&mut hasher);
    hasher.finish()
}
