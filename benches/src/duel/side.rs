//! One side of a duel as a process: Python with another runtime, or this program with Lunapark's models.

use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context as _;
use arrow_array::RecordBatch;
use lunapark_models::Loaded;
use lunapark_schemas::rows::Values;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::models::{Folder, script};
use super::{Reply, Request};
use crate::parts::thread_nanos;

/// Rows whose answers are compared.
const COMPARED: usize = 64;

/// A running side; ended when dropped.
pub struct Opponent {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Opponent {
    /// Another runtime.
    pub fn python(folder: &Folder) -> anyhow::Result<Self> {
        let mut command = Command::new(&folder.python);
        command.arg(script("side.py")).arg(&folder.path);
        Self::start(command)
    }

    /// A script of `benches/duel` that needs no folder.
    pub fn script(python: &Path, name: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(python);
        command.arg(script(name));
        Self::start(command)
    }

    /// A script of `benches/duel` that is given a folder.
    pub fn script_with(python: &Path, name: &str, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(python);
        command.arg(script(name)).arg(folder);
        Self::start(command)
    }

    /// Lunapark with the named instruction set, or the fastest.
    pub fn lunapark(folder: &Folder, kernel: Option<&str>) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("side").arg(&folder.path).env_remove("LUNAPARK_KERNEL");
        kernel.map(|kernel| command.env("LUNAPARK_KERNEL", kernel));
        Self::start(command)
    }

    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot be started")?;
        let requests = child.stdin.take().context("no input")?;
        let replies = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, requests, replies })
    }

    /// Asks and waits for the answer.
    pub fn ask<R: DeserializeOwned>(&mut self, request: &impl Serialize) -> anyhow::Result<R> {
        writeln!(self.requests, "{}", serde_json::to_string(request)?)?;
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("no answer but {line:?}"))
    }
}

impl Drop for Opponent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers requests from standard input until it ends.
pub fn run(folder: &Path) -> anyhow::Result<()> {
    let mut loaded: Option<(String, Loaded)> = None;
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        if loaded.as_ref().is_none_or(|(name, _)| *name != request.model) {
            loaded = Some((request.model.clone(), load(folder, &request.model)?));
        }
        let model = &loaded.as_ref().context("no model")?.1;
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&measure(folder, model, &request)?)?)?;
    }
    Ok(())
}

fn load(folder: &Path, name: &str) -> anyhow::Result<Loaded> {
    let ending = match name.split('-').next() {
        Some("trees") => "json",
        Some("network") => "onnx",
        _ => "safetensors",
    };
    let path = folder.join(format!("{name}.{ending}"));
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(lunapark_models::load(&bytes, name, None)?)
}

fn measure(folder: &Path, loaded: &Loaded, request: &Request) -> anyhow::Result<Reply> {
    let (model, all) = (&loaded.model, rows(folder, loaded, request.width)?);
    let starts = (0..all.num_rows()).step_by(request.batch);
    let batches: Vec<_> = starts.map(|at| all.slice(at, request.batch.min(all.num_rows() - at))).collect();
    let compared = model.infer(&all.slice(0, COMPARED))?;
    let answers = lunapark_schemas::rows::f32_values(&**compared.column(0)).context("no FP32 answers")?;
    let answers = answers.iter().map(|&x| f64::from(x)).collect();
    model.infer(&batches[0])?;
    let (started, mut spent, mut done) = (thread_nanos()?, 0, 0);
    let mut next = batches.iter().cycle();
    while spent < request.millis * 1_000_000 {
        for batch in next.by_ref().take((4096 / request.batch).max(1)) {
            black_box(model.infer(batch)?);
            done += batch.num_rows();
        }
        spent = thread_nanos()? - started;
    }
    Ok(Reply { rate: done as f64 * 1e9 / spent as f64, answers })
}

/// All rows as one batch of the model's input.
fn rows(folder: &Path, loaded: &Loaded, width: usize) -> anyhow::Result<RecordBatch> {
    let bytes = std::fs::read(folder.join(format!("rows-{width}.f32")))?;
    let values = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let input = &loaded.model.signature().inputs[0];
    let schema = arrow_schema::Schema::new(vec![input.arrow()]);
    Ok(RecordBatch::try_new(schema.into(), vec![Values::F32(values).into_column(input)?])?)
}
