//! Mean, deviation and range of a column, many values at a time.

/// Partial sums that run side by side, so that no addition waits for the one before it.
const LANES: usize = 16;

/// What a column's values are like; those that are NaN do not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moments {
    pub present: u64,
    pub mean: f64,
    /// Of the population.
    pub deviation: f64,
    pub min: f64,
    pub max: f64,
}

impl Moments {
    /// In two passes: the squares are those of distances from the mean.
    pub(crate) fn of<T: Copy + Into<f64>>(values: &[T]) -> Self {
        let (mut count, mut sum) = ([0.0; LANES], [0.0; LANES]);
        let (mut min, mut max) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
        each(values, |lane, value| {
            count[lane] += if value.is_nan() { 0.0 } else { 1.0 };
            sum[lane] += if value.is_nan() { 0.0 } else { value };
            min[lane] = if value < min[lane] { value } else { min[lane] };
            max[lane] = if value > max[lane] { value } else { max[lane] };
        });
        let present: f64 = count.iter().sum();
        let mean = sum.iter().sum::<f64>() / present;
        let mut squares = [0.0; LANES];
        each(values, |lane, value| {
            let apart = if value.is_nan() { 0.0 } else { value - mean };
            squares[lane] += apart * apart;
        });
        Self {
            present: present as u64,
            mean,
            deviation: (squares.iter().sum::<f64>() / present).sqrt(),
            min: min.into_iter().fold(f64::INFINITY, f64::min),
            max: max.into_iter().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// Shows each value to its lane.
#[inline(always)]
fn each<T: Copy + Into<f64>>(values: &[T], mut see: impl FnMut(usize, f64)) {
    let (whole, rest) = values.as_chunks::<LANES>();
    for row in whole {
        row.iter().enumerate().for_each(|(lane, value)| see(lane, (*value).into()));
    }
    rest.iter().enumerate().for_each(|(lane, value)| see(lane, (*value).into()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn plainly(values: &[f32]) -> Moments {
        let there: Vec<f64> = values.iter().filter(|v| !v.is_nan()).map(|&v| f64::from(v)).collect();
        let mean = there.iter().sum::<f64>() / there.len() as f64;
        let squares: f64 = there.iter().map(|value| (value - mean).powi(2)).sum();
        Moments {
            present: there.len() as u64,
            mean,
            deviation: (squares / there.len() as f64).sqrt(),
            min: there.iter().copied().fold(f64::INFINITY, f64::min),
            max: there.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
    }

    #[test]
    fn lanes_say_what_a_plain_loop_says() {
        let mut random = Random::new(1, 1);
        for length in 1..200 {
            let value = |at| if at > 0 && random.below(9) == 0 { f32::NAN } else { random.uniform(-1e3, 1e3) };
            let values: Vec<f32> = (0..length).map(value).collect();
            let (ours, plain) = (Moments::of(&values), plainly(&values));
            assert_eq!((ours.present, ours.min, ours.max), (plain.present, plain.min, plain.max), "{values:?}");
            assert!(near(ours.mean, plain.mean) && near(ours.deviation, plain.deviation), "{ours:?} {plain:?}");
        }
    }

    #[test]
    fn of_nothing_nothing_is_known() {
        let none = Moments::of(&[f32::NAN; 3]);
        assert_eq!((none.present, none.min, none.max), (0, f64::INFINITY, f64::NEG_INFINITY));
        assert!(none.mean.is_nan() && none.deviation.is_nan());
    }
}
