//! The two precisions behind one name.

use std::ops::{Add, Div};

/// `f32` or `f64`.
pub(super) trait Number:
    Copy + Default + PartialOrd + Into<f64> + Add<Output = Self> + Div<Output = Self>
{
    /// Rounds where it must; all numbers of a single-precision forest are exact in `f32`.
    fn of(x: f64) -> Self;
}

impl Number for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
}

impl Number for f64 {
    fn of(x: f64) -> Self {
        x
    }
}
