//! Lunapark's own ways to evaluate trees against each other: what each step towards the fastest one brought.

use super::models::Folder;
use super::side::Opponent;
use super::{Args, BATCHES, HOW, Side, cells, contest, report};
use crate::report::{Report, Table};

const MODELS: [&str; 4] = ["trees-6-100", "trees-6-500", "trees-10-100", "trees-10-500"];
/// Features of the rows.
const FEATURES: usize = 28;

/// Rates of each layout.
pub fn run(args: &Args, folder: &Folder) -> anyhow::Result<Report> {
    let side = |name, kernel| {
        let opponent = Opponent::lunapark(folder, Some(kernel))?;
        anyhow::Ok(Side { name, runtime: "lunapark", opponent })
    };
    let mut sides = [
        side("node to node", "literal")?,
        side("bytes, one by one", "portable")?,
        side("bytes, heaps in AVX2", "avx2")?,
        side("bytes, heaps in AVX-512", "avx512")?,
    ];
    let mut titles = vec!["model", "batch"];
    titles.extend(sides.iter().map(|side| side.name));
    let mut table = Table::new(&titles);
    for model in MODELS.into_iter().filter(|model| model.contains(&args.only)) {
        for batch in BATCHES {
            let mut row = vec![model.to_owned(), batch.to_string()];
            row.extend(cells(&contest(args, &mut sides, model, FEATURES, batch)?));
            table.row(row);
        }
    }
    let what = "The models of `duel-trees` by Lunapark's layouts: nodes of 32 bytes that hold the format's own test; \
        inputs as bytes with nodes of 8 bytes, 16 walks or a block of 64 rows side by side; the top six levels of each \
        tree as a heap in vector registers."
        .to_owned();
    Ok(report("layouts", what, table, Vec::new(), &[HOW]))
}
