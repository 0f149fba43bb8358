//! Training on a device against this machine's own kernel, in batches of several sizes.

use anyhow::Context as _;
use arrow_array::RecordBatch;
use lunapark_models::Device;
use lunapark_train::{Perceptrons, trainers_on};
use serde_json::json;

use crate::report::{Report, Table, median, number, ratio};
use crate::train::{rate, request, table};

/// Rows per step.
const BATCHES: [u32; 3] = [1024, 4096, 16384];
/// Hidden layers: the demo's, and what a GPU is for.
const HIDDEN: [&[usize]; 2] = [&[128, 64], &[1024, 1024]];

/// What `gpu-train` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device; the other side is always the CPU.
    #[arg(long, default_value = "cuda:0")]
    device: Device,
    /// How often each side is measured, in alternation; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// Measures every network at every batch; without the device there is an error that says so.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    trainers_on(args.device).context("nothing was measured")?;
    let rows = table()?;
    let mut report = Table::new(&["hidden", "batch", "CPU samples/s", "device samples/s", "device / CPU"]);
    for hidden in HIDDEN {
        for batch in BATCHES {
            let [cpu, device] = both(args, &rows, hidden, batch)?;
            let name = hidden.iter().map(usize::to_string).collect::<Vec<_>>().join("-");
            report.row(vec![name, batch.to_string(), number(cpu), number(device), ratio(device / cpu)]);
        }
    }
    let (device, rounds) = (args.device, args.rounds);
    Ok(Report {
        section: "gpu-train".to_owned(),
        what: format!(
            "28 features, 65,536 rows, wall time, medians of {rounds} in alternation; the device is {device}."
        ),
        table: report,
        bars: Vec::new(),
        notes: vec![
            "Both figures hold everything of a job's slices: order, steps, the judgement of each epoch.".into(),
        ],
    })
}

/// Samples a second on the CPU and on the device.
fn both(args: &Args, rows: &RecordBatch, hidden: &[usize], batch: u32) -> anyhow::Result<[f64; 2]> {
    let mut request = request(batch, 100_000)?;
    request.model.architecture = serde_json::from_value(json!({ "hidden": hidden }))?;
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..args.rounds {
        for (device, rates) in [Device::Cpu, args.device].into_iter().zip(&mut rates) {
            rates.push(rate(&Perceptrons { threads: None, device }, &request, rows, args.seconds)?);
        }
    }
    Ok(rates.map(median))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A build without the backend measures nothing and says so.
    #[test]
    #[cfg(not(feature = "cuda"))]
    fn without_the_device_there_is_an_error() {
        let args = Args { device: Device::Cuda(0), rounds: 1, seconds: 0.01 };
        let error = format!("{:#}", run(&args).err().unwrap());
        assert!(error.contains("nothing was measured") && error.contains("built without CUDA"), "{error}");
    }
}
