//! The rank of a number among a feature's thresholds, without a branch.

use super::number::Number;

/// Sorted numbers as a complete search tree, level by level: entry `i` has the children `2i` and `2i + 1`, entry 1 is
/// the root. The places beyond the last number hold infinity.
#[derive(Debug)]
pub(super) struct Search<T> {
    tree: Vec<T>,
    levels: u32,
}

impl<T: Number> Search<T> {
    /// A register of sixteen numbers holds the first entries, however few are used.
    pub(super) const LEAST_LEVELS: u32 = 4;

    /// Of numbers in ascending order.
    pub(super) fn new(sorted: &[T]) -> Self {
        let levels = (sorted.len() + 1).next_power_of_two().ilog2().max(Self::LEAST_LEVELS);
        let mut tree = vec![T::of(f64::INFINITY); 1 << levels];
        for (entry, value) in tree.iter_mut().enumerate().skip(1) {
            let level = (entry as u32).ilog2();
            let place = entry - (1 << level);
            // Half of the places below an entry come before it.
            let index = ((2 * place + 1) << (levels - 1 - level)) - 1;
            *value = sorted.get(index).copied().unwrap_or(*value);
        }
        Self { tree, levels }
    }

    /// How many of the numbers each `x` has reached (`t <= x`), or more than all of them; 0 for NaN. The steps of many
    /// searches run side by side, which hides the latency of each.
    #[inline(always)]
    pub(super) fn ranks<const N: usize>(&self, x: &[T; N], ranks: &mut [u32; N]) {
        ranks.fill(1);
        for _ in 0..self.levels {
            for (entry, &x) in ranks.iter_mut().zip(x) {
                *entry = 2 * *entry + u32::from(x >= self.tree[*entry as usize]);
            }
        }
        ranks.iter_mut().for_each(|entry| *entry -= 1 << self.levels);
    }

    /// All entries: `1 << levels`.
    #[inline(always)]
    pub(super) fn tree(&self) -> &[T] {
        &self.tree
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn levels(&self) -> u32 {
        self.levels
    }

    pub(super) fn rank(&self, x: T) -> u32 {
        let mut ranks = [0];
        self.ranks(&[x], &mut ranks);
        ranks[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_what_is_reached() {
        for count in (0..70).chain([253, 1000]) {
            let sorted: Vec<f32> = (0..count).map(|i| i as f32).collect();
            let search = Search::new(&sorted);
            assert_eq!((search.rank(f32::NAN), search.rank(f32::NEG_INFINITY)), (0, 0));
            for i in 0..count {
                assert_eq!((search.rank(i as f32), search.rank(i as f32 - 0.5)), (i + 1, i));
            }
            assert!(search.rank(f32::INFINITY) >= count);
        }
    }
}
