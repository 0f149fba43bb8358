//! The row-major columns under construction, and the rows that fail while they are filled.

use crate::outcome::{ErrorClass, FailedRow, Rejection};
use crate::rows::{RowsBuilder, Values};
use crate::signature::{Datatype, Signature, TensorSpec};

use super::json::{Value, shorten};

/// Failed rows beyond this many get a short reason, so that a message of bad rows does not grow a hundredfold.
const DETAILED: usize = 1000;

/// Element types of a model's inputs.
pub(super) trait Element: Copy + Default {
    /// Rounds to this type.
    fn of(value: f64) -> Self;
    /// False for infinities and NaN.
    fn finite(self) -> bool;
}

impl Element for f32 {
    #[inline]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline]
    fn finite(self) -> bool {
        self.is_finite()
    }
}

impl Element for f64 {
    #[inline]
    fn of(value: f64) -> Self {
        value
    }

    #[inline]
    fn finite(self) -> bool {
        self.is_finite()
    }
}

/// Appends `count` missing values; in integers, which have none, zeros.
pub(super) fn extend_missing(values: &mut Values, count: usize) {
    match values {
        Values::F32(values) => values.resize(values.len() + count, f32::NAN),
        Values::F64(values) => values.resize(values.len() + count, f64::NAN),
        // Whoever fills these says so for each value that does not come.
        Values::I64(values) => values.resize(values.len() + count, 0),
        Values::Strings(values) => values.resize(values.len() + count, String::new()),
    }
}

/// Writes the value at `index`, rounded; false where a finite value becomes infinite by that, where an integer would be
/// another number, or where text belongs.
pub(super) fn set(values: &mut Values, index: usize, value: f64) -> bool {
    match values {
        Values::F32(values) => {
            values[index] = value as f32;
            values[index].is_finite() || !value.is_finite()
        }
        Values::F64(values) => {
            values[index] = value;
            true
        }
        Values::I64(values) => whole(value).map(|whole| values[index] = whole).is_some(),
        Values::Strings(_) => false,
    }
}

/// The integer that this double is, if it is one.
pub(super) fn whole(value: f64) -> Option<i64> {
    // -2^63 and 2^63 are doubles; 2^63 itself is the first beyond the range.
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    (value.fract() == 0.0 && (-BOUND..BOUND).contains(&value)).then_some(value as i64)
}

/// Removes rows (of `width`) from the values at and after row `base`; `failed` is ascending and counts from `base`.
fn remove_rows(values: &mut Values, width: usize, base: usize, failed: &[FailedRow]) {
    match values {
        Values::F32(values) => compact(values, width, base, failed),
        Values::F64(values) => compact(values, width, base, failed),
        Values::I64(values) => compact(values, width, base, failed),
        Values::Strings(values) => compact(values, width, base, failed),
    }
}

fn compact<T>(values: &mut Vec<T>, width: usize, base: usize, failed: &[FailedRow]) {
    let mut failed = failed.iter().map(|row| row.row as usize).peekable();
    let rows = values.len().checked_div(width).unwrap_or(0);
    let mut kept = base;
    for row in base..rows {
        if failed.next_if_eq(&(row - base)).is_some() {
            continue;
        }
        (0..width).for_each(|at| values.swap(kept * width + at, row * width + at));
        kept += 1;
    }
    values.truncate(kept * width);
}

/// Where a value stands: ``row 3, field `eta` ``, or the position where the model has no field names.
pub(super) fn place(row: usize, spec: &TensorSpec, index: usize) -> String {
    match spec.fields.get(index) {
        Some(field) => format!("row {row}, field `{field}`"),
        None if spec.width == 1 => format!("row {row}, input `{}`", spec.name),
        None => format!("row {row}, value {index} of input `{}`", spec.name),
    }
}

/// The reason of a row with a number that the element type does not hold.
pub(super) fn too_large(row: usize, spec: &TensorSpec, index: usize, shown: &str) -> Rejection {
    let (place, datatype) = (place(row, spec, index), spec.datatype.as_str());
    let text = match spec.datatype {
        Datatype::Fp32 | Datatype::Fp64 => {
            format!("is beyond the range of {datatype}; send a smaller number, or null if missing")
        }
        Datatype::Int64 => "is no whole number within INT64's range; send one".to_owned(),
        Datatype::Bytes => "is sent where the model takes text, which no event holds; use another model".to_owned(),
    };
    Rejection::new(ErrorClass::Value, format!("{place}: {shown} {text}"))
}

/// The reason of a row with a cell of text that spells no number.
pub(super) fn unreadable(row: usize, spec: &TensorSpec, index: usize, text: &str) -> Rejection {
    let (place, text) = (place(row, spec, index), shorten(text.as_bytes()));
    let text = format!("{place}: `{text}` is no number; give a number, or nothing if missing");
    Rejection::new(ErrorClass::Shape, text)
}

