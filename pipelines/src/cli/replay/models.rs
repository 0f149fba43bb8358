//! Which models a replay scores with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use lunapark_operator::{Codec as _, Decoded, VersionName, Waiting};
use lunapark_schemas::cuts::CutRecord;
use lunapark_schemas::{Message, Messages, TopicPartition};
use lunapark_score::{Cut, CutTable, Cuts, InferenceCodec, Kept, ModelEntry, ModelSet, Named, Taker, Version};

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
    /// All cuts of the partitions: events may name what they name.
    cuts: BTreeMap<i32, Vec<CutRecord>>,
    /// What scores events that name no model.
    live: BTreeMap<i32, Vec<Cut>>,
    /// The model of `--model`.
    chosen: Option<usize>,
    /// Versions that cannot be loaded.
    missing: BTreeSet<VersionName>,
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
        let mut replayed = Self::of(set, places, cuts(context, ranges)?);
        match model {
            Some(model) => {
                let chosen = replayed.chosen(context, model)?;
                replayed.chosen = Some(chosen);
                let alone = |range: &Range| (range.at.partition, vec![Cut::to(chosen, 0)]);
                replayed.live = ranges.iter().map(alone).collect();
                replayed.shown = replayed.set.get(chosen).map(|entry| entry.tag.clone()).unwrap_or_default();
            }
            None => {
                for range in ranges {
                    replayed.load_range(range).context("without --model each event is scored as the cuts say")?;
                }
                replayed.shown = "what the cuts say".to_owned();
            }
        }
        replayed.tell();
        Ok(replayed)
    }

    fn of(set: Arc<ModelSet>, places: models::Places, cuts: BTreeMap<i32, Vec<CutRecord>>) -> Self {
        let (table, shown, live, chosen) = (Arc::new(CutTable::default()), String::new(), BTreeMap::new(), None);
        Self { set, table, shown, places, cuts, live, chosen, missing: BTreeSet::new(), kept: Vec::new() }
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
        self.live.insert(range.at.partition, live);
        Ok(())
    }

    /// Tells the codec what it has to know. What an event means that names a model is the scorer's to say: it is given the
    /// same cuts, and besides what they tell of earlier configurations.
    fn tell(&self) {
        for (partition, live) in &self.live {
            let all = || self.cuts.get(partition).into_iter().flatten();
            let named = all().filter(|cut| cut.promotion > 0).flat_map(|cut| self.named(cut)).collect();
            let configured = all().filter(|cut| cut.promotion == 0).flat_map(|cut| self.named(cut)).collect();
            let (live, instead) = (live.clone(), self.chosen);
            self.table.set(*partition, Cuts { live, named, configured, instead, shadow: Vec::new() });
        }
    }

    fn named(&self, cut: &CutRecord) -> impl Iterator<Item = Named> {
        let from = cut.next_offset;
        let base = (&cut.model, &cut.version, &cut.digest, None);
        let canary = cut.canary.as_ref().map(|c| (&c.model, &c.version, &c.digest, Some(c.share)));
        let named = [Some(base), canary].into_iter().flatten().filter_map(move |(name, version, digest, share)| {
            let away = VersionName { name: name.clone(), version: version.clone() };
            let version = match self.set.keep(name, version, digest) {
                Some(kept) => Version::Loaded(kept.index),
                None if self.missing.contains(&away) => return None,
                None => Version::Away(away),
            };
            Some(Named { from, share, version })
        });
        named.collect::<Vec<_>>().into_iter()
    }

    /// Decodes messages; the versions that they name are loaded, as their scorer did.
    pub(super) fn decode(
        &mut self,
        codec: &InferenceCodec,
        messages: &Messages,
        indices: &[usize],
        strict: bool,
    ) -> anyhow::Result<Decoded> {
        loop {
            let decoded = codec.decode(messages, indices);
            if decoded.waiting.is_empty() {
                return Ok(decoded);
            }
            for Waiting { message, version } in &decoded.waiting {
                self.fetch(&messages.get(*message), version, strict)?;
            }
            self.tell();
        }
    }

    fn fetch(&mut self, message: &Message<'_>, wanted: &VersionName, strict: bool) -> anyhow::Result<()> {
        let added = match self.artifact_in_cuts(message.partition, wanted) {
            Some((artifact, digest)) => self.add(&wanted.name, &wanted.version, &artifact, Some(&digest)),
            None => Err(anyhow!("no cut of {} names it", message.topic_partition())),
        };
        match added {
            Ok(_) => Ok(()),
            Err(error) if strict => Err(error.context(format!("{} wants {wanted}", message.position()))),
            Err(error) => {
                if self.missing.insert(wanted.clone()) {
                    output::note(format_args!("events that name {wanted}: {error:#}"));
                }
                Ok(())
            }
        }
    }

    /// Artifact and digest of a version that a cut names; those of promotions come before those of configurations.
    fn artifact_in_cuts(&self, partition: i32, wanted: &VersionName) -> Option<(String, String)> {
        let all = || self.cuts.get(&partition).into_iter().flatten();
        let mut promotions = all().filter(|cut| cut.promotion > 0).chain(all().filter(|cut| cut.promotion == 0));
        promotions.find_map(|cut| {
            let canary = cut.canary.as_ref().map(|c| (&c.model, &c.version, &c.artifact, &c.digest));
            let models = [Some((&cut.model, &cut.version, &cut.artifact, &cut.digest)), canary];
            let found = models.into_iter().flatten().find(|(n, v, ..)| (*n, *v) == (&wanted.name, &wanted.version))?;
            Some((found.2.clone(), found.3.clone()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;
    use lunapark_models::Device;
    use lunapark_schemas::HeadersBuf;
    use lunapark_schemas::cuts::{FORMAT, Role};
    use lunapark_schemas::headers::MODEL;
    use lunapark_schemas::inference::Limits;
    use lunapark_schemas::messages::At;
    use lunapark_stores::S3Options;

    const TREES: &str = "builtin:higgs-xgb";

    fn places() -> models::Places {
        let none = String::new;
        S3Options { endpoint: none(), region: none(), access_key_id: none(), secret_access_key: none() }.into()
    }

    fn cut(promotion: u64, (model, version): (&str, &str), next_offset: i64) -> CutRecord {
        CutRecord {
            format: FORMAT,
            pipeline: "score".into(),
            topic: "inference.events".into(),
            partition: 0,
            next_offset,
            model: model.into(),
            version: version.into(),
            digest: models::load(TREES, None, &places()).unwrap().digest,
            artifact: TREES.into(),
            promotion,
            role: Role::Live,
            canary: None,
            share: None,
            reason: None,
        }
    }

    /// The model of each event from offset 30 on, by what its header says.
    fn scored(cuts: Vec<CutRecord>, names: &[Option<&str>]) -> Vec<Option<String>> {
        let config = ["1", "2"].map(|version| ModelConfig {
            name: "higgs".into(),
            version: version.into(),
            path: TREES.into(),
            sha256: None,
            device: Device::Cpu,
        });
        let set = Arc::new(models::load_all(&config, &places()).unwrap());
        let mut replayed = Replayed::of(set.clone(), places(), [(0, cuts)].into());
        let range = Range { at: TopicPartition::new("inference.events", 0), from: 30, to: 99 };
        replayed.load_range(&range).unwrap();
        replayed.tell();
        let mut messages = Messages::new();
        for (offset, name) in (30..).zip(names) {
            let mut headers = HeadersBuf::new();
            if let Some(name) = name {
                headers.push_str(MODEL, name);
            }
            let value = format!("{{\"instances\":[[{}]]}}", ["0.5"; 28].join(","));
            let at = At { topic: "inference.events", partition: 0, offset, timestamp: 0 };
            messages.push(at, None, Some(value.as_bytes()), headers.view());
        }
        let codec = InferenceCodec::with_cuts(set.clone(), replayed.table.clone(), Limits::default());
        let indices: Vec<_> = (0..messages.len()).collect();
        let decoded = replayed.decode(&codec, &messages, &indices, true).unwrap();
        let mut found = vec![None; messages.len()];
        for batch in &decoded.batches {
            let entry = set.get(batch.model).unwrap();
            let scorer = format!("{}/{}", entry.name, entry.version);
            batch.members.iter().for_each(|member| found[member.message] = Some(scorer.clone()));
        }
        found
    }

    #[test]
    fn a_name_alone_means_what_it_meant_to_the_scorer() {
        // `foo` was live before the range; the configured default of then is that of now, which is not the last of its name.
        let cuts = vec![cut(0, ("higgs", "1"), 0), cut(1, ("foo", "7"), 10), cut(2, ("bar", "1"), 20)];
        let found = scored(cuts, &[None, Some("foo"), Some("higgs"), Some("bar"), Some("foo/7"), Some("foo/8")]);
        let due = [Some("bar/1"), Some("foo/7"), Some("higgs/2"), Some("bar/1"), Some("foo/7"), None];
        assert_eq!(found, due.map(|model| model.map(str::to_owned)));
    }

    #[test]
    fn an_event_of_another_configuration_keeps_the_default_of_then() {
        let cuts = vec![cut(0, ("old", "3"), 0), cut(0, ("higgs", "1"), 33)];
        let found = scored(cuts, &[None, Some("old"), Some("old/3"), None]);
        assert_eq!(found, ["old/3", "old/3", "old/3", "higgs/1"].map(|model| Some(model.to_owned())));
    }
}
