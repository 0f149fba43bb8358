//! The processor: a step's rows in fixed parts, shared by threads, their gradients added in the order of the parts.
//!
//! A part's gradients are the same whichever thread makes them, so the weights are the same for any number of threads.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use super::block::{BLOCK, Pass, Workspace};
use super::check::{CHECKED_ROWS, check};
use super::gate::Gate;
use super::{Device, Position, Rows, State};
use crate::Refusal;
use crate::kernel::{AdamW, Kernel};
use crate::loss::Loss;
use crate::network::{Parameters, Shape};
use crate::schedule::Schedule;

/// Rows of a part: few enough that two threads share a batch of 64, many enough that adding up the parts' gradients
/// costs little beside making them.
const PART: Range<usize> = 32..256;

/// Trains on the processor.
pub(crate) struct Cpu {
    kernel: Kernel,
    shape: Shape,
    loss: Loss,
    threads: usize,
    parameters: RwLock<Parameters>,
    first: Vec<f32>,
    second: Vec<f32>,
    parts: Vec<Mutex<Part>>,
}

/// What came of a part.
#[derive(Debug, Default)]
struct Part {
    gradients: Vec<f32>,
    loss: f64,
}

impl Cpu {
    pub(crate) fn new(kernel: Kernel, shape: Shape, loss: Loss, seed: u64, threads: usize) -> Self {
        let parameters = Parameters::new(&shape, shape.first_weights(seed));
        let moments = vec![0.0; shape.parameters()];
        let (first, second, parts) = (moments.clone(), moments, Vec::new());
        Self { kernel, shape, loss, threads: threads.max(1), parameters: RwLock::new(parameters), first, second, parts }
    }

    fn make_parts(&mut self, batch: usize) {
        let count = batch.div_ceil(part_rows(batch));
        let length = self.shape.parameters();
        let part = || Mutex::new(Part { gradients: vec![0.0; length], loss: 0.0 });
        if self.parts.len() < count {
            self.parts.resize_with(count, part);
        }
    }

    /// Gradients of the mean loss of some rows.
    pub(super) fn gradients(&mut self, rows: &Rows, which: &[u32]) -> (Vec<f32>, f64) {
        let parameters = unpoisoned(self.parameters.get_mut());
        let pass = Pass { kernel: self.kernel, shape: &self.shape, loss: self.loss, parameters, rows };
        let (mut gradients, mut work) = (vec![0.0; self.shape.parameters()], Workspace::new(&self.shape));
        let scale = 1.0 / which.len() as f32;
        let loss: f64 = which.chunks(BLOCK).map(|which| pass.learn(which, scale, &mut work, &mut gradients)).sum();
        (gradients, loss * f64::from(scale))
    }

    /// Of the named rows: each layer's gradients as `[outputs, inputs]` and by its bias, and the loss.
    #[cfg(test)]
    pub(crate) fn layer_gradients(&mut self, rows: &Rows, which: &[u32]) -> (Vec<LayerGradients>, f64) {
        let (gradients, loss) = self.gradients(rows, which);
        (self.shape.layers.iter().map(|layer| self.shape.unpadded(layer, &gradients)).collect(), loss)
    }
}

/// Gradients by a layer's weights and by its bias.
#[cfg(test)]
pub(crate) type LayerGradients = (Vec<f32>, Vec<f32>);

/// A lock is poisoned only by a thread that panicked, and then the scope panics, too.
fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

fn part_rows(batch: usize) -> usize {
    batch.div_ceil(2).clamp(PART.start, PART.end)
}

/// One call of [`Device::train`], as all threads see it.
struct Epoch<'a> {
    kernel: Kernel,
    shape: &'a Shape,
    loss: Loss,
    rows: &'a Rows,
    order: &'a [u32],
    batch: usize,
    parameters: &'a RwLock<Parameters>,
    parts: &'a [Mutex<Part>],
    /// Where in the order the step begins.
    row: AtomicUsize,
    /// Which part is taken next.
    next: AtomicUsize,
    stop: AtomicBool,
    gate: Gate,
}

