//! `lunapark models promote` and `rollback`: another model from a recorded offset on, without a restart.

mod follow;
mod gather;
mod planned;
pub mod shadow;
mod shadows;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lunapark_schemas::Share;
use lunapark_schemas::catalog::Stage;
use lunapark_schemas::promotion::{FORMAT, Planned, Promotion, PromotionKind, PromotionStage};
use lunapark_topics::LogErrorKind;
use serde_json::{Value, json};

use super::Context;
use super::condition;
use super::output::{self, Output};
use super::time;
use crate::clock;
use crate::config::{Config, ModelConfig};
use crate::models;
use crate::swap::promotions::{self, Known};

/// Makes the running scorers switch to a model
///
/// Every running instance loads the model first and says whether it can; when all can, each partition switches between
/// two transactions, and the offset is recorded on the topic model.cuts. Events that name a version keep it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models promote higgs/2 --model s3://models/higgs-2.json\n  \
                        lunapark models promote higgs/2 --model higgs-2.onnx --at 0:50000,1:48000\n  \
                        lunapark models promote higgs/2 --if \"auc>=0.80 and flipped<0.02\" --wait 10000\n  \
                        lunapark models promote higgs/2 --share 0.1        (a canary; without --share, wholly)\n  \
                        lunapark models rollback")]
pub struct Args {
    /// Name of the model, or name/version; without a version the newest of the catalog, or with --model the next number
    #[arg(value_name = "NAME[/VERSION]")]
    name: String,
    /// Address of the model: a path that every instance can read, file://, s3:// or builtin:
    #[arg(long, value_name = "ADDRESS")]
    model: Option<String>,
    /// First offset that the new model scores, for some partitions: 0:50000,1:48000; the others switch at once. A partition
    /// that has come further before the switch reaches it is cut later, which is told and is a failure
    #[arg(long, value_name = "PARTITION:OFFSET", value_delimiter = ',', value_parser = planned::parse)]
    at: Vec<Planned>,
    /// Only this share of the events is scored by the new model (a canary), chosen by a hash of their keys
    #[arg(long, value_name = "0..1", value_parser = share)]
    share: Option<Share>,
    #[command(flatten)]
    condition: condition::Condition,
    #[command(flatten)]
    patience: Patience,
}

/// Makes the running scorers switch back to the model before
///
/// One more switch, as `promote` makes it; a second rollback goes forward again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models rollback\n  lunapark models rollback --deadline 5s --force")]
pub struct RollbackArgs {
    #[command(flatten)]
    patience: Patience,
}

#[derive(Debug, clap::Args)]
struct Patience {
    /// How long to wait for the instances to load the model
    #[arg(long, default_value = "60s", value_parser = time::parse_duration)]
    deadline: Duration,
    /// Switch at the deadline although some instances have not answered, or cannot; their partitions keep the old model
    /// until they can
    #[arg(long)]
    force: bool,
}

fn share(text: &str) -> Result<Share, String> {
    let part: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Share::try_from(part).map_err(|error| error.to_string())
}

/// The model that is to score.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    name: String,
    version: String,
    artifact: String,
    digest: String,
}

/// What it is to do, and where.
#[derive(Clone, Debug)]
struct Intent {
    kind: PromotionKind,
    share: Option<Share>,
    at: Vec<Planned>,
}

impl Intent {
    /// Scores everything at once.
    fn whole() -> Self {
        Self { kind: PromotionKind::Switch, share: None, at: Vec::new() }
    }
}

/// Runs `promote`.
pub fn run(context: &Context, config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    output::on_stdout(context.json, |out| promote(context, config, args, out))
}

/// Runs `rollback`.
pub fn run_back(context: &Context, config: &Config, args: &RollbackArgs) -> anyhow::Result<ExitCode> {
    output::on_stdout(context.json, |out| roll_back(context, config, args, out))
}

fn promote(context: &Context, config: &Config, args: &Args, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    prepare(context)?;
    let at = planned::check(context, &args.at)?;
    let known = known(context)?;
    let places = models::Places::of(config);
    let wanted = wanted(&known, config, &args.name, args.model.as_deref(), &places)?;
    if let Some(code) = condition::stops(context, config, &args.condition, (&wanted.name, &wanted.version), out)? {
        return Ok(code);
    }
    let kind = if args.share.is_some() { PromotionKind::Canary } else { PromotionKind::Switch };
    switch(context, &wanted, &Intent { kind, share: args.share, at }, &args.patience, out)
}

