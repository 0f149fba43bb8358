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
}
