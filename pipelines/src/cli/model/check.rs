//! `lunapark model check`: what a model is, how fast, and whether it answers as expected.

use std::path::PathBuf;
use std::process::ExitCode;

use lunapark_models::{Device, Model};
use lunapark_schemas::TensorSpec;
use serde_json::{Value, json};

use super::golden::{self, Comparison};
use super::speed;
use crate::cli::output::{self, Output, Table, number};
use crate::models::{self, Loaded, Make, Places};

/// Loads a model as the scorer would; prints format, inputs, outputs, digest and speed, compares with expected answers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lunapark model check models/higgs.json\n  \
                        lunapark model check file:///srv/models/higgs.safetensors --json --no-speed\n  \
                        lunapark model check models/higgs.json --golden expected.parquet --tolerance 1e-6")]
pub struct Args {
    /// Path, `file://` or `s3://` URL, `builtin:` or `catalog:` name of the model or cascade
    file: String,
    /// Where it is to run: cpu, or cuda:0, cuda:1 …
    #[arg(long, default_value_t)]
    device: Device,
    /// Do not measure rows per second (half a second)
    #[arg(long)]
    no_speed: bool,
    /// Table of inputs and expected answers, columns named as the model's inputs and outputs; exit code 1 where they differ
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Largest difference to the expected answers, relative to max(1, |answer|)
    #[arg(long, default_value_t = 1e-5)]
    tolerance: f64,
}

pub(super) fn run(out: &mut Output<'_>, args: &Args, places: &Places) -> anyhow::Result<ExitCode> {
    let loaded = models::load_on(args.device, &args.file, None, places).map_err(anyhow::Error::msg)?;
    let golden = args.golden.as_ref().map(|path| golden::compare(&*loaded.model, path, args.tolerance)).transpose()?;
    let speeds = if args.no_speed { Vec::new() } else { speeds(&*loaded.model)? };
    match out.json {
        true => out.document(&document(args, &loaded, &speeds, golden.as_ref()))?,
        false => print(out, args, &loaded, &speeds, golden.as_ref())?,
    }
    let differs = golden.is_some_and(|comparison| comparison.beyond > 0 || comparison.rows == 0);
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Batch sizes and the rows per second that they reach.
fn speeds(model: &dyn Model) -> anyhow::Result<Vec<(usize, f64)>> {
    speed::BATCHES.iter().map(|&rows| Ok((rows, speed::rows_per_second(model, rows)?))).collect()
}

fn document(args: &Args, loaded: &Loaded, speeds: &[(usize, f64)], golden: Option<&Comparison>) -> Value {
    let signature = loaded.model.signature();
    let mut document = json!({
        "file": args.file,
        "sha256": loaded.digest,
        "device": loaded.model.device(),
        "same_bits_in_any_batch": loaded.model.same_bits_in_any_batch(),
        "accepts": loaded.model.accepts(),
        "inputs": signature.inputs,
        "outputs": signature.outputs,
    });
    let mut add = |key: &str, value: Value| document[key] = value;
    make_document(&loaded.make).into_iter().for_each(|(key, value)| add(key, value));
    if !speeds.is_empty() {
        let speeds = speeds.iter().map(|(batch, speed)| json!({ "batch": batch, "rows_per_second": speed.round() }));
        add("speed", speeds.collect());
    }
    if let Some(golden) = golden {
        add("golden", json!(golden));
    }
    document
}

fn make_document(make: &Make) -> Vec<(&'static str, Value)> {
    match make {
        Make::File { format, summary } => vec![("format", json!(format)), ("summary", json!(summary))],
        Make::Cascade { steps } => {
            let step = |step: &models::Step| {
                let mut told =
                    json!({ "name": step.name, "path": step.path, "sha256": step.digest, "when": step.when });
                make_document(&step.make).into_iter().for_each(|(key, value)| told[key] = value);
                told
            };
            vec![("format", json!("cascade")), ("steps", steps.iter().map(step).collect())]
        }
    }
}

fn print(
    out: &mut Output<'_>,
    args: &Args,
    loaded: &Loaded,
    speeds: &[(usize, f64)],
    golden: Option<&Comparison>,
) -> anyhow::Result<()> {
    let accepts = loaded.model.accepts();
    let told = |taken: bool| if taken { "taken as they are" } else { "refused, row by row" };
    out.line(format_args!("file            {}", args.file))?;
    print_make(out, &loaded.make)?;
    out.line(format_args!("sha256          {}", loaded.digest))?;
    out.line(format_args!("device          {}, {}", loaded.model.device(), batches(&*loaded.model)))?;
    out.line(format_args!("missing values  {}", told(accepts.missing)))?;
    out.line(format_args!("infinities      {}", told(accepts.infinite)))?;
    for (batch, speed) in speeds {
        out.line(format_args!("batch {batch:<9} {} rows/s, one thread", number(*speed as u64)))?;
    }
    if let Some(golden) = golden {
        print_golden(out, args, golden)?;
    }
    out.line("")?;
    let mut table = Table::new(&["", "name", "datatype", ">per row", "shape", "fields"]);
    let signature = loaded.model.signature();
    signature.inputs.iter().for_each(|tensor| add(&mut table, "input", tensor));
    signature.outputs.iter().for_each(|tensor| add(&mut table, "output", tensor));
    Ok(out.table(&table)?)
}

fn batches(model: &dyn Model) -> &'static str {
    match model.same_bits_in_any_batch() {
        true => "the same bits for a row in any batch",
        false => "a row's last bits depend on its batch",
    }
}

