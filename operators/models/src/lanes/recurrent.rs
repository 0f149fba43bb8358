//! Recurrent layers: all steps of a sequence, one after the other.

use std::sync::Arc;

use super::math::{Map, tanh};
use super::matrix::Matrix;
use super::vector::{Vector, WIDE};

/// What is computed at each step. The inputs of a matrix over both are the step's inputs, then the state before it.
#[derive(Debug)]
pub(crate) enum Cell {
    /// The state is the function of the sums over both.
    Plain { both: Matrix, map: Map },
    /// Update and reset gate over both; the new state over both, with the reset state in the place of the state.
    Gru { gates: Matrix, new: Matrix },
    /// The same, the reset gate after the product: the new state over the inputs, and over the state.
    GruAfter { gates: Matrix, of_inputs: Matrix, of_state: Matrix },
    /// Input, output and forget gate, and the new cell, over both.
    Lstm { gates: Matrix, new: Matrix },
}

/// One direction of a layer.
#[derive(Debug)]
pub(crate) struct Direction {
    pub cell: Cell,
    /// From the last step to the first.
    pub reverse: bool,
    pub first_state: Vec<f32>,
    /// Of an LSTM; else as long, and not used.
    pub first_cell: Vec<f32>,
}

/// A layer. Its outputs are the states of all steps (step by step, the directions side by side), the last states,
/// the last cells.
#[derive(Clone, Debug)]
pub(crate) struct Recurrent {
    pub directions: Arc<[Direction]>,
    pub steps: usize,
    pub inputs: usize,
    pub hidden: usize,
}

/// Where the parts of the scratch begin.
#[derive(Clone, Copy)]
struct Parts {
    /// Inputs and state, side by side.
    both: usize,
    /// Inputs and reset state.
    reset: usize,
    gates: usize,
    cell: usize,
}

impl Recurrent {
    /// A part's room: a single row's last vector may reach beyond its end.
    fn room(count: usize) -> usize {
        count.next_multiple_of(WIDE) + WIDE
    }

    pub(super) fn scratch(&self) -> usize {
        2 * Self::room(self.inputs + self.hidden) + Self::room(4 * self.hidden) + Self::room(self.hidden)
    }

    fn parts(&self, scratch: usize) -> Parts {
        let both = Self::room(self.inputs + self.hidden);
        let gates = scratch + 2 * both;
        Parts { both: scratch, reset: scratch + both, gates, cell: gates + Self::room(4 * self.hidden) }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let first = 8 * self.hidden * self.directions.len();
        self.matrices().map(Matrix::memory_bytes).sum::<usize>() + first
    }

    pub(super) fn cost(&self, lanes: usize) -> usize {
        let products: usize = self.matrices().map(|matrix| matrix.cost(lanes)).sum();
        let hidden = if lanes == 1 { self.hidden.div_ceil(WIDE) } else { self.hidden };
        self.steps * (products + 130 * hidden * self.directions.len())
    }

    fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.directions.iter().flat_map(|direction| match &direction.cell {
            Cell::Plain { both, .. } => vec![both],
            Cell::Gru { gates, new } | Cell::Lstm { gates, new } => vec![gates, new],
            Cell::GruAfter { gates, of_inputs, of_state } => vec![gates, of_inputs, of_state],
        })
    }

    #[inline(always)]
    pub(super) fn run<V: Vector, W: Vector>(&self, from: usize, to: &[usize], scratch: usize, arena: &mut [f32]) {
        let parts = self.parts(scratch);
        let (hidden, count) = (self.hidden, self.directions.len());
        for (index, direction) in self.directions.iter().enumerate() {
            for (at, (&state, &cell)) in direction.first_state.iter().zip(&direction.first_cell).enumerate() {
                V::splat(state).store(arena, (parts.both + self.inputs + at) * V::LANES);
                V::splat(cell).store(arena, (parts.cell + at) * V::LANES);
            }
            for step in 0..self.steps {
                let step = if direction.reverse { self.steps - 1 - step } else { step };
                copy::<V>(from + step * self.inputs, parts.both, self.inputs, arena);
                self.step::<V, W>(&direction.cell, parts, arena);
                let place = to[0] + (step * count + index) * hidden;
                copy::<V>(parts.both + self.inputs, place, hidden, arena);
            }
            for (&to, last) in to[1..].iter().zip([parts.both + self.inputs, parts.cell]) {
                copy::<V>(last, to + index * hidden, hidden, arena);
            }
        }
    }

    #[inline(always)]
    fn step<V: Vector, W: Vector>(&self, cell: &Cell, parts: Parts, arena: &mut [f32]) {
        let (both, state, hidden) = (parts.both, parts.both + self.inputs, self.hidden);
        match cell {
            Cell::Plain { both: matrix, map } => {
                matrix.dense::<V, W>(both, parts.gates, *map, arena);
                copy::<V>(parts.gates, state, hidden, arena);
            }
            Cell::Gru { gates, new } => {
                gates.dense::<V, W>(both, parts.gates, Map::Sigmoid, arena);
                copy::<V>(both, parts.reset, self.inputs, arena);
                for at in (0..hidden * V::LANES).step_by(WIDE) {
                    let reset = W::load(arena, (parts.gates + hidden) * V::LANES + at);
                    let state = W::load(arena, state * V::LANES + at);
                    reset.mul(state).store(arena, (parts.reset + self.inputs) * V::LANES + at);
                }
                new.dense::<V, W>(parts.reset, parts.gates + 2 * hidden, Map::Tanh, arena);
                for at in (0..hidden * V::LANES).step_by(WIDE) {
                    let new = W::load(arena, (parts.gates + 2 * hidden) * V::LANES + at);
                    update::<V, W>(new, parts.gates, state, at, arena);
                }
            }
            Cell::GruAfter { gates, of_inputs, of_state } => {
                gates.dense::<V, W>(both, parts.gates, Map::Sigmoid, arena);
                of_inputs.dense::<V, W>(both, parts.gates + 2 * hidden, Map::Identity, arena);
                of_state.dense::<V, W>(state, parts.gates + 3 * hidden, Map::Identity, arena);
                for at in (0..hidden * V::LANES).step_by(WIDE) {
                    let part = |part: usize| (parts.gates + part * hidden) * V::LANES + at;
                    let (reset, of_inputs) = (W::load(arena, part(1)), W::load(arena, part(2)));
                    let new = tanh(of_inputs.add(reset.mul(W::load(arena, part(3)))));
                    update::<V, W>(new, parts.gates, state, at, arena);
                }
            }
            Cell::Lstm { gates, new } => {
                gates.dense::<V, W>(both, parts.gates, Map::Sigmoid, arena);
                new.dense::<V, W>(both, parts.gates + 3 * hidden, Map::Tanh, arena);
                for at in (0..hidden * V::LANES).step_by(WIDE) {
                    let part = |part: usize| (parts.gates + part * hidden) * V::LANES + at;
                    let (input, output, forget) =
                        (W::load(arena, part(0)), W::load(arena, part(1)), W::load(arena, part(2)));
                    let new = W::load(arena, part(3));
                    let kept = forget.mul(W::load(arena, parts.cell * V::LANES + at));
                    let cell = kept.add(input.mul(new));
                    cell.store(arena, parts.cell * V::LANES + at);
                    output.mul(tanh(cell)).store(arena, state * V::LANES + at);
                }
            }
        }
    }
}

/// The state moves from `new` towards itself by the update gate.
#[inline(always)]
fn update<V: Vector, W: Vector>(new: W, gate: usize, state: usize, at: usize, arena: &mut [f32]) {
    let gate = W::load(arena, gate * V::LANES + at);
    let kept = gate.mul(W::load(arena, state * V::LANES + at));
    W::splat(1.0).sub(gate).mul(new).add(kept).store(arena, state * V::LANES + at);
}

#[inline(always)]
fn copy<V: Vector>(from: usize, to: usize, count: usize, arena: &mut [f32]) {
    for at in 0..count {
        V::load(arena, (from + at) * V::LANES).store(arena, (to + at) * V::LANES);
    }
}
