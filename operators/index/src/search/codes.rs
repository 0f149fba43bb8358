//! Vectors in 8-bit numbers, with how far each is off: a scan that reads a quarter of the bytes and is exact all the same.
//!
//! ```text
//!   x = s·c + r,  q = t·d + e        c, d whole numbers from -127 to 127
//!   |x·q - s·t·c·d| ≤ |r|·|q| + |s·c|·|e|
//! ```
//!
//! So each row's product is known between two bounds. The rows whose upper bound reaches the k-th best lower bound hold
//! the k best; only these are compared in full.
//!
//! The errors of single numbers mostly cancel each other out, which the bounds do not count on: they are some ten times
//! too wide. A search that is not asked to be exact takes only a share of them, [`likely`].

use arrow_buffer::{MutableBuffer, ScalarBuffer};

use super::kernel_codes::WIDTH;

/// Vectors in 8-bit numbers.
pub(crate) struct Codes {
    /// c + 128, row after row.
    pub(crate) values: ScalarBuffer<u8>,
    /// Bytes of a row, filled up with zeros' codes.
    pub(crate) stride: usize,
    /// What the numbers of each row mean, a list for each field of [`Row`].
    pub(crate) meaning: Meaning,
}

/// What the numbers of rows mean, a list for each field of [`Row`].
pub(crate) struct Meaning {
    pub(crate) scale: ScalarBuffer<f32>,
    pub(crate) rest: ScalarBuffer<f32>,
    pub(crate) length: ScalarBuffer<f32>,
}

/// What a row's numbers mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// s
    scale: f32,
    /// |r|
    rest: f32,
    /// |s·c|
    length: f32,
}

/// A question in 8-bit numbers.
pub(crate) struct Question {
    dimension: usize,
    /// d
    pub(crate) values: Vec<i8>,
    /// 128 · Σ d, which the codes add to every product.
    pub(crate) shift: i32,
    /// t
    pub(crate) scale: f64,
    /// |e|
    rest: f64,
    /// |q|
    length: f64,
}

/// Bytes of a row's code.
pub(crate) fn stride(dimension: usize) -> usize {
    dimension.next_multiple_of(WIDTH)
}

/// The share of the bounds that a row's product hardly ever exceeds: were the errors of single numbers independent, the
/// product's would have a standard deviation of the bounds' width / √dimension at most, and this is twice as much. With half
/// of it, in a million vectors, four of 10,000 answers were lost to others that scored nearly as much; with this none, and it
/// took no longer.
pub(crate) fn likely(dimension: usize) -> f64 {
    (2.0 / (dimension as f64).sqrt()).min(1.0)
}

const LARGEST: f32 = 127.0;
const ZERO: u8 = 128;
/// What products of numbers that are hardly any may lose in single precision.
const TINY: f32 = 4.0 * f32::MIN_POSITIVE;
/// What rounding in the bounds themselves may come to, in parts of |x|·|q|.
const ROUNDING: f64 = 1e-5;

impl Codes {
    /// The codes of all rows.
    pub(crate) fn of(values: &[f32], dimension: usize) -> Self {
        let (count, stride) = (values.len() / dimension, stride(dimension));
        let list = || Vec::with_capacity(count);
        let (mut scales, mut rests, mut lengths) = (list(), list(), list());
        // Begins where a register's line does: numbers that lie in two lines take twice as long to read.
        let mut bytes = MutableBuffer::with_capacity(count * stride);
        bytes.resize(count * stride, ZERO);
        for (row, bytes) in values.chunks_exact(dimension).zip(bytes.as_slice_mut().chunks_exact_mut(stride)) {
            let Row { scale, rest, length } = encode(row, &mut bytes[..dimension]);
            scales.push(scale);
            rests.push(rest);
            lengths.push(length);
        }
        let meaning = Meaning { scale: scales.into(), rest: rests.into(), length: lengths.into() };
        Self { values: ScalarBuffer::new(bytes.into(), 0, count * stride), stride, meaning }
    }

