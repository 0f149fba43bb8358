//! Random numbers that depend on the seed alone.

/// SplitMix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

/// 2⁶⁴ divided by the golden ratio, SplitMix64's step.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finish of SplitMix64: each bit of the answer depends on each bit of `z`.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// A stream of its own for each purpose (and epoch) of a seed.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        Self { state: mix(seed.wrapping_add(GOLDEN)) ^ mix(purpose.wrapping_mul(GOLDEN).wrapping_add(1)) }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Between `low` and `high`, 24 bits fine.
    pub(crate) fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 40) as f32 / (1u32 << 24) as f32)
    }

    /// Below `bound`, which is not zero. The high half of a product: its bias is below 2⁻³² for any table.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for at in (1..values.len()).rev() {
            values.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_all_and_depends_on_seed_and_purpose() {
        let shuffled = |seed, purpose| {
            let mut values: Vec<u32> = (0..1000).collect();
            Random::new(seed, purpose).shuffle(&mut values);
            values
        };
        assert_eq!(shuffled(1, 2), shuffled(1, 2));
        assert_ne!(shuffled(1, 2), shuffled(1, 3));
        assert_ne!(shuffled(1, 2), shuffled(2, 2));
        let mut sorted = shuffled(1, 2);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn uniform_numbers_fill_their_range_evenly() {
        let mut random = Random::new(3, 0);
        let mean = (0..100_000).map(|_| f64::from(random.uniform(2.0, 4.0))).sum::<f64>() / 1e5;
        assert!((mean - 3.0).abs() < 0.01, "{mean}");
    }
}
