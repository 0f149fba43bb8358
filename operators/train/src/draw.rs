//! Some rows that stand for many.

use crate::random::Random;

/// So many of the rows in their order, or all where there are no more: of each class its share and one row at least, so
/// that a table may be sorted by anything. Only counts are kept: a row is taken with what is still wanted of its class over
/// what is left of it. Source: Knuth, "The Art of Computer Programming" 2, algorithm S.
pub(crate) fn draw(
    rows: &[usize],
    most: usize,
    classes: usize,
    class: impl Fn(usize) -> usize,
    mut random: Random,
) -> Vec<usize> {
    if rows.len() <= most {
        return rows.to_vec();
    }
    let mut left = vec![0; classes];
    rows.iter().for_each(|&row| left[class(row)] += 1);
    let share = |count: usize| ((count as f64 * most as f64 / rows.len() as f64).round() as usize).max(1).min(count);
    let mut wanted: Vec<usize> = left.iter().map(|&count| share(count)).collect();
    let mut take = |row: usize| {
        let class = class(row);
        let taken = random.below(left[class]) < wanted[class];
        left[class] -= 1;
        wanted[class] -= usize::from(taken);
        taken
    };
    rows.iter().copied().filter(|&row| take(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 1,000 rows the last tenth is a class of its own, its last row another.
    fn class(row: usize) -> usize {
        usize::from(row >= 900) + usize::from(row == 999)
    }

    fn drawn(most: usize, seed: u64) -> Vec<usize> {
        draw(&(0..1000).collect::<Vec<_>>(), most, 3, class, Random::new(seed, 0))
    }

    #[test]
    fn each_class_has_its_share_and_one_row_at_least() {
        let rows = drawn(100, 1);
        let of = |wanted: usize| rows.iter().filter(|&&row| class(row) == wanted).count();
        assert_eq!([of(0), of(1), of(2)], [90, 10, 1]);
        assert!(rows.is_sorted_by(|a, b| a < b), "in order, and none twice");
        assert_eq!(drawn(1000, 1), (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn the_seed_alone_decides_and_every_row_is_as_likely() {
        assert_eq!(drawn(100, 1), drawn(100, 1));
        assert_ne!(drawn(100, 1), drawn(100, 2));
        let mut times = [0_u32; 900];
        (0..1000).flat_map(|seed| drawn(100, seed)).filter(|row| *row < 900).for_each(|row| times[row] += 1);
        // Each is drawn 100 times, give or take nine or ten.
        let halves = times.chunks(450).map(|half| half.iter().sum::<u32>()).collect::<Vec<_>>();
        assert!(times.iter().all(|count| (50..=150).contains(count)), "{times:?}");
        assert!(halves[0].abs_diff(halves[1]) < 2_000, "{halves:?}");
    }
}
