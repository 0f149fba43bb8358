//! Decoding, encoding and the models alone: one thread, in memory.

use std::hint::black_box;
use std::time::Duration;

use crate::job::{ModelKind, Payload};
use crate::parts::{Parts, nanos_per};
use crate::report::{Report, Table, number};
use crate::workload::{Workload, load_model, model_rows};

/// Rows per call of a model.
const BATCHES: [usize; 4] = [1, 32, 256, 8192];

/// What `kernels` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Milliseconds of CPU for each of the five windows of a figure.
    #[arg(long, default_value_t = 400)]
    millis: u64,
}

/// Measures every kernel.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let window = Duration::from_millis(args.millis);
    let mut table = Table::new(&["what", "ns per event", "events/s"]);
    let mut add = |what: String, nanos: f64| {
        table.row(vec![what, format!("{nanos:.1}"), number(1e9 / nanos)]);
    };
    for (payload, name) in [(Payload::Json, "KServe v1 JSON"), (Payload::Arrow, "Arrow, 256 per message")] {
        let parts = Parts::measure(&Workload::new(ModelKind::Mlp, payload)?, payload, window)?;
        add(format!("decode {name}"), parts.decode);
        add(format!("encode {name}"), parts.encode);
    }
    for (kind, name) in [(ModelKind::Mlp, "MLP 28-128-64-1"), (ModelKind::Xgb, "XGBoost, 151 trees of depth 6")] {
        let models = load_model(kind)?;
        let model = models.entries().next().and_then(|entry| entry.model());
        let model = model.ok_or_else(|| anyhow::anyhow!("no model loaded"))?;
        for rows in BATCHES {
            let batch = model_rows(&models, rows)?;
            add(
                format!("{name}, batch {rows}"),
                nanos_per(rows, window, || Ok(model.infer(&batch).map(black_box).map(drop)?))?,
            );
        }
    }
    Ok(Report {
        section: "kernels".to_owned(),
        what: "One thread, in memory; CPU time, median of 5 windows. Messages are decoded in the scorer's batches."
            .to_owned(),
        table,
        bars: Vec::new(),
        notes: Vec::new(),
    })
}
