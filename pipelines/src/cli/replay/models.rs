//! Which models a replay scores with.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use lunapark_schemas::TopicPartition;
use lunapark_schemas::cuts::CutRecord;
use lunapark_score::{Cut, CutTable, ModelEntry, ModelSet};

use super::super::Context;
use super::super::output;
use crate::config::Config;
use crate::models;
use crate::swap::history;
use crate::swap::promotions::{self, Known};

/// The models of a replay, and which offsets they score.
pub(super) struct Replayed {
    pub(super) set: Arc<ModelSet>,
    pub(super) table: Arc<CutTable>,
    /// What the report calls it.
    pub(super) shown: String,
}

impl Replayed {
    /// The configured models and those of the cuts, which events may pin; what pins none is scored by `model`, or by
    /// what the cuts say.
    pub(super) fn load(
        context: &Context,
        config: &Config,
        model: Option<&str>,
        partitions: &[TopicPartition],
    ) -> anyhow::Result<Self> {
        let places = models::Places::of(config);
        let set = models::load_all(&config.score.models, &places)?;
        let cuts = cuts(context, partitions)?;
        for cut in cuts.values().flatten() {
            if let Err(error) = add(&set, &cut.model, &cut.version, &cut.artifact, Some(&cut.digest), &places) {
                match model {
                    None => return Err(error.context("without --model each event is scored as the cuts say")),
                    Some(_) => output::note(format_args!("events that pin {}/{}: {error:#}", cut.model, cut.version)),
                }
            }
        }
        let table = CutTable::default();
        let shown = match model {
            Some(model) => {
                let chosen = chosen(context, &set, model, &places)?;
                partitions.iter().for_each(|at| table.set(at.partition, vec![Cut { from: 0, model: chosen }]));
                set.get(chosen).map(|entry| entry.tag.clone()).unwrap_or_default()
            }
            None => {
                cuts.iter().for_each(|(partition, cuts)| table.set(*partition, indices(&set, cuts)));
                "what the cuts say".to_owned()
            }
        };
        Ok(Self { set: Arc::new(set), table: Arc::new(table), shown })
    }
}

fn cuts(context: &Context, partitions: &[TopicPartition]) -> anyhow::Result<BTreeMap<i32, Vec<CutRecord>>> {
    let (topic, source) = (context.catalog.model_cuts.name(), context.catalog.inference_events.name());
    let there =
        context.log.topics()?.into_iter().find(|found| found.name == *topic).map_or(0, |found| found.partitions);
    let numbers: Vec<i32> = partitions.iter().filter(|at| at.topic == *source).map(|at| at.partition).collect();
    let numbers: Vec<i32> = numbers.into_iter().filter(|partition| *partition < there).collect();
    Ok(history::read(&*context.log, topic, &context.group_of_pipeline, source, &numbers)?)
}

fn indices(set: &ModelSet, cuts: &[CutRecord]) -> Vec<Cut> {
    let index = |cut: &CutRecord| Some(Cut { from: cut.next_offset, model: set.find(&cut.model, &cut.version)? });
    cuts.iter().filter_map(index).collect()
}

fn add(
    set: &ModelSet,
    name: &str,
    version: &str,
    artifact: &str,
    digest: Option<&str>,
    places: &models::Places,
) -> anyhow::Result<usize> {
    let device = models::device_of(set, name);
    let loaded = models::load_on(device, artifact, digest, places).map_err(anyhow::Error::msg)?;
    Ok(set.add(ModelEntry::new(name, version, &loaded.digest, loaded.model))?)
}

/// A name and version that is known, or an address.
fn chosen(context: &Context, set: &ModelSet, model: &str, places: &models::Places) -> anyhow::Result<usize> {
    if let Some((name, version)) = model.split_once('/') {
        if let Some(index) = set.find(name, version) {
            return Ok(index);
        }
        let known = known(context)?;
        if let Some((artifact, digest)) = artifact_of(&known, name, version) {
            return add(set, name, version, &artifact, Some(&digest), places).with_context(|| format!("model {model}"));
        }
    }
    let loaded = models::load(model, None, places);
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => bail!("--model {model} is no version that is known here, and as an address: {error}"),
    };
    // A result names its model: the same file under its own name gives the same bytes.
    if let Some(index) = set.entries().position(|entry| entry.digest == loaded.digest) {
        return Ok(index);
    }
    let version = loaded.digest.get(..8).unwrap_or_default().to_owned();
    Ok(set.add(ModelEntry::new("replay", &version, &loaded.digest, loaded.model))?)
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
