//! A GPU by way of candle: blocks and losses with gradients of their own, as [`block`](super::block) has them for the
//! processor; candle multiplies matrices and does the rest number by number. Its own blocks and losses are not used: some
//! return tensors without gradients, and say nothing.
//!
//! Rows are taken to the device once. Weights and moments are one tensor each ([`pack`]), so that a step of the optimizer
//! is a dozen calls for any number of layers. What is queued there has happened when a method returns: candle's order
//! holds for a thread, and a job may come back on another one.

mod adamw;
mod loss;
mod opened;
mod pack;
mod pass;
mod prove;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use candle_core::{Result, Tensor};

use super::check::{CHECKED_ROWS, check};
use super::{Device, Position, Rows, State};
use crate::Refusal;
use crate::loss::Loss;
use crate::network::Shape;
use crate::schedule::Schedule;
use adamw::Moved;
pub(crate) use opened::Opened;
use pass::{Batch, Pass};
pub(super) use prove::prove;
use table::{Table, Tables};

/// Steps that may wait in the device's queue: a deadline is looked at by who fills it.
const AHEAD: u64 = 8;
/// Rows that are answered at once.
const ANSWERED: usize = 1 << 14;

/// Trains on a GPU.
pub(crate) struct Gpu {
    opened: Opened,
    shape: Shape,
    loss: Loss,
    /// The numbers of the outputs, from 0.
    numbers: Tensor,
    /// Weights and moments.
    now: Moved,
    tables: Tables,
}

impl Gpu {
    /// With these weights, which lie as the processor has them.
    pub(super) fn new(opened: Opened, shape: Shape, loss: Loss, weights: &[f32]) -> std::result::Result<Self, Refusal> {
        let zeros = vec![0.0; weights.len()];
        let made = || -> Result<_> {
            let numbers = (0..shape.outputs()).map(|number| number as f32).collect();
            let numbers = Tensor::from_vec(numbers, (1, shape.outputs()), opened.candle())?;
            let tensor = |values: &[f32]| opened.tensor(pack::packed(&shape, values));
            let now = Moved { weights: tensor(weights)?, first: tensor(&zeros)?, second: tensor(&zeros)? };
            opened.candle().synchronize()?;
            Ok((numbers, now))
        };
        let (numbers, now) = made().map_err(|error| opened.refusal(&error))?;
        Ok(Self { opened, shape, loss, numbers, now, tables: Tables::default() })
    }

    fn pass(&self) -> Result<Pass<'_>> {
        Pass::new(&self.shape, self.loss, &self.numbers, &self.now.weights)
    }

    /// Goes on with an epoch, whose order is this from here on.
    fn epoch(
        &mut self,
        table: &Table,
        order: &[u32],
        batch: usize,
        schedule: &Schedule,
        mut at: Position,
        deadline: Instant,
    ) -> Result<Position> {
        let all = Tensor::from_slice(order, order.len(), self.opened.candle())?;
        let mut loss = Tensor::new(at.loss, self.opened.candle())?;
        let mut done = 0;
        while done < order.len() {
            let count = batch.min(order.len() - done);
            let rows = table.batch(&all.narrow(0, done, count)?)?;
            let (more, gradients) = self.pass()?.learn(&rows, 1.0 / count as f32)?;
            loss = (loss + more)?;
            self.now = self.now.step(schedule.rule(at.step), &gradients)?;
            (at.step, at.row, done) = (at.step + 1, at.row + count, done + count);
            if at.step.is_multiple_of(AHEAD) {
                self.opened.candle().synchronize()?;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        at.loss = loss.to_scalar()?;
        Ok(at)
    }

    /// Gradients of the mean loss of some rows, as the processor has them, and the loss.
    fn gradients(&mut self, rows: &Arc<Rows>, which: &[u32]) -> std::result::Result<(Vec<f32>, f64), Refusal> {
        let table = self.tables.get(rows, &self.opened)?;
        let scale = 1.0 / which.len() as f32;
        let learn = || -> Result<_> {
            let rows = table.batch(&Tensor::from_slice(which, which.len(), self.opened.candle())?)?;
            let (loss, gradients) = self.pass()?.learn(&rows, scale)?;
            Ok((gradients.to_vec1()?, loss.to_scalar::<f64>()? * f64::from(scale)))
        };
        let (gradients, loss): (Vec<f32>, f64) = learn().map_err(|error| self.opened.refusal(&error))?;
        Ok((pack::padded(&self.shape, &gradients), loss))
    }

    /// Answers of all rows, and the sum of their losses.
    fn answer(&self, table: &Table) -> Result<(Vec<f32>, f64)> {
        let (pass, mut answers, mut sum) = (self.pass()?, Vec::new(), 0.0);
        for first in (0..table.rows()).step_by(ANSWERED) {
            let rows: Batch = table.slice(first, ANSWERED.min(table.rows() - first))?;
            let (sums, loss) = pass.answers(&rows)?;
            answers.append(&mut sums.flatten_all()?.to_vec1()?);
            sum += loss.to_scalar::<f64>()?;
        }
        Ok((answers, sum))
    }
}

impl Device for Gpu {
    fn train(
        &mut self,
        rows: &Arc<Rows>,
        order: &[u32],
        batch: usize,
        schedule: &Schedule,
        at: Position,
        deadline: Instant,
    ) -> std::result::Result<Position, Refusal> {
        let left = &order[at.row..];
        if left.is_empty() {
            return Ok(at);
        }
        let table = self.tables.get(rows, &self.opened)?;
        let came = self.epoch(&table, left, batch, schedule, at, deadline);
        came.map_err(|error| self.opened.refusal(&error))
    }

    fn check_gradients(&mut self, rows: &Arc<Rows>, order: &[u32]) -> std::result::Result<(), Refusal> {
        let (gradients, _) = self.gradients(rows, &order[..order.len().min(CHECKED_ROWS)])?;
        check(&self.shape, &gradients)
    }

    fn answers(&mut self, rows: &Arc<Rows>) -> std::result::Result<(Vec<f32>, f64), Refusal> {
        let table = self.tables.get(rows, &self.opened)?;
        let (answers, loss) = self.answer(&table).map_err(|error| self.opened.refusal(&error))?;
        let weight: f64 = rows.weights.iter().map(|&weight| f64::from(weight)).sum();
        Ok((answers, loss / weight))
    }

    fn state(&self) -> std::result::Result<State, Refusal> {
        let values = |tensor: &Tensor| -> std::result::Result<Vec<f32>, Refusal> {
            let values = tensor.to_vec1().map_err(|error| self.opened.refusal(&error))?;
            Ok(pack::padded(&self.shape, &values))
        };
        let Moved { weights, first, second } = &self.now;
        Ok(State { weights: values(weights)?, first: values(first)?, second: values(second)? })
    }

    fn restore(&mut self, state: State) -> std::result::Result<(), Refusal> {
        let tensor = |values: &[f32]| self.opened.tensor(pack::packed(&self.shape, values));
        let restored = || -> Result<_> {
            let (weights, first) = (tensor(&state.weights)?, tensor(&state.first)?);
            let now = Moved { weights, first, second: tensor(&state.second)? };
            self.opened.candle().synchronize()?;
            Ok(now)
        };
        self.now = restored().map_err(|error| self.opened.refusal(&error))?;
        Ok(())
    }
}