fn roll_back(
    context: &Context,
    config: &Config,
    args: &RollbackArgs,
    out: &mut Output<'_>,
) -> anyhow::Result<ExitCode> {
    prepare(context)?;
    let known = known(context)?;
    if known.live(false).is_none() {
        bail!("nothing was promoted, so there is nothing to go back to; `lunapark models promote` switches");
    }
    let places = models::Places::of(config);
    let wanted = match known.before_live() {
        Some(before) => Wanted {
            name: before.model.clone(),
            version: before.version.clone(),
            artifact: before.artifact.clone(),
            digest: before.digest.clone(),
        },
        None => configured(config.score.models.first().context("no model is configured")?, &places)?,
    };
    switch(context, &wanted, &Intent::whole(), &args.patience, out)
}

fn known(context: &Context) -> anyhow::Result<Known> {
    let models = context.catalog.models.name();
    promotions::read(&*context.log, models, &context.group_of_pipeline).with_context(|| format!("cannot read {models}"))
}

/// The topics of a promotion are there, even where no scorer has run yet. Those that exist are as the service took them:
/// it accepts more partitions than a new topic would have.
fn prepare(context: &Context) -> anyhow::Result<()> {
    let catalog = &context.catalog;
    for spec in [&catalog.models.spec, &catalog.control.spec, &catalog.model_cuts.spec] {
        match context.log.topic(&spec.name).map(drop) {
            Err(error) if error.kind == LogErrorKind::TopicMissing => {
                context.log.create_topic(spec).with_context(|| format!("cannot create {}", spec.name))?;
            }
            found => found.with_context(|| format!("cannot look at {}", spec.name))?,
        }
    }
    Ok(())
}

/// The model of a configuration, under an address that holds in every folder.
fn configured(model: &ModelConfig, places: &models::Places) -> anyhow::Result<Wanted> {
    let loaded = models::load(&model.path, model.sha256.as_deref(), places).map_err(anyhow::Error::msg)?;
    let (name, version, artifact) = (model.name.clone(), model.version.clone(), models::absolute(&model.path));
    Ok(Wanted { name, version, artifact, digest: loaded.digest })
}

/// Which model the arguments name, loaded once here: a file that no instance could load is not announced at all.
fn wanted(
    known: &Known,
    config: &Config,
    reference: &str,
    address: Option<&str>,
    places: &models::Places,
) -> anyhow::Result<Wanted> {
    let (name, version) = reference.split_once('/').map_or((reference, None), |(name, version)| (name, Some(version)));
    if name.is_empty() || version.is_some_and(str::is_empty) || reference.contains(char::is_whitespace) {
        bail!("`{reference}` is no model: write NAME or NAME/VERSION, for example higgs/2");
    }
    let wanted = match address {
        Some(address) => {
            let artifact = models::absolute(address);
            let loaded = models::load(&artifact, None, places).map_err(anyhow::Error::msg)?;
            let version = version.map_or_else(|| next_version(known, config, name), str::to_owned);
            Wanted { name: name.into(), version, artifact, digest: loaded.digest }
        }
        None => {
            let wanted = registered(known, config, name, version, places)?;
            models::load(&wanted.artifact, Some(&wanted.digest), places).map_err(anyhow::Error::msg)?;
            wanted
        }
    };
    one_digest(known, &wanted)?;
    Ok(wanted)
}

fn next_version(known: &Known, config: &Config, name: &str) -> String {
    let promoted = known.promotions.values().filter(|p| p.model == name).filter_map(|p| p.version.parse::<u32>().ok());
    let registered = known.versions.iter().filter(|v| v.name == name).map(|v| v.version);
    let configured = config.score.models.iter().filter_map(ModelConfig::number).filter(|m| m.0 == name).map(|m| m.1);
    (promoted.chain(registered).chain(configured).max().unwrap_or(0) + 1).to_string()
}

