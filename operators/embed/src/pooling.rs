//! The vectors of a text's tokens become one.

use crate::Pooling;

/// Below this length a vector is not lengthened, as torch does it.
const SHORTEST: f64 = 1e-12;

impl Pooling {
    /// Pools rows of `out`'s width into it; no rows leave zeros.
    pub(crate) fn run(self, rows: &[f32], out: &mut [f32]) {
        let width = out.len();
        let Some(first) = rows.get(..width) else { return out.fill(0.0) };
        out.copy_from_slice(first);
        if self == Pooling::Cls {
            return;
        }
        for row in rows[width..].chunks_exact(width) {
            for (number, &other) in out.iter_mut().zip(row) {
                *number = if self == Pooling::Max { number.max(other) } else { *number + other };
            }
        }
        let count = (rows.len() / width) as f32;
        let by = match self {
            Pooling::Mean => count,
            Pooling::MeanSqrtLen => count.sqrt(),
            Pooling::Cls | Pooling::Max => return,
        };
        out.iter_mut().for_each(|number| *number /= by);
    }
}

/// Gives a vector the length one.
pub(crate) fn normalize(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|&number| f64::from(number) * f64::from(number)).sum();
    let length = squares.sqrt().max(SHORTEST);
    vector.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_pools_as_it_says() {
        let rows = [1.0, -2.0, 3.0, 4.0, 5.0, -5.0, -1.0, 7.0];
        let expected = [
            (Pooling::Mean, [2.0, 1.0]),
            (Pooling::Cls, [1.0, -2.0]),
            (Pooling::Max, [5.0, 7.0]),
            (Pooling::MeanSqrtLen, [4.0, 2.0]),
        ];
        for (pooling, expected) in expected {
            let mut out = [f32::NAN; 2];
            pooling.run(&rows, &mut out);
            assert_eq!(out, expected, "{pooling:?}");
            pooling.run(&[], &mut out);
            assert_eq!(out, [0.0; 2], "{pooling:?}");
        }
    }

    #[test]
    fn a_vector_of_zeros_stays_so() {
        let (mut zeros, mut vector) = ([0.0; 3], [3.0, 4.0]);
        normalize(&mut zeros);
        normalize(&mut vector);
        assert_eq!((zeros, vector), ([0.0; 3], [0.6, 0.8]));
    }
}
