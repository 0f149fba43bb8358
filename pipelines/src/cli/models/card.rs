//! `lunapark models card`: what the catalog knows of a version, as Markdown; with pictures as a folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use lunapark_schemas::TensorSpec;
use lunapark_schemas::catalog::ModelVersion;
use lunapark_schemas::training::{DatasetReport, TrainingStatus};
use serde_json::json;

use super::origin::{self, Picture};
use super::{Reference, Shelf, show};
use crate::cli::output::{Output, printable};
use crate::cli::train::follow::rows;
use crate::encoders;

/// The page of a folder: what code forges show when it is opened.
const PAGE: &str = "README.md";

/// Writes a model card: what a version is, takes and gives, how good it is and where it comes from, as Markdown
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models card higgs/3 > higgs-3.md\n  \
                        lunapark models card higgs/3 --output higgs-3.md\n  \
                        lunapark models card higgs/3 --folder higgs-3 --sample events.parquet")]
pub struct Args {
    /// NAME/VERSION, or NAME for the newest that is not retired
    model: Reference,
    /// File to write; without it, standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Folder to write: the card as README.md with pictures of its training (losses, ROC curve, scores)
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    folder: Option<PathBuf>,
    /// Table of events (Parquet, CSV, Arrow or NDJSON) whose scores are drawn as well
    #[arg(long, value_name = "FILE", requires = "folder")]
    sample: Option<PathBuf>,
}

