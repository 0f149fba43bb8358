//! What a forest is made of: the words in which every tree format is told to the builder.

/// The numbers a forest compares and adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    /// Inputs, thresholds and sums are `f32`.
    Single,
    /// Inputs, thresholds and sums are `f64`.
    Double,
}

/// How the trees of an output become its margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combine {
    /// The base, then one leaf per tree added in the trees' order: XGBoost's own bits.
    Sum,
    /// The sum of the leaves through the number of all trees, then the base added.
    Average,
    /// The least leaf, then the base added.
    Min,
    /// The greatest leaf, then the base added.
    Max,
}

/// What holds for all trees of a forest.
#[derive(Clone, Debug)]
pub(crate) struct ForestSpec {
    pub features: usize,
    /// Numbers per row.
    pub outputs: usize,
    pub precision: Precision,
    pub combine: Combine,
    /// One per output.
    pub base: Vec<f64>,
}

/// The question of a split. Where it is true, the walk goes to the YES child. Others (`>`, `>=`, `!=`) are these with
/// the children swapped.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// `x < t`.
    Below(f64),
    /// `x <= t`.
    AtMost(f64),
    /// `x == t`.
    Equal(f64),
    /// The category `x` is in the set.
    OneOf(Categories),
}

/// A set of categories, each a small whole number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Categories {
    /// Category `c` is bit `c % 32` of word `c / 32`; categories beyond the words are not in the set.
    pub bits: Vec<u32>,
    pub truncate: Truncate,
}

/// How a number becomes a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Truncate {
    /// The fraction is cut off, so -0.5 is category 0 (LightGBM).
    TowardZero,
    /// The same, but what is below zero is in no set (XGBoost).
    NonNegative,
    /// A number with a fraction is in no set (ONNX).
    Exact,
}

impl Categories {
    /// Whether the category of `x` is in the set; NaN is in none.
    pub(crate) fn contains(&self, x: f64) -> bool {
        let refused = match self.truncate {
            Truncate::TowardZero => x <= -1.0,
            Truncate::NonNegative => x < 0.0,
            Truncate::Exact => x < 0.0 || x.fract() != 0.0,
        };
        // The conversion cuts the fraction off and saturates, so what is too large is beyond the words.
        let category = x as usize;
        !refused && !x.is_nan() && self.bits.get(category / 32).is_some_and(|word| word >> (category % 32) & 1 == 1)
    }
}

/// Where a missing value (NaN) goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Missing {
    /// To the YES child.
    Yes,
    /// To the NO child.
    No,
    /// It is taken for 0 and tested (LightGBM's missing_type None).
    Zero,
}

/// One split.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    pub feature: u32,
    pub test: Test,
    pub missing: Missing,
    /// Numbers no further from 0 than [`TINY`] count as missing (LightGBM's missing_type Zero).
    pub zero_is_missing: bool,
}

/// LightGBM's `kZeroThreshold`, a single-precision constant.
pub(crate) const TINY: f64 = 1e-35_f32 as f64;
