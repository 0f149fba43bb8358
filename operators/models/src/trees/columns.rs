//! Inputs as bytes: whatever a split asks becomes `byte < threshold`.
//!
//! All splits of a feature compare with the forest's distinct thresholds of that feature, so a value's rank among them
//! is all that matters, and up to 253 of them fit a byte; a feature with more has several columns. Ranks are exact for
//! doubles too. A missing value is a byte below or above all thresholds, so features with both default directions have
//! two columns; a category set and an equality are columns of their own, which say only yes or no.

use std::collections::HashMap;

use super::number::Number;
use super::search::Search;
use super::{Categories, Forest, Missing, Node, Step, TINY};

/// Rows of a block: a column of it is one AVX-512 register, or two of AVX2.
pub(super) const BLOCK: usize = 64;
/// Thresholds of one column: its bytes are 1 to 254, its thresholds 2 to 254, 255 being above every number.
const CUTS: usize = 253;
/// A block of so many columns is 512 KiB.
const MAX_COLUMNS: usize = 1 << 13;

/// What a missing value is where it goes to the YES child.
const BELOW_ALL: u8 = 0;
/// What a missing value is where it goes to the NO child, and the threshold that every number is below.
const ABOVE_ALL: u8 = 255;
/// The answers of a test that is a column of its own, and the threshold between them.
const YES: u8 = 1;
const NO: u8 = 2;

/// One column of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Column {
    bytes: Bytes,
    missing: Missing,
    zero_is_missing: bool,
}

/// Where the bytes of numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Bytes {
    /// Ranks from this threshold on.
    Ranks { first: u32 },
    /// Whether it is the number with these bits.
    Equal(u64),
    /// Whether it is in this set.
    OneOf(u32),
}

/// One feature: its thresholds, and its columns with their places in the block.
#[derive(Debug)]
struct Input<T> {
    feature: usize,
    cuts: Vec<T>,
    search: Search<T>,
    zero_rank: u32,
    columns: Vec<(Column, u16)>,
}

/// All columns of a forest.
#[derive(Debug)]
pub(super) struct Columns<T> {
    features: usize,
    inputs: Vec<Input<T>>,
    sets: Vec<Categories>,
    count: usize,
}

/// Finds the column and the threshold of each split while a forest is lowered.
#[derive(Debug)]
pub(super) struct Splits<T> {
    columns: Columns<T>,
    /// Index of each feature's input.
    input: HashMap<u32, usize>,
    places: HashMap<(u32, Column), u16>,
}

impl<T: Number> Splits<T> {
    /// Collects the thresholds of all splits.
    pub(super) fn new(forest: &Forest) -> Self {
        let mut cuts: HashMap<u32, Vec<T>> = HashMap::new();
        for node in forest.nodes.iter().filter(|node| !node.is_leaf()) {
            cuts.entry(node.feature).or_default().extend(cut::<T>(node.step));
        }
        let mut inputs: Vec<_> = cuts.into_iter().map(|(feature, cuts)| Input::new(feature as usize, cuts)).collect();
        inputs.sort_by_key(|input| input.feature);
        let input = inputs.iter().enumerate().map(|(index, input)| (input.feature as u32, index)).collect();
        let columns = Columns { features: forest.spec.features, inputs, sets: forest.sets.clone(), count: 0 };
        Self { columns, input, places: HashMap::new() }
    }

    /// The column of a split and the threshold that its YES side is below; none where the columns are too many.
    pub(super) fn find(&mut self, node: &Node) -> Option<(u16, u8)> {
        let index = *self.input.get(&node.feature)?;
        let (bytes, threshold) = match node.step {
            Step::Below(_) | Step::AtMost(_) => self.columns.inputs[index].place(cut::<T>(node.step)),
            Step::Equal(t) => (Bytes::Equal(t.to_bits()), NO),
            Step::OneOf(set) => (Bytes::OneOf(set), NO),
            Step::Leaf(_) | Step::LeafVector(_) => return None,
        };
        let column = Column { bytes, missing: node.missing, zero_is_missing: node.zero_is_missing };
        Some((self.column(index, column)?, threshold))
    }

    fn column(&mut self, input: usize, column: Column) -> Option<u16> {
        let next = u16::try_from(self.columns.count).ok().filter(|&next| usize::from(next) < MAX_COLUMNS)?;
        let place = *self.places.entry((input as u32, column)).or_insert(next);
        if place == next {
            self.columns.inputs[input].columns.push((column, next));
            self.columns.count += 1;
        }
        Some(place)
    }

    pub(super) fn finish(self) -> Columns<T> {
        self.columns
    }
}

/// The number that a test compares with, as `x < t`; none where every number passes, or where it is no comparison.
fn cut<T: Number>(step: Step) -> Option<T> {
    match step {
        // Zero loses its sign: both compare alike, and sorting must not part them.
        Step::Below(t) => Some(T::of(t + 0.0)),
        Step::AtMost(t) if t < f64::INFINITY => Some(T::of(t + 0.0).above()),
        _ => None,
    }
}

