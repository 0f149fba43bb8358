//! Promotions on the topic `models`: reading them, and deciding about them one after the other.

use std::collections::BTreeMap;

use lunapark_schemas::TopicPartition;
use lunapark_schemas::catalog::{CatalogRecord, ModelVersion};
use lunapark_schemas::promotion::{Promotion, PromotionKind, PromotionStage, UnknownPromotion};
use lunapark_topics::{Log, LogError, Topic};

use super::history::read_to_end;

/// All decisions of one Lunapark go to one partition, in one order.
pub const PARTITION: i32 = 0;
/// Others may decide at the same time, each fencing the one before: so often a decision is tried again.
const TRIES: usize = 20;

/// What the topic `models` says.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Promotions of one pipeline by number.
    pub promotions: BTreeMap<u64, Promotion>,
    /// Those that this version cannot obey.
    pub unknown: BTreeMap<u64, UnknownPromotion>,
    /// Registered versions of models.
    pub versions: Vec<ModelVersion>,
}

impl Known {
    /// The promotion that holds, of results or of shadows: the last one that was on.
    pub fn live(&self, shadows: bool) -> Option<&Promotion> {
        self.on().find(|promotion| promotion.kind.shadows() == shadows)
    }

    /// The switch that holds, whatever canary is tried on it.
    pub fn switched(&self) -> Option<&Promotion> {
        self.on().find(|promotion| promotion.kind.is_switch())
    }

    /// What a rollback goes back to: the switch before the one that holds, to another model; of a canary the switch that
    /// it was tried on.
    pub fn before_live(&self) -> Option<&Promotion> {
        let live = self.live(false)?;
        let mut switches = self.on().filter(|promotion| promotion.kind.is_switch());
        if live.kind == PromotionKind::Canary {
            return switches.next();
        }
        switches.find(|p| (&p.model, &p.version) != (&live.model, &live.version))
    }

    /// Those that were on, the last one first.
    fn on(&self) -> impl Iterator<Item = &Promotion> {
        self.promotions.values().rev().filter(|promotion| promotion.stage == PromotionStage::On)
    }

    /// The number of the next promotion. Refused after one that this version does not understand: whatever is decided now
    /// would be decided without it.
    pub fn next_id(&self) -> Result<u64, UnknownPromotion> {
        match self.unknown.values().next_back() {
            Some(unknown) => Err(unknown.clone()),
            None => Ok(self.promotions.keys().next_back().map_or(1, |last| last + 1)),
        }
    }

    fn take(&mut self, pipeline: &str, value: &[u8]) {
        match Promotion::read(value) {
            Ok(Some(promotion)) if promotion.pipeline == pipeline => {
                self.unknown.remove(&promotion.id);
                self.promotions.insert(promotion.id, promotion);
            }
            Err(unknown) if unknown.pipeline == pipeline => {
                self.promotions.remove(&unknown.id);
                self.unknown.insert(unknown.id, unknown);
            }
            _ => self.take_version(value),
        }
    }

    fn take_version(&mut self, value: &[u8]) {
        if let Ok(CatalogRecord::Version(version)) = serde_json::from_slice(value) {
            self.versions.retain(|v| (&v.name, v.version) != (&version.name, version.version));
            self.versions.push(*version);
        }
    }
}

/// Reads the topic to its end.
pub fn read(log: &dyn Log, models: &str, pipeline: &str) -> Result<Known, LogError> {
    let mut known = Known::default();
    read_to_end(log, &[TopicPartition::new(models, PARTITION)], |message| {
        message.value.into_iter().for_each(|value| known.take(pipeline, value));
    })?;
    Ok(known)
}

/// Decides about a promotion with everything before it in view: others are fenced first, then the topic is read to its
/// end, then the decision is written. One that was overtaken meanwhile looks again.
pub fn decide(
    log: &dyn Log,
    models: &Topic<CatalogRecord>,
    pipeline: &str,
    decision: impl Fn(&Known) -> anyhow::Result<Promotion>,
) -> anyhow::Result<Promotion> {
    let id = format!("{pipeline}-promote");
    again(|| decide_once(log, models, pipeline, &id, &decision))
}

fn again<T>(mut attempt: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    for _ in 1..TRIES {
        match attempt() {
            Err(error) if overtaken(&error) => tracing::debug!(%error, "another promotion decides; looking again"),
            other => return other,
        }
    }
    attempt()
}

fn decide_once(
    log: &dyn Log,
    models: &Topic<CatalogRecord>,
    pipeline: &str,
    id: &str,
    decision: impl Fn(&Known) -> anyhow::Result<Promotion>,
) -> anyhow::Result<Promotion> {
    let mut transaction = log.transaction(id)?;
    let promotion = decision(&read(log, models.name(), pipeline)?)?;
    let record = models.encode(&CatalogRecord::Promotion(promotion.clone()))?;
    transaction.produce(&record.record(Some(PARTITION)))?;
    transaction.commit()?;
    Ok(promotion)
}

fn overtaken(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(LogError::overtaken)
}

#[cfg(test)]
mod tests {
    use lunapark_topics::LogErrorKind;

    use super::*;

    #[test]
    fn whoever_is_overtaken_looks_again_however_the_log_says_it_and_not_for_ever() {
        let decided = |kinds: &[LogErrorKind]| {
            let mut tries = 0;
            let ended = again(|| {
                tries += 1;
                match kinds.get(tries - 1) {
                    Some(kind) => Err(LogError::new(*kind, "no").into()),
                    None => Ok(()),
                }
            });
            (ended.is_ok(), tries)
        };
        assert_eq!(decided(&[LogErrorKind::Fenced, LogErrorKind::Rebalanced, LogErrorKind::Rebalanced]), (true, 4));
        assert_eq!(decided(&[LogErrorKind::Rebalanced; TRIES]), (false, TRIES));
        // Whether that one was written nobody knows.
        assert_eq!(decided(&[LogErrorKind::Timeout]), (false, 1));
    }
}
