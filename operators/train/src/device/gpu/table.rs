//! Rows in the device's memory.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::opened::Opened;
use super::pass::Batch;
use crate::Refusal;
use crate::device::Rows;

/// Tables that are kept: the rows that train, and those that judge each epoch.
const KEPT: usize = 2;
/// Numbers of a table's inputs: candle's kernels count them in 32 bits, and say nothing where they do not suffice.
const MAX_INPUTS: usize = u32::MAX as usize;

/// Rows, there. A clone is the same rows.
#[derive(Clone, Debug)]
pub(super) struct Table(Batch);

impl Table {
    fn new(rows: &Rows, opened: &Opened) -> Result<Self> {
        let (count, candle) = (rows.len(), opened.candle());
        let column = |values: &[f32]| Tensor::from_slice(values, (count, 1), candle);
        let inputs = Tensor::from_slice(&rows.inputs, (count, rows.width), candle)?;
        // Where the inputs are the target, nobody looks at another one.
        let targets = if rows.targets.is_empty() { column(&rows.weights)? } else { column(&rows.targets)? };
        let table = Self(Batch { inputs, targets, weights: column(&rows.weights)? });
        candle.synchronize()?;
        Ok(table)
    }

    pub(super) fn rows(&self) -> usize {
        self.0.weights.elem_count()
    }

    /// The rows of these numbers.
    pub(super) fn batch(&self, which: &Tensor) -> Result<Batch> {
        self.0.each(|tensor| tensor.index_select(which, 0))
    }

    /// So many rows from one on.
    pub(super) fn slice(&self, first: usize, count: usize) -> Result<Batch> {
        self.0.each(|tensor| tensor.narrow(0, first, count))
    }
}

/// The tables that were taken to the device last.
#[derive(Default)]
pub(super) struct Tables(Vec<(Arc<Rows>, Table)>);

impl Tables {
    /// The rows there; taken there where they are not yet.
    pub(super) fn get(&mut self, rows: &Arc<Rows>, opened: &Opened) -> std::result::Result<Table, Refusal> {
        if let Some((_, table)) = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, rows)) {
            return Ok(table.clone());
        }
        if rows.inputs.len() > MAX_INPUTS {
            let what = format!("a table of {} rows with {} features is too large for a GPU", rows.len(), rows.width);
            let advice = "train on fewer rows or features, or by a worker with `train.device = \"cpu\"`";
            return Err(Refusal::data(format!("{what}; {advice}")));
        }
        let table = Table::new(rows, opened).map_err(|error| opened.refusal(&error))?;
        self.0.truncate(KEPT - 1);
        self.0.insert(0, (rows.clone(), table.clone()));
        Ok(table)
    }
}
