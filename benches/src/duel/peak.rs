//! What the core can do at best: fused multiply-adds on registers alone.
#![expect(unsafe_code, reason = "a loop compiled for the machine's vectors")]

use std::hint::black_box;

use crate::parts::thread_nanos;

/// Independent sums: more than latency times units of any core.
const CHAINS: usize = 24;
const STEPS: usize = 2_000_000;

/// The most of a few tries, in single precision.
pub fn gigaflops() -> anyhow::Result<f64> {
    let mut best: f64 = 0.0;
    for _ in 0..3 {
        let started = thread_nanos()?;
        let lanes = chains();
        let spent = (thread_nanos()? - started) as f64;
        best = best.max((2 * lanes * CHAINS * STEPS) as f64 / spent);
    }
    Ok(best)
}

/// Runs the loop; gives back the lanes of a register.
fn chains() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the machine has AVX-512F.
            unsafe { wide::<16>() };
            return 16;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the machine has AVX2 and FMA.
            unsafe { narrow::<8>() };
            return 8;
        }
    }
    multiply_add::<4>();
    4
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn wide<const LANES: usize>() {
    multiply_add::<LANES>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn narrow<const LANES: usize>() {
    multiply_add::<LANES>();
}

#[inline(always)]
fn multiply_add<const LANES: usize>() {
    let (x, y) = (black_box([1.000_000_1_f32; LANES]), black_box([1e-9_f32; LANES]));
    let mut sums = [[0.0_f32; LANES]; CHAINS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            for lane in 0..LANES {
                sum[lane] = sum[lane].mul_add(x[lane], y[lane]);
            }
        }
    }
    black_box(sums);
}
