//! Trees: Lunapark against ONNX Runtime and XGBoost's own predictor.

use super::models::Folder;
use super::side::Opponent;
use super::{Args, BATCHES, HOW, Side, cells, contest, report};
use crate::report::{Bar, Report, Table, note, ratio};

/// Features of the rows.
const FEATURES: usize = 28;
const DEPTHS: [usize; 2] = [6, 10];
const TREES: [usize; 3] = [100, 500, 2000];

/// Each ratio that must hold for one model and batch.
pub fn run(args: &Args, folder: &Folder) -> anyhow::Result<Report> {
    let mut sides = sides(folder)?;
    let mut titles = vec!["depth", "trees", "batch"];
    titles.extend(sides.iter().map(|side| side.name));
    titles.extend(["best / ONNX Runtime", "best / faster", "AVX2 / ONNX Runtime"]);
    let (mut table, mut bars) = (Table::new(&titles), Vec::new());
    for (depth, trees) in DEPTHS.into_iter().flat_map(|depth| TREES.map(|trees| (depth, trees))) {
        let model = format!("trees-{depth}-{trees}");
        for batch in BATCHES.into_iter().filter(|_| model.contains(&args.only)) {
            let rates = contest(args, &mut sides, &model, FEATURES, batch)?;
            let (onnx, faster) = (rates[2], rates[2].max(rates[3]));
            let ratios = [rates[0] / onnx, rates[0] / faster, rates[1] / onnx];
            let name = format!("depth {depth}, {trees} trees, batch {batch}");
            note(format!("{name}: {rates:.0?} {ratios:.2?}"));
            bars.extend(bars_of(&name, depth, batch, ratios));
            let mut row = vec![depth.to_string(), trees.to_string(), batch.to_string()];
            row.extend(cells(&rates));
            row.extend(ratios.map(ratio));
            table.row(row);
        }
    }
    let what = "28 features, trees by XGBoost (hist), the same trees as ONNX.".to_owned();
    Ok(report("duel-trees", what, table, bars, &[HOW]))
}

fn sides(folder: &Folder) -> anyhow::Result<[Side; 4]> {
    let lunapark = |kernel| Opponent::lunapark(folder, kernel);
    let python = || Opponent::python(folder);
    Ok([
        Side { name: "Lunapark", runtime: "lunapark", opponent: lunapark(None)? },
        Side { name: "Lunapark, AVX2", runtime: "lunapark", opponent: lunapark(Some("avx2"))? },
        Side { name: "ONNX Runtime", runtime: "onnxruntime", opponent: python()? },
        Side { name: "XGBoost", runtime: "xgboost", opponent: python()? },
    ])
}

fn bars_of(name: &str, depth: usize, batch: usize, [onnx, faster, avx2]: [f64; 3]) -> Vec<Bar> {
    let mut bars = vec![Bar::at_least(format!("{name}: AVX2 / ONNX Runtime"), avx2, 2.0)];
    match (depth, batch) {
        (_, 1) => bars.push(Bar::at_least(format!("{name}: / ONNX Runtime"), onnx, 3.0)),
        (6, _) => {
            bars.push(Bar::at_least(format!("{name}: / ONNX Runtime"), onnx, 10.0));
            bars.push(Bar::at_least(format!("{name}: / the faster one"), faster, 5.0));
        }
        _ => {
            bars.push(Bar::at_least(format!("{name}: / ONNX Runtime"), onnx, 4.0));
            bars.push(Bar::at_least(format!("{name}: / the faster one"), faster, 2.0));
        }
    }
    bars
}
