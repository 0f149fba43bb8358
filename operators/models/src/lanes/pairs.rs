//! Functions of two numbers, element by element.

use std::sync::Arc;

use super::math::Join;
use super::vector::{Vector, WIDE};

/// One operand.
#[derive(Clone, Debug)]
pub(crate) enum Side {
    /// The input of this index; which of its elements each element of the output meets, where not its own.
    Input(usize, Option<Arc<[u32]>>),
    /// A row of its own.
    Constant(Arc<[f32]>),
}

impl Side {
    fn is_mapped(&self) -> bool {
        matches!(self, Side::Input(_, Some(_)))
    }

    #[inline(always)]
    fn get<V: Vector>(&self, inputs: &[usize], at: usize, arena: &[f32]) -> V {
        match self {
            Side::Input(input, None) => V::load(arena, (inputs[*input] + at) * V::LANES),
            Side::Input(input, Some(map)) => V::load(arena, (inputs[*input] + map[at] as usize) * V::LANES),
            Side::Constant(values) => V::splat(values[at]),
        }
    }

    /// Sixteen elements of a single row from `at` on.
    #[inline(always)]
    fn wide<W: Vector>(&self, inputs: &[usize], at: usize, arena: &[f32]) -> W {
        match self {
            Side::Input(input, _) => W::load(arena, inputs[*input] + at),
            Side::Constant(values) => W::load(values, at),
        }
    }
}

/// A step of two operands.
#[derive(Clone, Debug)]
pub(crate) struct Pairs {
    join: Join,
    sides: [Side; 2],
    width: usize,
}

impl Pairs {
    pub(crate) fn new(join: Join, sides: [Side; 2], width: usize) -> Self {
        let padded = |side| match side {
            Side::Constant(values) => {
                let zeros = values.len().next_multiple_of(WIDE) - values.len();
                Side::Constant(values.iter().copied().chain(std::iter::repeat_n(0.0, zeros)).collect())
            }
            input => input,
        };
        Self { join, sides: sides.map(padded), width }
    }

    /// The constant that each of the one input's elements is joined with, itself on the left where that matters.
    pub(crate) fn constant(&self) -> Option<(Join, &[f32])> {
        match &self.sides {
            [Side::Input(_, None), Side::Constant(constant)] => Some((self.join, &constant[..self.width])),
            [Side::Constant(constant), Side::Input(_, None)] if matches!(self.join, Join::Add | Join::Mul) => {
                Some((self.join, &constant[..self.width]))
            }
            _ => None,
        }
    }

    /// Whether two inputs' elements are multiplied, each with its own.
    pub(crate) fn is_product(&self) -> bool {
        self.join == Join::Mul && self.sides.iter().all(|side| matches!(side, Side::Input(_, None)))
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let bytes = |side: &Side| match side {
            Side::Input(_, map) => map.as_ref().map_or(0, |map| size_of_val(&map[..])),
            Side::Constant(values) => size_of_val(&values[..]),
        };
        self.sides.iter().map(bytes).sum()
    }

    #[inline(always)]
    pub(super) fn run<V: Vector, W: Vector>(&self, inputs: &[usize], to: usize, arena: &mut [f32]) {
        let [a, b] = &self.sides;
        if V::LANES == 1 && !a.is_mapped() && !b.is_mapped() {
            for at in (0..self.width).step_by(WIDE) {
                let (a, b) = (a.wide::<W>(inputs, at, arena), b.wide::<W>(inputs, at, arena));
                self.join.of(a, b).store(arena, to + at);
            }
            return;
        }
        for at in 0..self.width {
            let (a, b) = (a.get::<V>(inputs, at, arena), b.get::<V>(inputs, at, arena));
            self.join.of(a, b).store(arena, (to + at) * V::LANES);
        }
    }
}