/// A model that is known by its name: in the catalog, promoted before, or configured.
fn registered(
    known: &Known,
    config: &Config,
    name: &str,
    version: Option<&str>,
    places: &models::Places,
) -> anyhow::Result<Wanted> {
    let fits = |v: &str| version.is_none_or(|version| version == v);
    let usable = known.versions.iter().filter(|v| v.name == name && fits(&v.version.to_string()));
    if let Some(found) = usable.clone().filter(|v| v.stage != Stage::Retired).max_by_key(|v| v.version) {
        let (artifact, digest) = (found.artifact.clone(), found.digest.clone());
        return Ok(Wanted { name: name.into(), version: found.version.to_string(), artifact, digest });
    }
    if usable.count() > 0 {
        bail!("{name}{} is retired; register it again, or promote another version", shown(version));
    }
    if let Some(p) = known.promotions.values().rev().find(|p| p.model == name && fits(&p.version)) {
        let (version, artifact) = (p.version.clone(), p.artifact.clone());
        return Ok(Wanted { name: name.into(), version, artifact, digest: p.digest.clone() });
    }
    match config.score.models.iter().rev().find(|m| m.name == name && fits(&m.version)) {
        Some(model) => configured(model, places),
        None => bail!("there is no model {name}{}; add --model ADDRESS, or register it first", shown(version)),
    }
}

fn shown(version: Option<&str>) -> String {
    version.map(|version| format!("/{version}")).unwrap_or_default()
}

/// One version, one artifact: otherwise a pinned event could not say what it means.
fn one_digest(known: &Known, wanted: &Wanted) -> anyhow::Result<()> {
    let promoted = known.promotions.values().map(|p| (&p.model, p.version.clone(), &p.digest));
    let registered = known.versions.iter().map(|v| (&v.name, v.version.to_string(), &v.digest));
    let other = promoted.chain(registered).find(|(name, version, digest)| {
        **name == wanted.name && *version == wanted.version && **digest != wanted.digest
    });
    match other {
        Some((name, version, digest)) => bail!(
            "{name}/{version} is known with the digest {digest}, this file has {}: give it a version of its own",
            wanted.digest
        ),
        None => Ok(()),
    }
}

/// Announces, waits for the instances, switches on, and follows the cuts.
fn switch(
    context: &Context,
    wanted: &Wanted,
    intent: &Intent,
    patience: &Patience,
    out: &mut Output<'_>,
) -> anyhow::Result<ExitCode> {
    let (decided, gathered) = ask(context, wanted, intent, patience, out.json)?;
    if decided.stage == PromotionStage::Refused {
        return refused(&decided, &gathered, out);
    }
    let cuts = follow::cuts(context, &decided, gathered.somebody(), patience.deadline)?;
    report(context, &decided, &gathered, &cuts, out)
}

/// Announces and waits for the instances; what was decided, and what they said.
fn ask(
    context: &Context,
    wanted: &Wanted,
    intent: &Intent,
    patience: &Patience,
    silent: bool,
) -> anyhow::Result<(Promotion, gather::Gathered)> {
    let ear = gather::Ear::open(context)?;
    let announced = write_intent(context, wanted, intent, PromotionStage::Announced)?;
    if !silent {
        output::note(format_args!("promotion {}: {}/{} announced", announced.id, wanted.name, wanted.version));
    }
    let gathered = ear.gather(&announced, patience.deadline, patience.force)?;
    Ok((decide(context, &announced, &gathered)?, gathered))
}

/// Makes a model of the catalog score, wholly or as a shadow of this share, and waits for the cuts of all partitions: their
/// offsets.
pub fn make(
    context: &Context,
    config: &Config,
    reference: &str,
    shadow: Option<Share>,
    deadline: Duration,
) -> anyhow::Result<BTreeMap<i32, i64>> {
    prepare(context)?;
    let wanted = wanted(&known(context)?, config, reference, None, &models::Places::of(config))?;
    let intent = match shadow {
        None => Intent::whole(),
        share => Intent { kind: PromotionKind::Shadow, share, at: Vec::new() },
    };
    let (decided, gathered) = ask(context, &wanted, &intent, &Patience { deadline, force: false }, true)?;
    if decided.stage == PromotionStage::Refused {
        bail!("promotion {} is not made: {}", decided.id, decided.reason.unwrap_or_default());
    }
    let cuts = follow::cuts(context, &decided, gathered.somebody(), deadline)?;
    match cuts.missing.is_empty() {
        true => Ok(cuts.made),
        false => bail!("promotion {}: {} partitions have no cut yet", decided.id, cuts.missing.len()),
    }
}

