//! `lunapark models card`: what the catalog knows of a version, as Markdown.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use lunapark_schemas::TensorSpec;
use lunapark_schemas::catalog::ModelVersion;
use serde_json::json;

use super::{Reference, Shelf, show};
use crate::cli::output::{Output, printable};

/// Writes a model card: what a version is, takes and gives, how good it is and where it comes from, as Markdown
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark models card higgs/3 > higgs-3.md\n  \
                        lunapark models card higgs/3 --output higgs-3.md")]
pub struct Args {
    /// NAME/VERSION, or NAME for the newest that is not retired
    model: Reference,
    /// File to write; without it, standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(out: &mut Output<'_>, args: &Args, shelf: &Shelf<'_>) -> anyhow::Result<ExitCode> {
    let version = shelf.find(&args.model)?;
    let text = card(&version);
    if let Some(path) = &args.output {
        std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match (&args.output, out.json) {
        (_, true) => out.document(&json!({ "model": version.reference(), "output": args.output, "markdown": text }))?,
        (None, false) => out.bytes(text.as_bytes())?,
        (Some(path), false) => out.line(format_args!("{} → {}", version.reference(), path.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn card(version: &ModelVersion) -> String {
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
    text += "\n## Inputs and outputs\n\n| | name | datatype | per row | fields |\n|---|---|---|---:|---|\n";
    text.extend(version.inputs.iter().map(|spec| tensor("input", spec)));
    text.extend(version.outputs.iter().map(|spec| tensor("output", spec)));
    text + &format!("\n## Use\n\n```toml\n[[score.models]]\n{}```\n", usage(version))
}

fn usage(version: &ModelVersion) -> String {
    let (name, number) = (&version.name, version.version);
    format!("name = \"{name}\"\nversion = \"{number}\"\npath = \"catalog:{name}/{number}\"\n")
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

    use super::*;

    #[test]
    fn a_card_tells_what_the_catalog_knows_and_cannot_be_broken_by_its_texts() {
        let text = include_str!("../../../../schemas/examples/records/models/ok-version.json");
        let CatalogRecord::Version(mut version) = serde_json::from_str(text).unwrap() else { panic!("a version") };
        version.description = "Higgs | <script>\n# not a title".into();
        let card = card(&version);
        for part in ["# higgs/3\n", "| auc | 0.8123 |", "| input | input | FP32 | 28 |", "catalog:higgs/3", "Higgs \\| &lt;script>"] {
            assert!(card.contains(part), "{part}: {card}");
        }
        assert!(!card.contains("\n# not"), "{card}");
    }
}
