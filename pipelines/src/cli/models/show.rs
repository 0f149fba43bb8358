//! `lunapark models show`.

use std::process::ExitCode;

use lunapark_schemas::TensorSpec;
use lunapark_schemas::catalog::ModelVersion;

use super::{Reference, Shelf, list};
use crate::cli::output::{Output, printable};
use crate::cli::time;

/// Shows all that the catalog knows of a version
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models show higgs/3\n  lunapark models show higgs --json    the newest \
                        that is not retired")]
pub struct Args {
    /// NAME/VERSION, or NAME for the newest that is not retired
    model: Reference,
}

pub(super) fn run(out: &mut Output<'_>, args: &Args, shelf: &Shelf<'_>) -> anyhow::Result<ExitCode> {
    let version = shelf.find(&args.model)?;
    match out.json {
        true => out.document(&version)?,
        false => {
            for (name, text) in rows(&version).iter().filter(|(_, text)| !text.is_empty()) {
                out.line(format_args!("{name:<12} {}", printable(text.as_bytes())))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What there is to tell, in order; the card tells the same.
pub(super) fn rows(version: &ModelVersion) -> Vec<(&'static str, String)> {
    let lineage = &version.lineage;
    vec![
        ("model", version.reference()),
        ("stage", version.stage.as_str().to_owned()),
        ("objective", version.objective.clone()),
        ("description", version.description.clone()),
        ("format", version.format.clone()),
        ("inputs", tensors(&version.inputs)),
        ("outputs", tensors(&version.outputs)),
        ("metrics", list::metrics(version)),
        ("digest", version.digest.clone()),
        ("artifact", version.artifact.clone()),
        ("task", version.task_id.clone()),
        ("request", lineage.request.clone().unwrap_or_default()),
        ("dataset", lineage.dataset.clone().unwrap_or_default()),
        ("data digest", version.dataset_digest.clone().unwrap_or_default()),
        ("file", lineage.file.clone().unwrap_or_default()),
        ("code", lineage.code_version.clone()),
        ("added", time::shown(version.created_at)),
    ]
}

/// `input FP32 × 28, count INT64`.
pub(super) fn tensors(specs: &[TensorSpec]) -> String {
    let tensor = |spec: &TensorSpec| match spec.width {
        1 => format!("{} {}", spec.name, spec.datatype.as_str()),
        width => format!("{} {} × {width}", spec.name, spec.datatype.as_str()),
    };
    specs.iter().map(tensor).collect::<Vec<_>>().join(", ")
}
