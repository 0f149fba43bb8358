//! Two distributions side by side, in bounded memory.

use std::collections::BTreeMap;

use lunapark_train::picture::Sample;

/// Values that are told apart; beyond that neighbours are taken together. About 20 MB.
const MOST: usize = 250_000;

/// How often each value was seen on the left and on the right.
pub(super) struct Distributions {
    /// By the value's bits, which are brought into the order of the numbers.
    seen: BTreeMap<u64, [u64; 2]>,
    /// Bits that are left out at the low end.
    left_out: u32,
    most: usize,
}

impl Distributions {
    pub(super) fn new() -> Self {
        Self::telling_apart(MOST)
    }

    fn telling_apart(most: usize) -> Self {
        Self { seen: BTreeMap::new(), left_out: 0, most }
    }

    /// One value of each side.
    pub(super) fn add(&mut self, left: f64, right: f64) {
        for (side, value) in [left, right].into_iter().enumerate() {
            self.seen.entry(ordered(value) >> self.left_out).or_default()[side] += 1;
        }
        while self.seen.len() > self.most {
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        self.left_out += 1;
        for (key, [left, right]) in std::mem::take(&mut self.seen) {
            let both = self.seen.entry(key >> 1).or_default();
            both[0] += left;
            both[1] += right;
        }
    }

    /// Both sides for a picture, under these names: each value as often as it was seen.
    pub(super) fn samples(&self, names: [String; 2]) -> [Sample; 2] {
        let values: Vec<f64> = self.seen.keys().map(|key| value(key << self.left_out)).collect();
        let mut side = 0;
        names.map(|name| {
            let weights = self.seen.values().map(|counts| counts[side] as f64).collect();
            side += 1;
            Sample { name, values: values.clone(), weights }
        })
    }

    /// The Kolmogorov-Smirnov distance: the largest difference of the two distribution functions; 0 for empty ones. Exact
    /// up to [`MOST`] different values; beyond that of the values without their lowest bits.
    pub(super) fn distance(&self) -> f64 {
        let whole = self.seen.values().fold([0, 0], |sum, n| [sum[0] + n[0], sum[1] + n[1]]);
        if whole.contains(&0) {
            return 0.0;
        }
        let (mut below, mut distance) = ([0, 0], 0.0_f64);
        for [left, right] in self.seen.values() {
            below = [below[0] + left, below[1] + right];
            let [left, right] = [0, 1].map(|side| below[side] as f64 / whole[side] as f64);
            distance = distance.max((left - right).abs());
        }
        distance
    }
}

/// Bits whose order as numbers is that of the values.
fn ordered(value: f64) -> u64 {
    // Minus nothing is nothing.
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The value of such bits.
fn value(ordered: u64) -> f64 {
    f64::from_bits(if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_gets_each_value_as_often_as_each_side_has_it() {
        let mut both = Distributions::new();
        let pairs = [(0.25, -1.5), (0.25, 0.25), (-3.0, -1.5), (0.0, 1e300)];
        pairs.iter().for_each(|(left, right)| both.add(*left, *right));
        let [left, right] = both.samples(["a".into(), "b".into()]);
        assert_eq!((left.name.as_str(), right.name.as_str()), ("a", "b"));
        assert_eq!(left.values, [-3.0, -1.5, 0.0, 0.25, 1e300]);
        assert_eq!(left.weights, [1.0, 0.0, 1.0, 2.0, 0.0]);
        assert_eq!((right.values, right.weights), (left.values, vec![0.0, 2.0, 0.0, 1.0, 1.0]));
    }

    fn distance(left: &[f64], right: &[f64], most: usize) -> f64 {
        let mut both = Distributions::telling_apart(most);
        left.iter().zip(right).for_each(|(left, right)| both.add(*left, *right));
        assert!(both.seen.len() <= most);
        both.distance()
    }

    #[test]
    fn the_distance_is_the_largest_gap_of_the_distributions() {
        assert_eq!(distance(&[1.0, 2.0, 3.0], &[3.0, 1.0, 2.0], 9), 0.0);
        assert_eq!(distance(&[0.0, -0.0], &[1.0, 1.0], 9), 1.0);
        assert_eq!(distance(&[], &[], 9), 0.0);
        // scipy.stats.ks_2samp([0.1, 0.4, 0.7, -1], [0.2, 0.4, 0.9, 1.0]).statistic
        assert_eq!(distance(&[0.1, 0.4, 0.7, -1.0], &[0.2, 0.4, 0.9, 1.0], 9), 0.5);
    }

    #[test]
    fn more_values_than_fit_cost_precision_and_no_memory() {
        let left: Vec<f64> = (0..10_000).map(|n| f64::from(n) / 10_000.0).collect();
        let right: Vec<f64> = left.iter().map(|value| value * value).collect();
        // x and x squared: the functions differ by at most a quarter, at a quarter.
        for most in [100, 1_000, 100_000] {
            let found = distance(&left, &right, most);
            assert!((found - 0.25).abs() < 0.02, "{most}: {found}");
        }
    }
}
