//! How two models' scores of the same rows lie, and how far they are apart.

use lunapark_train::picture::Sample;
use serde::Serialize;

/// Scores of one model: one number per row, none where it refused the row.
pub type Scores = Vec<Option<f64>>;

/// Where a model's scores lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Rows scored with a finite number.
    pub rows: usize,
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the sample.
    pub deviation: f64,
    /// Least, quartiles, greatest.
    pub quartiles: [f64; 5],
}

/// How two models' scores differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distance {
    /// Rows that both scored.
    pub rows: usize,
    /// Largest distance between the two distribution functions, 0 to 1 (Kolmogorov–Smirnov).
    pub kolmogorov_smirnov: f64,
    /// Mean of the absolute difference, row by row.
    pub mean_difference: f64,
    /// Greatest absolute difference of a row.
    pub greatest_difference: f64,
    /// Share of rows on the other side of the threshold.
    pub flipped: f64,
}

/// Where the scores lie; `None` where there are none.
pub fn spread(scores: &Scores) -> Option<Spread> {
    let sorted = sorted(scores);
    let (rows, count) = (sorted.len(), sorted.len() as f64);
    let (least, greatest) = (*sorted.first()?, *sorted.last()?);
    let mean = sorted.iter().sum::<f64>() / count;
    let squares: f64 = sorted.iter().map(|score| (score - mean).powi(2)).sum();
    let quantile = |share: f64| sorted[((count - 1.0) * share).round() as usize];
    let deviation = if rows > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 };
    let quartiles = [least, quantile(0.25), quantile(0.5), quantile(0.75), greatest];
    Some(Spread { rows, mean, deviation, quartiles })
}

/// The scores for a picture.
pub fn sample(name: &str, scores: &Scores) -> Sample {
    Sample { name: name.to_owned(), values: scores.iter().flatten().copied().collect(), weights: Vec::new() }
}

/// How far apart the scores are; `None` where no row has two.
pub fn distance(one: &Scores, other: &Scores, threshold: f64) -> Option<Distance> {
    let finite = |pair: (&Option<f64>, &Option<f64>)| match pair {
        (Some(one), Some(other)) if one.is_finite() && other.is_finite() => Some((*one, *other)),
        _ => None,
    };
    let pairs: Vec<(f64, f64)> = one.iter().zip(other).filter_map(finite).collect();
    if pairs.is_empty() {
        return None;
    }
    let count = pairs.len() as f64;
    let differences = || pairs.iter().map(|(one, other)| (one - other).abs());
    let flipped = pairs.iter().filter(|(one, other)| (*one >= threshold) != (*other >= threshold)).count();
    let (ones, others): (Scores, Scores) = pairs.iter().map(|(one, other)| (Some(*one), Some(*other))).unzip();
    Some(Distance {
        rows: pairs.len(),
        kolmogorov_smirnov: kolmogorov_smirnov(&sorted(&ones), &sorted(&others)),
        mean_difference: differences().sum::<f64>() / count,
        greatest_difference: differences().fold(0.0, f64::max),
        flipped: flipped as f64 / count,
    })
}

fn sorted(scores: &Scores) -> Vec<f64> {
    let mut sorted: Vec<f64> = scores.iter().flatten().copied().filter(|score| score.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Of two sorted samples: the distribution functions are compared behind every value of either.
pub fn kolmogorov_smirnov(one: &[f64], other: &[f64]) -> f64 {
    let (mut i, mut j, mut greatest) = (0, 0, 0.0_f64);
    while i < one.len() && j < other.len() {
        let at = one[i].min(other[j]);
        i += one[i..].iter().take_while(|score| **score <= at).count();
        j += other[j..].iter().take_while(|score| **score <= at).count();
        greatest = greatest.max((i as f64 / one.len() as f64 - j as f64 / other.len() as f64).abs());
    }
    greatest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: &[f64]) -> Scores {
        values.iter().copied().map(Some).collect()
    }

    #[test]
    fn a_spread_is_that_of_the_finite_scores() {
        let mut values = scores(&[4.0, 1.0, 3.0, 2.0, 5.0, f64::NAN]);
        values.push(None);
        let spread = spread(&values).unwrap();
        assert_eq!((spread.rows, spread.mean, spread.quartiles), (5, 3.0, [1.0, 2.0, 3.0, 4.0, 5.0]));
        assert!((spread.deviation - 2.5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(super::spread(&vec![None]), None);
    }

    #[test]
    fn distances_are_those_counted_by_hand() {
        let (one, other) = (scores(&[0.1, 0.2, 0.3, 0.4]), scores(&[0.1, 0.2, 0.7, 0.8]));
        let distance = distance(&one, &other, 0.5).unwrap();
        assert_eq!((distance.rows, distance.kolmogorov_smirnov, distance.flipped), (4, 0.5, 0.5));
        assert!((distance.mean_difference - 0.2).abs() < 1e-12 && (distance.greatest_difference - 0.4).abs() < 1e-12);
        let same = super::distance(&one, &one, 0.5).unwrap();
        assert_eq!((same.kolmogorov_smirnov, same.greatest_difference, same.flipped), (0.0, 0.0, 0.0));
        let apart = super::distance(&scores(&[1.0, 1.0]), &scores(&[2.0, 2.0]), 0.0).unwrap();
        assert_eq!(apart.kolmogorov_smirnov, 1.0);
        assert_eq!(super::distance(&one, &vec![None; 4], 0.5), None);
    }
}
