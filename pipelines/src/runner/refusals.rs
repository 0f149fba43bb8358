//! A line of the log for what was refused, so that whoever looks at a service sees it.

use std::time::{Duration, Instant};

use lunapark_schemas::{Message, Rejection};

/// A flood of broken events must not become a flood of lines.
const EVERY: Duration = Duration::from_secs(1);

/// Dead letters that the log has not been told of.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Of the open transaction.
    open: Tally,
    /// Committed.
    due: Tally,
    told: Option<Instant>,
}

#[derive(Debug, Default)]
struct Tally {
    letters: u64,
    /// The first one, with its place and reason.
    first: Option<String>,
}

impl Refusals {
    /// A message was refused, or some of its rows.
    pub(super) fn note(&mut self, message: &Message<'_>, rejection: &Rejection) {
        self.open.letters += 1;
        self.open.first.get_or_insert_with(|| format!("{}: {}", message.position(), rejection.message));
    }

    /// What is open was thrown away, and will be read again.
    pub(super) fn aborted(&mut self) {
        self.open = Tally::default();
    }

    /// What is open is so.
    pub(super) fn committed(&mut self) {
        let Tally { letters, first } = std::mem::take(&mut self.open);
        self.due.letters += letters;
        self.due.first = self.due.first.take().or(first);
    }

    /// Writes the line, unless it is too early for another one; `last` is at the end.
    pub(super) fn tell(&mut self, member: &str, topic: &str, last: bool) {
        if let Some((letters, first)) = self.take_due(last) {
            tracing::warn!(%member, refused = letters, %topic, %first, "dead letters; `lunapark dlq list TOPIC` lists them");
        }
    }

    fn take_due(&mut self, last: bool) -> Option<(u64, String)> {
        let early = !last && self.told.is_some_and(|told| told.elapsed() < EVERY);
        if self.due.letters == 0 || early {
            return None;
        }
        self.told = Some(Instant::now());
        let Tally { letters, first } = std::mem::take(&mut self.due);
        Some((letters, first.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::messages::At;
    use lunapark_schemas::{ErrorClass, Messages};

    use super::*;

    #[test]
    fn what_is_committed_is_told_at_once_and_then_together() {
        let mut messages = Messages::new();
        for offset in 0..4 {
            messages.push(At { topic: "t", partition: 0, offset, timestamp: 0 }, None, None, std::iter::empty());
        }
        let rejection = Rejection::new(ErrorClass::Document, "scanned");
        let mut refusals = Refusals::default();
        let refuse = |refusals: &mut Refusals, index: usize| refusals.note(&messages.get(index), &rejection);
        refuse(&mut refusals, 0);
        assert_eq!(refusals.take_due(false), None, "it is not committed");
        refusals.aborted();
        refusals.committed();
        assert_eq!(refusals.take_due(false), None, "it was thrown away");
        refuse(&mut refusals, 0);
        refuse(&mut refusals, 1);
        refusals.committed();
        assert_eq!(refusals.take_due(false), Some((2, "t/0/0: scanned".to_owned())));
        for index in 2..4 {
            refuse(&mut refusals, index);
            refusals.committed();
        }
        assert_eq!(refusals.take_due(true), Some((2, "t/0/2: scanned".to_owned())));
        assert_eq!(refusals.take_due(true), None);
    }
}