/// The reason of a row without a value where the element type has no missing one.
pub(super) fn never_missing(row: usize, spec: &TensorSpec, index: usize) -> Rejection {
    let (place, datatype) = (place(row, spec, index), spec.datatype.as_str());
    let text = format!("{place} is missing and {datatype} has no missing values; send a number");
    Rejection::new(ErrorClass::Missing, text)
}

/// Whether NaN stands for a missing value among these.
pub(super) fn has_missing(values: &Values) -> bool {
    matches!(values, Values::F32(_) | Values::F64(_))
}

/// The reason of a row with something else where a number belongs.
pub(super) fn not_a_number(row: usize, spec: &TensorSpec, index: usize, value: Value<'_>) -> Rejection {
    let (place, kind, text) = (place(row, spec, index), value.kind(), shorten(value.text()));
    let text = format!("{place}: {kind} ({text}) where a number belongs; send a number, or null if missing");
    Rejection::new(ErrorClass::Shape, text)
}

/// The rows of one message that failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    rows: Vec<FailedRow>,
    /// One bit per row, so that a row that fails in every field is noted once.
    noted: Vec<u64>,
}

impl Failures {
    /// Notes that `row` failed. Of several reasons for the same row the first counts.
    pub(super) fn push(&mut self, row: usize, rejection: impl FnOnce() -> Rejection) {
        let (word, bit) = (row / 64, 1 << (row % 64));
        if self.noted.len() <= word {
            self.noted.resize(word + 1, 0);
        }
        if self.noted[word] & bit != 0 {
            return;
        }
        self.noted[word] |= bit;
        let mut rejection = rejection();
        if self.rows.len() >= DETAILED {
            rejection.message = format!("row {row}: bad");
        }
        self.rows.push(FailedRow { row: row as u32, rejection });
    }

    /// The failed rows of a message of `rows`, ascending; an error where no good row remains.
    pub(super) fn finish(mut self, rows: usize) -> Result<Vec<FailedRow>, Rejection> {
        self.rows.sort_unstable_by_key(|failed| failed.row);
        match self.rows.first() {
            Some(first) if self.rows.len() == rows => Err(first.rejection.clone()),
            _ => Ok(self.rows),
        }
    }

    /// As [`commit`](Self::commit), but it may be that no row remains.
    pub(super) fn commit_good(mut self, count: usize, rows: &mut RowsBuilder) -> Result<Vec<FailedRow>, Rejection> {
        self.rows.sort_unstable_by_key(|failed| failed.row);
        take_out(&self.rows, count, rows)?;
        Ok(self.rows)
    }

    /// As [`finish`](Self::finish) for columns that already hold all `count` rows: takes the failed ones out and
    /// commits the others.
    pub(super) fn commit(self, count: usize, rows: &mut RowsBuilder) -> Result<Vec<FailedRow>, Rejection> {
        let failed = self.finish(count)?;
        take_out(&failed, count, rows)?;
        Ok(failed)
    }
}

/// Takes the failed of the last `count` rows out of the columns and commits the others.
fn take_out(failed: &[FailedRow], count: usize, rows: &mut RowsBuilder) -> Result<(), Rejection> {
    if !failed.is_empty() {
        let (base, signature) = (rows.rows(), rows.signature().clone());
        for (values, spec) in rows.columns_mut().iter_mut().zip(&signature.inputs) {
            remove_rows(values, spec.width, base, failed);
        }
    }
    commit(count - failed.len(), rows)
}

/// Commits `count` rows that the codec has appended to every column.
pub(super) fn commit(count: usize, rows: &mut RowsBuilder) -> Result<(), Rejection> {
    let whole = rows.commit(count);
    let incomplete = || Rejection::new(ErrorClass::Shape, "rows are incomplete; send every input for every row");
    if whole { Ok(()) } else { Err(incomplete()) }
}

/// Refuses a message of no rows, or of more than the limit.
pub(super) fn check_rows(count: usize, limit: usize) -> Result<(), Rejection> {
    if count == 0 {
        return Err(Rejection::new(ErrorClass::Empty, "the message has no rows; send at least one"));
    }
    if count > limit {
        let text = format!("the message has more than {limit} rows, the limit; send fewer rows per message");
        return Err(Rejection::new(ErrorClass::TooLarge, text));
    }
    Ok(())
}

/// `` `a`, `b` `` for error messages.
pub(super) fn names(specs: &[TensorSpec]) -> String {
    specs.iter().map(|spec| format!("`{}`", spec.name)).collect::<Vec<_>>().join(", ")
}

/// Which input, and which of its fields, has this name.
pub(super) fn locate(signature: &Signature, name: &str) -> Option<(usize, Option<usize>)> {
    if let Some(input) = signature.inputs.iter().position(|spec| spec.name == name) {
        return Some((input, None));
    }
    let field = |spec: &TensorSpec| spec.fields.iter().position(|field| field == name);
    signature.inputs.iter().enumerate().find_map(|(input, spec)| field(spec).map(|index| (input, Some(index))))
}