impl<T: Number> Input<T> {
    fn new(feature: usize, mut cuts: Vec<T>) -> Self {
        cuts.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        cuts.dedup();
        let search = Search::new(&cuts);
        let zero_rank = search.rank(T::of(0.0));
        Self { feature, cuts, search, zero_rank, columns: Vec::new() }
    }

    fn place(&self, cut: Option<T>) -> (Bytes, u8) {
        let Some(cut) = cut else { return (Bytes::Ranks { first: 0 }, ABOVE_ALL) };
        let index = self.cuts.partition_point(|&t| t < cut);
        (Bytes::Ranks { first: (index - index % CUTS) as u32 }, (index % CUTS) as u8 + 2)
    }
}

/// How an instruction set finds ranks.
pub(super) trait Ranks: Copy {
    /// See [`Search::ranks`].
    #[inline(always)]
    fn ranks<T: Number, const N: usize>(self, search: &Search<T>, x: &[T; N], ranks: &mut [u32; N]) {
        search.ranks(x, ranks);
    }
}

/// The bytes of a column for `N` rows.
pub(super) trait Place<const N: usize> {
    fn bytes(&mut self) -> &mut [u8; N];
}

/// The bytes of a block's column, which lie in one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub [u8; BLOCK]);

impl Place<BLOCK> for Line {
    #[inline(always)]
    fn bytes(&mut self) -> &mut [u8; BLOCK] {
        &mut self.0
    }
}

impl Place<1> for [u8; 1] {
    #[inline(always)]
    fn bytes(&mut self) -> &mut [u8; 1] {
        self
    }
}

impl<T: Number> Columns<T> {
    /// Columns of a block; at least one, so that a tree without splits has something to read.
    pub(super) fn count(&self) -> usize {
        self.count.max(1)
    }

    /// Writes up to `N` rows (row-major) as columns. Places without a row get bytes all the same: no row reads another's.
    #[inline(always)]
    pub(super) fn fill<const N: usize>(&self, by: impl Ranks, rows: &[T], block: &mut [impl Place<N>]) {
        let mut x = [T::of(0.0); N];
        let mut ranks = [0; N];
        for input in &self.inputs {
            for (x, row) in x.iter_mut().zip(rows.chunks_exact(self.features)) {
                *x = row[input.feature];
            }
            by.ranks(&input.search, &x, &mut ranks);
            let missing = x.iter().fold(false, |missing, x| missing | is_nan(*x));
            for &(column, place) in &input.columns {
                let bytes = block[usize::from(place)].bytes();
                self.numbers(column, &x, &ranks, bytes);
                if missing || column.zero_is_missing {
                    self.mark_missing(input, column, &x, bytes);
                }
            }
        }
    }

    #[inline(always)]
    fn numbers<const N: usize>(&self, column: Column, x: &[T; N], ranks: &[u32; N], bytes: &mut [u8; N]) {
        if let Bytes::Ranks { first } = column.bytes {
            bytes.iter_mut().zip(ranks).for_each(|(byte, &rank)| *byte = rank_byte(rank, first));
        } else {
            bytes.iter_mut().zip(x).for_each(|(byte, &x)| *byte = self.answer(column, x.into()));
        }
    }

    fn mark_missing<const N: usize>(&self, input: &Input<T>, column: Column, x: &[T; N], bytes: &mut [u8; N]) {
        let mark = match (column.missing, column.bytes) {
            (Missing::Yes, _) => BELOW_ALL,
            (Missing::No, _) => ABOVE_ALL,
            (Missing::Zero, Bytes::Ranks { first }) => rank_byte(input.zero_rank, first),
            (Missing::Zero, _) => self.answer(column, 0.0),
        };
        for (byte, &x) in bytes.iter_mut().zip(x) {
            if is_nan(x) || (column.zero_is_missing && x.into().abs() <= TINY) {
                *byte = mark;
            }
        }
    }

    fn answer(&self, column: Column, x: f64) -> u8 {
        let yes = match column.bytes {
            Bytes::Equal(bits) => x == f64::from_bits(bits),
            Bytes::OneOf(set) => self.sets[set as usize].contains(x),
            Bytes::Ranks { .. } => false,
        };
        if yes { YES } else { NO }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let sets: usize = self.sets.iter().map(|set| size_of_val(set) + size_of_val(&set.bits[..])).sum();
        let input = |input: &Input<T>| {
            size_of_val(&input.cuts[..]) + size_of_val(input.search.tree()) + size_of_val(&input.columns[..])
        };
        sets + self.inputs.iter().map(input).sum::<usize>()
    }
}

#[inline(always)]
fn is_nan<T: Number>(x: T) -> bool {
    x.partial_cmp(&x).is_none()
}

/// A rank within the thresholds of a column.
#[inline(always)]
fn rank_byte(rank: u32, first: u32) -> u8 {
    rank.saturating_sub(first).min(CUTS as u32) as u8 + 1
}
