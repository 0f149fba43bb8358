//! Every instruction set against sums in double precision.

use super::*;

/// Numbers between -1 and 1 that look like noise.
pub(super) fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn product(set: Set, values: &[f32], weights: &[f32], bias: &[f32], depth: usize, map: Map) -> Vec<f32> {
    let panels = Panels::pack(weights, depth, set.panel());
    let (count, columns) = (values.len() / depth, weights.len() / depth);
    let mut out = vec![f32::NAN; count * columns];
    let rows = Rows { values, stride: depth, count };
    set.run(Task::Product(Product { rows, panels: &panels, bias, map, out: &mut out, stride: columns }));
    out
}

#[test]
fn products_are_the_sums_of_products_at_any_size() {
    for set in Set::available() {
        for (count, depth, columns) in [(1, 1, 1), (13, 300, 33), (25, 32, 31), (7, 513, 64), (241, 5, 48)] {
            let (values, weights) = (noise(count * depth, 1), noise(columns * depth, 2));
            let bias = noise(columns, 3);
            let out = product(set, &values, &weights, &bias, depth, Map::Relu);
            for (at, &number) in out.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let pairs = values[row * depth..][..depth].iter().zip(&weights[column * depth..][..depth]);
                let sum: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let expected = (sum + f64::from(bias[column])).max(0.0);
                assert!((f64::from(number) - expected).abs() < 1e-4, "{} {count} {depth} {at}", set.name());
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_company() {
    for set in Set::available() {
        let (depth, columns) = (300, 40);
        let (values, weights) = (noise(250 * depth, 4), noise(columns * depth, 5));
        let together = product(set, &values, &weights, &[], depth, Map::Gelu);
        for row in [0, 1, 11, 12, 239, 240, 249] {
            let alone = product(set, &values[row * depth..][..depth], &weights, &[], depth, Map::Gelu);
            assert_eq!(alone, together[row * columns..][..columns], "{} row {row}", set.name());
        }
    }
}

/// What products, softmax and layer normalisation make of noise, as bits.
fn answers(set: Set) -> Vec<u32> {
    let (count, depth, columns) = (25, 300, 40);
    let (values, weights) = (noise(count * depth, 10), noise(columns * depth, 11));
    let bias = noise(columns, 12);
    let maps = [Map::Identity, Map::Gelu, Map::TanhGelu, Map::Relu];
    let products = maps.map(|map| product(set, &values, &weights, &bias, depth, map)).concat();
    let mut scores = noise(25 * 48, 13);
    set.run(Task::Softmax(Softmax { scores: &mut scores, stride: 48, keys: 37, distances: None }));
    let (mut rows, added) = (noise(7 * 43, 14), noise(7 * 43, 15));
    let (gain, shift) = (&noise(43, 16)[..], &noise(43, 17)[..]);
    set.run(Task::AddNorm(AddNorm { rows: &mut rows, added: &added, gain, shift, epsilon: 1e-12 }));
    products.iter().chain(&scores).chain(&rows).map(|number| number.to_bits()).collect()
}

#[test]
fn all_processors_that_fuse_give_the_same_bits() {
    let fuses = |set: &Set| *set != Set::Plain || cfg!(any(target_feature = "fma", target_arch = "aarch64"));
    for set in Set::available().into_iter().filter(fuses) {
        // FNV-1a.
        let step = |hash: u64, bits: u32| (hash ^ u64::from(bits)).wrapping_mul(0x0000_0100_0000_01b3);
        let found = answers(set).into_iter().fold(0xcbf2_9ce4_8422_2325, step);
        assert_eq!(found, 0xe98a_9774_5501_4016, "{} answers {found:#x}", set.name());
    }
}

fn paired_product(set: Set, values: &[f32], weights: &[f32], depth: usize) -> Vec<f32> {
    let panels = Panels::pack_pairs(weights, depth, set.panel());
    let mut pairs = vec![f32::NAN; values.len() / 2];
    set.run(Task::Pair(Pair { numbers: values, pairs: &mut pairs }));
    let (count, columns) = (values.len() / depth, weights.len() / depth);
    let mut out = vec![f32::NAN; count * columns];
    let rows = Rows { values: &pairs, stride: depth / 2, count };
    set.run(Task::Product(Product {
        rows,
        panels: &panels,
        bias: &[],
        map: Map::Identity,
        out: &mut out,
        stride: columns,
    }));
    out
}

/// A number rounded to eight bits, by another way than the kernels go.
pub(super) fn rounded(number: f32) -> f64 {
    let step = 2f64.powi(f64::from(number.abs()).log2().floor() as i32 - 7);
    (f64::from(number) / step).round_ties_even() * step
}

#[test]
fn products_of_pairs_are_those_of_rounded_numbers() {
    for set in Set::available() {
        for (count, depth, columns) in [(1, 2, 1), (13, 300, 33), (25, 32, 31), (7, 1538, 64), (241, 6, 48)] {
            let (values, weights) = (noise(count * depth, 6), noise(columns * depth, 7));
            let out = paired_product(set, &values, &weights, depth);
            for (at, &number) in out.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let pairs = values[row * depth..][..depth].iter().zip(&weights[column * depth..][..depth]);
                let sum: f64 = pairs.map(|(a, b)| rounded(*a) * rounded(*b)).sum();
                assert!((f64::from(number) - sum).abs() < 1e-4, "{} {count} {depth} {at}: {number} {sum}", set.name());
            }
        }
    }
}

#[test]
fn a_row_of_pairs_has_the_same_bits_in_any_company() {
    for set in Set::available() {
        let (depth, columns) = (700, 40);
        let (values, weights) = (noise(250 * depth, 8), noise(columns * depth, 9));
        let together = paired_product(set, &values, &weights, depth);
        for row in [0, 1, 11, 12, 239, 240, 249] {
            let alone = paired_product(set, &values[row * depth..][..depth], &weights, depth);
            assert_eq!(alone, together[row * columns..][..columns], "{} row {row}", set.name());
        }
    }
}

#[test]
fn softmax_weights_sum_to_one_and_ignore_what_is_not_there() {
    for set in Set::available() {
        let (keys, stride) = (19, 32);
        let mut scores = noise(2 * stride, 6);
        let table = noise(64, 7);
        let biased = |query: usize, key: usize| f64::from(scores[query * stride + key] + table[20 - query + key]);
        let expected: Vec<Vec<f64>> = (0..2)
            .map(|query| {
                let powers: Vec<_> = (0..keys).map(|key| biased(query, key).exp()).collect();
                let sum: f64 = powers.iter().sum();
                powers.iter().map(|power| power / sum).collect()
            })
            .collect();
        let distances = Some(Distances { table: &table, first: 20 });
        set.run(Task::Softmax(Softmax { scores: &mut scores, stride, keys, distances }));
        for (query, weights) in expected.iter().enumerate() {
            for (key, weight) in weights.iter().enumerate() {
                assert!((f64::from(scores[query * stride + key]) - weight).abs() < 1e-6, "{}", set.name());
            }
        }
    }
}

#[test]
fn a_normalised_row_has_mean_zero_and_variance_one() {
    for set in Set::available() {
        for width in [5, 16, 40] {
            let (mut rows, added) = (noise(3 * width, 8), noise(3 * width, 9));
            let (gain, shift) = (vec![2.0; width], vec![0.5; width]);
            let (gain, shift) = (&gain[..], &shift[..]);
            set.run(Task::AddNorm(AddNorm { rows: &mut rows, added: &added, gain, shift, epsilon: 0.0 }));
            for row in rows.chunks_exact(width) {
                let mean = row.iter().sum::<f32>() / width as f32;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / width as f32;
                assert!((mean - 0.5).abs() < 1e-5 && (variance - 4.0).abs() < 1e-4, "{} {width}", set.name());
            }
        }
    }
}

#[test]
fn an_instruction_set_that_is_not_here_is_refused_with_those_that_are() {
    assert_eq!(Set::choose(Some("portable")).unwrap(), Set::Plain);
    let error = Set::choose(Some("mmx")).unwrap_err().to_string();
    assert!(error.contains("LUNAPARK_KERNEL is \"mmx\"") && error.contains("portable"), "{error}");
}

#[test]
fn a_matrix_unit_that_is_not_here_is_refused_with_the_reason() {
    let Err(reason) = amx() else { return assert_eq!(Set::choose(Some("amx")).unwrap().name(), "amx") };
    let error = Set::choose(Some("amx")).unwrap_err().to_string();
    assert!(error.contains("LUNAPARK_KERNEL is \"amx\"") && error.contains(&reason.to_string()), "{error}");
}
