//! What the core can do at best: fused multiply-adds on registers alone.
#![expect(unsafe_code, reason = "vectors of one instruction set")]

use std::hint::black_box;
use std::time::Instant;

/// Independent sums: more than latency times units of any core, and no more than registers.
const CHAINS: usize = 12;
/// Some ten milliseconds: short enough for a try that nothing interrupts.
const STEPS: usize = 5_000_000;
/// The fastest of so many tries counts.
const TRIES: usize = 5;

/// In single precision.
pub fn gigaflops() -> f64 {
    let mut best: f64 = 0.0;
    for _ in 0..TRIES {
        let started = Instant::now();
        let lanes = chains();
        best = best.max((2 * lanes * CHAINS * STEPS) as f64 / started.elapsed().as_nanos() as f64);
    }
    best
}

/// Runs the loop with the machine's widest vectors; gives back their lanes.
#[cfg(target_arch = "x86_64")]
fn chains() -> usize {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the machine has AVX-512F.
        unsafe { x86::avx512() };
        return 16;
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the machine has AVX2 and FMA.
        unsafe { x86::avx2() };
        return 8;
    }
    scalar()
}

/// The same.
#[cfg(target_arch = "aarch64")]
fn chains() -> usize {
    // SAFETY: every machine of this kind that has an operating system has NEON.
    unsafe { neon() };
    4
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn chains() -> usize {
    scalar()
}

#[cfg(not(target_arch = "aarch64"))]
fn scalar() -> usize {
    let (x, y) = (black_box(1.000_000_1_f32), black_box(1e-9_f32));
    let mut sums = [0.0_f32; CHAINS];
    for _ in 0..STEPS {
        sums.iter_mut().for_each(|sum| *sum = sum.mul_add(x, y));
    }
    black_box(sums);
    1
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::{CHAINS, STEPS};

    #[target_feature(enable = "avx512f")]
    pub fn avx512() {
        let (x, y) = (black_box(_mm512_set1_ps(1.000_000_1)), black_box(_mm512_set1_ps(1e-9)));
        let mut sums = [_mm512_setzero_ps(); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn avx2() {
        let (x, y) = (black_box(_mm256_set1_ps(1.000_000_1)), black_box(_mm256_set1_ps(1e-9)));
        let mut sums = [_mm256_setzero_ps(); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, x, y);
            }
        }
        black_box(sums);
    }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon() {
    use std::arch::aarch64::*;

    let (x, y) = (black_box(vdupq_n_f32(1.000_000_1)), black_box(vdupq_n_f32(1e-9)));
    let mut sums = [vdupq_n_f32(0.0); CHAINS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = vfmaq_f32(*sum, x, y);
        }
    }
    black_box(sums);
}
