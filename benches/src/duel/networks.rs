//! Networks that are more than perceptron chains: Lunapark against ONNX Runtime.

use super::models::Folder;
use super::side::Opponent;
use super::{Args, BATCHES, HOW, Side, cells, contest, report};
use crate::report::{Bar, Report, Table, note, ratio};

/// Fixtures of the models crate, and the width of their rows: convolutions, a recurrent layer, normalisation layers,
/// and a recurrent layer as its single products.
const NETWORKS: [(&str, usize); 4] =
    [("torch-images", 144), ("torch-gru", 60), ("torch-autoencoder", 16), ("keras-lstm-unrolled", 32)];
/// The largest batch that is measured: slow rows would take long.
const LARGEST: usize = 256;

/// Every network at every batch size.
pub fn run(args: &Args, folder: &Folder) -> anyhow::Result<Report> {
    let mut sides = [
        Side { name: "Lunapark", runtime: "lunapark", opponent: Opponent::lunapark(folder, None)? },
        Side { name: "ONNX Runtime", runtime: "onnxruntime", opponent: Opponent::python(folder)? },
    ];
    let (mut table, mut bars) = (Table::new(&["network", "batch", "Lunapark", "ONNX Runtime", "ratio"]), Vec::new());
    for (name, width) in NETWORKS.into_iter().filter(|(name, _)| name.contains(&args.only)) {
        for batch in BATCHES.into_iter().filter(|&batch| batch <= LARGEST) {
            let rates = contest(args, &mut sides, &format!("network-{name}"), width, batch)?;
            let times = rates[0] / rates[1];
            note(format!("{name}, batch {batch}: {rates:.0?} {times:.2}"));
            bars.push(Bar::at_least(format!("{name}, batch {batch}"), times, 0.8));
            let mut row = vec![name.to_owned(), batch.to_string()];
            row.extend(cells(&rates));
            row.push(ratio(times));
            table.row(row);
        }
    }
    let what =
        "Small networks of `operators/models/fixtures/onnx`, with a row per lane: convolutions on 12 x 12 pixels; a GRU \
        of 10 steps; an autoencoder with layer normalisation; an LSTM of 8 steps, unrolled."
            .to_owned();
    Ok(report("duel-networks", what, table, bars, &[HOW]))
}
