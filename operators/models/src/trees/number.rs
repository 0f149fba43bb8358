//! The two precisions behind one name.

use std::ops::{Add, Div};

/// `f32` or `f64`.
pub(super) trait Number:
    Copy + Default + PartialOrd + Into<f64> + Add<Output = Self> + Div<Output = Self>
{
    /// Rounds where it must; all numbers of a single-precision forest are exact in `f32`.
    fn of(x: f64) -> Self;

    /// The least number above this one: `x <= t` is `x < t.above()`.
    fn above(self) -> Self;

    /// These numbers where they are `f32`, for what only those have a fast way for.
    fn singles(numbers: &[Self]) -> Option<&[f32]>;

    /// The same, to be written.
    fn singles_mut(numbers: &mut [Self]) -> Option<&mut [f32]>;

    /// What a leaf's node holds: the number's bits where they fit, else its place among `leaves`.
    fn keep(self, leaves: &mut Vec<Self>) -> u32;

    /// The number of a leaf whose node holds this.
    fn kept(word: u32, leaves: &[Self]) -> Self;
}

impl Number for f32 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }

    fn above(self) -> Self {
        self.next_up()
    }

    #[inline(always)]
    fn singles(numbers: &[Self]) -> Option<&[f32]> {
        Some(numbers)
    }

    #[inline(always)]
    fn singles_mut(numbers: &mut [Self]) -> Option<&mut [f32]> {
        Some(numbers)
    }

    fn keep(self, _: &mut Vec<Self>) -> u32 {
        self.to_bits()
    }

    #[inline(always)]
    fn kept(word: u32, _: &[Self]) -> Self {
        Self::from_bits(word)
    }
}

impl Number for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    fn above(self) -> Self {
        self.next_up()
    }

    #[inline(always)]
    fn singles(_: &[Self]) -> Option<&[f32]> {
        None
    }

    #[inline(always)]
    fn singles_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    fn keep(self, leaves: &mut Vec<Self>) -> u32 {
        leaves.push(self);
        (leaves.len() - 1) as u32
    }

    #[inline(always)]
    fn kept(word: u32, leaves: &[Self]) -> Self {
        leaves[word as usize]
    }
}
