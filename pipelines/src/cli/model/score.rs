//! `lunapark model score`: a file of events in, a file of scores out.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail};
use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use indicatif::ProgressBar;
use lunapark_models::{Device, Model};
use lunapark_schemas::inference::table::TablePlan;
use lunapark_tables::{Batches, Extent, Kind, ReadOptions, Table, TableWriter};
use serde_json::json;

use super::answers::{self, answer};
use crate::cli::output::{self, Output, number};
use crate::models::{self, Places};

/// Scores a file: a row per event, a column per model output
///
/// The input is Parquet, CSV, Arrow or NDJSON, found by looking into it. Columns go to the model's inputs by name (its
/// fields, or `input_0`, `input_1`, …, or a column of lists named as the input), else by their order if there are as many.
/// An empty cell or null is a missing value. A row that the model refuses becomes an empty row, and is counted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        lunapark model score models/higgs.json --input events.parquet --output scores.parquet\n  \
        lunapark model score models/higgs.json --input events.csv --output scores.csv --keep run,event\n  \
        zcat events.csv.gz | lunapark model score builtin:higgs-xgb --input - --output - > scores.csv")]
pub struct Args {
    /// Path, `file://` or `s3://` URL, `builtin:` or `catalog:` name of the model or cascade
    file: String,
    /// Table of events; `-` is standard input
    #[arg(long)]
    input: PathBuf,
    /// File of scores, of the kind that its name says; `-` is standard output
    #[arg(long)]
    output: PathBuf,
    /// Kind of the input (parquet, csv, arrow, ndjson), where looking at it misleads
    #[arg(long, value_name = "KIND")]
    format: Option<Kind>,
    /// Kind of the output; else as its name says, on standard output csv
    #[arg(long, value_name = "KIND")]
    output_format: Option<Kind>,
    /// What separates the cells of a CSV input; else a comma, semicolon or tab, whichever its first line has
    #[arg(long, value_name = "CHARACTER", value_parser = separator)]
    separator: Option<u8>,
    /// Where the model is to run: cpu, or cuda:0, cuda:1 …
    #[arg(long, default_value_t)]
    device: Device,
    /// The CSV input has no line of column names: columns count by their order
    #[arg(long)]
    no_header: bool,
    /// Columns to copy into the output, such as event numbers
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    keep: Vec<String>,
    /// Overwrite the output
    #[arg(long)]
    force: bool,
    /// End with an error where the model refused any row
    #[arg(long)]
    strict: bool,
}

fn separator(text: &str) -> Result<u8, String> {
    match text {
        "tab" | "\\t" => Ok(b'\t'),
        _ if text.len() == 1 => Ok(text.as_bytes()[0]),
        _ => Err("write one character, or tab".to_owned()),
    }
}

pub(super) fn run(out: &mut Output<'_>, args: &Args, places: &Places) -> anyhow::Result<ExitCode> {
    let loaded = models::load_on(args.device, &args.file, None, places).map_err(anyhow::Error::msg)?;
    let started = Instant::now();
    let closed = Arc::new(AtomicBool::new(false));
    let told = match Job::new(args, loaded.model, &closed).and_then(Job::run) {
        // The reader has seen enough (`| head`).
        Err(_) if closed.load(Ordering::Relaxed) => return Ok(ExitCode::SUCCESS),
        told => told?,
    };
    let seconds = started.elapsed().as_secs_f64();
    if !args.to_stdout() {
        told.print(out, args, seconds)?;
    } else if told.refused > 0 || !out.json {
        output::note(told.text(args, seconds));
    }
    Ok(if args.strict && told.refused > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Args {
    fn to_stdout(&self) -> bool {
        self.output == Path::new("-")
    }

    fn options(&self, batch_rows: usize) -> ReadOptions {
        ReadOptions { kind: self.format, separator: self.separator, header: !self.no_header, batch_rows }
    }

    fn table(&self, batch_rows: usize) -> anyhow::Result<Table> {
        let options = self.options(batch_rows);
        Ok(match self.input == Path::new("-") {
            true => Table::pipe(io::stdin(), "standard input", options)?,
            false => Table::open(&self.input, options)?,
        })
    }

    fn writer(&self, schema: &SchemaRef, closed: &Arc<AtomicBool>) -> anyhow::Result<TableWriter> {
        if self.to_stdout() {
            let kind = self.output_format.unwrap_or(Kind::Csv);
            let stdout = io::BufWriter::new(Stdout { closed: closed.clone() });
            return Ok(TableWriter::pipe(stdout, "standard output", kind, schema)?);
        }
        let unknown = || {
            let path = self.output.display();
            format!(
                "{path}: the name does not say which kind of file: end it in .csv, .parquet, .ndjson or .arrow, or \
                     say --output-format"
            )
        };
        let kind = self.output_format.or_else(|| Kind::of_name(&self.output)).with_context(unknown)?;
        Ok(TableWriter::create(&self.output, kind, schema, self.force)?)
    }
}

/// Standard output, which tells when nobody reads it any more.
struct Stdout {
    closed: Arc<AtomicBool>,
}

impl io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).inspect_err(|error| self.told(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().inspect_err(|error| self.told(error))
    }
}

impl Stdout {
    fn told(&self, error: &io::Error) {
        self.closed.fetch_or(error.kind() == io::ErrorKind::BrokenPipe, Ordering::Relaxed);
    }
}

/// A file on its way through a model.
struct Job {
    model: Arc<dyn Model>,
    plan: TablePlan,
    batches: Batches,
    /// Where the plan's columns, and those to keep, are among those that are read.
    inputs: Vec<usize>,
    kept: Vec<usize>,
    schema: SchemaRef,
    writer: TableWriter,
}

impl Job {
    fn new(args: &Args, model: Arc<dyn Model>, closed: &Arc<AtomicBool>) -> anyhow::Result<Self> {
        let signature = model.signature();
        let table = args.table(answers::batch_rows(signature))?;
        let all = table.schema().clone();
        let keep = args.keep.iter().map(|name| column(&all, name)).collect::<anyhow::Result<Vec<_>>>()?;
        let input = args.input.display();
        let plan =
            answers::plan(&all, signature, &keep).with_context(|| format!("{input} does not fit {}", args.file))?;
        let mut wanted: Vec<usize> = plan.columns().chain(keep.iter().copied()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let at = |column: usize| wanted.binary_search(&column).unwrap_or_default();
        let (inputs, kept) = (plan.columns().map(at).collect(), keep.iter().map(|column| at(*column)).collect());
        let schema = schema(&all, &keep, answers::columns(signature))?;
        let doubles: Vec<usize> = plan.doubles(signature).filter(|column| !keep.contains(column)).collect();
        let writer = args.writer(&schema, closed)?;
        let batches = table.batches(&wanted, &doubles)?;
        Ok(Self { model, plan, batches, inputs, kept, schema, writer })
    }

    fn run(mut self) -> anyhow::Result<Told> {
        let (bar, mut told) = (bar(self.batches.extent()), Told::default());
        while let Some(batch) = self.batches.next().transpose()? {
            self.score(&batch, &mut told)?;
            bar.set_position(self.batches.position());
            bar.set_message(number(told.rows));
        }
        self.writer.finish()?;
        bar.finish_and_clear();
        Ok(told)
    }

    fn score(&mut self, batch: &RecordBatch, told: &mut Told) -> anyhow::Result<()> {
        let answers = answer(&*self.model, &self.plan, &batch.project(&self.inputs)?)?;
        let mut columns: Vec<_> = self.kept.iter().map(|column| batch.column(*column).clone()).collect();
        columns.extend(answers.columns);
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns)?)?;
        told.add(batch.num_rows(), &answers.refused);
        Ok(())
    }
}

