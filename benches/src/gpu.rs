//! Networks and text encoders on a device against this machine's own kernels, in batches of several sizes.

mod texts;

use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arrow_array::RecordBatch;
use lunapark_models::{Device, Model, load, load_on};
use lunapark_schemas::RowsBuilder;
use serde_json::json;

use crate::report::{Report, Table, number};

/// Rows per call.
const BATCHES: [usize; 5] = [256, 1024, 4096, 16384, 65536];
/// The networks of the duels.
const NETWORKS: [&[usize]; 3] = [&[28, 128, 64, 1], &[29, 256, 256, 1], &[784, 512, 10]];

/// What `gpu` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device; the other side is always the CPU.
    #[arg(long, default_value = "cuda:0")]
    device: Device,
    /// Threads that score at once, on either side.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Milliseconds of each of the three windows of a figure.
    #[arg(long, default_value_t = 500)]
    millis: u64,
    /// A text encoder in sentence-transformers layout, to be measured as well, in tokens a second.
    #[arg(long, value_name = "FOLDER")]
    encoder: Option<PathBuf>,
}

/// Measures every network at every batch; without the device there is an error that says so.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let mut table = Table::new(&["network", "batch", "CPU rows/s", "device rows/s", "device / CPU", "bits of a row"]);
    for widths in NETWORKS {
        let file = network(widths);
        let name = widths.iter().map(usize::to_string).collect::<Vec<_>>().join("-");
        let cpu = load(&file, &name, None)?.model;
        let device = load_on(args.device, &file, &name, None).context("nothing was measured")?.model;
        let bits = if device.same_bits_in_any_batch() { "the same in any batch" } else { "by its batch" };
        for rows in BATCHES {
            let batch = rows_of(&*cpu, rows)?;
            let infer = |model: &dyn Model| Ok(model.infer(&batch)?.num_rows());
            let (slow, fast) = both(args, &|| infer(&*cpu), &|| infer(&*device))?;
            let cells = [name.clone(), number(rows as f64), number(slow), number(fast)];
            table.row([&cells[..], &[format!("{:.2}", fast / slow), bits.to_owned()]].concat());
        }
    }
    if let Some(folder) = &args.encoder {
        texts::measure(args, folder, &mut table)?;
    }
    let (device, threads) = (args.device, args.threads);
    Ok(Report {
        section: "gpu".to_owned(),
        what: format!("{threads} threads, wall time, medians of 3 windows in alternation; the device is {device}."),
        table,
        bars: Vec::new(),
        notes: vec![
            "Rows go to the device and answers come back in each call; up to 16,384 rows, or tokens, run as one batch."
                .into(),
        ],
    })
}

/// One call of a side, which tells its rows.
type Call<'a> = &'a (dyn Fn() -> anyhow::Result<usize> + Sync);

/// Rows per second of both sides.
fn both(args: &Args, cpu: Call<'_>, device: Call<'_>) -> anyhow::Result<(f64, f64)> {
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        for (call, rates) in [cpu, device].into_iter().zip(&mut rates) {
            rates.push(rate(args, call)?);
        }
    }
    let [cpu, device] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    Ok((cpu, device))
}

fn rate(args: &Args, call: Call<'_>) -> anyhow::Result<f64> {
    let (window, start) = (Duration::from_millis(args.millis), Barrier::new(args.threads.into()));
    let work = || -> anyhow::Result<f64> {
        let warmed = call();
        start.wait();
        warmed?;
        let (began, mut rows) = (Instant::now(), 0);
        while rows == 0 || began.elapsed() < window {
            rows += call()?;
        }
        Ok(rows as f64 / began.elapsed().as_secs_f64())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads).map(|_| scope.spawn(work)).collect();
        let rates =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?);
        rates.sum()
    })
}

/// Numbers between -1 and 1, the same each time.
fn noise(state: &mut u64) -> f32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}

/// A file of Lunapark's format with random weights: a header's length, the header, the numbers.
fn network(widths: &[usize]) -> Vec<u8> {
    let (mut header, mut layers, mut data, mut state) = (serde_json::Map::new(), Vec::new(), Vec::new(), 1);
    for (at, pair) in widths.windows(2).enumerate() {
        let scale = (pair[0] as f32).sqrt().recip();
        for (name, shape) in [("weight", &[pair[1], pair[0]][..]), ("bias", &[pair[1]])] {
            let start = data.len();
            let values = (0..shape.iter().product::<usize>()).flat_map(|_| (noise(&mut state) * scale).to_le_bytes());
            data.extend(values);
            let tensor = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
            header.insert(format!("{at}.{name}"), tensor);
        }
        let activation = if at + 2 == widths.len() { "sigmoid" } else { "relu" };
        layers.push(json!({"weight": format!("{at}.weight"), "bias": format!("{at}.bias"), "activation": activation}));
    }
    let description = json!({
        "format": "mlp", "version": 1, "layers": layers,
        "inputs": [{"name": "x", "datatype": "FP32", "width": widths[0]}],
        "outputs": [{"name": "y", "datatype": "FP32", "width": widths[widths.len() - 1]}],
    });
    header.insert("__metadata__".to_owned(), json!({ "lunapark": description.to_string() }));
    let mut header = serde_json::Value::from(header).to_string();
    // The format wants the numbers at a multiple of eight.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn rows_of(model: &dyn Model, rows: usize) -> anyhow::Result<RecordBatch> {
    let signature = model.signature();
    let mut builder = RowsBuilder::new(signature.clone(), rows);
    let mut state = 7;
    for (values, spec) in builder.columns_mut().iter_mut().zip(&signature.inputs) {
        (0..rows * spec.width).for_each(|_| values.push(f64::from(noise(&mut state))));
    }
    builder.commit(rows);
    Ok(builder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_networks_are_files_that_load() {
        for widths in NETWORKS {
            let model = load(&network(widths), "net", None).unwrap().model;
            assert_eq!(model.signature().inputs[0].width, widths[0]);
            let answers = model.infer(&rows_of(&*model, 3).unwrap()).unwrap();
            assert_eq!(answers.num_rows(), 3);
        }
    }

    /// A build without the backend measures nothing and says so.
    #[test]
    #[cfg(not(feature = "cuda"))]
    fn without_the_device_there_is_an_error() {
        let args = Args { device: Device::Cuda(0), threads: 1, millis: 1, encoder: None };
        let error = format!("{:#}", run(&args).err().unwrap());
        assert!(error.contains("nothing was measured") && error.contains("built without CUDA"), "{error}");
    }
}
