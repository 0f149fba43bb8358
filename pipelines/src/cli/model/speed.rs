//! How fast a model answers on this machine: one thread, made-up rows, a fraction of a second.

use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use lunapark_models::Model;
use lunapark_schemas::RowsBuilder;

/// Long enough for a figure good to a few percent on a quiet machine.
const TIME: Duration = Duration::from_millis(200);
/// Batch sizes that are measured: a single event, and what a stream thread polls under load.
pub const BATCHES: [usize; 2] = [1, 256];

/// Rows per second in batches of `rows`. The first batch warms the caches and is not counted.
pub fn rows_per_second(model: &dyn Model, rows: usize) -> anyhow::Result<f64> {
    let batch = made_up(model, rows)?;
    model.infer(&batch)?;
    let (started, mut batches) = (Instant::now(), 0_u32);
    while batches == 0 || started.elapsed() < TIME {
        model.infer(&batch)?;
        batches += 1;
    }
    Ok(f64::from(batches) * rows as f64 / started.elapsed().as_secs_f64())
}

/// Values from -2 to 2, spread evenly, as standardised features are: they take trees to many of their leaves.
fn made_up(model: &dyn Model, rows: usize) -> anyhow::Result<RecordBatch> {
    let signature = model.signature();
    let mut builder = RowsBuilder::new(signature.clone(), rows);
    let mut state = 0_u64;
    for (values, spec) in builder.columns_mut().iter_mut().zip(&signature.inputs) {
        for _ in 0..rows * spec.width {
            // A Weyl sequence: the golden ratio's multiples never cluster.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            values.push((state >> 11) as f64 / (1_u64 << 53) as f64 * 4.0 - 2.0);
        }
    }
    builder.commit(rows);
    Ok(builder.finish()?)
}
