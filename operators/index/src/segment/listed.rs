//! The tables of a segment whose vectors are sorted into lists.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt8Type, UInt32Type};
use arrow_buffer::ScalarBuffer;

use super::tables::Table;
use super::{Footer, Section};
use crate::bits::Bits;
use crate::search::{Codes, Meaning, code_bytes};

/// The lists: a centre each, and where they end.
pub(crate) struct Lists {
    /// The first row of [`ListedCodes`] behind each list.
    ends: ScalarBuffer<u32>,
    /// What is taken off a centre's product with a question.
    pub(crate) biases: ScalarBuffer<f32>,
    /// The centres in 8-bit numbers: which lists are looked into need not be known better.
    pub(crate) centres: Codes,
}

impl Lists {
    /// The rows of a list.
    pub(crate) fn range(&self, list: usize) -> std::ops::Range<usize> {
        let start = list.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[list] as usize
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

impl Table for Lists {
    const SECTION: Section = Section::Lists;

    fn from_batch(batch: &RecordBatch, footer: &Footer) -> Result<Self, String> {
        let ends = batch.column(0).as_primitive::<UInt32Type>().values().clone();
        let biases = floats(batch, 1)?;
        let centres = batch.column(2).as_fixed_size_list().values().as_primitive::<Float32Type>().values().clone();
        let dimension = footer.dimension as usize;
        let ascending = ends.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ascending || ends.last().copied().unwrap_or(0) as usize != footer.rows(Section::Children) {
            return Err("its lists do not hold the vectors".to_owned());
        }
        if centres.len() != ends.len() * dimension || !centres.iter().all(|x| x.is_finite()) {
            return Err("its centres are not finite numbers of the collection's dimension".to_owned());
        }
        Ok(Self { ends, biases, centres: Codes::of(&centres, dimension) })
    }
}

/// The vectors in 8-bit numbers, list by list.
pub(crate) struct ListedCodes {
    /// Which child each is of.
    pub(crate) children: ScalarBuffer<u32>,
    /// The square of each vector's length.
    pub(crate) squares: ScalarBuffer<f32>,
    /// The codes.
    pub(crate) codes: Codes,
    /// True where all vectors are of one length: then every metric puts them in the same order, and so do those whose
    /// recall was not measured.
    pub(crate) is_level: bool,
}

/// So much the squares of lengths may differ, in parts of the largest, and still be those of one length: hundred times as
/// much as single precision leaves of normalised vectors, and too little to change the order of any but equally near ones.
const LEVEL: f32 = 1e-5;

impl Table for ListedCodes {
    const SECTION: Section = Section::Codes;

    fn from_batch(batch: &RecordBatch, footer: &Footer) -> Result<Self, String> {
        let children = batch.column(0).as_primitive::<UInt32Type>().values().clone();
        let mut seen = Bits::new(footer.rows(Section::Children), false);
        for &child in children.iter() {
            if child as usize >= seen.rows() || seen.get(child as usize) {
                return Err("its rows are not the children, each once".to_owned());
            }
            seen.set(child as usize);
        }
        let values = batch.column(5).as_fixed_size_list().values().as_primitive::<UInt8Type>().values().clone();
        let stride = code_bytes(footer.dimension as usize);
        if values.len() != children.len() * stride {
            return Err("its codes do not have the collection's dimension".to_owned());
        }
        let meaning = Meaning { scale: floats(batch, 2)?, rest: floats(batch, 3)?, length: floats(batch, 4)? };
        let squares = floats(batch, 1)?;
        let (least, most) = squares.iter().fold((f32::MAX, 0.0_f32), |(least, most), x| (least.min(*x), most.max(*x)));
        Ok(Self { children, is_level: most - least <= LEVEL * most, squares, codes: Codes { values, stride, meaning } })
    }
}

/// How many lists must be looked into to find so much of what an exact search finds: measured when the lists were made.
pub(crate) struct Recalls(Vec<(u32, f32)>);

impl Recalls {
    /// The number of lists for a recall; none where so much was never reached.
    pub(crate) fn probes(&self, recall: f64) -> Option<usize> {
        let enough = self.0.iter().find(|(_, reached)| f64::from(*reached) >= recall);
        enough.map(|(probes, _)| *probes as usize)
    }
}

impl Table for Recalls {
    const SECTION: Section = Section::Recalls;

    fn from_batch(batch: &RecordBatch, footer: &Footer) -> Result<Self, String> {
        let probes = batch.column(0).as_primitive::<UInt32Type>().values().clone();
        let recalls = floats(batch, 1)?;
        let lists = 1..=footer.rows(Section::Lists) as u32;
        let sound =
            probes.iter().all(|probes| lists.contains(probes)) && recalls.iter().all(|x| (0.0..=1.0).contains(x));
        if !sound || !probes.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err("its recalls are out of range".to_owned());
        }
        Ok(Self(probes.iter().copied().zip(recalls.iter().copied()).collect()))
    }
}

/// A column of finite numbers.
fn floats(batch: &RecordBatch, column: usize) -> Result<ScalarBuffer<f32>, String> {
    let values = batch.column(column).as_primitive::<Float32Type>().values().clone();
    if values.iter().all(|x| x.is_finite()) { Ok(values) } else { Err("it has numbers that are not finite".to_owned()) }
}
