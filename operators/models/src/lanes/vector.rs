//! Sixteen numbers side by side, whatever registers hold them, and a single one.
//!
//! Everything is inlined into the one entry of each instruction set, which is where its registers are known.

/// Numbers that go through the same arithmetic together.
///
/// Apart from `mul_add` each operation rounds once, so all instruction sets give the same bits.
pub(super) trait Vector: Copy {
    /// How many numbers.
    const LANES: usize;
    /// Whether there are registers for sixteen sums at once.
    const MANY: bool;

    fn load(from: &[f32], at: usize) -> Self;
    fn store(self, to: &mut [f32], at: usize);
    fn splat(x: f32) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * by + plus`, rounded once where the instruction set can.
    fn mul_add(self, by: Self, plus: Self) -> Self;
    /// `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// `other` where either is NaN.
    fn min(self, other: Self) -> Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    fn copysign(self, sign: Self) -> Self;
    /// `then` where `self < than`, else `or`.
    fn less(self, than: Self, then: Self, or: Self) -> Self;
    /// 2 to the power of the whole number in the low bits of `self`, counted from those of `zero`.
    fn power(self, zero: f32) -> Self;
    /// Sixteen rows that lie `stride` apart from `from` on, as sixteen vectors one after the other at `to`.
    fn turn(rows: &[f32], from: usize, stride: usize, arena: &mut [f32], to: usize);
}

/// Lanes of every vector but the single number.
pub(super) const WIDE: usize = 16;

/// 2^n for the whole number n that `x` holds in its low bits.
#[inline(always)]
fn power_of_two(x: f32, zero: f32) -> f32 {
    f32::from_bits(x.to_bits().wrapping_sub(zero.to_bits()).wrapping_add(127) << 23)
}

#[inline(always)]
fn second_unless(a: f32, b: f32, wins: bool) -> f32 {
    if wins { a } else { b }
}

/// One row alone. Its sums of products run through a wide vector, which holds several of them.
impl Vector for f32 {
    const LANES: usize = 1;
    const MANY: bool = true;

    #[inline(always)]
    fn load(from: &[f32], at: usize) -> Self {
        from[at]
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], at: usize) {
        to[at] = self;
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        x
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self / other
    }
    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        self * by + plus
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        second_unless(self, other, self > other)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        second_unless(self, other, self < other)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        f32::copysign(self, sign)
    }
    #[inline(always)]
    fn less(self, than: Self, then: Self, or: Self) -> Self {
        if self < than { then } else { or }
    }
    #[inline(always)]
    fn power(self, zero: f32) -> Self {
        power_of_two(self, zero)
    }
    #[inline(always)]
    fn turn(rows: &[f32], from: usize, _: usize, arena: &mut [f32], to: usize) {
        arena[to..to + WIDE].copy_from_slice(&rows[from..from + WIDE]);
    }
}

/// Sixteen numbers without registers of their own: for any machine.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; WIDE]);

impl Plain {
    #[inline(always)]
    fn each(self, of: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(of))
    }

    #[inline(always)]
    fn both(self, other: Self, of: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|at| of(self.0[at], other.0[at])))
    }
}

impl Vector for Plain {
    const LANES: usize = WIDE;
    const MANY: bool = false;

    #[inline(always)]
    fn load(from: &[f32], at: usize) -> Self {
        let mut lanes = [0.0; WIDE];
        lanes.copy_from_slice(&from[at..at + WIDE]);
        Self(lanes)
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], at: usize) {
        to[at..at + WIDE].copy_from_slice(&self.0);
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; WIDE])
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.both(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.both(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.both(other, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.both(other, |a, b| a / b)
    }
    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        Self(std::array::from_fn(|at| multiply_add(self.0[at], by.0[at], plus.0[at])))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.both(other, Vector::max)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.both(other, Vector::min)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.each(f32::sqrt)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.each(f32::abs)
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        self.both(sign, f32::copysign)
    }
    #[inline(always)]
    fn less(self, than: Self, then: Self, or: Self) -> Self {
        Self(std::array::from_fn(|at| if self.0[at] < than.0[at] { then.0[at] } else { or.0[at] }))
    }
    #[inline(always)]
    fn power(self, zero: f32) -> Self {
        self.each(|x| power_of_two(x, zero))
    }
    #[inline(always)]
    fn turn(rows: &[f32], from: usize, stride: usize, arena: &mut [f32], to: usize) {
        for lane in 0..WIDE {
            for (at, &x) in rows[from + lane * stride..][..WIDE].iter().enumerate() {
                arena[to + at * WIDE + lane] = x;
            }
        }
    }
}

/// Fused where that is one instruction; in software it would be fifty times slower.
#[inline(always)]
fn multiply_add(x: f32, by: f32, plus: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { x.mul_add(by, plus) } else { x * by + plus }
}
