//! A lowered graph: operations over columns of rows, in order.
//!
//! Every operation answers a row from that row alone, so a row's answer does not depend on its batch.

use std::borrow::Cow;
use std::fmt;

use super::fuse::Lane;
use super::ops::Piece;
use crate::input::InputValues;
use crate::lanes::{ALIGN, Lanes};
use crate::mlp::Perceptron;
use crate::trees::Forest;

/// Rows that go through all steps before the next ones start: the columns between the steps stay in the cache, and
/// take little memory however large the batch is.
const BLOCK: usize = 1024;
/// Elements that the columns of a block may hold together: 32 MiB in double precision.
const BLOCK_ELEMENTS: usize = 1 << 22;

/// Row-major values of one tensor over some rows. Texts are indices into the slot's table.
#[derive(Clone, Debug)]
pub(super) enum Column<'a> {
    F32(Cow<'a, [f32]>),
    F64(Cow<'a, [f64]>),
    Ints(Cow<'a, [i64]>),
}

impl<'a> Column<'a> {
    pub(super) fn f32(&self) -> &[f32] {
        if let Column::F32(values) = self { values } else { &[] }
    }

    pub(super) fn f64(&self) -> &[f64] {
        if let Column::F64(values) = self { values } else { &[] }
    }

    pub(super) fn ints(&self) -> &[i64] {
        if let Column::Ints(values) = self { values } else { &[] }
    }

    /// Rows `start..start + rows`, each `width` wide.
    fn rows(&self, start: usize, rows: usize, width: usize) -> Column<'_> {
        let range = start * width..(start + rows) * width;
        match self {
            Column::F32(values) => Column::F32(Cow::Borrowed(&values[range])),
            Column::F64(values) => Column::F64(Cow::Borrowed(&values[range])),
            Column::Ints(values) => Column::Ints(Cow::Borrowed(&values[range])),
        }
    }

    fn empty_like(&self) -> Column<'static> {
        match self {
            Column::F32(_) => Column::F32(Cow::Owned(Vec::new())),
            Column::F64(_) => Column::F64(Cow::Owned(Vec::new())),
            Column::Ints(_) => Column::Ints(Cow::Owned(Vec::new())),
        }
    }

    fn into_owned(self) -> Column<'static> {
        match self {
            Column::F32(values) => Column::F32(Cow::Owned(values.into_owned())),
            Column::F64(values) => Column::F64(Cow::Owned(values.into_owned())),
            Column::Ints(values) => Column::Ints(Cow::Owned(values.into_owned())),
        }
    }

    fn append(&mut self, other: Column<'_>) {
        match (self, other) {
            (Column::F32(all), Column::F32(more)) => all.to_mut().extend_from_slice(&more),
            (Column::F64(all), Column::F64(more)) => all.to_mut().extend_from_slice(&more),
            (Column::Ints(all), Column::Ints(more)) => all.to_mut().extend_from_slice(&more),
            _ => {}
        }
    }
}

impl<'a> From<InputValues<'a>> for Column<'a> {
    fn from(values: InputValues<'a>) -> Self {
        match values {
            InputValues::F32(values) => Column::F32(Cow::Borrowed(values)),
            InputValues::F64(values) => Column::F64(Cow::Borrowed(values)),
            InputValues::I64(values) => Column::Ints(Cow::Borrowed(values)),
        }
    }
}

impl From<Vec<f32>> for Column<'_> {
    fn from(values: Vec<f32>) -> Self {
        Column::F32(Cow::Owned(values))
    }
}

impl From<Vec<f64>> for Column<'_> {
    fn from(values: Vec<f64>) -> Self {
        Column::F64(Cow::Owned(values))
    }
}

impl From<Vec<i64>> for Column<'_> {
    fn from(values: Vec<i64>) -> Self {
        Column::Ints(Cow::Owned(values))
    }
}

/// What an operation makes of a missing value (NaN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is still there in the output.
    Passes,
    /// It has a meaning of its own: an imputer, a tree with a direction for it.
    Taken,
    /// It would make the answer meaningless.
    Refused,
}

