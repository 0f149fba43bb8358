//! The two precisions, so that each operation is written once.

use std::borrow::Cow;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::super::program::Column;
use super::super::tensor::{Data, Tensor};

/// A floating-point number of either width.
pub(super) trait Real:
    Copy
    + PartialOrd
    + std::fmt::Debug
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn tanh(self) -> Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    fn powf(self, by: Self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn is_nan(self) -> bool;
    fn values<'c>(column: &'c Column<'_>) -> &'c [Self];
    fn column(values: Vec<Self>) -> Column<'static>;
    fn constant(tensor: &Tensor) -> Option<&[Self]>;
}

macro_rules! real {
    ($float:ty, $variant:ident, $values:ident) => {
        impl Real for $float {
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $float
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                <$float>::exp(self)
            }
            fn ln(self) -> Self {
                <$float>::ln(self)
            }
            fn tanh(self) -> Self {
                <$float>::tanh(self)
            }
            fn sqrt(self) -> Self {
                <$float>::sqrt(self)
            }
            fn abs(self) -> Self {
                <$float>::abs(self)
            }
            fn powf(self, by: Self) -> Self {
                <$float>::powf(self, by)
            }
            fn floor(self) -> Self {
                <$float>::floor(self)
            }
            fn ceil(self) -> Self {
                <$float>::ceil(self)
            }
            fn is_nan(self) -> bool {
                <$float>::is_nan(self)
            }
            fn values<'c>(column: &'c Column<'_>) -> &'c [Self] {
                column.$values()
            }
            fn column(values: Vec<Self>) -> Column<'static> {
                Column::$variant(Cow::Owned(values))
            }
            fn constant(tensor: &Tensor) -> Option<&[Self]> {
                if let Data::$variant(values) = &tensor.data { Some(values) } else { None }
            }
        }
    };
}

real!(f32, F32, f32);
real!(f64, F64, f64);

/// 0 as a number of this type.
pub(super) fn zero<R: Real>() -> R {
    R::from_f64(0.0)
}

/// 1 as a number of this type.
pub(super) fn one<R: Real>() -> R {
    R::from_f64(1.0)
}