fn column(schema: &Schema, name: &str) -> anyhow::Result<usize> {
    let known = || {
        let names: Vec<_> = schema.fields().iter().take(8).map(|field| field.name().as_str()).collect();
        format!("--keep: no column `{name}`; there are: {}", output::printable(names.join(", ").as_bytes()))
    };
    schema.fields().iter().position(|field| field.name() == name).with_context(known)
}

/// The columns to keep, then the answers; a name may be there once.
fn schema(all: &Schema, keep: &[usize], answers: Vec<Field>) -> anyhow::Result<SchemaRef> {
    let mut fields: Vec<Field> = keep.iter().map(|column| all.field(*column).clone()).collect();
    for answer in answers {
        if fields.iter().any(|field| field.name() == answer.name()) {
            bail!("--keep: `{}` is also the name of an output; rename the column", answer.name());
        }
        fields.push(answer);
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn bar(extent: Extent) -> ProgressBar {
    match extent {
        Extent::Rows(rows) => output::progress(Some(rows), "{bar:40} {pos}/{len} rows  {per_sec}  {eta} left"),
        Extent::Bytes(bytes) => output::progress(Some(bytes), "{bar:40} {bytes}/{total_bytes}  {msg} rows  {eta} left"),
        Extent::Unknown => output::progress(None, "{spinner} {msg} rows  {elapsed}"),
    }
}

/// What became of the rows.
#[derive(Debug, Default)]
struct Told {
    rows: u64,
    refused: u64,
    /// The first refused row, and why.
    first: Option<(u64, String)>,
}

impl Told {
    fn add(&mut self, rows: usize, refused: &[(usize, String)]) {
        if let (None, Some((row, reason))) = (&self.first, refused.first()) {
            let number = self.rows + *row as u64;
            // The reason names the row of its batch; what counts here is that of the file.
            let reason = reason.strip_prefix(&format!("row {row}")).unwrap_or(reason);
            self.first = Some((number, format!("row {number}{reason}")));
        }
        self.rows += rows as u64;
        self.refused += refused.len() as u64;
    }

    fn text(&self, args: &Args, seconds: f64) -> String {
        let (rows, speed) = (number(self.rows), number((self.rows as f64 / seconds.max(1e-9)) as u64));
        let to = if args.to_stdout() { "standard output".to_owned() } else { args.output.display().to_string() };
        let refused = match &self.first {
            None => String::new(),
            Some((_, reason)) => {
                let reason = output::printable(reason.as_bytes());
                let rows = if self.refused == 1 { "row was refused and is" } else { "rows were refused and are" };
                format!("\n{} {rows} empty; the first: {reason}", number(self.refused))
            }
        };
        format!("{rows} rows scored to {to} in {seconds:.2} s ({speed} rows/s){refused}")
    }

    fn print(&self, out: &mut Output<'_>, args: &Args, seconds: f64) -> io::Result<()> {
        if !out.json {
            return out.line(self.text(args, seconds));
        }
        let first = self.first.as_ref().map(|(row, reason)| json!({ "row": row, "reason": reason }));
        out.json_line(&json!({
            "output": args.output,
            "rows": self.rows,
            "refused": self.refused,
            "first_refused": first,
            "seconds": seconds,
        }))
    }
}
