//! Numbers of a row that are taken together: probabilities, normalised groups, sums and extremes.

use std::sync::Arc;

use super::math::exp;
use super::vector::Vector;

/// Each group of `width` neighbours becomes probabilities.
#[derive(Clone, Debug)]
pub(crate) struct Softmax {
    pub groups: usize,
    pub width: usize,
}

impl Softmax {
    pub(super) fn numbers(&self) -> usize {
        self.groups * self.width
    }

    #[inline(always)]
    pub(super) fn run<V: Vector>(&self, from: usize, to: usize, arena: &mut [f32]) {
        for group in 0..self.groups {
            let (from, to) = (from + group * self.width, to + group * self.width);
            let mut max = V::splat(f32::NEG_INFINITY);
            for at in 0..self.width {
                max = V::load(arena, (from + at) * V::LANES).max(max);
            }
            let mut sum = V::splat(0.0);
            for at in 0..self.width {
                let power = exp(V::load(arena, (from + at) * V::LANES).sub(max));
                power.store(arena, (to + at) * V::LANES);
                sum = sum.add(power);
            }
            for at in 0..self.width {
                V::load(arena, (to + at) * V::LANES).div(sum).store(arena, (to + at) * V::LANES);
            }
        }
    }
}

/// Each group of neighbours is brought to mean 0 and variance 1, then scaled and shifted.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    pub groups: usize,
    pub epsilon: f32,
    /// As many as a group has.
    pub scale: Arc<[f32]>,
    pub bias: Arc<[f32]>,
}

/// Sums that are added up side by side: one alone would wait for itself, and lose more digits.
const PARTS: usize = 4;

impl LayerNorm {
    pub(super) fn numbers(&self) -> usize {
        self.groups * self.scale.len()
    }

    #[inline(always)]
    pub(super) fn run<V: Vector>(&self, from: usize, to: usize, arena: &mut [f32]) {
        let width = self.scale.len();
        let count = V::splat(width as f32);
        for group in 0..self.groups {
            let (from, to) = (from + group * width, to + group * width);
            let mut sums = [V::splat(0.0); PARTS];
            for at in 0..width {
                sums[at % PARTS] = sums[at % PARTS].add(V::load(arena, (from + at) * V::LANES));
            }
            let mean = total(sums).div(count);
            let mut squares = [V::splat(0.0); PARTS];
            for at in 0..width {
                let x = V::load(arena, (from + at) * V::LANES).sub(mean);
                squares[at % PARTS] = squares[at % PARTS].add(x.mul(x));
            }
            let variance = total(squares).div(count).add(V::splat(self.epsilon));
            let by = V::splat(1.0).div(variance.sqrt());
            for (at, (&scale, &bias)) in self.scale.iter().zip(&*self.bias).enumerate() {
                let x = V::load(arena, (from + at) * V::LANES).sub(mean).mul(by);
                x.mul(V::splat(scale)).add(V::splat(bias)).store(arena, (to + at) * V::LANES);
            }
        }
    }
}

#[inline(always)]
fn total<V: Vector>(sums: [V; PARTS]) -> V {
    sums[0].add(sums[1]).add(sums[2].add(sums[3]))
}

/// What becomes of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    Sum,
    Mean,
    SumSquare,
    Max,
    Min,
}

/// One number per group.
#[derive(Clone, Debug)]
pub(crate) struct Reduce {
    pub kind: Reduction,
    /// The elements of each group, one group after the other.
    pub members: Arc<[u32]>,
    /// Elements of a group.
    pub size: usize,
}

impl Reduce {
    pub(super) fn numbers(&self) -> usize {
        self.members.len()
    }

    #[inline(always)]
    pub(super) fn run<V: Vector>(&self, from: usize, to: usize, arena: &mut [f32]) {
        for (group, members) in self.members.chunks_exact(self.size).enumerate() {
            let reduced = match self.kind {
                Reduction::Max | Reduction::Min => self.extreme::<V>(members, from, arena),
                _ => self.sum::<V>(members, from, arena),
            };
            reduced.store(arena, (to + group) * V::LANES);
        }
    }

    #[inline(always)]
    fn extreme<V: Vector>(&self, members: &[u32], from: usize, arena: &[f32]) -> V {
        let largest = self.kind == Reduction::Max;
        let mut found = V::splat(if largest { f32::NEG_INFINITY } else { f32::INFINITY });
        for &at in members {
            let x = V::load(arena, (from + at as usize) * V::LANES);
            found = if largest { found.max(x) } else { found.min(x) };
        }
        found
    }

    #[inline(always)]
    fn sum<V: Vector>(&self, members: &[u32], from: usize, arena: &[f32]) -> V {
        let mut sums = [V::splat(0.0); PARTS];
        for (at, &member) in members.iter().enumerate() {
            let x = V::load(arena, (from + member as usize) * V::LANES);
            let x = if self.kind == Reduction::SumSquare { x.mul(x) } else { x };
            sums[at % PARTS] = sums[at % PARTS].add(x);
        }
        match self.kind {
            Reduction::Mean => total(sums).div(V::splat(self.size as f32)),
            _ => total(sums),
        }
    }
}
