//! The area under the ROC curve, of scores without end: exact for as many as the demo has in its short form, by a
//! histogram beyond. Memory and the time of a look at it are bounded.

/// Scores that are kept for the exact area: twice what the short form has (about 31,000), half a megabyte.
const KEPT: usize = 1 << 16;
/// Cells of the histogram: a megabyte, which one look reads once.
const CELLS: usize = 1 << 16;

/// Scores between 0 and 1 of events whose truth is known.
pub struct Roc {
    /// The first ones, all of them while they fit.
    kept: Vec<(f32, bool)>,
    /// Signal and background per cell of the score.
    cells: Vec<[u64; 2]>,
    count: u64,
}

impl Roc {
    /// No scores yet.
    pub fn new() -> Self {
        Self { kept: Vec::new(), cells: vec![[0; 2]; CELLS], count: 0 }
    }

    /// Takes a score down.
    pub fn add(&mut self, score: f32, signal: bool) {
        self.count += 1;
        if self.kept.len() < KEPT {
            self.kept.push((score, signal));
        }
        // A float's conversion saturates: what lies outside goes to the cell at the end.
        let cell = ((score * CELLS as f32) as usize).min(CELLS - 1);
        self.cells[cell][usize::from(!signal)] += 1;
    }

    /// Scores taken down.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The area by the histogram: pairs within one cell count half, so it is off by at most half their share of all
    /// pairs. Of scores that are spread evenly these are less than 1e-5.
    pub fn area_so_far(&self) -> f64 {
        area(self.cells.iter().copied())
    }

    /// The area: exact up to 65,536 scores, by the histogram beyond.
    pub fn area(&self) -> f64 {
        if self.count == self.kept.len() as u64 { auc(&self.kept) } else { self.area_so_far() }
    }
}

/// Area under the ROC curve: the share of (signal, background) pairs in the right order, ties counting half
/// (Mann–Whitney U, as scikit-learn's `roc_auc_score`). NaN where one kind is missing.
pub fn auc(scores: &[(f32, bool)]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    area(sorted.chunk_by(|a, b| a.0 == b.0).map(|tied| {
        let signal = tied.iter().filter(|(_, signal)| *signal).count() as u64;
        [signal, tied.len() as u64 - signal]
    }))
}

/// The area of signal and background per score, in ascending order.
fn area(scores: impl Iterator<Item = [u64; 2]>) -> f64 {
    let (mut pairs, mut signal, mut background) = (0.0, 0.0, 0.0);
    for [s, b] in scores.map(|counts| counts.map(|count| count as f64)) {
        pairs += s * (background + b / 2.0);
        signal += s;
        background += b;
    }
    pairs / (signal * background)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Background is spread evenly, signal leans to the right: the area tends to 2/3.
    fn scores(count: usize) -> Vec<(f32, bool)> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (even, signal) = ((state >> 40) as f32 / (1u64 << 24) as f32, state >> 39 & 1 == 1);
            (if signal { even.sqrt() } else { even }, signal)
        };
        (0..count).map(|_| next()).collect()
    }

    fn filled(scores: &[(f32, bool)]) -> Roc {
        let mut roc = Roc::new();
        scores.iter().for_each(|(score, signal)| roc.add(*score, *signal));
        roc
    }

    #[test]
    fn auc_counts_pairs_and_halves_ties() {
        assert_eq!(auc(&[(0.1, false), (0.4, false), (0.35, true), (0.8, true)]), 0.75);
        assert_eq!(auc(&[(0.5, false), (0.5, true)]), 0.5);
        assert!(auc(&[(0.5, true)]).is_nan());
    }

    #[test]
    fn the_area_is_exact_while_all_scores_are_kept() {
        let scores = scores(KEPT);
        assert_eq!(filled(&scores).area(), auc(&scores));
        assert!(filled(&[(0.5, true)]).area().is_nan());
    }

    #[test]
    fn beyond_the_histogram_is_within_its_bound() {
        let scores = scores(4 * KEPT);
        let (roc, exact) = (filled(&scores), auc(&scores));
        assert!((exact - 2.0 / 3.0).abs() < 0.01, "{exact}");
        let [signal, background] = [true, false].map(|kind| scores.iter().filter(|s| s.1 == kind).count() as f64);
        let together: u64 = roc.cells.iter().map(|[s, b]| s * b).sum();
        let bound = together as f64 / 2.0 / (signal * background);
        assert!(bound < 1e-5, "{bound}");
        assert!((roc.area() - exact).abs() <= bound, "{} instead of {exact}", roc.area());
    }

    #[test]
    fn a_stream_without_end_takes_no_more_memory() {
        let roc = filled(&scores(4 * KEPT));
        assert_eq!((roc.count(), roc.kept.len(), roc.cells.len()), (4 * KEPT as u64, KEPT, CELLS));
    }

    #[test]
    fn scores_outside_are_counted_at_the_ends() {
        let roc = filled(&[(-1.0, false), (2.0, true), (1.0, true)]);
        assert_eq!((roc.area_so_far(), roc.count()), (1.0, 3));
    }
}