    /// The codes of some rows, in this order.
    pub(crate) fn picked(&self, rows: &[u32]) -> Self {
        let mut bytes = Vec::with_capacity(rows.len() * self.stride);
        rows.iter().for_each(|&row| bytes.extend_from_slice(self.bytes(row as usize)));
        let pick = |list: &[f32]| rows.iter().map(|&row| list[row as usize]).collect::<Vec<f32>>().into();
        let Meaning { scale, rest, length } = &self.meaning;
        let meaning = Meaning { scale: pick(scale), rest: pick(rest), length: pick(length) };
        Self { values: bytes.into(), stride: self.stride, meaning }
    }

    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.meaning.scale.len()
    }

    /// A row's code.
    pub(crate) fn bytes(&self, row: usize) -> &[u8] {
        &self.values[row * self.stride..][..self.stride]
    }

    /// What a row's numbers mean.
    pub(super) fn row(&self, row: usize) -> Row {
        let Meaning { scale, rest, length } = &self.meaning;
        Row { scale: scale[row], rest: rest[row], length: length[row] }
    }
}

impl Question {
    pub(crate) fn of(vector: &[f32]) -> Self {
        let stride = stride(vector.len());
        let mut bytes = vec![ZERO; stride];
        let Row { scale, rest, .. } = encode(vector, &mut bytes[..vector.len()]);
        let values: Vec<i8> = bytes.iter().map(|byte| byte.wrapping_sub(ZERO) as i8).collect();
        let shift = i32::from(ZERO) * values.iter().map(|&value| i32::from(value)).sum::<i32>();
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        Self { dimension: vector.len(), values, shift, scale: scale.into(), rest: rest.into(), length }
    }

    /// The numbers of some questions, one after another, from where a register's line begins.
    pub(super) fn side_by_side<'a>(questions: impl Iterator<Item = &'a Self>, values: &mut MutableBuffer) {
        values.clear();
        questions.for_each(|question| values.extend_from_slice(&question.values));
    }

    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The upper bounds of some rows at once, in single precision, with twice the room for rounding; `share` says which
    /// share of the bounds' width counts.
    #[inline]
    pub(crate) fn highs(
        &self,
        codes: &Codes,
        rows: std::ops::Range<usize>,
        products: &[i32],
        share: f64,
        highs: &mut [f32],
    ) {
        let per_rest = (share * self.length * (1.0 + 2.0 * ROUNDING)) as f32;
        let per_length = (share * (self.rest + self.length * 2.0 * ROUNDING)) as f32;
        let Meaning { scale, rest, length } = &codes.meaning;
        let (scale, rest, length) = (&scale[rows.clone()], &rest[rows.clone()], &length[rows]);
        let rows = scale.iter().zip(rest).zip(length).zip(products).zip(highs);
        for ((((scale, rest), length), product), high) in rows {
            let product = (product - self.shift) as f32 * self.scale as f32 * scale;
            *high = product + rest * per_rest + length * per_length + TINY;
        }
    }

    /// Between what the exact product of a row lies, from that of the codes, if this share of the bounds' width counts.
    #[inline]
    pub(super) fn bounds(&self, row: Row, product: i32, share: f64) -> (f64, f64) {
        let product = f64::from(row.scale) * self.scale * f64::from(product - self.shift);
        let (rest, length) = (f64::from(row.rest), f64::from(row.length));
        let off = rest * self.length + length * self.rest + ROUNDING * (length + rest) * self.length;
        (product - share * off, product + share * off)
    }
}

/// Numbers that are coded side by side, which a compiler turns into whatever lanes there are.
const LANES: usize = 16;
/// Added to a number, it leaves no bits for what is behind the point: the number is rounded, and stands in the last byte.
const ROUNDER: f32 = 12_582_912.0;

