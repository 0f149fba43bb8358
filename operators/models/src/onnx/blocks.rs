//! Blocks of rows for tract: what it costs to run a small graph is mostly its nodes' own cost, which a block shares.
//!
//! A row's answer must not depend on its batch. tract may add up in another order for another batch, and a graph may
//! mix rows. So blocks count only where their answers to seeded rows have the bits of those of one or two rows.

use lunapark_schemas::rows::Values;

use super::compiled::Compiled;
use super::program::Column;
use super::proto::Model;
use super::signature::Input;
use super::tensor::Element;

/// Rows of a block: 32, the smallest batch that is worth one.
pub(super) const BLOCK: usize = 32;
/// Fewer rows than this are faster one by one than in a block that zeros fill up.
pub(super) const WORTH: usize = BLOCK / 4;
/// The fewest rows that tract runs as it runs many.
const FEW: usize = 2;
/// Elements of all tensors of a block: 4 MiB. A larger graph's rows have enough work of their own, and the trial would
/// take long. How long a row takes must not decide: the same file answers with the same bits at every start.
const MAX_ELEMENTS: usize = 1 << 20;
/// Blocks that are compared.
const CHECKED: usize = 2;

/// The graph compiled for blocks and for the few rows that no block is worth.
pub(super) struct Blocks {
    pub block: Compiled,
    pub few: Option<Compiled>,
}

impl Blocks {
    /// Blocks whose answers have the bits of `single`; else, those that have the bits of two rows. tract multiplies a
    /// matrix by a single row in another order than by several, but by two as by many.
    pub(super) fn new(model: &Model<'_>, inputs: &[Input<'_>], bytes: &[u8], single: &Compiled) -> Option<Self> {
        if inputs.iter().any(|input| input.single) {
            // The file fixes the batch to one row.
            return None;
        }
        let compile = |rows| Compiled::new(model, inputs, bytes, rows, MAX_ELEMENTS).ok();
        let block = compile(BLOCK).filter(|block| block.outputs == single.outputs)?;
        let rows = seeded(inputs, CHECKED * BLOCK);
        let expected = answers(&block, &rows, CHECKED * BLOCK)?;
        if is_same(&answers(single, &rows, CHECKED * BLOCK)?, &expected) {
            return Some(Self { block, few: None });
        }
        let few = compile(FEW).filter(|few| few.outputs == single.outputs)?;
        is_same(&answers(&few, &rows, CHECKED * BLOCK)?, &expected).then_some(Self { block, few: Some(few) })
    }
}

/// Room for the answers of so many rows.
pub(super) fn room(compiled: &Compiled, rows: usize) -> Vec<Values> {
    let room =
        |(datatype, dims): &(_, Vec<usize>)| Values::with_capacity(*datatype, rows * dims.iter().product::<usize>());
    compiled.outputs.iter().map(room).collect()
}

/// The answers of the first `count` rows.
pub(super) fn answers(compiled: &Compiled, rows: &[Column<'_>], count: usize) -> Option<Vec<Values>> {
    let mut answers = room(compiled, count);
    compiled.answer(rows, 0..count, &mut answers).ok().map(|()| answers)
}

/// Bit by bit, all NaN alike.
fn is_same(a: &[Values], b: &[Values]) -> bool {
    let same = |(a, b): (&Values, &Values)| match (a, b) {
        (Values::F32(a), Values::F32(b)) => {
            a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan())
        }
        (Values::F64(a), Values::F64(b)) => {
            a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan())
        }
        (Values::I64(a), Values::I64(b)) => a == b,
        _ => false,
    };
    a.iter().zip(b).all(same)
}

/// Numbers about 0, of another size in every third row, so that not all answers are saturated; the integers 0 and 1,
/// which an index list takes too.
pub(super) fn seeded(inputs: &[Input<'_>], rows: usize) -> Vec<Column<'static>> {
    let mut state = 0x6c75_6e61_7061_726b_u64;
    let mut fraction = move || {
        // Knuth's linear congruences; the upper bits are random enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    let mut column = |input: &Input<'_>| {
        let width: usize = input.dims.iter().product();
        let size = |at: usize| [0.2, 2.0, 20.0][at / width % 3];
        let mut reals = (0..rows * width).map(|at| (fraction() - 0.5) * size(at));
        match input.element {
            Element::F32 => Column::from(reals.map(|x| x as f32).collect::<Vec<_>>()),
            Element::F64 => Column::from(reals.collect::<Vec<_>>()),
            _ => Column::from(reals.by_ref().map(|x| i64::from(x > 0.0)).collect::<Vec<_>>()),
        }
    };
    inputs.iter().map(&mut column).collect()
}
