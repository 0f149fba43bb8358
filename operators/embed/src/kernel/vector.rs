//! Sixteen numbers side by side, whatever registers hold them.
//!
//! Everything is inlined into the one entry of each instruction set, which is where its registers are known.

/// Lanes of every vector.
pub(crate) const LANES: usize = 16;

/// Numbers that go through the same arithmetic together.
///
/// Apart from `mul_add` each operation rounds once, and sums over lanes have one order: the instruction sets that
/// have a fused `mul_add` give the same bits.
pub(super) trait Vector: Copy {
    /// Rows of a tile whose sums stay in registers.
    const ROWS: usize;
    /// Vectors of a panel's width: with `ROWS` it fills the registers.
    const COLUMNS: usize;

    fn load(from: &[f32; LANES]) -> Self;
    fn store(self, to: &mut [f32; LANES]);
    fn splat(x: f32) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * by + plus`, rounded once where the instruction set can.
    fn mul_add(self, by: Self, plus: Self) -> Self;
    /// The products of pairs of bfloat16 ([`pair`](Self::pair)), both added to `plus`.
    #[inline(always)]
    fn pair_add(self, by: Self, plus: Self) -> Self {
        plain_pair_add(self, by, plus)
    }
    /// Thirty-two numbers as pairs of bfloat16, the first of a pair in the low half of its lane.
    #[inline(always)]
    fn pair(numbers: &[[f32; LANES]; 2]) -> Self {
        plain_pair(numbers)
    }
    /// `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// `other` where either is NaN.
    fn min(self, other: Self) -> Self;
    /// 2 to the power of the whole number in the low bits of `self`, counted from those of `zero`.
    fn power(self, zero: f32) -> Self;

    /// The sum of the lanes, by halves.
    #[inline(always)]
    fn sum(self) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes);
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    /// The greatest lane.
    #[inline(always)]
    fn greatest(self) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes);
        let mut greatest = lanes[0];
        for &lane in &lanes[1..] {
            greatest = if lane > greatest { lane } else { greatest };
        }
        greatest
    }
}

/// [`Vector::pair_add`] for a machine without an instruction for it.
#[inline(always)]
pub(super) fn plain_pair_add<V: Vector>(x: V, by: V, plus: V) -> V {
    let [x, by, mut sums] = [x, by, plus].map(|vector| {
        let mut lanes = [0.0; LANES];
        vector.store(&mut lanes);
        lanes
    });
    for (lane, sum) in sums.iter_mut().enumerate() {
        let ([x0, x1], [by0, by1]) = (two(x[lane]), two(by[lane]));
        *sum = x0 * by0 + (x1 * by1 + *sum);
    }
    V::load(&sums)
}

/// [`Vector::pair`] for a machine without an instruction for it.
#[inline(always)]
pub(super) fn plain_pair<V: Vector>(numbers: &[[f32; LANES]; 2]) -> V {
    let numbers = numbers.as_flattened();
    V::load(&std::array::from_fn(|lane| one(numbers[2 * lane], numbers[2 * lane + 1])))
}

/// Two numbers, rounded to bfloat16, as the bits of one.
#[inline(always)]
pub(super) fn one(low: f32, high: f32) -> f32 {
    f32::from_bits(rounded(low) >> 16 | rounded(high) & 0xffff_0000)
}

/// The two numbers again.
#[inline(always)]
fn two(pair: f32) -> [f32; 2] {
    let bits = pair.to_bits();
    [f32::from_bits(bits << 16), f32::from_bits(bits & 0xffff_0000)]
}

/// The bits of a finite number, the upper half rounded to the nearest, to even where two are as near.
#[inline(always)]
fn rounded(number: f32) -> u32 {
    let bits = number.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1))
}

/// Sixteen numbers without registers of their own: for any machine.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; LANES]);

impl Plain {
    #[inline(always)]
    fn both(self, other: Self, of: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|at| of(self.0[at], other.0[at])))
    }
}

impl Vector for Plain {
    const ROWS: usize = 4;
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Self(*from)
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; LANES])
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
        self.both(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.both(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn power(self, zero: f32) -> Self {
        let of = |x: f32| f32::from_bits(x.to_bits().wrapping_sub(zero.to_bits()).wrapping_add(127) << 23);
        Self(self.0.map(of))
    }
}

/// Fused where that is one instruction; in software it would be fifty times slower.
#[inline(always)]
fn multiply_add(x: f32, by: f32, plus: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { x.mul_add(by, plus) } else { x * by + plus }
}
