//! `lunapark model`: looks into a model file.

use std::process::ExitCode;

use lunapark_models::Loaded;
use lunapark_schemas::TensorSpec;
use lunapark_stores::S3Options;
use serde_json::json;

use super::output::{self, Output, Table};
use crate::models;

/// Looks into a model file
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark model check models/higgs.json")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Loads a model as the scorer would and prints format, inputs, outputs and digest
    #[command(after_help = "Examples:\n  lunapark model check models/higgs.json\n  \
                            lunapark model check file:///srv/models/higgs.safetensors --json")]
    Check {
        /// Path, `file://` or `s3://` URL, or `builtin:` name of the model
        file: String,
    },
}

/// Runs the command; needs no log.
pub fn run(s3: &S3Options, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let Command::Check { file } = &args.command;
    output::on_stdout(json, |out| check(out, file, s3))
}

fn check(out: &mut Output<'_>, file: &str, s3: &S3Options) -> anyhow::Result<ExitCode> {
    let loaded = models::load(file, None, s3).map_err(anyhow::Error::msg)?;
    match out.json {
        true => out.document(&document(file, &loaded))?,
        false => print(out, file, &loaded)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn document(file: &str, loaded: &Loaded) -> serde_json::Value {
    let signature = loaded.model.signature();
    json!({
        "file": file,
        "format": loaded.format,
        "sha256": loaded.digest,
        "accepts": loaded.model.accepts(),
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "summary": loaded.summary,
    })
}

fn print(out: &mut Output<'_>, file: &str, loaded: &Loaded) -> anyhow::Result<()> {
    let accepts = loaded.model.accepts();
    let told = |taken: bool| if taken { "taken as they are" } else { "refused, row by row" };
    out.line(format_args!("file            {file}"))?;
    out.line(format_args!("format          {}", loaded.format))?;
    out.line(format_args!("model           {}", loaded.summary))?;
    out.line(format_args!("sha256          {}", loaded.digest))?;
    out.line(format_args!("missing values  {}", told(accepts.missing)))?;
    out.line(format_args!("infinities      {}\n", told(accepts.infinite)))?;
    let mut table = Table::new(&["", "name", "datatype", ">per row", "shape", "fields"]);
    let signature = loaded.model.signature();
    signature.inputs.iter().for_each(|tensor| add(&mut table, "input", tensor));
    signature.outputs.iter().for_each(|tensor| add(&mut table, "output", tensor));
    Ok(out.table(&table)?)
}

fn add(table: &mut Table, role: &str, tensor: &TensorSpec) {
    let fields = output::printable(tensor.fields.join(", ").as_bytes());
    let name = output::printable(tensor.name.as_bytes());
    let shape = if tensor.shape.is_empty() { String::new() } else { format!("{:?}", tensor.shape) };
    table.row([role.into(), name, tensor.datatype.as_str().into(), tensor.width.to_string(), shape, fields]);
}