fn write_intent(
    context: &Context,
    wanted: &Wanted,
    intent: &Intent,
    stage: PromotionStage,
) -> anyhow::Result<Promotion> {
    promotions::decide(&*context.log, &context.catalog.models, &context.group_of_pipeline, |known| {
        one_digest(known, wanted)?;
        Ok(Promotion {
            format: FORMAT,
            id: known.next_id()?,
            pipeline: context.group_of_pipeline.clone(),
            model: wanted.name.clone(),
            version: wanted.version.clone(),
            digest: wanted.digest.clone(),
            artifact: wanted.artifact.clone(),
            kind: intent.kind,
            share: intent.share,
            stage,
            at: intent.at.clone(),
            reason: None,
            created_at: clock::now_millis(),
        })
    })
}

/// On where the instances allow it, no later promotion has come, and no planned offset was scored meanwhile; refused
/// otherwise.
fn decide(context: &Context, announced: &Promotion, gathered: &gather::Gathered) -> anyhow::Result<Promotion> {
    promotions::decide(&*context.log, &context.catalog.models, &context.group_of_pipeline, |known| {
        let same_side = |p: &&Promotion| p.kind.shadows() == announced.kind.shadows();
        let mut later = known.promotions.values().rev().filter(same_side);
        let later = later.find(|p| p.id > announced.id && p.stage != PromotionStage::Refused);
        let (stage, reason) = match (later, gathered.refusal()) {
            (Some(later), _) => (PromotionStage::Refused, Some(format!("promotion {} came after it", later.id))),
            (None, Some(reason)) => (PromotionStage::Refused, Some(reason)),
            (None, None) => match planned::passed(context, &announced.at)? {
                Some(passed) => (PromotionStage::Refused, Some(passed)),
                None => (PromotionStage::On, gathered.passed_over()),
            },
        };
        Ok(Promotion { stage, reason, ..announced.clone() })
    })
}

fn refused(decided: &Promotion, gathered: &gather::Gathered, out: &mut Output<'_>) -> anyhow::Result<ExitCode> {
    let reason = decided.reason.clone().unwrap_or_default();
    if out.json {
        out.document(&document(decided, gathered, json!({})))?;
    }
    output::note(format_args!("promotion {} is not made: {reason}", decided.id));
    Ok(ExitCode::FAILURE)
}

fn report(
    context: &Context,
    decided: &Promotion,
    gathered: &gather::Gathered,
    cuts: &follow::Followed,
    out: &mut Output<'_>,
) -> anyhow::Result<ExitCode> {
    if out.json {
        let offsets = cuts.made.iter().map(|(partition, offset)| (partition.to_string(), json!(offset)));
        out.document(&document(decided, gathered, Value::Object(offsets.collect())))?;
    } else {
        let role = role(decided.kind);
        let mut table = output::Table::new(&["partition", ">from offset", role]);
        for (partition, offset) in &cuts.made {
            let place = format!("{}/{partition}", context.catalog.inference_events.name());
            table.row([place, offset.to_string(), format!("{}/{}", decided.model, decided.version)]);
        }
        out.table(&table)?;
    }
    if let Some(reason) = &decided.reason {
        output::note(reason);
    }
    let moved = planned::moved(context.catalog.inference_events.name(), &decided.at, &cuts.made);
    moved.iter().for_each(output::note);
    if !gathered.somebody() {
        output::note("no instance is running: the switch is made when one starts");
        return Ok(ExitCode::SUCCESS);
    }
    if !cuts.missing.is_empty() {
        let missing: Vec<_> = cuts.missing.iter().map(ToString::to_string).collect();
        output::note(format_args!(
            "partitions without a cut yet: {}; their owners make it when they can; `lunapark consume {}` shows it",
            missing.join(", "),
            context.catalog.model_cuts.name()
        ));
    }
    match cuts.missing.is_empty() && moved.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

/// What a model is from its cuts on, as a column's heading.
fn role(kind: PromotionKind) -> &'static str {
    match kind {
        PromotionKind::Switch => "model",
        PromotionKind::Canary => "canary",
        PromotionKind::Shadow => "shadow",
        PromotionKind::ShadowEnd => "shadow until there",
    }
}

fn document(decided: &Promotion, gathered: &gather::Gathered, cut: Value) -> Value {
    let asked = decided.at.iter().map(|planned| (planned.partition.to_string(), json!(planned.offset)));
    json!({
        "promotion": decided.id,
        "promoted": format!("{}/{}", decided.model, decided.version),
        "intent": decided.kind,
        "share": decided.share,
        "digest": decided.digest,
        "artifact": decided.artifact,
        "stage": decided.stage,
        "reason": decided.reason,
        "ready": gathered.ready,
        "at": Value::Object(asked.collect()),
        "cut": cut,
    })
}
