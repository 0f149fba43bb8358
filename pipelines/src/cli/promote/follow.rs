//! Follows the cuts of a promotion, partition by partition.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lunapark_schemas::cuts::{CutRecord, Role};
use lunapark_schemas::promotion::Promotion;
use lunapark_schemas::{Messages, TopicPartition};
use lunapark_topics::Limit;

use super::super::Context;

const LIMIT: Limit = Limit { messages: 4096, bytes: 4 << 20 };
const WAIT: Duration = Duration::from_millis(100);

/// The cuts of one promotion.
pub(super) struct Followed {
    /// Partition and first offset that the new model scores.
    pub(super) made: BTreeMap<i32, i64>,
    /// Partitions without one when the time was over.
    pub(super) missing: Vec<i32>,
}

/// Waits for a cut of every partition, as long as somebody runs who can make it and the time lasts. A cut of a later
/// promotion ends the waiting, too.
pub(super) fn cuts(
    context: &Context,
    promotion: &Promotion,
    somebody: bool,
    within: Duration,
) -> anyhow::Result<Followed> {
    let source = context.catalog.inference_events.name();
    let partitions = context.log.topic(source)?.partitions;
    let places: Vec<_> = (0..partitions)
        .map(|partition| TopicPartition::new(context.catalog.model_cuts.name().clone(), partition))
        .collect();
    let starts =
        places.iter().map(|at| Ok(at.at(context.log.watermarks(at)?.low))).collect::<anyhow::Result<Vec<_>>>()?;
    let mut reader = context.log.reader(&starts)?;
    let mut missing: Vec<i32> = (0..partitions).collect();
    let (mut made, mut messages, began) = (BTreeMap::new(), Messages::new(), Instant::now());
    while somebody && !missing.is_empty() && began.elapsed() < within {
        messages.clear();
        reader.poll(&mut messages, LIMIT, WAIT)?;
        let cuts = messages.iter().filter_map(|message| serde_json::from_slice::<CutRecord>(message.value?).ok());
        let role = if promotion.kind.shadows() { Role::Shadow } else { Role::Live };
        let ours = |cut: &CutRecord| cut.pipeline == promotion.pipeline && cut.topic == **source && cut.role == role;
        for cut in cuts.filter(ours) {
            if cut.promotion == promotion.id {
                made.insert(cut.partition, cut.next_offset);
            }
            missing.retain(|partition| *partition != cut.partition || cut.promotion < promotion.id);
        }
    }
    Ok(Followed { made, missing })
}
