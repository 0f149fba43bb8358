//! Vectors in 8-bit numbers, with how far each is off: a scan that reads a quarter of the bytes and is exact all the same.
//!
//! ```text
//!   x = s·c + r,  q = t·d + e        c, d whole numbers from -127 to 127
//!   |x·q - s·t·c·d| ≤ |r|·|q| + |s·c|·|e|
//! ```
//!
//! So each row's product is known between two bounds. The rows whose upper bound reaches the k-th best lower bound hold
//! the k best; only these are compared in full.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no kernel reads codes there yet"))]

/// Vectors in 8-bit numbers.
pub(crate) struct Codes {
    /// c + 128, row after row.
    pub(super) values: Vec<u8>,
    /// Bytes of a row, filled up with zeros' codes.
    pub(super) stride: usize,
    /// What the numbers of each row mean, a list for each field of [`Row`].
    scale: Vec<f32>,
    rest: Vec<f32>,
    length: Vec<f32>,
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
pub(super) struct Question {
    /// d
    pub(super) values: Vec<i8>,
    /// 128 · Σ d, which the codes add to every product.
    shift: i32,
    /// t
    scale: f64,
    /// |e|
    rest: f64,
    /// |q|
    length: f64,
}

const LARGEST: f32 = 127.0;
const ZERO: u8 = 128;
/// What products of numbers that are hardly any may lose in single precision.
const TINY: f32 = 4.0 * f32::MIN_POSITIVE;
/// What rounding in the bounds themselves may come to, in parts of |x|·|q|.
const ROUNDING: f64 = 1e-5;

impl Codes {
    /// The codes of all rows, each of `width` bytes times a whole number.
    pub(crate) fn of(values: &[f32], dimension: usize, width: usize) -> Self {
        let (count, stride) = (values.len() / dimension, dimension.next_multiple_of(width));
        let list = || Vec::with_capacity(count);
        let mut codes =
            Self { values: vec![ZERO; count * stride], stride, scale: list(), rest: list(), length: list() };
        for (row, bytes) in values.chunks_exact(dimension).zip(codes.values.chunks_exact_mut(stride)) {
            let Row { scale, rest, length } = encode(row, &mut bytes[..dimension]);
            codes.scale.push(scale);
            codes.rest.push(rest);
            codes.length.push(length);
        }
        codes
    }

    /// What a row's numbers mean.
    pub(super) fn row(&self, row: usize) -> Row {
        Row { scale: self.scale[row], rest: self.rest[row], length: self.length[row] }
    }
}

impl Question {
    pub(super) fn of(vector: &[f32], stride: usize) -> Self {
        let mut bytes = vec![ZERO; stride];
        let Row { scale, rest, .. } = encode(vector, &mut bytes[..vector.len()]);
        let values: Vec<i8> = bytes.iter().map(|byte| byte.wrapping_sub(ZERO) as i8).collect();
        let shift = i32::from(ZERO) * values.iter().map(|&value| i32::from(value)).sum::<i32>();
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        Self { values, shift, scale: scale.into(), rest: rest.into(), length }
    }

    /// The upper bounds of some rows at once, in single precision, with twice the room for rounding.
    pub(super) fn highs(&self, codes: &Codes, rows: std::ops::Range<usize>, products: &[i32], highs: &mut [f32]) {
        let per_rest = (self.length * (1.0 + 2.0 * ROUNDING)) as f32;
        let per_length = (self.rest + self.length * 2.0 * ROUNDING) as f32;
        let (scale, rest, length) = (&codes.scale[rows.clone()], &codes.rest[rows.clone()], &codes.length[rows]);
        let rows = scale.iter().zip(rest).zip(length).zip(products).zip(highs);
        for ((((scale, rest), length), product), high) in rows {
            let product = (product - self.shift) as f32 * self.scale as f32 * scale;
            *high = product + rest * per_rest + length * per_length + TINY;
        }
    }

    /// Between what the exact product of a row lies, from that of the codes.
    #[inline]
    pub(super) fn bounds(&self, row: Row, product: i32) -> (f64, f64) {
        let product = f64::from(row.scale) * self.scale * f64::from(product - self.shift);
        let (rest, length) = (f64::from(row.rest), f64::from(row.length));
        let off = rest * self.length + length * self.rest + ROUNDING * (length + rest) * self.length;
        (product - off, product + off)
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
            let codes = Codes::of(&x, dimension, 64);
            let question = Question::of(&q, codes.stride);
            let product: i32 =
                codes.values.iter().zip(&question.values).map(|(&c, &d)| i32::from(c) * i32::from(d)).sum();
            let exact: f64 = x.iter().zip(&q).map(|(x, q)| f64::from(*x) * f64::from(*q)).sum();
            let (low, high) = question.bounds(codes.row(0), product);
            assert!(low <= exact && exact <= high, "{case}: {exact} is not from {low} to {high}");
            let mut highs = [0.0];
            question.highs(&codes, 0..1, &[product], &mut highs);
            assert!(f64::from(highs[0]) >= high, "{case}: {} is below {high}", highs[0]);
        }
    }
}
