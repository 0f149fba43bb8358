//! Decoding, scoring and encoding alone, one thread, in memory: what the scorer cannot do without.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use arrow_array::RecordBatch;
use lunapark_schemas::inference::{self, Limits, ReplyContext, Request};
use lunapark_schemas::{Messages, Rejection, RowsBuilder};
use lunapark_score::ModelEntry;

use crate::job::Payload;
use crate::report::median;
use crate::workload::Workload;

/// Items between two looks at the clock.
const SPELL: usize = 4096;
/// Each figure is the median of so many windows.
const WINDOWS: usize = 5;

/// Nanoseconds of CPU per event.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// From message values to the model's input batch.
    pub decode: f64,
    /// The model.
    pub model: f64,
    /// From the model's output to result values.
    pub encode: f64,
}

impl Parts {
    /// All three.
    pub fn sum(&self) -> f64 {
        self.decode + self.model + self.encode
    }

    /// Measures all three on the workload's own messages.
    pub fn measure(workload: &Workload, payload: Payload, window: Duration) -> anyhow::Result<Self> {
        let entry = workload.entry()?;
        let model = entry.model().context("the model is loaded")?;
        let messages = workload.messages(workload.batch()?);
        let events = messages.len() * payload.rows();
        let (rows, requests) = decode(entry, &messages)?;
        let outputs = model.infer(&rows)?;
        Ok(Self {
            decode: nanos_per(events, window, || decode(entry, &messages).map(drop))?,
            model: nanos_per(events, window, || Ok(model.infer(&rows).map(black_box).map(drop)?))?,
            encode: nanos_per(events, window, || encode(entry, &requests, &outputs))?,
        })
    }
}

fn decode(entry: &ModelEntry, messages: &Messages) -> anyhow::Result<(RecordBatch, Vec<Request>)> {
    let mut rows = RowsBuilder::new(entry.signature.clone(), messages.len());
    let limits = Limits::default();
    let requests = messages.iter().map(|message| inference::decode(&message, &mut rows, &limits));
    let requests = requests.collect::<Result<Vec<_>, _>>().map_err(refused)?;
    Ok((black_box(rows.finish()?), requests))
}

fn encode(entry: &ModelEntry, requests: &[Request], outputs: &RecordBatch) -> anyhow::Result<()> {
    let (model_name, model_version) = (entry.name.as_str(), entry.version.as_str());
    let context = ReplyContext { model_name, model_version, signature: &entry.signature };
    let (mut value, mut start) = (Vec::new(), 0);
    for request in requests {
        let rows = start..start + request.rows as usize;
        start = rows.end;
        value.clear();
        inference::encode(request, &context, outputs, rows, &[], &mut value).map_err(refused)?;
        black_box(&value);
    }
    Ok(())
}

fn refused(rejection: Rejection) -> anyhow::Error {
    anyhow!("an event of the sample was refused: {}", rejection.message)
}

/// CPU nanoseconds of this thread per item, where one call of `work` does `items` of them.
pub fn nanos_per(items: usize, window: Duration, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut windows = Vec::with_capacity(WINDOWS);
    for _ in 0..WINDOWS {
        let started = thread_nanos()?;
        let (mut spent, mut done) = (0, 0);
        while spent < window.as_nanos() as u64 {
            // A look at the clock is a system call: work for a while between two of them.
            for _ in 0..(SPELL / items.max(1)).max(1) {
                work()?;
                done += items;
            }
            spent = thread_nanos()? - started;
        }
        windows.push(spent as f64 / done as f64);
    }
    Ok(median(windows))
}

/// Time that this thread spent on a CPU.
pub fn thread_nanos() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").context("needs Linux with schedstat")?;
    text.split(' ').next().and_then(|field| field.parse().ok()).context("unreadable schedstat")
}
