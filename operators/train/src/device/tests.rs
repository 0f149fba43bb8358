//! Gradients and optimizer against torch's, and the same bits for any number of threads.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::cpu::Cpu;
use super::*;
use crate::kernel::{Activation, Kernel};
use crate::loss::Loss;
use crate::network::Shape;
use crate::random::Random;

/// What double and single precision, and the order of sums, may differ by.
pub(super) const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
pub(super) struct Fixtures {
    pub cases: Vec<Case>,
    pub adamw: Optimizer,
}

#[derive(Deserialize)]
pub(super) struct Case {
    pub loss: String,
    pub activation: String,
    pub widths: Vec<usize>,
    inputs: Vec<f32>,
    weights: Vec<f32>,
    targets: Vec<f32>,
    pub value: f64,
    pub layers: Vec<Tensors>,
}

#[derive(Deserialize)]
pub(super) struct Tensors {
    weight: Vec<f32>,
    bias: Vec<f32>,
    pub weight_gradient: Vec<f32>,
    pub bias_gradient: Vec<f32>,
}

#[derive(Deserialize)]
pub(super) struct Optimizer {
    pub start: Vec<f32>,
    pub rate: f64,
    pub decay: f64,
    pub steps: Vec<OptimizerStep>,
}

#[derive(Deserialize)]
pub(super) struct OptimizerStep {
    pub gradient: Vec<f32>,
    pub weights: Vec<f32>,
}

impl Case {
    pub(super) fn rows(&self) -> Arc<Rows> {
        let (inputs, targets, weights) = (self.inputs.clone(), self.targets.clone(), self.weights.clone());
        Arc::new(Rows { width: self.widths[0], inputs, targets, weights })
    }
}

pub(super) fn fixtures() -> Fixtures {
    serde_json::from_str(include_str!("../../fixtures/gradients.json")).unwrap()
}

pub(super) fn loss(name: &str) -> Loss {
    match name {
        "logistic" => Loss::Logistic,
        "softmax" => Loss::Softmax,
        "squared" => Loss::Squared,
        _ => Loss::Reconstruction,
    }
}

pub(super) fn padded(shape: &Shape, layers: &[Tensors]) -> Vec<f32> {
    let mut values = vec![0.0; shape.parameters()];
    for (layer, tensors) in shape.layers.iter().zip(layers) {
        for (at, &weight) in tensors.weight.iter().enumerate() {
            values[layer.weights + at % layer.inputs * layer.stride() + at / layer.inputs] = weight;
        }
        values[layer.bias()..][..layer.outputs].copy_from_slice(&tensors.bias);
    }
    values
}

pub(super) fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= TOLERANCE * expected.abs().max(1.0), "{what}: {found} for {expected}");
    }
}

#[test]
fn gradients_are_torchs() {
    for case in fixtures().cases {
        let rows = case.rows();
        let which: Vec<u32> = (0..rows.len() as u32).collect();
        let shape = Shape::new(&case.widths, Activation::of_name(&case.activation).unwrap());
        for kernel in Kernel::available() {
            let what = format!("{} {} {:?} {kernel:?}", case.loss, case.activation, case.widths);
            let mut cpu = Cpu::new(kernel, shape.clone(), loss(&case.loss), 0, 1);
            let zeros = vec![0.0; shape.parameters()];
            cpu.restore(State { weights: padded(&shape, &case.layers), first: zeros.clone(), second: zeros }).unwrap();
            let (layers, value) = cpu.layer_gradients(&rows, &which);
            assert!((value - case.value).abs() < 1e-5, "{what}: loss {value}, torch's {}", case.value);
            for ((weight, bias), expected) in layers.iter().zip(&case.layers) {
                assert_close(weight, &expected.weight_gradient, &what);
                assert_close(bias, &expected.bias_gradient, &what);
            }
        }
    }
}

#[test]
fn adamw_is_torchs() {
    let Optimizer { start, rate, decay, steps } = fixtures().adamw;
    for kernel in Kernel::available() {
        let (mut weights, mut first, mut second) = (start.clone(), vec![0.0; start.len()], vec![0.0; start.len()]);
        for (index, step) in steps.iter().enumerate() {
            let rule = crate::kernel::AdamW::new(rate, decay, index as u64 + 1);
            kernel.adamw(rule, &mut weights, (&mut first, &mut second), &step.gradient);
            for (found, expected) in weights.iter().zip(&step.weights) {
                assert!((found - expected).abs() < 1e-6, "{kernel:?} step {index}: {found} for {expected}");
            }
        }
    }
}

pub(super) fn noise(width: usize, count: usize) -> Arc<Rows> {
    let mut random = Random::new(7, 7);
    let mut rows = Rows { width, ..Rows::default() };
    for _ in 0..count {
        let inputs: Vec<f32> = (0..width).map(|_| random.uniform(-2.0, 2.0)).collect();
        let target = f32::from(u8::from(inputs[0] * inputs[1] > 0.0));
        rows.inputs.extend(inputs);
        rows.targets.push(target);
        rows.weights.push(random.uniform(-0.2, 2.0));
    }
    Arc::new(rows)
}

fn trained(kernel: Kernel, threads: usize, slice: Option<Duration>) -> (State, Position) {
    let (rows, shape) = (noise(9, 1000), Shape::new(&[9, 40, 17, 1], Activation::Relu));
    let order: Vec<u32> = (0..1000).rev().collect();
    let schedule = Schedule { rate: 1e-2, decay: 0.01, warm_up: 3, steps: 12 };
    let mut cpu = Cpu::new(kernel, shape, Loss::Logistic, 5, threads);
    let mut at = Position::default();
    while at.row < order.len() {
        let deadline = Instant::now() + slice.unwrap_or(Duration::from_secs(60));
        at = cpu.train(&rows, &order, 300, &schedule, at, deadline).unwrap();
    }
    (cpu.state().unwrap(), at)
}

#[test]
fn any_number_of_threads_and_slices_gives_the_same_bytes() {
    for kernel in Kernel::available() {
        let alone = trained(kernel, 1, None);
        assert_eq!(alone.1.step, 4, "300, 300, 300 and 100 rows");
        assert_ne!(
            alone.0.weights,
            Cpu::new(kernel, Shape::new(&[9, 40, 17, 1], Activation::Relu), Loss::Logistic, 5, 1)
                .state()
                .unwrap()
                .weights
        );
        for (threads, slice) in [(2, None), (3, None), (1, Some(Duration::ZERO)), (2, Some(Duration::ZERO))] {
            assert!(trained(kernel, threads, slice) == alone, "{kernel:?}, {threads} threads, {slice:?}");
        }
    }
}

#[test]
fn a_tensor_without_a_gradient_is_found() {
    let shape = Shape::new(&[9, 8, 1], Activation::Relu);
    let mut rows = noise(9, 50);
    let order: Vec<u32> = (0..50).collect();
    let mut cpu = Cpu::new(Kernel::fastest(), shape, Loss::Logistic, 1, 1);
    cpu.check_gradients(&rows, &order).unwrap();
    let good = cpu.state().unwrap();
    let mut state = good.clone();
    state.weights.fill(0.0);
    cpu.restore(state).unwrap();
    let error = cpu.check_gradients(&rows, &order).unwrap_err();
    assert!(error.message.contains("layer 0's weight gets no gradient"), "{error}");
    cpu.restore(good).unwrap();
    Arc::make_mut(&mut rows).weights[3] = f32::NAN;
    assert!(cpu.check_gradients(&rows, &order).unwrap_err().message.contains("not finite"));
}
