//! Perceptrons: Lunapark against ONNX Runtime.

use super::models::Folder;
use super::side::Opponent;
use super::{Args, BATCHES, HOW, Side, cells, contest, peak, report};
use crate::report::{Bar, Report, Table, note, ratio};

/// Widths of the layers.
const NETWORKS: [&[usize]; 3] = [&[28, 128, 64, 1], &[29, 256, 256, 1], &[784, 512, 10]];
/// Where ONNX Runtime itself has this share of what the core can do, as fast as it is enough.
const NEAR_PEAK: f64 = 0.8;

/// Every network at every batch size.
pub fn run(args: &Args, folder: &Folder) -> anyhow::Result<Report> {
    let mut sides = [
        Side { name: "Lunapark", runtime: "lunapark", opponent: Opponent::lunapark(folder, None)? },
        Side { name: "ONNX Runtime", runtime: "onnxruntime", opponent: Opponent::python(folder)? },
    ];
    let titles = ["layers", "batch", "Lunapark", "ONNX Runtime", "ratio", "Lunapark, GFLOP/s", "ONNX Runtime, GFLOP/s"];
    let (mut table, mut bars) = (Table::new(&titles), Vec::new());
    let mut peak = peak::gigaflops();
    for widths in NETWORKS {
        let name = widths.iter().map(usize::to_string).collect::<Vec<_>>().join("-");
        for batch in BATCHES.into_iter().filter(|_| name.contains(&args.only)) {
            let rates = contest(args, &mut sides, &format!("mlp-{name}"), widths[0], batch)?;
            let flops: usize = widths.windows(2).map(|pair| 2 * pair[0] * pair[1]).sum();
            let gigaflops = [rates[0], rates[1]].map(|rate| rate * flops as f64 / 1e9);
            let times = rates[0] / rates[1];
            note(format!("{name}, batch {batch}: {rates:.0?} {times:.2}"));
            peak = peak.max(peak::gigaflops());
            let limit = if gigaflops[1] >= NEAR_PEAK * peak { 1.0 } else { 1.2 };
            bars.push(Bar::at_least(format!("{name}, batch {batch}"), times, limit));
            let mut row = vec![name.clone(), batch.to_string()];
            row.extend(cells(&rates));
            row.extend([ratio(times), format!("{:.1}", gigaflops[0]), format!("{:.1}", gigaflops[1])]);
            table.row(row);
        }
    }
    let what = format!("Multiply-adds alone reach {peak:.0} GFLOP/s on this core.");
    Ok(report("duel-perceptrons", what, table, bars, &[HOW]))
}
