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
    pub(super) rows: Vec<Row>,
}

/// What a row's numbers mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// s
    pub(super) scale: f32,
    /// |r|
    pub(super) rest: f32,
    /// |s·c|
    pub(super) length: f32,
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
/// What rounding in the bounds themselves may come to, in parts of |x|·|q|.
const ROUNDING: f64 = 1e-5;

impl Codes {
    /// The codes of all rows, each of `width` bytes times a whole number.
    pub(crate) fn of(values: &[f32], dimension: usize, width: usize) -> Self {
        let (count, stride) = (values.len() / dimension, dimension.next_multiple_of(width));
        let mut codes = Self { values: vec![ZERO; count * stride], stride, rows: Vec::with_capacity(count) };
        for (row, bytes) in values.chunks_exact(dimension).zip(codes.values.chunks_exact_mut(stride)) {
            let scale = scale(row);
            let (mut rest, mut length) = (0.0, 0.0);
            for (&x, byte) in row.iter().zip(bytes) {
                let code = code(x, scale);
                *byte = (code + f32::from(ZERO)) as u8;
                rest += f64::from(x - code * scale).powi(2);
                length += f64::from(code * scale).powi(2);
            }
            codes.rows.push(Row { scale, rest: rest.sqrt() as f32, length: length.sqrt() as f32 });
        }
        codes
    }
}

impl Question {
    pub(super) fn of(vector: &[f32], stride: usize) -> Self {
        let scale = scale(vector);
        let mut values = vec![0_i8; stride];
        let (mut rest, mut length) = (0.0, 0.0);
        for (&x, value) in vector.iter().zip(&mut values) {
            let code = code(x, scale);
            *value = code as i8;
            rest += f64::from(x - code * scale).powi(2);
            length += f64::from(x).powi(2);
        }
        let shift = i32::from(ZERO) * values.iter().map(|&value| i32::from(value)).sum::<i32>();
        Self { values, shift, scale: scale.into(), rest: rest.sqrt(), length: length.sqrt() }
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

/// The number that a step of the codes stands for.
fn scale(vector: &[f32]) -> f32 {
    let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let scale = largest / LARGEST;
    // A vector of numbers so small that they cannot be divided has codes of zeros, and is its own rest.
    if scale.is_normal() { scale } else { 1.0 }
}

fn code(x: f32, scale: f32) -> f32 {
    (x / scale).round().clamp(-LARGEST, LARGEST)
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
            let (low, high) = question.bounds(codes.rows[0], product);
            assert!(low <= exact && exact <= high, "{case}: {exact} is not from {low} to {high}");
        }
    }
}
