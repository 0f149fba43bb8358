//! Against torch and the processor: on candle's own CPU device, and, where that is asked for (`deploy/cuda --test`), on a
//! GPU.

use std::time::Duration;

use super::*;
use crate::device::cpu::Cpu;
use crate::device::tests::{TOLERANCE, assert_close, fixtures, loss, noise, padded};
use crate::device::{Ground, gpu};
use crate::kernel::{Activation, AdamW, Kernel};
use crate::tests::on_both;

on_both!(
    gradients_are_torchs,
    adamw_is_torchs,
    any_slices_give_the_same_bytes,
    answers_and_losses_are_the_processors,
    a_tensor_without_a_gradient_is_found,
    it_proves_itself,
);

fn opened(ground: &Ground) -> Opened {
    match ground {
        Ground::Gpu(opened) => opened.clone(),
        Ground::Cpu(_) => panic!("a device by way of candle"),
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

fn gradients_are_torchs(ground: &Ground) {
    for case in fixtures().cases {
        let what = format!("{} {} {:?}", case.loss, case.activation, case.widths);
        let shape = Shape::new(&case.widths, Activation::of_name(&case.activation).unwrap());
        let (rows, weights) = (case.rows(), padded(&shape, &case.layers));
        let which: Vec<u32> = (0..rows.len() as u32).collect();
        let mut gpu = Gpu::new(opened(ground), shape.clone(), loss(&case.loss), &weights).unwrap();
        let (gradients, value) = gpu.gradients(&rows, &which).unwrap();
        assert!((value - case.value).abs() < 1e-5, "{what}: loss {value}, torch's {}", case.value);
        for (layer, expected) in shape.layers.iter().zip(&case.layers) {
            let (weight, bias) = shape.unpadded(layer, &gradients);
            assert_close(&weight, &expected.weight_gradient, &what);
            assert_close(&bias, &expected.bias_gradient, &what);
        }
        let mut cpu = Cpu::new(Kernel::fastest(), shape, loss(&case.loss), 0, 1);
        let zeros = vec![0.0; weights.len()];
        cpu.restore(State { weights, first: zeros.clone(), second: zeros }).unwrap();
        assert_close(&gradients, &cpu.gradients(&rows, &which).0, &what);
    }
}

fn adamw_is_torchs(ground: &Ground) {
    let opened = opened(ground);
    let fixture = fixtures().adamw;
    let tensor = |values: &[f32]| opened.tensor(values.to_vec()).unwrap();
    let zeros = vec![0.0; fixture.start.len()];
    let mut now = Moved { weights: tensor(&fixture.start), first: tensor(&zeros), second: tensor(&zeros) };
    for (index, step) in fixture.steps.iter().enumerate() {
        let rule = AdamW::new(fixture.rate, fixture.decay, index as u64 + 1);
        now = now.step(rule, &tensor(&step.gradient)).unwrap();
        for (found, expected) in now.weights.to_vec1::<f32>().unwrap().iter().zip(&step.weights) {
            assert!((found - expected).abs() < 1e-6, "step {index}: {found} for {expected}");
        }
    }
}

/// 12 steps over 1000 rows in three epochs, of which the first two end with a batch of 100.
fn trained(ground: &Ground, slice: Option<Duration>) -> (State, Position) {
    let (rows, shape) = (noise(9, 1000), Shape::new(&[9, 40, 17, 1], Activation::Relu));
    let order: Vec<u32> = (0..1000).rev().collect();
    let schedule = Schedule { rate: 1e-2, decay: 0.01, warm_up: 3, steps: 12 };
    let new = || Gpu::new(opened(ground), shape.clone(), Loss::Logistic, &shape.first_weights(5)).unwrap();
    let (mut gpu, mut at) = (new(), Position::default());
    for _ in 0..3 {
        at.row = 0;
        while at.row < order.len() {
            let deadline = slice.map_or_else(far, |slice| Instant::now() + slice);
            at = gpu.train(&rows, &order, 300, &schedule, at, deadline).unwrap();
            if slice.is_some() {
                let state = gpu.state().unwrap();
                gpu = new();
                gpu.restore(state).unwrap();
            }
        }
    }
    (gpu.state().unwrap(), at)
}

fn any_slices_give_the_same_bytes(ground: &Ground) {
    let whole = trained(ground, None);
    assert_eq!(whole.1.step, 12, "300, 300, 300 and 100 rows, three times");
    assert!(trained(ground, None) == whole, "trained once more");
    assert!(trained(ground, Some(Duration::ZERO)) == whole, "a step at a time, on a new device each");
}

fn answers_and_losses_are_the_processors(ground: &Ground) {
    let (rows, shape) = (noise(5, ANSWERED + 777), Shape::new(&[5, 12, 1], Activation::Tanh));
    let order: Vec<u32> = (0..rows.len() as u32).collect();
    let schedule = Schedule { rate: 1e-3, decay: 0.01, warm_up: 0, steps: 20 };
    let mut gpu = Gpu::new(opened(ground), shape.clone(), Loss::Logistic, &shape.first_weights(2)).unwrap();
    let mut cpu = Cpu::new(Kernel::fastest(), shape, Loss::Logistic, 2, 1);
    let [a, b] = [&mut gpu as &mut dyn Device, &mut cpu].map(|device| {
        let at = device.train(&rows, &order, 2048, &schedule, Position::default(), far()).unwrap();
        (at, device.answers(&rows).unwrap())
    });
    assert_eq!((a.0.step, a.0.row), (b.0.step, b.0.row));
    assert!((a.0.loss - b.0.loss).abs() < 1e-4 * b.0.loss.abs(), "{:?} {:?}", a.0, b.0);
    assert!((a.1.1 - b.1.1).abs() < f64::from(TOLERANCE), "{} {}", a.1.1, b.1.1);
    assert_close(&a.1.0, &b.1.0, "answers");
}

fn a_tensor_without_a_gradient_is_found(ground: &Ground) {
    let (shape, mut rows) = (Shape::new(&[9, 8, 1], Activation::Relu), noise(9, 50));
    let order: Vec<u32> = (0..50).collect();
    let mut gpu = Gpu::new(opened(ground), shape.clone(), Loss::Logistic, &shape.first_weights(1)).unwrap();
    gpu.check_gradients(&rows, &order).unwrap();
    let good = gpu.state().unwrap();
    gpu.restore(State { weights: vec![0.0; good.weights.len()], ..good.clone() }).unwrap();
    let error = gpu.check_gradients(&rows, &order).unwrap_err();
    assert!(error.message.contains("layer 0's weight gets no gradient"), "{error}");
    gpu.restore(good).unwrap();
    // Other rows, which lie elsewhere: the device must not take them for those it has.
    Arc::make_mut(&mut rows).weights[3] = f32::NAN;
    assert!(gpu.check_gradients(&rows, &order).unwrap_err().message.contains("not finite"));
}

fn it_proves_itself(ground: &Ground) {
    gpu::prove(&opened(ground)).unwrap();
    ground.prove().unwrap();
}

#[test]
fn values_are_packed_without_padding_and_back() {
    let shape = Shape::new(&[3, 5, 18, 2], Activation::Relu);
    let values = shape.first_weights(1);
    let packed = pack::packed(&shape, &values);
    assert_eq!(packed.len(), 4 * 5 + 6 * 18 + 19 * 2);
    assert_eq!(pack::padded(&shape, &packed), values);
}
