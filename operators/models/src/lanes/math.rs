//! Elementary functions over vectors: the formulas of [`math`](crate::math), the same bits.

use super::vector::Vector;

/// 1.5 · 2^23: adding it rounds to a whole number, which is then found in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first short enough that a whole number below 2^8 times it is exact (Cephes).
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// e^x stays a normal number within these bounds; beyond them the bound's value is returned.
const EXP_MIN: f32 = -87.0;
const EXP_MAX: f32 = 88.0;

/// The polynomial of these factors, the highest power first.
#[inline(always)]
fn polynomial<V: Vector, const N: usize>(factors: [f32; N], x: V) -> V {
    let mut sum = V::splat(factors[0]);
    for &factor in &factors[1..] {
        sum = sum.mul(x).add(V::splat(factor));
    }
    sum
}

/// e^x to about 1e-7 relative.
#[inline(always)]
pub(super) fn exp<V: Vector>(x: V) -> V {
    let x = V::splat(EXP_MAX).min(V::splat(EXP_MIN).max(x));
    let rounded = x.mul(V::splat(std::f32::consts::LOG2_E)).add(V::splat(ROUND));
    let n = rounded.sub(V::splat(ROUND));
    let r = x.sub(n.mul(V::splat(LN2_HIGH))).sub(n.mul(V::splat(LN2_LOW)));
    let p = polynomial([1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1], r);
    let mantissa = p.mul(r.mul(r)).add(r).add(V::splat(1.0));
    mantissa.mul(rounded.power(ROUND))
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(super) fn sigmoid<V: Vector>(x: V) -> V {
    let one = V::splat(1.0);
    one.div(one.add(exp(V::splat(-0.0).sub(x))))
}

/// Hyperbolic tangent: a polynomial near zero, where the quotient would cancel.
#[inline(always)]
pub(super) fn tanh<V: Vector>(x: V) -> V {
    let (one, two) = (V::splat(1.0), V::splat(2.0));
    let z = x.mul(x);
    let p = polynomial([-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1], z);
    let near = p.mul(z).mul(x).add(x);
    let far = one.sub(two.div(exp(two.mul(x.abs())).add(one))).copysign(x);
    x.abs().less(V::splat(0.625), near, far)
}

/// The error function in single precision, within 5e-7, without a branch.
/// Source: the rational approximation of Eigen's `generic_fast_erf_float`.
#[inline(always)]
pub(super) fn erf<V: Vector>(x: V) -> V {
    // Beyond 4 it is 1 in single precision.
    let x = V::splat(4.0).min(V::splat(-4.0).max(x));
    let z = x.mul(x);
    let above = polynomial(
        [-2.726_142_3e-10, 2.770_681_4e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906e-4, -2.954_6e-3, -1.609_603_3e-2],
        z,
    );
    let below = polynomial([-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2], z);
    x.mul(above).div(below)
}

#[inline(always)]
fn hard_sigmoid<V: Vector>(x: V, alpha: f32, beta: f32) -> V {
    V::splat(1.0).min(V::splat(0.0).max(V::splat(alpha).mul(x).add(V::splat(beta))))
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Map {
    Identity,
    Relu,
    Sigmoid,
    Tanh,
    Erf,
    /// x · Φ(x), with the same error function.
    Gelu,
    Neg,
    Abs,
    Sqrt,
    Reciprocal,
    Square,
    Softsign,
    LeakyRelu(f32),
    Elu(f32),
    Selu(f32, f32),
    HardSigmoid(f32, f32),
    HardSwish,
    Clip(f32, f32),
}

impl Map {
    #[inline(always)]
    pub(super) fn of<V: Vector>(self, x: V) -> V {
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        match self {
            Map::Identity => x,
            Map::Relu => zero.max(x),
            Map::Sigmoid => sigmoid(x),
            Map::Tanh => tanh(x),
            Map::Erf => erf(x),
            Map::Gelu => x.mul(erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2))).add(one)).mul(V::splat(0.5)),
            Map::Neg => V::splat(-0.0).sub(x),
            Map::Abs => x.abs(),
            Map::Sqrt => x.sqrt(),
            Map::Reciprocal => one.div(x),
            Map::Square => x.mul(x),
            Map::Softsign => x.div(one.add(x.abs())),
            Map::LeakyRelu(alpha) => x.less(zero, x.mul(V::splat(alpha)), x),
            Map::Elu(alpha) => x.less(zero, exp(x).sub(one).mul(V::splat(alpha)), x),
            Map::Selu(alpha, gamma) => {
                let above = V::splat(gamma).mul(x);
                zero.less(x, above, V::splat(gamma).mul(V::splat(alpha).mul(exp(x).sub(one))))
            }
            Map::HardSigmoid(alpha, beta) => hard_sigmoid(x, alpha, beta),
            Map::HardSwish => x.mul(hard_sigmoid(x, 1.0 / 6.0, 0.5)),
            Map::Clip(low, high) => V::splat(high).min(V::splat(low).max(x)),
        }
    }

    /// About how many instructions it takes.
    pub(super) fn cost(self) -> usize {
        match self {
            Map::Sigmoid | Map::Elu(_) | Map::Selu(..) | Map::Erf | Map::Gelu => 25,
            Map::Tanh => 40,
            _ => 3,
        }
    }
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    Add,
    Sub,
    Mul,
    Div,
}

impl Join {
    #[inline(always)]
    pub(super) fn of<V: Vector>(self, a: V, b: V) -> V {
        match self {
            Join::Add => a.add(b),
            Join::Sub => a.sub(b),
            Join::Mul => a.mul(b),
            Join::Div => a.div(b),
        }
    }
}