/// One step of a program. The types and widths of its inputs were checked when it was made.
pub(super) trait Operation: Send + Sync + fmt::Debug {
    /// The outputs over `rows` rows.
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>>;

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn memory_bytes(&self) -> usize {
        0
    }

    /// What this step is to sixteen rows side by side, where it is something; in single precision.
    fn lane(&self) -> Option<Lane> {
        None
    }

    /// What this step is in a perceptron, where it is one.
    fn piece(&self) -> Option<Piece<'_>> {
        None
    }

    /// Whether this step takes the scale out of what it is given, and with it small differences of sums.
    fn normalizes(&self) -> bool {
        false
    }

    /// The forest that this step evaluates.
    fn forest(&self) -> Option<&Forest> {
        None
    }

    /// The layers that this step evaluates.
    fn perceptron(&self) -> Option<&Perceptron> {
        None
    }

    /// The program of its own that this step runs.
    fn lanes(&self) -> Option<&Lanes> {
        None
    }
}

#[derive(Debug)]
pub(super) struct Step {
    pub operation: Box<dyn Operation>,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
}

/// Slot 0.. are the inputs, then the outputs of each step.
#[derive(Debug)]
pub(super) struct Program {
    pub steps: Vec<Step>,
    /// Elements per row of each slot; 0 where it is only inside a step.
    pub widths: Vec<usize>,
    pub inputs: usize,
    /// The slots that are answered.
    pub outputs: Vec<usize>,
    /// Whether the inputs may hold missing values.
    pub missing: bool,
}

impl Program {
    /// The answers of `rows` rows, a column per output.
    pub(super) fn run(&self, inputs: &[Column<'_>], rows: usize) -> Vec<Column<'static>> {
        let total: usize = self.widths.iter().sum();
        let block = (BLOCK_ELEMENTS / total.max(1)).clamp(1, BLOCK);
        // Rows that run side by side fill their lanes.
        let block = if block > ALIGN { block - block % ALIGN } else { block };
        if rows <= block {
            return self.block(inputs, 0, rows);
        }
        let mut answers: Vec<Column<'static>> = Vec::new();
        for start in (0..rows).step_by(block) {
            let more = self.block(inputs, start, block.min(rows - start));
            if answers.is_empty() {
                answers = more.iter().map(Column::empty_like).collect();
            }
            answers.iter_mut().zip(more).for_each(|(all, more)| all.append(more));
        }
        answers
    }

    fn block(&self, inputs: &[Column<'_>], start: usize, rows: usize) -> Vec<Column<'static>> {
        let mut slots: Vec<Column<'_>> = Vec::with_capacity(self.widths.len());
        slots.extend(inputs.iter().zip(&self.widths).map(|(input, &width)| input.rows(start, rows, width)));
        slots.resize(self.widths.len(), Vec::<f32>::new().into());
        for step in &self.steps {
            let inputs: Vec<_> = step.inputs.iter().map(|&slot| &slots[slot]).collect();
            let outputs = step.operation.run(&inputs, rows);
            step.outputs.iter().zip(outputs).for_each(|(&slot, column)| slots[slot] = column);
        }
        let answer = |(at, &slot): (usize, &usize)| match self.outputs[at + 1..].contains(&slot) {
            true => slots[slot].clone().into_owned(),
            false => std::mem::replace(&mut slots[slot], Vec::<f32>::new().into()).into_owned(),
        };
        self.outputs.iter().enumerate().map(answer).collect()
    }

    /// Which inputs may hold missing values: all, where each missing value ends in an operation that takes it.
    pub(super) fn takes_missing(&self) -> bool {
        let mut missing = vec![false; self.widths.len()];
        missing[..self.inputs].fill(true);
        for step in &self.steps {
            if !step.inputs.iter().any(|&slot| missing[slot]) {
                continue;
            }
            match step.operation.missing() {
                Missing::Taken => {}
                Missing::Refused => return false,
                Missing::Passes => step.outputs.iter().for_each(|&slot| missing[slot] = true),
            }
        }
        !self.outputs.iter().any(|&slot| missing[slot])
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.steps.iter().map(|step| step.operation.memory_bytes()).sum()
    }
}
