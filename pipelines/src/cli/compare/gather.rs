//! From names and ranges to a finished comparison.

use anyhow::{Context as _, bail};
use lunapark_schemas::TopicPartition;
use lunapark_topics::Log;

use super::super::Context;
use super::super::replay::Bound;
use super::Scope;
use super::measures::{Findings, Measures};
use super::streams::{self, Range, Wanted};
use crate::config::Config;
use crate::labels::{LabelBook, MOST_LABELS};
use crate::swap::promotions::{self, Known};

/// Stands for the version that scores now.
const LIVE: &str = "live";

/// A comparison with its names.
pub(in crate::cli) struct Compared {
    /// `name/version` of both.
    pub models: [String; 2],
    pub(super) findings: Findings,
    /// Share of the labels that were held.
    pub(super) label_share: f64,
    /// Records of the labels' topic that are none.
    pub(super) broken: u64,
    pub(super) first_broken: Option<String>,
}

/// The version that a name means, as results name it.
pub(super) fn version(context: &Context, config: &Config, name: &str) -> anyhow::Result<String> {
    if name == LIVE {
        return live(context, config);
    }
    match name.split_once('/') {
        Some((model, version)) if !model.is_empty() && !version.is_empty() => Ok(name.to_owned()),
        _ => bail!("`{name}` is no version: write NAME/VERSION, for example higgs/2, or `{LIVE}`"),
    }
}

/// The version that events without a header are scored by: the last promotion's, or the configured default.
pub(in crate::cli) fn live(context: &Context, config: &Config) -> anyhow::Result<String> {
    let known = known(context)?;
    match known.switched() {
        Some(promotion) => Ok(format!("{}/{}", promotion.model, promotion.version)),
        None => {
            let default = config.score.models.first().context("no model is configured")?;
            Ok(format!("{}/{}", default.name, default.version))
        }
    }
}

/// What the topic of models says; nothing where it does not exist.
pub(in crate::cli) fn known(context: &Context) -> anyhow::Result<Known> {
    let models = context.catalog.models.name();
    match exists(&*context.log, models)? {
        true => Ok(promotions::read(&*context.log, models, &context.group_of_pipeline)?),
        false => Ok(Known::default()),
    }
}

fn exists(log: &dyn Log, topic: &str) -> anyhow::Result<bool> {
    Ok(log.topics()?.iter().any(|found| *found.name == *topic))
}

/// Reads what two versions said of the events of a range.
pub(in crate::cli) fn compare(context: &Context, models: [String; 2], scope: &Scope) -> anyhow::Result<Compared> {
    if models[0] == models[1] {
        bail!("{} is compared with itself: name two versions", models[0]);
    }
    let log = &*context.log;
    let labels = labels(context, scope)?;
    let events = context.catalog.inference_events.name();
    let topics = topics(context, scope)?;
    let wanted = Wanted { models, events: events.to_string(), topics, keys: labels.is_some() };
    let mut measures = Measures::new(scope.threshold);
    for partition in 0..log.topic(events).with_context(|| format!("cannot read {events}"))?.partitions {
        let range = range(log, &TopicPartition::new(events.clone(), partition), scope)?;
        streams::each(log, &wanted, partition, range, |offset, pair| {
            let key = pair.iter().flatten().find_map(|answer| answer.key);
            let label = labels.as_ref().zip(key).and_then(|(labels, key)| labels.get(key));
            measures.add((partition, offset), pair, label);
        })?;
    }
    Ok(Compared {
        models: wanted.models,
        findings: measures.finish(),
        label_share: labels.as_ref().map_or(1.0, LabelBook::share),
        broken: labels.as_ref().map_or(0, |labels| labels.broken),
        first_broken: labels.and_then(|labels| labels.first_broken),
    })
}

/// Where results may be: those of the pipeline, of its shadow, and what the user names.
fn topics(context: &Context, scope: &Scope) -> anyhow::Result<Vec<String>> {
    let catalog = &context.catalog;
    let mut topics = vec![catalog.inference_results.name().to_string()];
    if exists(&*context.log, catalog.inference_shadow.name())? {
        topics.push(catalog.inference_shadow.name().to_string());
    }
    for topic in &scope.topics {
        context.log.topic(topic).with_context(|| format!("--in {topic}"))?;
        if !topics.contains(topic) {
            topics.push(topic.clone());
        }
    }
    Ok(topics)
}

/// All labels, where there is a topic of them.
fn labels(context: &Context, scope: &Scope) -> anyhow::Result<Option<LabelBook>> {
    let log = &*context.log;
    let topic = match &scope.labels {
        Some(topic) => topic.as_str(),
        None if !exists(log, context.catalog.labels.name())? => return Ok(None),
        None => context.catalog.labels.name(),
    };
    let mut book = LabelBook::new(MOST_LABELS);
    for partition in 0..log.topic(topic).with_context(|| format!("--labels {topic}"))?.partitions {
        let at = TopicPartition::new(topic, partition);
        let ends = log.watermarks(&at)?;
        book.read(log, &at, ends.low, ends.high)?;
    }
    Ok(Some(book))
}

/// Offsets of the events, and where their results begin: a result has its event's time.
fn range(log: &dyn Log, at: &TopicPartition, scope: &Scope) -> anyhow::Result<Range> {
    let offset = |bound: Option<Bound>, otherwise: i64| match bound {
        None => Ok(otherwise),
        Some(Bound::Offset(offset)) => Ok(offset),
        Some(Bound::Time(millis)) => log.offset_for_time(at, millis),
    };
    let since = match scope.from {
        Some(Bound::Time(millis)) => Some(millis),
        _ => None,
    };
    // Results outlive their events: without bounds all of them count.
    Ok(Range { events: (offset(scope.from, 0)?, offset(scope.to, i64::MAX)?), since })
}
