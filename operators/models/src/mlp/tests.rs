//! All kernels of this machine against each other and against double precision, on random networks.

use proptest::prelude::*;

use super::activation::Activation;
use super::kernel::Kernel;
use super::layer::Layer;
use super::network::{Network, Standardize};
use crate::tests::digest;

const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Relu, Activation::Sigmoid, Activation::Tanh, Activation::Gelu];

/// Numbers between -1 and 1 that depend on `seed` alone.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A network and, beside it, the same layers for the reference.
struct Case {
    network: Network,
    layers: Vec<(Vec<f32>, Vec<f32>, Activation)>,
    standardize: bool,
    inputs: usize,
    outputs: usize,
}

fn case(widths: &[usize], activations: &[usize], standardize: bool, seed: u64) -> Case {
    let weights = |index: usize, inputs: usize, outputs: usize| {
        let scale = (inputs as f32).sqrt().recip();
        noise(seed + index as u64, inputs * outputs).iter().map(|x| x * scale).collect::<Vec<_>>()
    };
    let layers: Vec<_> = widths
        .windows(2)
        .enumerate()
        .map(|(index, pair)| {
            let activation = ACTIVATIONS[activations[index]];
            (weights(index, pair[0], pair[1]), noise(seed + 100 + index as u64, pair[1]), activation)
        })
        .collect();
    let packed = layers.iter().zip(widths).map(|((w, b, a), &inputs)| Layer::new(inputs, w.clone(), b.clone(), *a));
    let inputs = widths[0];
    let scaling = standardize.then(|| Standardize { mean: vec![0.25; inputs], inverse_scale: vec![2.0; inputs] });
    let network = Network::new(scaling, packed.collect());
    Case { network, layers, standardize, inputs, outputs: widths[widths.len() - 1] }
}

fn in_double(activation: Activation, x: f64) -> f64 {
    match activation {
        // A softmax is the network's, row by row.
        Activation::Identity | Activation::Softmax => x,
        Activation::Relu => x.max(0.0),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
        // The error function by its series; |x| stays small here.
        Activation::Gelu => {
            let z = x * std::f64::consts::FRAC_1_SQRT_2;
            let term = |(sum, power): (f64, f64), n: i32| {
                (sum + power / f64::from(2 * n + 1), -power * z * z / f64::from(n + 1))
            };
            let (sum, _) = (0..60).fold((0.0, z), term);
            0.5 * x * (1.0 + sum * std::f64::consts::FRAC_2_SQRT_PI)
        }
    }
}

fn reference(case: &Case, row: &[f32]) -> Vec<f64> {
    let scaled = |x: f32| if case.standardize { (f64::from(x) - 0.25) * 2.0 } else { f64::from(x) };
    let mut x: Vec<f64> = row.iter().map(|&x| scaled(x)).collect();
    for (weights, bias, activation) in &case.layers {
        let dot = |weights: &[f32]| weights.iter().zip(&x).map(|(&w, x)| f64::from(w) * x).sum::<f64>();
        let sums = weights.chunks_exact(x.len()).zip(bias).map(|(w, &b)| dot(w) + f64::from(b));
        x = sums.map(|sum| in_double(*activation, sum)).collect();
    }
    x
}

fn answer(case: &Case, kernel: Kernel, rows: &[f32]) -> Vec<f32> {
    let mut answers = vec![f32::NAN; rows.len() / case.inputs * case.outputs];
    case.network.answer(kernel, rows, &mut answers);
    answers
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Whether it rounds a multiply-add once.
fn fuses(kernel: Kernel) -> bool {
    kernel.name() != "portable" || cfg!(any(target_feature = "fma", target_arch = "aarch64"))
}

/// Networks of every activation, and as many rows as tiles have, more and fewer.
fn cases() -> impl Iterator<Item = (Case, Vec<f32>)> {
    (0..40).map(|at| {
        let widths = [1 + at * 7 % 37, 5 + at * 11 % 83, 16 + at * 5 % 49, 1 + at % 19];
        let case = case(&widths, &[at % 5, (at + 1) % 5, (at + 3) % 5], at % 2 == 0, at as u64);
        let rows = noise(at as u64 + 1_000, (1 + at % 23) * case.inputs);
        (case, rows)
    })
}

#[test]
fn all_processors_give_the_same_bits() {
    for kernel in Kernel::available().filter(|&kernel| fuses(kernel)) {
        let found = digest(cases().flat_map(|(case, rows)| bits(&answer(&case, kernel, &rows))));
        assert_eq!(found, 0x2255_4af7_5f0b_2b68, "{kernel:?} answers {found:#x}");
    }
}

#[test]
fn relu_keeps_what_is_no_number_and_the_sign_of_zero() {
    let values = [f32::NAN, -0.0, 0.0, -1.5, 2.5, f32::NEG_INFINITY, f32::INFINITY, -1e-45];
    let expected = [f32::NAN, -0.0, 0.0, 0.0, 2.5, 0.0, f32::INFINITY, 0.0];
    let layer = Layer::new(1, vec![-0.0; values.len()], values.to_vec(), Activation::Relu);
    let network = Network::new(None, vec![layer]);
    for kernel in Kernel::available() {
        for count in [1, 2, 7] {
            let mut answers = vec![1.0; count * values.len()];
            network.answer(kernel, &vec![1.0; count], &mut answers);
            for row in answers.chunks_exact(values.len()) {
                let same = |(&a, &b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                assert!(row.iter().zip(&expected).all(same), "{kernel:?} {row:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn kernels_agree_and_no_row_knows_its_neighbours(
        widths in proptest::collection::vec(1usize..90, 2..5),
        activations in proptest::collection::vec(0..ACTIVATIONS.len(), 4),
        standardize: bool,
        count in 1usize..120,
        alone in any::<proptest::sample::Index>(),
        seed in 0u64..1_000_000,
    ) {
        let case = case(&widths, &activations, standardize, seed);
        let rows = noise(seed + 1_000, count * case.inputs);
        let alone = alone.index(count);
        let mut fused: Option<Vec<u32>> = None;
        for kernel in Kernel::available() {
            let all = answer(&case, kernel, &rows);
            let one = answer(&case, kernel, &rows[alone * case.inputs..][..case.inputs]);
            prop_assert_eq!(bits(&one), bits(&all[alone * case.outputs..][..case.outputs]), "{:?}", kernel);
            for (row, answers) in rows.chunks_exact(case.inputs).zip(all.chunks_exact(case.outputs)) {
                for (&ours, exact) in answers.iter().zip(reference(&case, row)) {
                    let error = (f64::from(ours) - exact).abs();
                    prop_assert!(error <= 1e-5 * exact.abs().max(1.0), "{kernel:?}: {ours} for {exact}");
                }
            }
            if fuses(kernel) {
                let fused = fused.get_or_insert_with(|| bits(&all));
                prop_assert_eq!(&*fused, &bits(&all), "{:?}: what fuses gives the same bits", kernel);
            }
        }
    }
}
