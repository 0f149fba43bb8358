//! `--at`: cuts that are planned for offsets ahead. A partition that has scored past its offset is never cut in the past: the
//! promotion is refused as long as nothing is switched, and a cut that came later than asked for is a failure that is told.

use std::collections::BTreeMap;

use anyhow::bail;
use lunapark_schemas::TopicPartition;
use lunapark_schemas::promotion::Planned;

use super::super::Context;

/// `partition:offset`.
pub(super) fn parse(text: &str) -> Result<Planned, String> {
    let planned = |(partition, offset): (&str, &str)| {
        Some(Planned { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    };
    let parsed = text.split_once(':').and_then(planned);
    parsed
        .filter(|planned| planned.partition >= 0 && planned.offset >= 0)
        .ok_or_else(|| format!("`{text}` is no offset: write partition:offset, for example 0:50000"))
}

/// Planned offsets lie in partitions that there are, ahead of what the pipeline has committed.
pub(super) fn check(context: &Context, at: &[Planned]) -> anyhow::Result<Vec<Planned>> {
    let source = context.catalog.inference_events.name();
    let partitions = if at.is_empty() { 0 } else { context.log.topic(source)?.partitions };
    if let Some(Planned { partition, .. }) = at.iter().find(|planned| planned.partition >= partitions) {
        bail!("--at: {source} has no partition {partition}, its partitions are 0 to {}", partitions - 1);
    }
    match passed(context, at)? {
        Some(passed) => bail!(passed),
        None => Ok(at.to_vec()),
    }
}

/// Which planned offset the pipeline has committed past, in a sentence.
pub(super) fn passed(context: &Context, at: &[Planned]) -> anyhow::Result<Option<String>> {
    if at.is_empty() {
        return Ok(None);
    }
    let source = context.catalog.inference_events.name();
    let places: Vec<_> = at.iter().map(|planned| TopicPartition::new(source.clone(), planned.partition)).collect();
    let committed = context.log.committed(&context.group_of_pipeline, &places)?;
    let told = places.iter().zip(committed).zip(at).find_map(|((place, committed), Planned { offset, .. })| {
        let committed = committed.filter(|committed| offset < committed)?;
        Some(format!(
            "--at: {place} is scored up to {committed} already, {offset} lies before that; name a later offset"
        ))
    });
    Ok(told)
}

/// The cuts that were made elsewhere than asked for, each in a sentence: between the decision and its transaction boundary a
/// partition goes on scoring.
pub(super) fn moved(source: &str, at: &[Planned], made: &BTreeMap<i32, i64>) -> Vec<String> {
    let moved = |Planned { partition, offset }: &Planned| {
        let cut = made.get(partition).filter(|cut| *cut != offset)?;
        Some(format!(
            "{source}/{partition} switches from offset {cut} on, where --at asked for {offset}: it was scored up to there \
             before the switch reached it; name an offset further ahead"
        ))
    };
    at.iter().filter_map(moved).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lunapark_schemas::promotion::PromotionStage;

    use super::super::super::tests::{Fixture, scorer};
    use super::super::gather::Gathered;
    use super::super::{Intent, Wanted, decide, write_intent};
    use super::*;

    #[test]
    fn an_offset_that_was_scored_since_the_announcement_is_refused_at_the_decision() {
        let fixture = Fixture::new();
        let context = &fixture.context;
        let [name, version, artifact] = ["higgs", "2", "builtin:higgs-mlp"].map(str::to_owned);
        let wanted = Wanted { name, version, artifact, digest: "0".repeat(64) };
        let at = check(context, &[Planned { partition: 0, offset: 0 }]).unwrap();
        let intent = Intent { at, ..Intent::whole() };
        let nobody = Gathered::none(Duration::ZERO, true);
        let announce = || write_intent(context, &wanted, &intent, PromotionStage::Announced).unwrap();
        assert_eq!(decide(context, &announce(), &nobody).unwrap().stage, PromotionStage::On);
        let announced = announce();
        fixture.produce_words(&["result"; 12]);
        scorer::score(&fixture);
        let decided = decide(context, &announced, &nobody).unwrap();
        assert_eq!(decided.stage, PromotionStage::Refused);
        let reason = decided.reason.unwrap();
        assert!(reason.contains("/0 is scored up to ") && reason.contains(" 0 lies before that"), "{reason}");
        assert_eq!(check(context, &intent.at).unwrap_err().to_string(), reason);
    }

    #[test]
    fn a_cut_elsewhere_than_asked_for_is_told_with_both_offsets() {
        let at = [(0, 50), (1, 60), (2, 70)].map(|(partition, offset)| Planned { partition, offset });
        let made = BTreeMap::from([(0, 50), (1, 64), (3, 9)]);
        let told = moved("events", &at, &made);
        assert_eq!(told.len(), 1, "what is where it should be, or not there yet, is not told: {told:?}");
        for part in ["events/1", "offset 64", "asked for 60"] {
            assert!(told[0].contains(part), "no {part} in {told:?}");
        }
    }
}
