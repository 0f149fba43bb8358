//! Two AUCs of the same rows, and how sure their difference is.
//!
//! Each row has a component: the share of the other class's weight that it is on the right side of, half for ties. The
//! AUC is their weighted mean, and what they scatter gives its uncertainty, without any drawing of samples. Sources:
//! DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating characteristic
//! curves", Biometrics 44 (1988) 837; the components from ranks, in n log n: Sun and Xu, "Fast implementation of DeLong's
//! algorithm", IEEE Signal Processing Letters 21 (2014) 1389.
//!
//! With event weights the same is the linearisation of a ratio of weighted sums (the infinitesimal jackknife): a row's
//! deviation counts times its weight, so that rows of a negative weight widen the uncertainty as those of a positive one.

/// AUCs of two models on the same rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AucPair {
    /// Of each.
    pub auc: [f64; 2],
    /// Standard deviation of each.
    pub deviation: [f64; 2],
    /// The second less the first.
    pub difference: f64,
    /// Standard deviation of the difference; what both have in common does not count.
    pub difference_deviation: f64,
}

/// One class of the rows: its weights, and what its uncertainty is multiplied with.
struct Class {
    rows: Vec<usize>,
    weight: f64,
}

impl Class {
    fn of(weights: &[f64], belongs: impl Fn(usize) -> bool) -> Option<Self> {
        let rows: Vec<usize> = (0..weights.len()).filter(|row| belongs(*row)).collect();
        let weight: f64 = rows.iter().map(|&row| weights[row]).sum();
        (rows.len() > 1 && weight > 0.0).then_some(Self { rows, weight })
    }

    /// Variance of the weighted mean of a value over these rows, which is `mean`.
    fn variance(&self, weights: &[f64], mean: f64, value: impl Fn(usize) -> f64) -> f64 {
        let square = |&row: &usize| (weights[row] * (value(row) - mean)).powi(2);
        let count = self.rows.len() as f64;
        self.rows.iter().map(square).sum::<f64>() * count / (count - 1.0) / self.weight.powi(2)
    }
}

/// Both AUCs with their uncertainties; `None` where a class has fewer than two rows or no weight above zero.
pub fn auc_pair(scores: [&[f64]; 2], signal: impl Fn(usize) -> bool, weights: &[f64]) -> Option<AucPair> {
    let (signals, backgrounds) = (Class::of(weights, &signal)?, Class::of(weights, |row| !signal(row))?);
    let components = scores.map(|scores| components(scores, &signal, weights, signals.weight, backgrounds.weight));
    let auc = [0, 1].map(|model: usize| {
        let part = |&row: &usize| weights[row] * components[model][row];
        signals.rows.iter().map(part).sum::<f64>() / signals.weight
    });
    let deviation = |mean: f64, value: &dyn Fn(usize) -> f64| {
        (signals.variance(weights, mean, value) + backgrounds.variance(weights, mean, value)).sqrt()
    };
    let difference = auc[1] - auc[0];
    Some(AucPair {
        auc,
        deviation: [0, 1].map(|model: usize| deviation(auc[model], &|row| components[model][row])),
        difference,
        difference_deviation: deviation(difference, &|row| components[1][row] - components[0][row]),
    })
}