pub(super) fn run(out: &mut Output<'_>, args: &Args, shelf: &Shelf<'_>) -> anyhow::Result<ExitCode> {
    let version = shelf.find(&args.model)?;
    let status = origin::status(shelf, &version)?;
    let mut pictures = Vec::new();
    if args.folder.is_some() {
        pictures = origin::pictures(shelf, &version)?;
        let sample = args.sample.as_deref().map(|sample| origin::sample(shelf, &version, sample)).transpose()?;
        pictures.extend(sample);
    }
    let text = card(&version, status.as_ref(), &pictures);
    let written = match (&args.folder, &args.output) {
        (Some(folder), _) => Some(write_folder(folder, &text, &pictures)?),
        (None, Some(path)) => Some(write(path, text.as_bytes())?),
        (None, None) => None,
    };
    match (&written, out.json) {
        (_, true) => {
            let files: Vec<_> = pictures.iter().map(|picture| &picture.file).collect();
            let reference = version.reference();
            out.document(&json!({ "model": reference, "output": written, "pictures": files, "markdown": text }))?;
        }
        (None, false) => out.bytes(text.as_bytes())?,
        (Some(path), false) => out.line(format_args!("{} → {}", version.reference(), path.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}

fn write_folder(folder: &Path, text: &str, pictures: &[Picture]) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for picture in pictures {
        write(&folder.join(&picture.file), &picture.svg)?;
    }
    write(&folder.join(PAGE), text.as_bytes())
}

fn card(version: &ModelVersion, status: Option<&TrainingStatus>, pictures: &[Picture]) -> String {
    let mut text = format!("# {}\n\n", version.reference());
    if !version.description.is_empty() {
        text += &format!("{}\n\n", cell(&version.description));
    }
    text += "| | |\n|---|---|\n";
    let told = ["model", "description", "inputs", "outputs", "metrics"];
    for (name, value) in show::rows(version) {
        if !value.is_empty() && !told.contains(&name) {
            text += &format!("| {name} | {} |\n", cell(&value));
        }
    }
    if !version.metrics.is_empty() {
        text += "\n## Metrics\n\n| metric | value |\n|---|---:|\n";
        let metric = |(name, value): (&String, &f64)| format!("| {} | {value} |\n", cell(name));
        text.extend(version.metrics.iter().map(metric));
    }
    text.extend(pictures.iter().map(|picture| format!("\n![{}]({})\n", picture.title, picture.file)));
    text += "\n## Inputs and outputs\n\n| | name | datatype | per row | fields |\n|---|---|---|---:|---|\n";
    text.extend(version.inputs.iter().map(|spec| tensor("input", spec)));
    text.extend(version.outputs.iter().map(|spec| tensor("output", spec)));
    text.extend(status.map(training));
    text.extend(status.and_then(|status| status.dataset.as_ref()).map(data_set));
    text + &format!("\n## Use\n\n```toml\n{}```\n", usage(version))
}

/// When and how long it was trained.
fn training(status: &TrainingStatus) -> String {
    let stats = &status.stats;
    let mut text = "\n## Training\n\n| | |\n|---|---|\n".to_owned();
    let mut row = |name: &str, value: String| text += &format!("| {name} | {} |\n", cell(&value));
    row("task", status.task_id.clone());
    row("submitted", stats.submitted.clone());
    row("finished", stats.finished.clone().unwrap_or_default());
    row("seconds", format!("{:.1}", stats.elapsed_seconds));
    if let Some(last) = status.history.last() {
        row("epochs", last.epoch.to_string());
        row("loss of the last epoch", format!("{:.6} trained, {:.6} held out", last.loss, last.val_loss));
    }
    text
}

/// Rows, classes, and each input's statistics.
fn data_set(report: &DatasetReport) -> String {
    let mut text = format!("\n## Data set\n\nRows: {}.\n", rows(report));
    if !report.class_balance.is_empty() {
        text += "\n| class | rows | weight |\n|---|---:|---:|\n";
        let class = report.class_balance.iter();
        text.extend(class.map(|class| format!("| {} | {} | {} |\n", cell(&class.class), class.rows, class.weight)));
    }
    if !report.features.is_empty() {
        text += "\n| input | least | greatest | mean | deviation | missing |\n|---|---:|---:|---:|---:|---:|\n";
        text.extend(report.features.iter().map(|f| {
            let numbers = [f.min, f.max, f.mean, f.std].map(|value| format!("{value:.5}")).join(" | ");
            format!("| {} | {numbers} | {} |\n", cell(&f.name), f.missing)
        }));
    }
    text
}

fn usage(version: &ModelVersion) -> String {
    if let Some(encoder) = encoders::of_version(version) {
        return format!("[documents]\nencoder = \"{encoder}\"\n");
    }
    let (name, number) = (&version.name, version.version);
    format!("[[score.models]]\nname = \"{name}\"\nversion = \"{number}\"\npath = \"catalog:{name}/{number}\"\n")
}

fn tensor(role: &str, spec: &TensorSpec) -> String {
    let (name, fields) = (cell(&spec.name), cell(&spec.fields.join(", ")));
    format!("| {role} | {name} | {} | {} | {fields} |\n", spec.datatype.as_str(), spec.width)
}

/// Text as it may stand in a cell: one line, nothing that Markdown or HTML would read as its own.
fn cell(text: &str) -> String {
    let text = printable(text.split_whitespace().collect::<Vec<_>>().join(" ").as_bytes());
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '|' | '`' | '[' | ']' | '*' | '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use lunapark_schemas::catalog::CatalogRecord;
    use lunapark_schemas::training::FeatureStatistics;

    use super::*;

    #[test]
    fn a_card_tells_what_the_catalog_knows_and_cannot_be_broken_by_its_texts() {
        let text = include_str!("../../../../schemas/examples/records/models/ok-version.json");
        let CatalogRecord::Version(mut version) = serde_json::from_str(text).unwrap() else { panic!("a version") };
        version.description = "Higgs | <script>\n# not a title".into();
        let status = TrainingStatus {
            task_id: "a|b".into(),
            dataset: Some(DatasetReport {
                samples_train: 800,
                samples_test: 200,
                unlabelled: 7,
                features: vec![FeatureStatistics { name: "m<b>b".into(), mean: 0.25, ..Default::default() }],
                ..Default::default()
            }),
            ..Default::default()
        };
        let pictures = [Picture { title: "ROC curve".into(), file: "roc.svg".into(), svg: Vec::new() }];
        let card = card(&version, Some(&status), &pictures);
        for part in [
            "![ROC curve](roc.svg)",
            "| task | a\\|b |",
            "Rows: 800 trained, 200 tested, also for the validation after each epoch; 7 had no label and were left out.",
            "| m&lt;b>b | 0.00000 | 0.00000 | 0.25000 | 0.00000 | 0 |",
            "# higgs/3\n",
            "| auc | 0.8123 |",
            "| input | input | FP32 | 28 |",
            "catalog:higgs/3",
            "Higgs \\| &lt;script>",
        ] {
            assert!(card.contains(part), "{part}: {card}");
        }
        assert!(!card.contains("\n# not"), "{card}");
    }
}
