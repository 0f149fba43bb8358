//! A program of steps over an arena: each slot holds so many numbers per row, those of sixteen rows side by side.
//!
//! A row runs in a lane of its own, and every lane does the same arithmetic in the same order; a row alone does it in
//! that order, too. So its answer depends neither on its batch nor on its place in it.

use super::groups::{LayerNorm, Reduce, Softmax};
use super::math::Map;
use super::matrix::Products;
use super::moves::Moves;
use super::pairs::Pairs;
use super::pool::Pool;
use super::recurrent::Recurrent;
use super::vector::{Vector, WIDE};

/// One step's arithmetic.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A function of each of so many numbers.
    Each(Map, usize),
    Pairs(Pairs),
    Moves(Moves),
    Products(Products),
    Pool(Pool),
    Recurrent(Recurrent),
    Softmax(Softmax),
    LayerNorm(LayerNorm),
    Reduce(Reduce),
}

impl Op {
    /// Numbers per row that a step needs for itself while it runs.
    pub(crate) fn scratch(&self) -> usize {
        if let Op::Recurrent(recurrent) = self { recurrent.scratch() } else { 0 }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Op::Products(products) => products.memory_bytes(),
            Op::Recurrent(recurrent) => recurrent.memory_bytes(),
            Op::Moves(moves) => moves.memory_bytes(),
            Op::Pairs(pairs) => pairs.memory_bytes(),
            Op::Pool(pool) => pool.memory_bytes(),
            Op::Each(..) | Op::Softmax(_) | Op::LayerNorm(_) | Op::Reduce(_) => 0,
        }
    }

    /// Vector instructions, about, with `lanes` rows at a time.
    fn cost(&self, lanes: usize) -> usize {
        let wide = |count: usize| if lanes == 1 { count.div_ceil(WIDE) } else { count };
        match self {
            Op::Each(map, width) => map.cost() * wide(*width),
            Op::Products(products) => products.cost(lanes),
            Op::Recurrent(recurrent) => recurrent.cost(lanes),
            Op::Pool(pool) => pool.cost(),
            Op::Pairs(pairs) => 3 * pairs.width(),
            Op::Moves(moves) => moves.width(),
            Op::Softmax(softmax) => 30 * softmax.numbers(),
            Op::LayerNorm(norm) => 6 * norm.numbers(),
            Op::Reduce(reduce) => reduce.numbers(),
        }
    }

    #[inline(always)]
    fn run<V: Vector, W: Vector>(&self, step: &Step, arena: &mut [f32]) {
        let (from, to) = (step.inputs[0], step.outputs[0]);
        match self {
            // The slots are padded, so the last of a single row's vectors may be whole, too.
            Op::Each(map, width) => {
                for at in (0..width * V::LANES).step_by(WIDE) {
                    map.of(W::load(arena, from * V::LANES + at)).store(arena, to * V::LANES + at);
                }
            }
            Op::Pairs(pairs) => pairs.run::<V, W>(&step.inputs, to, arena),
            Op::Moves(moves) => moves.run::<V>(&step.inputs, to, arena),
            Op::Products(products) => products.run::<V, W>(from, to, arena),
            Op::Pool(pool) => pool.run::<V>(from, to, arena),
            Op::Recurrent(recurrent) => recurrent.run::<V, W>(from, &step.outputs, step.scratch, arena),
            Op::Softmax(softmax) => softmax.run::<V>(from, to, arena),
            Op::LayerNorm(norm) => norm.run::<V>(from, to, arena),
            Op::Reduce(reduce) => reduce.run::<V>(from, to, arena),
        }
    }
}

/// A step and where its slots begin, in numbers per row; all are multiples of sixteen.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub op: Op,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    pub scratch: usize,
}

/// A slot that is filled or read from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    pub slot: usize,
    pub width: usize,
}

/// The steps and the ports.
#[derive(Debug)]
pub(crate) struct Engine {
    pub steps: Vec<Step>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// Up to sixteen rows, or a single one.
pub(super) struct Task<'t> {
    /// The values of each input's port, all rows.
    pub inputs: &'t [&'t [f32]],
    pub outputs: &'t mut [Vec<f32>],
    pub arena: &'t mut [f32],
    pub start: usize,
    /// Of these rows; 1 alone runs without lanes where `alone` says so.
    pub rows: usize,
    pub alone: bool,
}

impl Engine {
    /// Vector instructions of one run, about.
    pub(super) fn cost(&self, lanes: usize) -> usize {
        self.steps.iter().map(|step| step.op.cost(lanes)).sum()
    }

    #[inline(always)]
    pub(super) fn run<W: Vector>(&self, task: Task<'_>) {
        if task.alone { self.run_lanes::<f32, W>(task) } else { self.run_lanes::<W, W>(task) }
    }

    #[inline(always)]
    fn run_lanes<V: Vector, W: Vector>(&self, task: Task<'_>) {
        for (port, values) in self.inputs.iter().zip(task.inputs) {
            let values = &values[task.start * port.width..(task.start + task.rows) * port.width];
            fill::<V>(values, *port, task.rows, task.arena);
        }
        for step in &self.steps {
            step.op.run::<V, W>(step, task.arena);
        }
        for (port, values) in self.outputs.iter().zip(task.outputs) {
            let values = &mut values[task.start * port.width..(task.start + task.rows) * port.width];
            for (row, out) in values.chunks_exact_mut(port.width).enumerate() {
                for (at, out) in out.iter_mut().enumerate() {
                    *out = task.arena[(port.slot + at) * V::LANES + row];
                }
            }
        }
    }
}

/// Puts rows side by side; lanes without a row get zeros.
#[inline(always)]
fn fill<V: Vector>(values: &[f32], port: Port, rows: usize, arena: &mut [f32]) {
    let first = port.slot * V::LANES;
    let whole = if rows == V::LANES { port.width - port.width % WIDE } else { 0 };
    for at in (0..whole).step_by(WIDE) {
        V::turn(values, at, port.width, arena, first + at * V::LANES);
    }
    if rows < V::LANES {
        arena[first..first + port.width * V::LANES].fill(0.0);
    }
    for (row, values) in values.chunks_exact(port.width).enumerate() {
        for (at, &x) in values.iter().enumerate().skip(whole) {
            arena[first + at * V::LANES + row] = x;
        }
    }
}
