//! Which events had expired when the pipeline read them: the ledger says so.

use lunapark_schemas::headers::CE_EXPIRYTIME;
use lunapark_schemas::{Message, TopicPartition};
use lunapark_topics::LogErrorKind;

use super::super::Context;
use crate::audit::ledger::Ledger;
use crate::audit::report::Findings;
use crate::clock;

/// Looked up where the first event comes that has an expiry behind it.
#[derive(Default)]
pub(super) struct Expired {
    ledger: Option<Ledger>,
}

impl Expired {
    /// Whether the pipeline left this event out, or would.
    pub(super) fn filtered(&mut self, context: &Context, message: &Message<'_>) -> anyhow::Result<bool> {
        let expiry = message.headers.get_str(CE_EXPIRYTIME).and_then(clock::parse_rfc3339_millis);
        // What has not expired now had not expired then.
        let Some(expiry) = expiry.filter(|expiry| *expiry < clock::now_millis()) else { return Ok(false) };
        if self.ledger.is_none() {
            self.ledger = read(context, &message.topic_partition())?;
        }
        let Some(ledger) = &self.ledger else { return Ok(true) };
        let account = ledger.entries.get(&message.partition).map_or(&[][..], |entries| entries);
        let holds = |(first, next): (i64, i64)| (first..next).contains(&message.offset);
        match account.iter().find(|entry| holds((entry.first, entry.next))) {
            Some(entry) => Ok(entry.filtered.iter().any(|(first, last)| holds((*first, *last + 1)))),
            // Not read yet: it would be left out. Or its account has expired: it was, if it came too late.
            None if ledger.end(message.partition).is_none_or(|end| end <= message.offset) => Ok(true),
            None => Ok(expiry < message.timestamp),
        }
    }
}

/// The account of the pipeline; none where there is no ledger.
fn read(context: &Context, source: &TopicPartition) -> anyhow::Result<Option<Ledger>> {
    let (ledger, dead) = (context.catalog.ledger.name(), context.catalog.inference_events.dead().name().clone());
    match context.log.topic(ledger) {
        Err(error) if error.kind == LogErrorKind::TopicMissing => return Ok(None),
        found => drop(found?),
    }
    let mut ledger = Ledger::open(
        &*context.log,
        std::slice::from_ref(ledger),
        &context.group_of_pipeline,
        source.topic.clone(),
        dead,
    )?;
    ledger.catch_up(&*context.log, &mut Findings::default())?;
    Ok(Some(ledger))
}
