//! `lunapark model`: looks into a model file.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use lunapark_models::Loaded;
use lunapark_schemas::TensorSpec;
use serde_json::json;

use super::Context;
use super::output::{self, Output, Table};

/// Looks into a model file
#[derive(Debug, clap::Args)]
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
        /// Path or `file://` URL of the model file
        file: String,
    },
}

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Check { file } = &args.command;
    output::on_stdout(context.json, |out| check(out, file))
}

fn check(out: &mut Output<'_>, file: &str) -> anyhow::Result<ExitCode> {
    let bytes = read(file)?;
    let loaded = lunapark_models::load(&bytes, file, None)?;
    match out.json {
        true => out.document(&document(file, bytes.len(), &loaded))?,
        false => print(out, file, bytes.len(), &loaded)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &str) -> anyhow::Result<Vec<u8>> {
    let path = match file.split_once("://") {
        Some(("file", path)) => path,
        Some((scheme, _)) => bail!("`{scheme}://` cannot be read here: give a path or a file:// URL"),
        None => file,
    };
    fs::read(path).with_context(|| format!("cannot read the model file {path}"))
}

fn document(file: &str, size: usize, loaded: &Loaded) -> serde_json::Value {
    let signature = loaded.model.signature();
    json!({
        "file": file,
        "bytes": size,
        "format": loaded.format,
        "sha256": loaded.digest,
        "accepts_missing": loaded.model.accepts_missing(),
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "summary": loaded.summary,
    })
}

fn print(out: &mut Output<'_>, file: &str, size: usize, loaded: &Loaded) -> anyhow::Result<()> {
    let missing = if loaded.model.accepts_missing() { "taken as they are" } else { "rejected" };
    out.line(format_args!("file            {file} ({})", output::size(size as u64)))?;
    out.line(format_args!("format          {}", loaded.format))?;
    out.line(format_args!("model           {}", loaded.summary))?;
    out.line(format_args!("sha256          {}", loaded.digest))?;
    out.line(format_args!("missing values  {missing}\n"))?;
    let mut table = Table::new(&["", "name", "datatype", ">per row", "fields"]);
    let signature = loaded.model.signature();
    signature.inputs.iter().for_each(|tensor| add(&mut table, "input", tensor));
    signature.outputs.iter().for_each(|tensor| add(&mut table, "output", tensor));
    Ok(out.table(&table)?)
}

fn add(table: &mut Table, role: &str, tensor: &TensorSpec) {
    let fields = output::printable(tensor.fields.join(", ").as_bytes());
    let name = output::printable(tensor.name.as_bytes());
    table.row([role.into(), name, tensor.datatype.as_str().into(), tensor.width.to_string(), fields]);
}
