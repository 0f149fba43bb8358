//! Functions of two numbers: arithmetic, comparisons, logic.

use super::super::number::Real;

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pair {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    And,
    Or,
    Xor,
}

impl Pair {
    pub(super) fn read(op: &str) -> Option<Self> {
        Some(match op {
            "Add" | "Sum" => Pair::Add,
            "Sub" => Pair::Sub,
            "Mul" => Pair::Mul,
            "Div" => Pair::Div,
            "Pow" => Pair::Pow,
            "Min" => Pair::Min,
            "Max" => Pair::Max,
            "Less" => Pair::Less,
            "LessOrEqual" => Pair::LessOrEqual,
            "Greater" => Pair::Greater,
            "GreaterOrEqual" => Pair::GreaterOrEqual,
            "Equal" => Pair::Equal,
            "And" => Pair::And,
            "Or" => Pair::Or,
            "Xor" => Pair::Xor,
            _ => return None,
        })
    }

    pub(super) fn is_test(self) -> bool {
        !matches!(self, Pair::Add | Pair::Sub | Pair::Mul | Pair::Div | Pair::Pow | Pair::Min | Pair::Max)
    }

    #[inline(always)]
    pub(super) fn number<R: Real>(self, a: R, b: R) -> R {
        match self {
            Pair::Add => a + b,
            Pair::Sub => a - b,
            Pair::Mul => a * b,
            Pair::Div => a / b,
            Pair::Pow => power(a, b),
            Pair::Min => first_if(a, b, a < b),
            _ => first_if(a, b, a > b),
        }
    }

    #[inline(always)]
    pub(super) fn test<T: PartialOrd>(self, a: T, b: T) -> i64 {
        i64::from(match self {
            Pair::Less => a < b,
            Pair::LessOrEqual => a <= b,
            Pair::Greater => a > b,
            Pair::GreaterOrEqual => a >= b,
            _ => a == b,
        })
    }

    /// None where integers are not computed with that.
    pub(super) fn int(self) -> Option<fn(i64, i64) -> i64> {
        Some(match self {
            Pair::Add => i64::wrapping_add,
            Pair::Sub => i64::wrapping_sub,
            Pair::Mul => i64::wrapping_mul,
            Pair::Min => i64::min,
            Pair::Max => i64::max,
            Pair::And => |a, b| a & b,
            Pair::Or => |a, b| a | b,
            Pair::Xor => |a, b| a ^ b,
            Pair::Less => |a, b| i64::from(a < b),
            Pair::LessOrEqual => |a, b| i64::from(a <= b),
            Pair::Greater => |a, b| i64::from(a > b),
            Pair::GreaterOrEqual => |a, b| i64::from(a >= b),
            Pair::Equal => |a, b| i64::from(a == b),
            Pair::Div | Pair::Pow => return None,
        })
    }
}

/// The first number where it wins or is NaN: NaN on either side is the answer.
#[inline(always)]
fn first_if<R: Real>(a: R, b: R, wins: bool) -> R {
    if wins || a.is_nan() { a } else { b }
}

/// A square is a product, as it is in ONNX Runtime.
fn power<R: Real>(a: R, b: R) -> R {
    if b == R::from_f64(2.0) { a * a } else { a.powf(b) }
}
