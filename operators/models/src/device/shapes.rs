//! Numbers of rows that are sent to a device, and which of them give a row the same bits.
//!
//! cuBLAS chooses the kernel of a product by its shape, and kernels differ in the order in which they add. So each batch
//! is cut and padded to few shapes. When a network is put on the device, the same rows are scored in every shape and at
//! every place of it, and the shapes that agree are kept. Kernels do not look at the numbers that they multiply, so what
//! holds for these rows holds for others.

use super::owner::Widths;

/// Four times the rows from one to the next: less than three quarters of a batch is padding.
const CANDIDATES: [usize; 5] = [64, 256, 1024, 4096, 16384];
/// Elements of the widest layer over all rows: 256 MiB on the device.
const MAX_ELEMENTS: usize = 1 << 26;
/// Rows that are tried: a prime, so that each of them comes to every place of a tile, and fewer than the least shape.
pub(super) const TRIED: usize = 61;

/// What the trial found.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    /// The answers of the rows that were tried.
    pub answers: Vec<f32>,
    /// A row has the same bits in every shape that is used, and at every place of it.
    pub same_bits: bool,
}

/// The shapes in use, the smallest first; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shapes(Vec<usize>);

/// The answers of one shape: those of the rows tried, and whether they are the same at every place.
struct Trial {
    shape: usize,
    answers: Vec<f32>,
    steady: bool,
}

impl Shapes {
    /// Tries `rows` (of [`TRIED`] rows) in all shapes and keeps those that agree; where none agrees with itself, all.
    pub(super) fn found(
        widths: Widths,
        rows: &[f32],
        mut run: impl FnMut(&[f32], usize) -> Result<Vec<f32>, String>,
    ) -> Result<(Self, Probe), String> {
        let most = (MAX_ELEMENTS / widths.widest.max(1)).max(CANDIDATES[0]);
        let candidates = CANDIDATES.into_iter().filter(|&shape| shape <= most);
        let trials = candidates.map(|shape| trial(widths, rows, shape, &mut run)).collect::<Result<Vec<_>, _>>()?;
        let agreeing = |one: &Trial| -> Vec<usize> {
            let same = |other: &&Trial| other.steady && same_bits(&other.answers, &one.answers);
            trials.iter().filter(same).map(|trial| trial.shape).collect()
        };
        let best = trials.iter().filter(|trial| trial.steady).max_by_key(|one| (agreeing(one).len(), one.shape));
        match (best, trials.first()) {
            (Some(best), _) => Ok((Self(agreeing(best)), Probe { answers: best.answers.clone(), same_bits: true })),
            (None, Some(first)) => {
                let probe = Probe { answers: first.answers.clone(), same_bits: false };
                Ok((Self(trials.iter().map(|trial| trial.shape).collect()), probe))
            }
            (None, None) => Err("no number of rows fits on the device".to_owned()),
        }
    }

    /// Rows of the largest one: a batch of the device.
    pub(super) fn largest(&self) -> usize {
        self.0.last().copied().unwrap_or(CANDIDATES[0])
    }

    /// Cuts a batch: rows, and the shape that takes them.
    pub(super) fn cut(&self, mut rows: usize) -> impl Iterator<Item = (usize, usize)> {
        let largest = self.largest();
        std::iter::from_fn(move || {
            let shape = self.0.iter().copied().find(|shape| *shape >= rows).unwrap_or(largest);
            let now = rows.min(shape);
            rows -= now;
            (now > 0).then_some((now, shape))
        })
    }
}

fn trial(
    widths: Widths,
    rows: &[f32],
    shape: usize,
    run: &mut impl FnMut(&[f32], usize) -> Result<Vec<f32>, String>,
) -> Result<Trial, String> {
    let repeated: Vec<f32> = rows.iter().copied().cycle().take(shape * widths.inputs).collect();
    let mut answers = run(&repeated, shape)?;
    let whole = TRIED * widths.answers;
    if answers.len() != shape * widths.answers {
        return Err(format!("{shape} rows were answered by {} numbers", answers.len()));
    }
    let steady = answers.chunks(whole).all(|again| same_bits(again, &answers[..again.len()]));
    answers.truncate(whole);
    Ok(Trial { shape, answers, steady })
}

fn same_bits(one: &[f32], other: &[f32]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.to_bits() == b.to_bits())
}
