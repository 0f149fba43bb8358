//! Elementary functions over vectors.

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
        sum = sum.mul_add(x, V::splat(factor));
    }
    sum
}

/// e^x to about 1e-7 relative (the polynomial of Cephes' `expf`).
#[inline(always)]
pub(super) fn exp<V: Vector>(x: V) -> V {
    let x = V::splat(EXP_MAX).min(V::splat(EXP_MIN).max(x));
    let rounded = x.mul_add(V::splat(std::f32::consts::LOG2_E), V::splat(ROUND));
    let n = rounded.sub(V::splat(ROUND));
    let r = x.sub(n.mul(V::splat(LN2_HIGH))).sub(n.mul(V::splat(LN2_LOW)));
    let p = polynomial([1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1], r);
    let mantissa = p.mul_add(r.mul(r), r).add(V::splat(1.0));
    mantissa.mul(rounded.power(ROUND))
}

/// The error function in single precision, within 5e-7, without a branch.
/// Source: the rational approximation of Eigen's `generic_fast_erf_float`.
#[inline(always)]
fn erf<V: Vector>(x: V) -> V {
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

/// What follows a product, number by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    /// Nothing.
    Identity,
    /// x · Φ(x), by the error function.
    Gelu,
    /// Its approximation by tanh, which some models were trained with.
    TanhGelu,
    /// The positive part.
    Relu,
}

impl Map {
    #[inline(always)]
    pub(super) fn of<V: Vector>(self, x: V) -> V {
        match self {
            Map::Identity => x,
            Map::Gelu => gelu(x),
            Map::TanhGelu => tanh_gelu(x),
            Map::Relu => x.max(V::splat(0.0)),
        }
    }
}

#[inline(always)]
fn gelu<V: Vector>(x: V) -> V {
    let half = x.mul(V::splat(0.5));
    half.mul_add(erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2))), half)
}

/// x · (1 + tanh u) / 2 is x / (1 + e^-2u), with u = √(2/π) · (x + 0.044715 x³).
#[inline(always)]
fn tanh_gelu<V: Vector>(x: V) -> V {
    let factor = x.mul(x).mul_add(V::splat(0.044_715), V::splat(1.0));
    let u = x.mul(factor).mul(V::splat(-2.0 * 0.797_884_6));
    x.div(exp(u).add(V::splat(1.0)))
}

#[cfg(test)]
mod tests {
    use super::super::vector::{LANES, Plain};
    use super::*;

    fn one(of: impl Fn(Plain) -> Plain, x: f32) -> f64 {
        let mut lanes = [0.0; LANES];
        of(Plain::splat(x)).store(&mut lanes);
        f64::from(lanes[0])
    }

    #[test]
    fn exp_follows_double_precision() {
        for x in (-8_000..=8_000).map(|i| i as f32 * 1e-2) {
            let wide = f64::from(x).exp();
            assert!((one(exp, x) - wide).abs() / wide < 4e-7, "exp({x})");
        }
    }

    #[test]
    fn gelu_has_its_known_values() {
        for (x, expected) in [(0.0, 0.0), (1.0, 0.841_344_746), (-1.0, -0.158_655_254), (2.0, 1.954_499_736)] {
            assert!((one(gelu, x) - expected).abs() < 1e-6, "gelu({x})");
        }
        for (x, expected) in [(1.0, 0.841_191_990), (-1.0, -0.158_808_010), (3.0, 2.996_362_686)] {
            assert!((one(tanh_gelu, x) - expected).abs() < 1e-6, "tanh_gelu({x})");
        }
        assert!((one(gelu, -30.0).abs() < 1e-5) && (one(gelu, 30.0) - 30.0).abs() < 1e-5);
        assert!((one(tanh_gelu, -30.0).abs() < 1e-5) && (one(tanh_gelu, 30.0) - 30.0).abs() < 1e-5);
    }
}
