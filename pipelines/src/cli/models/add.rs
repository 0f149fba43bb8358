//! `lunapark models add`: a model file becomes a version of the catalog.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use lunapark_schemas::catalog::{Lineage, ModelVersion, Stage};
use lunapark_score::cascade;
use lunapark_stores::Stored;
use lunapark_stores::artifacts::digest_of;
use lunapark_stores::catalog::{Catalog, Registered};
use serde_json::{Value, json};

use super::Shelf;
use crate::catalog::{TopicCatalog, artifact_store, library, stamp};
use crate::cli::output::{Output, printable};
use crate::config::{Config, ModelConfig};
use crate::models;

/// Adds a model file: loads it, stores it under its digest, loads it from there, registers it as the next version
///
/// The same file under the same name is the same version: adding it again changes nothing, also at the same time from
/// elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        lunapark models add higgs.json --name higgs\n  \
        lunapark models add s3://models/jets.onnx --name jets --objective classification \\\n      \
        --description \"Quark or gluon jet\" --metric auc=0.93 --metric loss=0.31")]
pub struct Args {
    /// Path, `file://` or `s3://` URL, or `builtin:` name of the model
    file: String,
    /// Name in the catalog: letters, digits, `-`, `_`, `.`
    #[arg(long)]
    name: String,
    /// What it is for: classification, regression, anomaly-detection, …
    #[arg(long, default_value = "")]
    objective: String,
    /// For people, and for `models list --search`
    #[arg(long, default_value = "")]
    description: String,
    /// How good it was found to be; may be repeated
    #[arg(long = "metric", value_name = "NAME=NUMBER", value_parser = metric)]
    metrics: Vec<(String, f64)>,
}

fn metric(text: &str) -> Result<(String, f64), String> {
    let refused = || format!("`{text}`: write a name and a finite number, for example auc=0.81");
    let (name, number) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(refused)?;
    let number: f64 = number.parse().map_err(|_| refused())?;
    if number.is_finite() { Ok((name.to_owned(), number)) } else { Err(refused()) }
}

pub(super) fn run(out: &mut Output<'_>, args: &Args, shelf: &Shelf<'_>) -> anyhow::Result<ExitCode> {
    lunapark_schemas::catalog::check_name(&args.name)?;
    let s3 = models::s3_options(&shelf.config.store);
    let bytes = models::read(&args.file, &s3).map_err(anyhow::Error::msg)?;
    if cascade::describes(&bytes) {
        bail!("{} is a cascade: add its models, and name them in it as catalog:NAME/VERSION", args.file);
    }
    let loaded = lunapark_models::load(&bytes, &args.file, None).with_context(|| args.file.clone())?;
    let stored = artifact_store(shelf.config)?.put(&bytes)?;
    let again = models::load(&stored.address, Some(&stored.digest), &s3.into());
    again.map_err(anyhow::Error::msg).context("the stored artifact does not load")?;
    let task_id = format!("sha256:{}", stored.digest);
    let catalog = TopicCatalog::new(shelf.log.clone(), &shelf.topics).beside(others(shelf.config, &stored.digest));
    let version = catalog.reserve(&args.name, &task_id)?;
    let entry = entry(args, version, task_id, stored, &loaded)?;
    let done = shelf.catalog.register(&entry)?;
    tell(out, &entry, done)
}

/// The numbers of configured models that are not this one: a scorer that has one of them loaded takes no other model of
/// its number.
fn others(config: &Config, digest: &str) -> impl Iterator<Item = (String, u32)> {
    let s3 = models::s3_options(&config.store);
    let is_other = move |model: &&ModelConfig| match &model.sha256 {
        Some(configured) => configured != digest,
        None if model.path.starts_with(library::SCHEME) => false,
        None => models::read(&model.path, &s3).map_or(true, |bytes| digest_of(&bytes) != digest),
    };
    config.score.models.iter().filter(is_other).filter_map(ModelConfig::number)
}

fn entry(
    args: &Args,
    version: u32,
    task_id: String,
    stored: Stored,
    loaded: &lunapark_models::Loaded,
) -> anyhow::Result<ModelVersion> {
    let signature = loaded.model.signature();
    let (decision, created_at) = stamp();
    let format = json!(loaded.format);
    Ok(ModelVersion {
        name: args.name.clone(),
        version,
        task_id,
        stage: Stage::Registered,
        decision,
        objective: args.objective.clone(),
        format: format.as_str().map(str::to_owned).context("the format has no name")?,
        description: args.description.clone(),
        inputs: signature.inputs.clone(),
        outputs: signature.outputs.clone(),
        metrics: args.metrics.iter().cloned().collect::<BTreeMap<_, _>>(),
        digest: stored.digest,
        artifact: stored.address,
        dataset_digest: None,
        lineage: Lineage {
            file: Some(args.file.clone()),
            code_version: crate::version::code_version(),
            ..Lineage::default()
        },
        created_at,
    })
}

fn tell(out: &mut Output<'_>, entry: &ModelVersion, done: Registered) -> anyhow::Result<ExitCode> {
    let (model, new) = (entry.reference(), done == Registered::New);
    if out.json {
        let told: Value = json!({ "model": model, "name": entry.name, "version": entry.version, "new": new,
            "digest": entry.digest, "artifact": entry.artifact });
        out.document(&told)?;
        return Ok(ExitCode::SUCCESS);
    }
    let verb = if new { "added as" } else { "is there already:" };
    let file = printable(entry.lineage.file.as_deref().unwrap_or_default().as_bytes());
    out.line(format_args!("{file} {verb} {model}#{}", &entry.digest[..8]))?;
    out.line(format_args!("score with it: path = \"catalog:{model}\" in [[score.models]]"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_names_with_finite_numbers() {
        assert_eq!(metric("auc=0.81"), Ok(("auc".to_owned(), 0.81)));
        for bad in ["auc", "=1", "auc=", "auc=NaN", "auc=inf", "auc=high"] {
            assert!(metric(bad).is_err(), "{bad}");
        }
    }
}