/// Of each row: the share of the other class's weight that lies on the right side of it.
fn components(
    scores: &[f64],
    signal: impl Fn(usize) -> bool,
    weights: &[f64],
    signal_weight: f64,
    background_weight: f64,
) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
    let mut components = vec![0.0; scores.len()];
    let (mut signals_below, mut backgrounds_below) = (0.0, 0.0);
    for ties in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let (mut s, mut b) = (0.0, 0.0);
        ties.iter().for_each(|&row| if signal(row) { s += weights[row] } else { b += weights[row] });
        for &row in ties {
            components[row] = match signal(row) {
                true => (backgrounds_below + 0.5 * b) / background_weight,
                false => (signal_weight - signals_below - 0.5 * s) / signal_weight,
            };
        }
        (signals_below, backgrounds_below) = (signals_below + s, backgrounds_below + b);
    }
    components
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::auc;
    use crate::random::Random;

    /// Rows, every third of signal; two models of different quality, with ties.
    fn sample(rows: usize, seed: u64) -> ([Vec<f64>; 2], Vec<bool>) {
        let mut random = Random::new(seed, 3);
        let signal: Vec<bool> = (0..rows).map(|row| row % 3 == 0).collect();
        let mut score = |row: usize, gain: f32| {
            let noise = random.uniform(0.0, 1.0) + random.uniform(0.0, 1.0);
            f64::from(((noise + if signal[row] { gain } else { 0.0 }) * 50.0).round())
        };
        let one: Vec<f64> = (0..rows).map(|row| score(row, 0.4)).collect();
        let other = (0..rows).map(|row| 0.5 * one[row] + score(row, 0.5)).collect();
        ([one, other], signal)
    }

    /// The definition of 1988, over all pairs.
    fn by_pairs(scores: &[Vec<f64>; 2], signal: &[bool]) -> (f64, f64) {
        let of = |kind: bool| (0..signal.len()).filter(|row| signal[*row] == kind).collect::<Vec<_>>();
        let (signals, backgrounds) = (of(true), of(false));
        let order = |model: usize, s: usize, b: usize| match scores[model][s].total_cmp(&scores[model][b]) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        };
        let difference = |s: usize, b: usize| order(1, s, b) - order(0, s, b);
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let variance = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64 / values.len() as f64
        };
        let by_signal: Vec<f64> =
            signals.iter().map(|&s| mean(backgrounds.iter().map(|&b| difference(s, b)).collect())).collect();
        let by_background: Vec<f64> =
            backgrounds.iter().map(|&b| mean(signals.iter().map(|&s| difference(s, b)).collect())).collect();
        (mean(by_signal.clone()), (variance(&by_signal) + variance(&by_background)).sqrt())
    }

    #[test]
    fn without_weights_it_is_delongs_test() {
        let (scores, signal) = sample(120, 1);
        let weights = vec![1.0; signal.len()];
        let pair = auc_pair([&scores[0], &scores[1]], |row| signal[row], &weights).unwrap();
        let (difference, deviation) = by_pairs(&scores, &signal);
        assert!((pair.difference - difference).abs() < 1e-12 && (pair.difference_deviation - deviation).abs() < 1e-12);
        for (found, scores) in pair.auc.iter().zip(&scores) {
            assert!((found - auc(scores, |row| signal[row], &weights)).abs() < 1e-12);
        }
        // The same model twice: the two have everything in common.
        let same = auc_pair([&scores[0], &scores[0]], |row| signal[row], &weights).unwrap();
        assert_eq!((same.difference, same.difference_deviation), (0.0, 0.0));
    }

    #[test]
    fn with_signed_weights_it_is_what_drawing_again_and_again_gives() {
        const DRAWS: usize = 600;
        let (scores, signal) = sample(900, 2);
        let weights: Vec<f64> = (0..signal.len()).map(|row| if row % 7 == 0 { -0.5 } else { 1.0 }).collect();
        let pair = auc_pair([&scores[0], &scores[1]], |row| signal[row], &weights).unwrap();
        for (found, scores) in pair.auc.iter().zip(&scores) {
            assert!((found - auc(scores, |row| signal[row], &weights)).abs() < 1e-12);
        }
        let mut random = Random::new(4, 5);
        let mut draw = || {
            let rows: Vec<usize> = signal.iter().map(|_| random.below(signal.len())).collect();
            let drawn: Vec<f64> = rows.iter().map(|&row| weights[row]).collect();
            let of = |model: usize| {
                let scores: Vec<f64> = rows.iter().map(|&row| scores[model][row]).collect();
                auc(&scores, |row| signal[rows[row]], &drawn)
            };
            of(1) - of(0)
        };
        let drawn: Vec<f64> = (0..DRAWS).map(|_| draw()).collect();
        let mean = drawn.iter().sum::<f64>() / DRAWS as f64;
        let deviation = (drawn.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (DRAWS - 1) as f64).sqrt();
        // The bootstrap's own error with 600 draws is 3 %.
        assert!((pair.difference_deviation / deviation - 1.0).abs() < 0.15, "{pair:?}, drawn {deviation}");
    }

    #[test]
    fn a_class_without_rows_or_weight_has_no_auc() {
        let scores = [0.1, 0.2, 0.3, 0.4];
        let pair = |signal: [bool; 4], weights: [f64; 4]| auc_pair([&scores, &scores], |row| signal[row], &weights);
        assert_eq!(pair([true; 4], [1.0; 4]), None);
        assert_eq!(pair([true, true, false, false], [1.0, -1.0, 1.0, 1.0]), None);
        assert!(pair([true, true, false, false], [1.0; 4]).is_some());
    }
}
