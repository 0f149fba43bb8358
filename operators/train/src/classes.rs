//! The classes of a label.

use std::collections::BTreeSet;

use lunapark_schemas::training::ClassCount;

use crate::Refusal;
use crate::tables::Label;

/// Most classes: a label with more is a number that wants a regression.
const MAX_CLASSES: usize = 1000;

/// Names in the order of the model's outputs: numbers ascending, words by their bytes, as scikit-learn sorts them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Classes {
    pub names: Vec<String>,
}

impl Classes {
    /// The classes, and each row's number among them.
    pub(crate) fn of(label: &Label) -> Result<(Self, Vec<f64>), Refusal> {
        match label {
            Label::Numbers(values) => {
                let mut sorted = distinct(values)?;
                sorted.sort_by(f64::total_cmp);
                let number = |value: &f64| sorted.partition_point(|class| class < value) as f64;
                let names = sorted.iter().map(f64::to_string).collect();
                Ok((Self { names }, values.iter().map(number).collect()))
            }
            Label::Words(words) => {
                let sorted: BTreeSet<_> = words.iter().flatten().collect();
                check(sorted.len())?;
                let names: Vec<_> = sorted.into_iter().cloned().collect();
                let number = |word: &String| names.partition_point(|class| class < word) as f64;
                let numbers = words.iter().flatten().map(number).collect();
                Ok((Self { names }, numbers))
            }
        }
    }

    /// Rows and weights of each class.
    pub(crate) fn balance(&self, rows: impl Iterator<Item = (usize, f64)>) -> Vec<ClassCount> {
        let count = |name: &String| ClassCount { class: name.clone(), ..ClassCount::default() };
        let mut counts: Vec<_> = self.names.iter().map(count).collect();
        rows.for_each(|(class, weight)| {
            counts[class].rows += 1;
            counts[class].weight += weight;
        });
        counts
    }
}

/// Different values; zero is one class whatever its sign.
fn distinct(values: &[f64]) -> Result<Vec<f64>, Refusal> {
    let mut bits = BTreeSet::new();
    for value in values {
        bits.insert((value + 0.0).to_bits());
        check(bits.len())?;
    }
    Ok(bits.into_iter().map(f64::from_bits).collect())
}

fn check(count: usize) -> Result<(), Refusal> {
    if count <= MAX_CLASSES {
        return Ok(());
    }
    let what = format!("the label has more than {MAX_CLASSES} classes");
    Err(Refusal::data(format!("{what}; use another column, or the objective regression")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_sorted_as_numbers_or_words() {
        let (classes, numbers) = Classes::of(&Label::Numbers(vec![10.0, -1.0, 2.5, 10.0, 0.0, -0.0])).unwrap();
        assert_eq!(classes.names, ["-1", "0", "2.5", "10"]);
        assert_eq!(numbers, [3.0, 0.0, 2.0, 3.0, 1.0, 1.0]);
        let words = ["qcd", "b", "top", "b"].map(|word| Some(word.to_owned())).to_vec();
        let (classes, numbers) = Classes::of(&Label::Words(words)).unwrap();
        assert_eq!(classes.names, ["b", "qcd", "top"]);
        assert_eq!(numbers, [1.0, 0.0, 2.0, 0.0]);
    }
}
