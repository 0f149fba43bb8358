//! How good a ranking is: nDCG, recall and reciprocal rank by the conventions of `trec_eval`.
//!
//! * The gain of a document is what the judgements give it; one that was not judged has none, negative ones count as 0.
//! * nDCG sums gain / log2(rank + 1), divided by the same sum of the best ranking that there is.
//! * A document is relevant where its gain is at least 1.
//! * Documents with equal scores are ranked by their ids, descending ([`rank`]).
//! * A question without a relevant document has 0; the mean is over all questions that were judged.

use std::collections::HashMap;

/// The gains of the documents that were judged for a question.
pub type Judgements = HashMap<String, f64>;

/// Orders documents by their scores as `trec_eval` does: more is better.
pub fn rank(scores: &[(String, f64)]) -> Vec<String> {
    let mut sorted: Vec<&(String, f64)> = scores.iter().collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
    sorted.into_iter().map(|(document, _)| document.clone()).collect()
}

/// Normalised discounted cumulative gain of the first `k`.
pub fn ndcg<S: AsRef<str>>(ranking: &[S], judgements: &Judgements, k: usize) -> f64 {
    let gains = ranking.iter().take(k).map(|document| gain(judgements, document.as_ref()));
    let mut ideal: Vec<f64> = judgements.values().copied().filter(|&gain| gain > 0.0).collect();
    ideal.sort_by(|a, b| b.total_cmp(a));
    match discounted(ideal.into_iter().take(k)) {
        0.0 => 0.0,
        best => discounted(gains) / best,
    }
}

/// The share of the relevant documents that are among the first `k`.
pub fn recall<S: AsRef<str>>(ranking: &[S], judgements: &Judgements, k: usize) -> f64 {
    let relevant = judgements.values().filter(|&&gain| gain >= 1.0).count();
    let found = ranking.iter().take(k).filter(|document| is_relevant(judgements, document.as_ref())).count();
    if relevant == 0 { 0.0 } else { found as f64 / relevant as f64 }
}

/// One over the rank of the first relevant document.
pub fn reciprocal_rank<S: AsRef<str>>(ranking: &[S], judgements: &Judgements) -> f64 {
    let first = ranking.iter().position(|document| is_relevant(judgements, document.as_ref()));
    first.map_or(0.0, |place| 1.0 / (place + 1) as f64)
}

/// The mean over questions; 0 where there are none.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn gain(judgements: &Judgements, document: &str) -> f64 {
    judgements.get(document).copied().unwrap_or(0.0).max(0.0)
}

fn is_relevant(judgements: &Judgements, document: &str) -> bool {
    gain(judgements, document) >= 1.0
}

fn discounted(gains: impl Iterator<Item = f64>) -> f64 {
    gains.zip(2_u32..).map(|(gain, place)| gain / f64::from(place).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(gains: &[(&str, f64)]) -> Judgements {
        gains.iter().map(|(document, gain)| ((*document).to_owned(), *gain)).collect()
    }

    #[test]
    fn values_are_those_computed_by_hand() {
        let judgements = judged(&[("a", 3.0), ("b", 2.0), ("c", 0.0), ("d", 1.0), ("e", -1.0)]);
        let ranking = ["c", "b", "x", "a", "e"];
        // 2 / log2 3 + 3 / log2 5, over 3 + 2 / log2 3 + 1 / log2 4
        let (found, best) = (2.0 / 3_f64.log2() + 3.0 / 5_f64.log2(), 3.0 + 2.0 / 3_f64.log2() + 0.5);
        assert!((ndcg(&ranking, &judgements, 10) - found / best).abs() < 1e-15);
        assert!((ndcg(&ranking, &judgements, 2) - (2.0 / 3_f64.log2()) / (3.0 + 2.0 / 3_f64.log2())).abs() < 1e-15);
        assert_eq!(recall(&ranking, &judgements, 2), 1.0 / 3.0);
        assert_eq!(recall(&ranking, &judgements, 100), 2.0 / 3.0);
        assert_eq!(reciprocal_rank(&ranking, &judgements), 0.5);
    }

    #[test]
    fn nothing_relevant_and_nothing_found_are_zero() {
        let none: [&str; 0] = [];
        for judgements in [judged(&[]), judged(&[("a", 0.0)])] {
            assert_eq!((ndcg(&["a"], &judgements, 10), recall(&["a"], &judgements, 10)), (0.0, 0.0));
        }
        assert_eq!(reciprocal_rank(&none, &judged(&[("a", 1.0)])), 0.0);
        assert_eq!((mean(&[]), mean(&[1.0, 2.0])), (0.0, 1.5));
    }

    #[test]
    fn equal_scores_are_ranked_as_trec_eval_does() {
        let scores = [("a", 1.0), ("c", 1.0), ("b", 2.0)].map(|(d, s): (&str, f64)| (d.to_owned(), s));
        assert_eq!(rank(&scores), ["b", "c", "a"]);
    }
}
