//! Where the arithmetic of training runs.

mod block;
mod check;
mod cpu;
mod gate;
#[cfg(feature = "candle")]
mod gpu;
mod ground;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use crate::Refusal;
use crate::schedule::Schedule;
pub(crate) use ground::Ground;

/// Rows ready for the network: standardised, row by row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub width: usize,
    pub inputs: Vec<f32>,
    /// One per row; empty where the inputs are the target.
    pub targets: Vec<f32>,
    /// One per row, their mean over the training part is 1.
    pub weights: Vec<f32>,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.weights.len()
    }

    pub(crate) fn row(&self, index: usize) -> &[f32] {
        &self.inputs[index * self.width..][..self.width]
    }
}

/// How far an epoch is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Position {
    /// Steps since the start of the training.
    pub step: u64,
    /// Rows of this epoch that are done.
    pub row: usize,
    /// Sum of their weighted losses.
    pub loss: f64,
}

/// What the optimizer carries from step to step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub weights: Vec<f32>,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

/// Trains one network. A device gives the same state for the same rows and steps, however they are cut into calls. Rows are
/// known again by where they lie, so that a device with a memory of its own takes them there once.
pub(crate) trait Device: Send {
    /// Goes on with the epoch, whose rows come in this order, until it ends or the deadline has passed.
    fn train(
        &mut self,
        rows: &Arc<Rows>,
        order: &[u32],
        batch: usize,
        schedule: &Schedule,
        at: Position,
        deadline: Instant,
    ) -> Result<Position, Refusal>;

    /// Whether every tensor that is trained gets a gradient from these rows.
    fn check_gradients(&mut self, rows: &Arc<Rows>, order: &[u32]) -> Result<(), Refusal>;

    /// The sums of the last layer, `outputs` per row, and the mean loss by the rows' weights.
    fn answers(&mut self, rows: &Arc<Rows>) -> Result<(Vec<f32>, f64), Refusal>;

    /// Weights and moments.
    fn state(&self) -> Result<State, Refusal>;

    /// Goes on from them.
    fn restore(&mut self, state: State) -> Result<(), Refusal>;
}
