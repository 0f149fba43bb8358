//! Before a device trains anything it shows that its gradients are the processor's.

use std::sync::Arc;

use super::{Gpu, Opened};
use crate::Refusal;
use crate::device::Rows;
use crate::device::cpu::Cpu;
use crate::kernel::{Activation, Kernel};
use crate::loss::Loss;
use crate::network::Shape;
use crate::random::Random;

/// How far a gradient or loss may be from the processor's, relative to the largest of them: sums are added in another order.
const TOLERANCE: f32 = 1e-4;
/// Rows of the trial, and features of each.
const ROWS: usize = 61;
const WIDTH: usize = 7;
/// Purpose of the trial's random numbers.
const TRIAL: u64 = 1 << 44;

/// Compares the gradients of each loss, with each activation.
pub(crate) fn prove(opened: &Opened) -> Result<(), Refusal> {
    use Activation::{Relu, Sigmoid, Tanh};
    let trials = [
        (Loss::Logistic, 1, Relu),
        (Loss::Softmax, 3, Tanh),
        (Loss::Squared, 1, Sigmoid),
        (Loss::Reconstruction, WIDTH, Relu),
    ];
    let differing = trials.into_iter().map(|trial| differing(opened, trial)).sum::<Result<usize, Refusal>>()?;
    match differing {
        0 => Ok(()),
        _ => Err(Refusal::device(format!(
            "{} makes {differing} gradients otherwise than the CPU; set `train.device` to \"cpu\": the device is broken",
            opened.name()
        ))),
    }
}

fn differing(opened: &Opened, (loss, outputs, activation): (Loss, usize, Activation)) -> Result<usize, Refusal> {
    let shape = Shape::new(&[WIDTH, 20, 9, outputs], activation);
    let (rows, which) = (Arc::new(rows(loss, outputs)), (0..ROWS as u32).collect::<Vec<_>>());
    let mut gpu = Gpu::new(opened.clone(), shape.clone(), loss, &shape.first_weights(1))?;
    let mut cpu = Cpu::new(Kernel::fastest(), shape, loss, 1, 1);
    let ((found, loss), (expected, true_loss)) = (gpu.gradients(&rows, &which)?, cpu.gradients(&rows, &which));
    let largest = expected.iter().fold(0.0_f32, |largest, gradient| largest.max(gradient.abs()));
    // A NaN is near nothing.
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE * largest;
    let gradients = found.iter().zip(&expected).filter(|pair| !near(*pair)).count();
    let same_loss = (loss - true_loss).abs() <= f64::from(TOLERANCE) * true_loss.abs();
    Ok(gradients + usize::from(!same_loss))
}

/// With weights of both signs.
fn rows(loss: Loss, outputs: usize) -> Rows {
    let mut random = Random::new(1, TRIAL);
    let mut rows = Rows { width: WIDTH, ..Rows::default() };
    for row in 0..ROWS {
        rows.inputs.extend((0..WIDTH).map(|_| random.uniform(-2.0, 2.0)));
        rows.weights.push(random.uniform(-0.5, 2.0));
        match loss {
            Loss::Logistic => rows.targets.push((row % 2) as f32),
            Loss::Softmax => rows.targets.push((row % outputs) as f32),
            Loss::Squared => rows.targets.push(random.uniform(-2.0, 2.0)),
            Loss::Reconstruction => {}
        }
    }
    rows
}
