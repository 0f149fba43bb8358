//! Which models a replay scores with.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use lunapark_schemas::cuts::CutRecord;
use lunapark_schemas::headers::MODEL;
use lunapark_schemas::{Message, TopicPartition};
use lunapark_score::{Cut, CutTable, Cuts, Kept, ModelEntry, ModelSet, Named, Taker};

use super::super::Context;
use super::super::output;
use crate::config::Config;
use crate::models;
use crate::swap::history;
use crate::swap::promotions::{self, Known};

/// A partition and the offsets of it that are replayed.
pub(super) struct Range {
    pub(super) at: TopicPartition,
    pub(super) from: i64,
    /// Not included.
    pub(super) to: i64,
}

/// The models of a replay, and which offsets they score.
pub(super) struct Replayed {
    pub(super) set: Arc<ModelSet>,
    pub(super) table: Arc<CutTable>,
    /// What the report calls it.
    pub(super) shown: String,
    places: models::Places,
    /// All cuts of the partitions: events may pin what they name.
    cuts: BTreeMap<i32, Vec<CutRecord>>,
    /// Versions that cannot be loaded, and what was said of them.
    missing: Vec<(String, String)>,
    kept: Vec<Kept>,
}

impl Replayed {
    /// The configured models and those whose cuts govern a part of the ranges; what pins no version is scored by `model`, or
    /// by what the cuts say. To be called after the ends of the ranges are known: then no cut is missed that was made
    /// before them.
    pub(super) fn load(
        context: &Context,
        config: &Config,
        model: Option<&str>,
        ranges: &[Range],
    ) -> anyhow::Result<Self> {
        let places = models::Places::of(config);
        let set = Arc::new(models::load_all(&config.score.models, &places)?);
        let cuts = cuts(context, ranges)?;
        let (table, shown, missing, kept) = (Arc::new(CutTable::default()), String::new(), Vec::new(), Vec::new());
        let mut replayed = Self { set, table, shown, places, cuts, missing, kept };
        match model {
            Some(model) => {
                let chosen = replayed.chosen(context, model)?;
                let alone = Cuts { live: vec![Cut::to(chosen, 0)], ..Cuts::default() };
                ranges.iter().for_each(|range| replayed.table.set(range.at.partition, alone.clone()));
                replayed.shown = replayed.set.get(chosen).map(|entry| entry.tag.clone()).unwrap_or_default();
            }
            None => {
                for range in ranges {
                    replayed.load_range(range).context("without --model each event is scored as the cuts say")?;
                }
                replayed.shown = "what the cuts say".to_owned();
            }
        }
        Ok(replayed)
    }

    fn load_range(&mut self, range: &Range) -> anyhow::Result<()> {
        let cuts = self.cuts.get(&range.at.partition).cloned().unwrap_or_default();
        let mut live = Vec::new();
        for cut in in_range(&cuts, range.from, range.to) {
            let model = self.add(&cut.model, &cut.version, &cut.artifact, Some(&cut.digest))?;
            let canary = cut.canary.as_ref().map(|canary| {
                let model = self.add(&canary.model, &canary.version, &canary.artifact, Some(&canary.digest))?;
                Ok::<_, anyhow::Error>(Taker { model, share: canary.share })
            });
            live.push(Cut { from: cut.next_offset, model, canary: canary.transpose()? });
        }
        self.table.set(range.at.partition, Cuts::live(live));
        Ok(())
    }

    /// Loads the version that an event pins where a cut has named it up to there, as its scorer did.
    pub(super) fn prepare(&mut self, message: &Message<'_>, strict: bool) -> anyhow::Result<()> {
        let pinned = message.headers.get_str(MODEL).and_then(|header| header.trim().split_once('/'));
        let Some((name, version)) = pinned else { return Ok(()) };
        let Some((from, artifact, digest)) = self.named(message.partition, message.offset, name, version) else {
            return Ok(());
        };
        let mut cuts = (*self.table.of(message.partition)).clone();
        let known =
            |named: &Named| self.set.get(named.model).is_some_and(|e| (&*e.name, &*e.version) == (name, version));
        let failed = |(n, v): &(String, String)| (n.as_str(), v.as_str()) == (name, version);
        if cuts.named.iter().any(known) || self.missing.iter().any(failed) {
            return Ok(());
        }
        match self.add(name, version, &artifact, Some(&digest)) {
            Ok(model) => {
                cuts.named.push(Named { from, model });
                self.table.set(message.partition, cuts);
            }
            Err(error) if strict => return Err(error.context(format!("{} pins {name}/{version}", message.position()))),
            Err(error) => {
                output::note(format_args!("events that pin {name}/{version}: {error:#}"));
                self.missing.push((name.to_owned(), version.to_owned()));
            }
        }
        Ok(())
    }

