//! Elementary functions in single precision, the same bits on every instruction set.
//!
//! They use no fused multiply-add and no branch, so a compiler may vectorise a loop over them at any width and each
//! lane still gets the same bits as the value would alone. NaN stays NaN.

/// 1.5 · 2^23: adding it rounds to a whole number, which is then found in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first short enough that a whole number below 2^8 times it is exact (Cephes).
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// e^x stays a normal number within these bounds; beyond them the bound's value is returned.
const EXP_MIN: f32 = -87.0;
const EXP_MAX: f32 = 88.0;

#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// e^x to about 1e-7 relative (the polynomial of Cephes' `expf`).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = clamp(x, EXP_MIN, EXP_MAX);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let mantissa = p * (r * r) + r + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    mantissa * f32::from_bits(exponent)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent: a polynomial near zero, where the quotient would cancel (both from Cephes' `tanhf`).
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let z = x * x;
    let mut p = -5.704_988_7e-3_f32;
    p = p * z + 2.063_909e-2;
    p = p * z - 5.373_971_6e-2;
    p = p * z + 1.333_144_2e-1;
    p = p * z - 3.333_328e-1;
    let near = p * z * x + x;
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

/// x · Φ(x), with the error function of Abramowitz and Stegun 7.1.26 (1.5e-7 absolute).
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4_f32;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_7;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    let erf = (1.0 - p * t * exp(-z * z)).copysign(x);
    0.5 * x * (1.0 + erf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep() -> impl Iterator<Item = f32> {
        (-60_000..=60_000).map(|i| i as f32 * 1e-3)
    }

    #[test]
    fn exp_sigmoid_and_tanh_follow_double_precision() {
        for x in sweep() {
            let wide = f64::from(x);
            let relative = (f64::from(exp(x)) - wide.exp()).abs() / wide.exp();
            assert!(relative < 3e-7, "exp({x}) is off by {relative}");
            let sigma = 1.0 / (1.0 + (-wide).exp());
            assert!((f64::from(sigmoid(x)) - sigma).abs() < 2e-7, "sigmoid({x})");
            assert!((f64::from(tanh(x)) - wide.tanh()).abs() < 2e-7, "tanh({x})");
        }
    }

    #[test]
    fn gelu_has_its_known_values() {
        for (x, expected) in [(0.0, 0.0), (1.0, 0.841_344_7), (-1.0, -0.158_655_3), (2.0, 1.954_499_7)] {
            assert!((gelu(x) - expected).abs() < 5e-7, "gelu({x}) = {}", gelu(x));
        }
    }

    #[test]
    fn extremes_saturate_and_nan_stays() {
        assert_eq!((sigmoid(f32::INFINITY), sigmoid(1e30)), (1.0, 1.0));
        assert!(sigmoid(-1e30) < 1e-37 && sigmoid(f32::NEG_INFINITY) >= 0.0);
        assert_eq!((tanh(1e30), tanh(-1e30)), (1.0, -1.0));
        assert!(exp(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert!(gelu(f32::NAN).is_nan());
    }
}
