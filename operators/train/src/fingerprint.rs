//! A number by which a table is known again.

use crate::random::mix;
use crate::tables::{Label, Tables};

/// Hashes that run side by side, each of the pairs of numbers that fall to it.
const LANES: usize = 4;

/// A hash of all numbers, in order.
pub(crate) fn fingerprint(tables: &Tables) -> u64 {
    let mut hash = mix(tables.rows as u64 + 1);
    let mut add = |bits: u64| hash = mix(hash ^ bits);
    for feature in &tables.features {
        feature.name.bytes().for_each(|byte| add(u64::from(byte)));
        add(of_column(&feature.values));
    }
    tables.weights.iter().flatten().for_each(|weight| add(weight.to_bits()));
    match &tables.label {
        None => {}
        Some(Label::Numbers(values)) => values.iter().for_each(|value| add(value.to_bits())),
        Some(Label::Words(words)) => {
            words.iter().flatten().flat_map(|word| word.bytes().chain([0xff])).for_each(|byte| add(u64::from(byte)));
        }
    }
    hash
}

/// A hash of a column's numbers, in order. Its length is hashed with the number of rows.
fn of_column(values: &[f32]) -> u64 {
    let (whole, rest) = values.as_chunks::<{ 2 * LANES }>();
    let mut last = [0.0; 2 * LANES];
    last[..rest.len()].copy_from_slice(rest);
    let mut lanes: [u64; LANES] = std::array::from_fn(|lane| lane as u64);
    for row in whole.iter().chain(std::iter::once(&last)) {
        for (lane, [low, high]) in lanes.iter_mut().zip(row.as_chunks().0) {
            *lane = mix(*lane ^ (u64::from(high.to_bits()) << 32 | u64::from(low.to_bits())));
        }
    }
    lanes.into_iter().fold(0, |hash, lane| mix(hash ^ lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_and_its_place_count() {
        let values: Vec<f32> = (0..37).map(|value| value as f32).collect();
        let hash = of_column(&values);
        for at in 0..values.len() {
            let mut other = values.clone();
            other[at] = -1.0;
            assert_ne!(of_column(&other), hash, "another number at {at}");
            other = values.clone();
            other.swap(at, (at + 1) % values.len());
            assert_ne!(of_column(&other), hash, "two numbers that changed places at {at}");
        }
        assert_eq!(of_column(&values), hash);
    }
}