impl Epoch<'_> {
    fn step_rows(&self) -> &[u32] {
        let row = self.row.load(Ordering::Relaxed);
        &self.order[row..self.order.len().min(row + self.batch)]
    }

    /// A thread's share of the steps until the epoch stops. The first half of a step ends at the gate.
    fn work(&self) {
        let _keeper = self.gate.keeper();
        let mut work = Workspace::new(self.shape);
        while self.gate.wait() && !self.stop.load(Ordering::Relaxed) {
            self.learn_parts(&mut work);
            if !self.gate.wait() {
                return;
            }
        }
    }

    fn learn_parts(&self, work: &mut Workspace) {
        let parameters = unpoisoned(self.parameters.read());
        let pass =
            Pass { kernel: self.kernel, shape: self.shape, loss: self.loss, parameters: &parameters, rows: self.rows };
        let which = self.step_rows();
        let scale = 1.0 / which.len() as f32;
        let mut parts = which.chunks(part_rows(self.batch)).zip(self.parts);
        let mut taken = 0;
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((which, part)) = parts.nth(index - taken) else { return };
            taken = index + 1;
            let part = &mut *unpoisoned(part.lock());
            part.gradients.fill(0.0);
            let learn = |which| pass.learn(which, scale, work, &mut part.gradients);
            part.loss = which.chunks(BLOCK).map(learn).sum();
        }
    }

    /// The second half of a step, on one thread: adds up the parts and moves the weights.
    fn update(&self, rule: AdamW, moments: (&mut [f32], &mut [f32])) -> f64 {
        let count = self.step_rows().len().div_ceil(part_rows(self.batch));
        let mut first = unpoisoned(self.parts[0].lock());
        for part in &self.parts[1..count] {
            let part = unpoisoned(part.lock());
            self.kernel.add_rows(&part.gradients, &mut first.gradients);
            first.loss += part.loss;
        }
        let parameters = &mut *unpoisoned(self.parameters.write());
        self.kernel.adamw(rule, &mut parameters.values, moments, &first.gradients);
        parameters.transpose(self.shape);
        first.loss
    }
}

impl Device for Cpu {
    fn train(
        &mut self,
        rows: &Arc<Rows>,
        order: &[u32],
        batch: usize,
        schedule: &Schedule,
        mut at: Position,
        deadline: Instant,
    ) -> Result<Position, Refusal> {
        self.make_parts(batch);
        let threads = self.threads.min(batch.div_ceil(part_rows(batch)));
        let epoch = Epoch {
            kernel: self.kernel,
            shape: &self.shape,
            loss: self.loss,
            rows,
            order,
            batch,
            parameters: &self.parameters,
            parts: &self.parts,
            row: AtomicUsize::new(at.row),
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            gate: Gate::new(threads),
        };
        let (first, second) = (&mut self.first, &mut self.second);
        std::thread::scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(|| epoch.work())));
            let _keeper = epoch.gate.keeper();
            let mut work = Workspace::new(epoch.shape);
            while at.row < order.len() && epoch.gate.wait() {
                epoch.learn_parts(&mut work);
                if !epoch.gate.wait() {
                    return;
                }
                let count = epoch.step_rows().len();
                at.loss += epoch.update(schedule.rule(at.step), (&mut *first, &mut *second));
                at.step += 1;
                at.row += count;
                epoch.row.store(at.row, Ordering::Relaxed);
                epoch.next.store(0, Ordering::Relaxed);
                if Instant::now() >= deadline {
                    break;
                }
            }
            epoch.stop.store(true, Ordering::Relaxed);
            epoch.gate.wait();
        });
        Ok(at)
    }

    fn check_gradients(&mut self, rows: &Arc<Rows>, order: &[u32]) -> Result<(), Refusal> {
        let (gradients, _) = self.gradients(rows, &order[..order.len().min(CHECKED_ROWS)]);
        check(&self.shape, &gradients)
    }

    fn answers(&mut self, rows: &Arc<Rows>) -> Result<(Vec<f32>, f64), Refusal> {
        let parameters = unpoisoned(self.parameters.read());
        let pass = Pass { kernel: self.kernel, shape: &self.shape, loss: self.loss, parameters: &parameters, rows };
        let all: Vec<u32> = (0..rows.len() as u32).collect();
        let share = all.len().div_ceil(self.threads).max(1).next_multiple_of(BLOCK);
        let answer = |which: &[u32]| {
            let (mut work, mut out) = (Workspace::new(&self.shape), Vec::new());
            let losses: Vec<f64> = which.chunks(BLOCK).map(|which| pass.answers(which, &mut work, &mut out)).collect();
            (out, losses)
        };
        let shares: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = all.chunks(share).map(|which| scope.spawn(move || answer(which))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let loss: f64 = shares.iter().flat_map(|(_, losses)| losses).sum();
        let weight: f64 = rows.weights.iter().map(|&weight| f64::from(weight)).sum();
        Ok((shares.into_iter().flat_map(|(out, _)| out).collect(), loss / weight))
    }

    fn state(&self) -> Result<State, Refusal> {
        let weights = unpoisoned(self.parameters.read()).values.clone();
        Ok(State { weights, first: self.first.clone(), second: self.second.clone() })
    }

    fn restore(&mut self, state: State) -> Result<(), Refusal> {
        *unpoisoned(self.parameters.get_mut()) = Parameters::new(&self.shape, state.weights);
        (self.first, self.second) = (state.first, state.second);
        Ok(())
    }
}