fn print_make(out: &mut Output<'_>, make: &Make) -> anyhow::Result<()> {
    match make {
        Make::File { format, summary } => {
            out.line(format_args!("format          {format}"))?;
            out.line(format_args!("model           {summary}"))?;
        }
        Make::Cascade { steps } => {
            out.line(format_args!("format          cascade of {} steps", steps.len()))?;
            for step in steps {
                let (name, path) = (output::printable(step.name.as_bytes()), output::printable(step.path.as_bytes()));
                let when = step.when.as_ref().map(|when| format!(" when {when}")).unwrap_or_default();
                out.line(format_args!(
                    "step            {name}: {path}#{}{}",
                    &step.digest[..8],
                    output::printable(when.as_bytes())
                ))?;
                if let Make::File { format, summary } = &step.make {
                    out.line(format_args!("                {format}: {summary}"))?;
                }
            }
        }
    }
    Ok(())
}

fn print_golden(out: &mut Output<'_>, args: &Args, golden: &Comparison) -> anyhow::Result<()> {
    let (rows, values) = (number(golden.rows), number(golden.values));
    let verdict = match golden.beyond {
        _ if golden.rows == 0 => "no rows to compare".to_owned(),
        0 => format!("{values} values of {rows} rows within {:e}", args.tolerance),
        beyond => {
            format!("{} of {values} values of {rows} rows DIFFER by more than {:e}", number(beyond), args.tolerance)
        }
    };
    out.line(format_args!("golden          {verdict}; {} rows refused", number(golden.refused)))?;
    if let Some(largest) = &golden.largest {
        let relative = largest.relative.map_or("no number".to_owned(), |relative| format!("{relative:.3e}"));
        let (expected, found) =
            (output::printable(largest.expected.as_bytes()), output::printable(largest.found.as_bytes()));
        let (row, column) = (largest.row, output::printable(largest.column.as_bytes()));
        out.line(format_args!("largest         {relative}: row {row}, `{column}` is {found}, expected {expected}"))?;
    }
    Ok(())
}

fn add(table: &mut Table, role: &str, tensor: &TensorSpec) {
    let fields = output::printable(tensor.fields.join(", ").as_bytes());
    let name = output::printable(tensor.name.as_bytes());
    let shape = if tensor.shape.is_empty() { String::new() } else { format!("{:?}", tensor.shape) };
    table.row([role.into(), name, tensor.datatype.as_str().into(), tensor.width.to_string(), shape, fields]);
}
