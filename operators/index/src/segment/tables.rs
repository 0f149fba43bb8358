//! The tables of a segment: their columns, and what must hold in each.

use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, BooleanArray, Int32Array, Int64Array, LargeStringArray, RecordBatch, UInt32Array, UInt64Array,
};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde_json::{Map, Value};

use super::{Footer, Section};
use crate::document::Mark;
use crate::search::{Codes, code_bytes};

/// A section in memory.
pub(crate) trait Table: Sized + Send + Sync + 'static {
    /// Which one.
    const SECTION: Section;

    /// Takes the columns over, and checks what others rely on; the footer gives the rows of other sections.
    fn from_batch(batch: &RecordBatch, footer: &Footer) -> Result<Self, String>;

    /// Bytes in memory of a section of so many bytes.
    fn held_bytes(bytes: u64) -> u64 {
        bytes
    }
}

fn field(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

/// The columns of a section.
pub(super) fn schema(section: Section, dimension: u32) -> SchemaRef {
    use DataType::{Boolean, Float32, Int32, Int64, LargeUtf8, UInt32, UInt64};
    let fields = match section {
        Section::Documents => vec![
            field("id", LargeUtf8),
            field("title", LargeUtf8),
            field("uri", LargeUtf8),
            field("metadata", LargeUtf8),
            field("digest", LargeUtf8),
            field("partition", Int32),
            field("offset", Int64),
            field("deleted", Boolean),
        ],
        Section::Parents => vec![
            field("document", UInt32),
            field("start", UInt64),
            field("end", UInt64),
            Field::new("page", UInt32, true),
            field("heading", LargeUtf8),
            field("words", UInt32),
            field("marks", LargeUtf8),
        ],
        Section::Texts => vec![field("text", LargeUtf8)],
        Section::Children => {
            vec![
                field("parent", UInt32),
                field("start", UInt64),
                field("end", UInt64),
                Field::new("page", UInt32, true),
            ]
        }
        Section::Vectors => vec![field("vector", list_of(DataType::Float32, dimension as usize))],
        Section::Terms => vec![field("term", LargeUtf8), field("end", UInt64)],
        Section::Postings => vec![field("parent", UInt32), field("count", UInt32)],
        Section::Lists => vec![
            field("end", UInt32),
            field("bias", Float32),
            field("centre", list_of(DataType::Float32, dimension as usize)),
        ],
        Section::Codes => vec![
            field("child", UInt32),
            field("square", Float32),
            field("scale", Float32),
            field("rest", Float32),
            field("length", Float32),
            field("code", list_of(DataType::UInt8, code_bytes(dimension as usize))),
        ],
        Section::Recalls => vec![field("probes", UInt32), field("recall", Float32)],
    };
    Arc::new(Schema::new(fields))
}

/// A vector's type.
pub(super) fn list_of(item: DataType, length: usize) -> DataType {
    DataType::FixedSizeList(Arc::new(field("item", item)), i32::try_from(length).unwrap_or(i32::MAX))
}

/// Documents and deletions, sorted by id, each id once.
pub(crate) struct Documents {
    pub(crate) id: LargeStringArray,
    pub(crate) title: LargeStringArray,
    pub(crate) uri: LargeStringArray,
    pub(crate) metadata: LargeStringArray,
    pub(crate) digest: LargeStringArray,
    pub(crate) partition: Int32Array,
    pub(crate) offset: Int64Array,
    pub(crate) deleted: BooleanArray,
    parsed: OnceLock<Vec<Map<String, Value>>>,
}

impl Documents {
    /// The row of an id.
    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.id.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.id.value(middle).cmp(id) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The metadata of all rows, read once.
    pub(crate) fn parsed(&self) -> &[Map<String, Value>] {
        self.parsed.get_or_init(|| self.metadata.iter().map(|text| read_metadata(text.unwrap_or_default())).collect())
    }
}

/// `from_batch` has seen that it is an object; a deletion has none.
pub(crate) fn read_metadata(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

impl Table for Documents {
    const SECTION: Section = Section::Documents;

    /// With the metadata as a filter reads them, which are most of it.
    fn held_bytes(bytes: u64) -> u64 {
        bytes.saturating_mul(4)
    }

    fn from_batch(batch: &RecordBatch, _: &Footer) -> Result<Self, String> {
        let text = |column: usize| batch.column(column).as_string::<i64>().clone();
        let documents = Self {
            id: text(0),
            title: text(1),
            uri: text(2),
            metadata: text(3),
            digest: text(4),
            partition: batch.column(5).as_primitive::<Int32Type>().clone(),
            offset: batch.column(6).as_primitive::<Int64Type>().clone(),
            deleted: batch.column(7).as_boolean().clone(),
            parsed: OnceLock::new(),
        };
        let ids = &documents.id;
        if (1..ids.len()).any(|row| ids.value(row - 1) >= ids.value(row)) {
            return Err("its documents are not sorted".to_owned());
        }
        Ok(documents)
    }
}

/// Parents, in the order of their documents.
pub(crate) struct Parents {
    pub(crate) document: UInt32Array,
    pub(crate) start: UInt64Array,
    pub(crate) end: UInt64Array,
    pub(crate) page: UInt32Array,
    pub(crate) heading: LargeStringArray,
    /// Words of each text, repeated ones counted again.
    pub(crate) words: UInt32Array,
    /// The headings and pages that begin in each, as JSON; empty where none does.
    pub(crate) marks: LargeStringArray,
}

/// What `from_batch` leaves unread, because no search needs it; `verify` says where it cannot be read.
pub(crate) fn read_marks(text: &str) -> Result<Vec<Mark>, String> {
    match text {
        "" => Ok(Vec::new()),
        _ => serde_json::from_str(text).map_err(|error| error.to_string()),
    }
}

impl Table for Parents {
    const SECTION: Section = Section::Parents;

    fn from_batch(batch: &RecordBatch, footer: &Footer) -> Result<Self, String> {
        let parents = Self {
            document: batch.column(0).as_primitive::<UInt32Type>().clone(),
            start: batch.column(1).as_primitive::<UInt64Type>().clone(),
            end: batch.column(2).as_primitive::<UInt64Type>().clone(),
            page: batch.column(3).as_primitive::<UInt32Type>().clone(),
            heading: batch.column(4).as_string::<i64>().clone(),
            words: batch.column(5).as_primitive::<UInt32Type>().clone(),
            marks: batch.column(6).as_string::<i64>().clone(),
        };
        points_into(parents.document.values(), footer.rows(Section::Documents), "a parent's document")?;
        spans(parents.start.values(), parents.end.values())?;
        Ok(parents)
    }
}

/// The texts of the parents.
pub(crate) struct Texts(pub(crate) LargeStringArray);

impl Table for Texts {
    const SECTION: Section = Section::Texts;

    fn from_batch(batch: &RecordBatch, _: &Footer) -> Result<Self, String> {
        Ok(Self(batch.column(0).as_string::<i64>().clone()))
    }
}

/// Children, in the order of their parents.
pub(crate) struct Children {
    pub(crate) parent: UInt32Array,
    pub(crate) start: UInt64Array,
    pub(crate) end: UInt64Array,
    pub(crate) page: UInt32Array,
}

impl Table for Children {
    const SECTION: Section = Section::Children;

    fn from_batch(batch: &RecordBatch, footer: &Footer) -> Result<Self, String> {
        let children = Self {
            parent: batch.column(0).as_primitive::<UInt32Type>().clone(),
            start: batch.column(1).as_primitive::<UInt64Type>().clone(),
            end: batch.column(2).as_primitive::<UInt64Type>().clone(),
            page: batch.column(3).as_primitive::<UInt32Type>().clone(),
        };
        points_into(children.parent.values(), footer.rows(Section::Parents), "a child's parent")?;
        spans(children.start.values(), children.end.values())?;
        Ok(children)
    }
}

/// The vectors of the children, one after another.
pub(crate) struct Vectors {
    pub(crate) values: ScalarBuffer<f32>,
    pub(crate) dimension: usize,
    squares: OnceLock<Vec<f32>>,
    codes: OnceLock<Codes>,
}

impl Vectors {
    pub(crate) fn new(values: ScalarBuffer<f32>, dimension: usize) -> Self {
        Self { values, dimension, squares: OnceLock::new(), codes: OnceLock::new() }
    }

    /// The vectors in 8-bit numbers, computed once.
    pub(crate) fn codes(&self) -> &Codes {
        self.codes.get_or_init(|| Codes::of(&self.values, self.dimension))
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimension..][..self.dimension]
    }

    /// True where the codes are made.
    pub(crate) fn has_codes(&self) -> bool {
        self.codes.get().is_some()
    }

    /// The square of each length, computed once.
    pub(crate) fn squares(&self) -> &[f32] {
        let square = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() as f32;
        self.squares.get_or_init(|| self.values.chunks_exact(self.dimension).map(square).collect())
    }
}

impl Table for Vectors {
    const SECTION: Section = Section::Vectors;

    /// With codes of a quarter of the size, and four numbers a row.
    fn held_bytes(bytes: u64) -> u64 {
        bytes + bytes / 4 + bytes / 20
    }

    fn from_batch(batch: &RecordBatch, footer: &Footer) -> Result<Self, String> {
        let list = batch.column(0).as_fixed_size_list();
        let values = list.values().as_primitive::<Float32Type>().values().clone();
        let dimension = footer.dimension as usize;
        if values.len() != batch.num_rows() * dimension || !values.iter().all(|x| x.is_finite()) {
            return Err("its vectors are not finite numbers of the collection's dimension".to_owned());
        }
        Ok(Self::new(values, dimension))
    }
}

/// The words of all texts, sorted; the postings of one end where it says.
pub(crate) struct Terms {
    pub(crate) term: LargeStringArray,
    end: UInt64Array,
}

impl Terms {
    /// The postings of a word, as a range of rows.
    pub(crate) fn postings_of(&self, word: &str) -> std::ops::Range<usize> {
        let (mut low, mut high) = (0, self.term.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.term.value(middle) < word { low = middle + 1 } else { high = middle }
        }
        if low < self.term.len() && self.term.value(low) == word { self.range(low) } else { 0..0 }
    }

    pub(crate) fn range(&self, row: usize) -> std::ops::Range<usize> {
        let start = if row == 0 { 0 } else { self.end.value(row - 1) };
        start as usize..self.end.value(row) as usize
    }
}

impl Table for Terms {
    const SECTION: Section = Section::Terms;

    fn from_batch(batch: &RecordBatch, footer: &Footer) -> Result<Self, String> {
        let terms = Self {
            term: batch.column(0).as_string::<i64>().clone(),
            end: batch.column(1).as_primitive::<UInt64Type>().clone(),
        };
        let (term, end) = (&terms.term, terms.end.values());
        let sorted = (1..term.len()).all(|row| term.value(row - 1) < term.value(row) && end[row - 1] <= end[row]);
        if !sorted || end.last().copied().unwrap_or(0) != footer.rows(Section::Postings) as u64 {
            return Err("its words do not fit its postings".to_owned());
        }
        Ok(terms)
    }
}

/// Which parents have a word, and how often.
pub(crate) struct Postings {
    pub(crate) parent: UInt32Array,
    pub(crate) count: UInt32Array,
}

impl Table for Postings {
    const SECTION: Section = Section::Postings;

    fn from_batch(batch: &RecordBatch, footer: &Footer) -> Result<Self, String> {
        let column = |at: usize| batch.column(at).as_primitive::<UInt32Type>().clone();
        let postings = Self { parent: column(0), count: column(1) };
        let parents = footer.rows(Section::Parents);
        if postings.parent.values().iter().any(|&parent| parent as usize >= parents) {
            return Err("a posting's parent is not there".to_owned());
        }
        Ok(postings)
    }
}

/// Ascending row numbers of another section.
fn points_into(rows: &[u32], others: usize, what: &str) -> Result<(), String> {
    let sorted = rows.windows(2).all(|pair| pair[0] <= pair[1]);
    match sorted && rows.last().is_none_or(|&last| (last as usize) < others) {
        true => Ok(()),
        false => Err(format!("{what} is not there")),
    }
}

fn spans(start: &[u64], end: &[u64]) -> Result<(), String> {
    let sound = start.iter().zip(end).all(|(start, end)| start <= end);
    if sound { Ok(()) } else { Err("a span ends before it starts".to_owned()) }
}
