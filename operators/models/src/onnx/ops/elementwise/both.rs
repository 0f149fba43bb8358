//! The step of two operands.

use super::super::super::fuse::Lane;
use super::super::super::program::{Column, Missing, Operation};
use super::super::super::tensor::Tensor;
use super::super::Piece;
use super::super::number::Real;
use super::broadcast::Map;
use super::pair::Pair;
use crate::lanes::{self, Join, Op, Pairs};

/// One side of a function of two.
#[derive(Debug)]
pub(super) enum Side {
    /// The input of this index.
    Input(usize, Map),
    /// A row of its own, already spread to the output's width.
    Constant(Tensor),
}

#[derive(Debug)]
pub(super) struct Both {
    pub pair: Pair,
    pub sides: [Side; 2],
    /// Numbers per row of the operands' inputs and of the output.
    pub widths: [usize; 2],
    pub width: usize,
}

/// The values of one side in one row.
enum Row<'a, T> {
    Straight(&'a [T]),
    Mapped(&'a [T], &'a [u32]),
}

impl<T: Copy> Row<'_, T> {
    #[inline(always)]
    fn get(&self, at: usize) -> T {
        match self {
            Row::Straight(values) => values[at],
            Row::Mapped(values, map) => values[map[at] as usize],
        }
    }
}

impl Both {
    fn constant(&self, side: usize) -> Option<&Tensor> {
        if let Side::Constant(tensor) = &self.sides[side] { Some(tensor) } else { None }
    }

    fn row<'v, T: Copy + 'v>(
        &'v self,
        side: usize,
        row: usize,
        input: impl Fn(usize) -> &'v [T],
        constant: Option<&'v [T]>,
    ) -> Row<'v, T> {
        let Side::Input(index, map) = &self.sides[side] else { return Row::Straight(constant.unwrap_or(&[])) };
        let width = self.widths[side];
        let values = &input(*index)[row * width..(row + 1) * width];
        map.as_deref().map_or(Row::Straight(values), |map| Row::Mapped(values, map))
    }

    fn each<'v, T: Copy + 'v, O>(
        &'v self,
        rows: usize,
        input: impl Fn(usize) -> &'v [T],
        constants: [Option<&'v [T]>; 2],
        of: impl Fn(T, T) -> O,
    ) -> Vec<O> {
        let mut out = Vec::with_capacity(rows * self.width);
        for row in 0..rows {
            let [a, b] = [0, 1].map(|side| self.row(side, row, &input, constants[side]));
            out.extend((0..self.width).map(|at| of(a.get(at), b.get(at))));
        }
        out
    }

    /// Whether each number is multiplied by itself.
    fn square(&self) -> bool {
        match &self.sides {
            [Side::Input(_, None), Side::Constant(by)] => {
                f32::constant(by).is_some_and(|by| by.iter().all(|&by| by == 2.0))
            }
            _ => false,
        }
    }

    fn reals<'v, R: Real>(&'v self, inputs: &'v [&'v Column<'v>], rows: usize) -> Column<'static> {
        let constants = [0, 1].map(|side| self.constant(side).and_then(R::constant));
        let input = |index: usize| R::values(inputs[index]);
        match self.pair.is_test() {
            true => self.each(rows, input, constants, |a, b| self.pair.test(a, b)).into(),
            false => R::column(self.each(rows, input, constants, |a, b| self.pair.number(a, b))),
        }
    }

    fn ints<'v>(&'v self, inputs: &'v [&'v Column<'v>], rows: usize) -> Column<'static> {
        let constants = [0, 1].map(|side| self.constant(side).and_then(Tensor::ints));
        let input = |index: usize| inputs[index].ints();
        let of = self.pair.int().unwrap_or(|a, _| a);
        self.each(rows, input, constants, of).into()
    }
}

impl Operation for Both {
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F32(_) => self.reals::<f32>(inputs, rows),
            Column::F64(_) => self.reals::<f64>(inputs, rows),
            Column::Ints(_) => self.ints(inputs, rows),
        }]
    }

    fn missing(&self) -> Missing {
        match self.pair {
            Pair::Add | Pair::Sub | Pair::Mul | Pair::Div => Missing::Passes,
            _ => Missing::Refused,
        }
    }

    fn lane(&self) -> Option<Lane> {
        let side = |at: usize| match &self.sides[at] {
            Side::Input(index, map) => Some(lanes::Side::Input(*index, map.as_deref().map(Into::into))),
            Side::Constant(tensor) => f32::constant(tensor).map(|values| lanes::Side::Constant(values.into())),
        };
        let join = match self.pair {
            Pair::Add => Join::Add,
            Pair::Sub => Join::Sub,
            Pair::Mul => Join::Mul,
            Pair::Div => Join::Div,
            Pair::Pow => return self.square().then_some(Lane::Op(Op::Each(lanes::Map::Square, self.width))),
            _ => return None,
        };
        Some(Lane::Op(Op::Pairs(Pairs::new(join, [side(0)?, side(1)?], self.width))))
    }

    fn piece(&self) -> Option<Piece<'_>> {
        let by = match &self.sides {
            [Side::Input(_, None), Side::Constant(by)] | [Side::Constant(by), Side::Input(_, None)] => by,
            _ => return None,
        };
        match (self.pair, f32::constant(by)) {
            (Pair::Add, Some(by)) => Some(Piece::Add(by)),
            (Pair::Mul, Some(by)) => Some(Piece::Mul(by)),
            _ => None,
        }
    }

    fn memory_bytes(&self) -> usize {
        let bytes = |side: &Side| match side {
            Side::Input(_, map) => map.as_ref().map_or(0, |map| 4 * map.len()),
            Side::Constant(tensor) => 8 * tensor.len(),
        };
        self.sides.iter().map(bytes).sum()
    }
}
