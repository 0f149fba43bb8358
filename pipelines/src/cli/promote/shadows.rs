//! `lunapark models shadow --list`: which shadows have scored where, how much, and how they ended.

use std::collections::BTreeMap;
use std::process::ExitCode;

use lunapark_schemas::TopicPartition;
use lunapark_schemas::cuts::CutRecord;
use lunapark_schemas::metrics::MetricsRecord;
use serde::Serialize;

use super::super::Context;
use super::super::output::{Output, Table, number, printable};
use crate::config::Config;
use crate::swap::history;

/// One shadow.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Shown {
    promotion: u64,
    /// `name/version`.
    model: String,
    share: Option<f64>,
    /// Partitions that it scores now.
    scoring: usize,
    /// Partitions that have a cut of it.
    partitions: usize,
    /// Events that it scored and that it did not, as instances have counted since their starts.
    scored: u64,
    rejected: u64,
    /// Why it ended by itself.
    reason: Option<String>,
}

pub(super) fn run(context: &Context, config: &Config, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let (cuts, source) = (context.catalog.model_cuts.name(), context.catalog.inference_events.name());
    let partitions: Vec<i32> = (0..context.log.topic(source)?.partitions).collect();
    let tracks = history::read(&*context.log, cuts, &context.group_of_pipeline, source, &partitions)?;
    let mut shadows = BTreeMap::new();
    tracks.values().for_each(|tracks| take(&tracks.shadow, &mut shadows));
    count(&last_reports(context, config)?, &mut shadows);
    let shadows: Vec<Shown> = shadows.into_values().collect();
    match out.json {
        true => out.document(&shadows)?,
        false if shadows.is_empty() => out.line("no shadow has scored yet")?,
        false => out.table(&table(&shadows))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The cuts of one partition, ascending.
fn take(cuts: &[CutRecord], into: &mut BTreeMap<u64, Shown>) {
    for (index, cut) in cuts.iter().enumerate() {
        let shown = into.entry(cut.promotion).or_default();
        let first = cuts[..index].iter().all(|before| before.promotion != cut.promotion);
        shown.promotion = cut.promotion;
        shown.model = format!("{}/{}", cut.model, cut.version);
        shown.partitions += usize::from(first);
        shown.scoring += usize::from(cut.share.is_some() && index + 1 == cuts.len());
        shown.share = cut.share.map(f64::from).or(shown.share);
        shown.reason = cut.reason.clone().or(shown.reason.take());
    }
    // The end that somebody asked for is a promotion of its own, and no shadow.
    into.retain(|_, shown| shown.share.is_some() || shown.reason.is_some());
}

/// What each instance of the pipeline has reported last.
fn last_reports(context: &Context, config: &Config) -> anyhow::Result<Vec<MetricsRecord>> {
    let topic = context.catalog.metrics.name();
    let Some(found) = context.log.topics()?.into_iter().find(|found| found.name == *topic) else {
        return Ok(Vec::new());
    };
    let places: Vec<_> = (0..found.partitions).map(|number| TopicPartition::new(topic.clone(), number)).collect();
    let mut last: BTreeMap<String, MetricsRecord> = BTreeMap::new();
    history::read_to_end(&*context.log, &places, |message| {
        let report = message.value.and_then(|value| serde_json::from_slice::<MetricsRecord>(value).ok());
        if let Some(report) = report.filter(|report| report.pipeline == config.score.name) {
            last.insert(report.instance.clone(), report);
        }
    })?;
    Ok(last.into_values().collect())
}

fn count(reports: &[MetricsRecord], into: &mut BTreeMap<u64, Shown>) {
    let counters = || reports.iter().flat_map(|report| &report.counters);
    for shown in into.values_mut() {
        let ours = format!("promotion=\"{}\"", shown.promotion);
        let sum = |outcome: &str| {
            let label = format!("outcome=\"{outcome}\"");
            let of =
                |name: &str| name.starts_with("lunapark_shadow_total") && name.contains(&ours) && name.contains(&label);
            counters().filter(|(name, _)| of(name)).map(|(_, count)| *count as u64).sum()
        };
        (shown.scored, shown.rejected) = (sum("scored"), sum("rejected"));
    }
}

fn table(shadows: &[Shown]) -> Table {
    let mut table = Table::new(&["promotion", "model", ">share", ">scoring", ">scored", ">rejected", "ended because"]);
    for shown in shadows {
        table.row([
            shown.promotion.to_string(),
            printable(shown.model.as_bytes()),
            shown.share.map(|share| share.to_string()).unwrap_or_default(),
            format!("{} of {}", shown.scoring, shown.partitions),
            number(shown.scored),
            number(shown.rejected),
            printable(shown.reason.as_deref().unwrap_or_default().as_bytes()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_that_failed_is_listed_with_its_reason_and_its_counts() {
        let text = include_str!("../../../../schemas/examples/records/model.cuts/ok-shadow.json");
        let begin = CutRecord { promotion: 3, next_offset: 10, ..serde_json::from_str(text).unwrap() };
        let end = |reason: Option<&str>| CutRecord {
            share: None,
            reason: reason.map(str::to_owned),
            next_offset: 20,
            ..begin.clone()
        };
        let mut shadows = BTreeMap::new();
        take(&[begin.clone(), end(Some("it was slow"))], &mut shadows);
        take(std::slice::from_ref(&begin), &mut shadows);
        // Begun anew, and ended on purpose.
        take(&[begin.clone(), CutRecord { promotion: 4, ..end(None) }], &mut shadows);
        let counter = |outcome: &str| {
            format!("lunapark_shadow_total{{model=\"m\",outcome=\"{outcome}\",promotion=\"3\",version=\"2\"}}")
        };
        let mut report: MetricsRecord = MetricsRecord {
            pipeline: "score".into(),
            instance: "a".into(),
            time_ms: 0,
            uptime_s: 0.0,
            counters: BTreeMap::new(),
            latencies: BTreeMap::new(),
        };
        report.counters = [(counter("scored"), 5.0), (counter("rejected"), 2.0)].into();
        count(&[report.clone(), report], &mut shadows);
        let shown: Vec<_> = shadows.into_values().collect();
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert_eq!((shown[0].scoring, shown[0].partitions, shown[0].scored, shown[0].rejected), (1, 3, 10, 4));
        assert_eq!((shown[0].reason.as_deref(), shown[0].share), (Some("it was slow"), begin.share.map(f64::from)));
    }
}