    /// Where a promotion's cut names this version first, and its artifact and digest.
    fn named(&self, partition: i32, offset: i64, name: &str, version: &str) -> Option<(i64, String, String)> {
        let promoted = self.cuts.get(&partition)?.iter().filter(|cut| cut.promotion > 0 && cut.next_offset <= offset);
        promoted.into_iter().find_map(|cut| {
            let canary = cut.canary.as_ref().map(|c| (&c.model, &c.version, &c.artifact, &c.digest));
            let models = [Some((&cut.model, &cut.version, &cut.artifact, &cut.digest)), canary];
            let found = models.into_iter().flatten().find(|(n, v, ..)| (n.as_str(), v.as_str()) == (name, version))?;
            Some((cut.next_offset, found.2.clone(), found.3.clone()))
        })
    }

    fn add(&mut self, name: &str, version: &str, artifact: &str, digest: Option<&str>) -> anyhow::Result<usize> {
        if let Some(kept) = digest.and_then(|digest| self.set.keep(name, version, digest)) {
            return Ok(kept.index);
        }
        let device = models::device_of(&self.set, name);
        let loaded = models::load_on(device, artifact, digest, &self.places).map_err(anyhow::Error::msg)?;
        let kept = self.set.add(ModelEntry::new(name, version, &loaded.digest, loaded.model))?;
        let index = kept.index;
        self.kept.push(kept);
        Ok(index)
    }

    /// A name and version that is known, or an address.
    fn chosen(&mut self, context: &Context, model: &str) -> anyhow::Result<usize> {
        if let Some((name, version)) = model.split_once('/') {
            if let Some(index) = self.set.find(name, version) {
                return Ok(index);
            }
            if let Some((artifact, digest)) = artifact_of(&known(context)?, name, version) {
                let added = self.add(name, version, &artifact, Some(&digest));
                return added.with_context(|| format!("model {model}"));
            }
        }
        let loaded = match models::load(model, None, &self.places) {
            Ok(loaded) => loaded,
            Err(error) => bail!("--model {model} is no version that is known here, and as an address: {error}"),
        };
        // A result names its model: the same file under its own name gives the same bytes.
        if let Some(index) = self.set.entries().position(|entry| entry.digest == loaded.digest) {
            return Ok(index);
        }
        let version = loaded.digest.get(..8).unwrap_or_default().to_owned();
        let kept = self.set.add(ModelEntry::new("replay", &version, &loaded.digest, loaded.model))?;
        let index = kept.index;
        self.kept.push(kept);
        Ok(index)
    }
}

/// The cuts that govern any of these offsets.
fn in_range(cuts: &[CutRecord], from: i64, to: i64) -> impl Iterator<Item = &CutRecord> {
    let ends = |index: usize| cuts.get(index + 1).map_or(i64::MAX, |next| next.next_offset);
    cuts.iter().enumerate().filter(move |(index, cut)| cut.next_offset < to && ends(*index) > from).map(|(_, cut)| cut)
}

fn cuts(context: &Context, ranges: &[Range]) -> anyhow::Result<BTreeMap<i32, Vec<CutRecord>>> {
    let (topic, source) = (context.catalog.model_cuts.name(), context.catalog.inference_events.name());
    let there =
        context.log.topics()?.into_iter().find(|found| found.name == *topic).map_or(0, |found| found.partitions);
    let ours = ranges.iter().map(|range| &range.at).filter(|at| at.topic == *source && at.partition < there);
    let numbers: Vec<i32> = ours.map(|at| at.partition).collect();
    let cuts = history::read(&*context.log, topic, &context.group_of_pipeline, source, &numbers)?;
    Ok(cuts.into_iter().map(|(partition, tracks)| (partition, tracks.live)).collect())
}

fn known(context: &Context) -> anyhow::Result<Known> {
    let models = context.catalog.models.name();
    match context.log.topics()?.iter().any(|topic| topic.name == *models) {
        true => Ok(promotions::read(&*context.log, models, &context.group_of_pipeline)?),
        false => Ok(Known::default()),
    }
}

fn artifact_of(known: &Known, name: &str, version: &str) -> Option<(String, String)> {
    let promoted = known.promotions.values().rev().find(|p| p.model == name && p.version == version);
    let registered = || known.versions.iter().find(|v| v.name == name && v.version.to_string() == version);
    promoted
        .map(|p| (p.artifact.clone(), p.digest.clone()))
        .or_else(|| registered().map(|v| (v.artifact.clone(), v.digest.clone())))
}