/// Writes a vector's codes, and says what they mean.
///
/// Squares are summed in units of the scale, so that those of small numbers are not lost.
fn encode(vector: &[f32], bytes: &mut [u8]) -> Row {
    let scale = scale(vector);
    let inverse = scale.recip();
    let (blocks, rest) = vector.as_chunks::<LANES>();
    let (byte_blocks, byte_rest) = bytes.as_chunks_mut::<LANES>();
    let (mut offs, mut lengths) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    for (block, bytes) in blocks.iter().zip(byte_blocks) {
        for lane in 0..LANES {
            let (byte, code, off) = code(block[lane] * inverse);
            bytes[lane] = byte;
            offs[lane] += off * off;
            lengths[lane] += code * code;
        }
    }
    for (lane, (x, byte)) in rest.iter().zip(byte_rest).enumerate() {
        let (coded, code, off) = code(x * inverse);
        *byte = coded;
        offs[lane] += off * off;
        lengths[lane] += code * code;
    }
    let norm = |squares: [f32; LANES]| scale * squares.iter().sum::<f32>().sqrt();
    // The bounds want what is off rather too large than too small.
    Row { scale, rest: norm(offs) * 1.000_01, length: norm(lengths) * 1.000_01 }
}

/// The byte and the whole number of a number between -127 and 127, and how far that is off.
#[inline]
fn code(number: f32) -> (u8, f32, f32) {
    let rounded = number + ROUNDER;
    let code = rounded - ROUNDER;
    ((rounded.to_bits() as u8).wrapping_add(ZERO), code, number - code)
}

/// The number that a step of the codes stands for.
fn scale(vector: &[f32]) -> f32 {
    let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let scale = largest / LARGEST;
    // Numbers so small that they cannot be divided have codes of zeros, and are their own rest.
    if scale.is_normal() { scale } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::Dice;

    #[test]
    fn bounds_hold_for_all_kinds_of_numbers() {
        let mut dice = Dice(5);
        for case in 0..2000 {
            let dimension = 1 + dice.below(200) as usize;
            let size = [1.0, 1e-3, 1e6, 1e-30, 0.0][case % 5];
            let mut vector = || -> Vec<f32> {
                let spread = 1 + dice.below(4) as i32;
                (0..dimension).map(|_| dice.number().powi(spread) * size).collect()
            };
            let (x, q) = (vector(), vector());
            let codes = Codes::of(&x, dimension);
            let question = Question::of(&q);
            let product: i32 =
                codes.values.iter().zip(&question.values).map(|(&c, &d)| i32::from(c) * i32::from(d)).sum();
            let exact: f64 = x.iter().zip(&q).map(|(x, q)| f64::from(*x) * f64::from(*q)).sum();
            let (low, high) = question.bounds(codes.row(0), product, 1.0);
            assert!(low <= exact && exact <= high, "{case}: {exact} is not from {low} to {high}");
            let mut highs = [0.0];
            question.highs(&codes, 0..1, &[product], 1.0, &mut highs);
            assert!(f64::from(highs[0]) >= high, "{case}: {} is below {high}", highs[0]);
        }
    }

    #[test]
    fn products_hardly_ever_exceed_the_likely_share_of_the_bounds() {
        let mut dice = Dice(6);
        for dimension in [64, 384] {
            let mut vector = || (0..dimension).map(|_| dice.number()).collect::<Vec<f32>>();
            let rows: Vec<Vec<f32>> = (0..200).map(|_| vector()).collect();
            let codes = Codes::of(&rows.concat(), dimension);
            let mut outside = 0;
            for _ in 0..50 {
                let values = vector();
                let question = Question::of(&values);
                for (at, row) in rows.iter().enumerate() {
                    let bytes = codes.bytes(at).iter().zip(&question.values);
                    let product = bytes.map(|(&c, &d)| i32::from(c) * i32::from(d)).sum();
                    let exact: f64 = row.iter().zip(&values).map(|(x, q)| f64::from(*x) * f64::from(*q)).sum();
                    let (low, high) = question.bounds(codes.row(at), product, likely(dimension));
                    outside += usize::from(exact < low || exact > high);
                }
            }
            // Two thirds of a percent: the two parts of an error are independent, too, and the bounds add them up.
            assert!(outside < 10_000 / 150, "{outside} of 10,000 with {dimension} numbers");
        }
    }
}
