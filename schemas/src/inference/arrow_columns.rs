//! Arrow arrays into row-major columns: in one copy where types and layout are the model's own.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, GenericListArray, LargeStringArray, OffsetSizeTrait, StringArray, StringViewArray,
};
use arrow_schema::DataType;

use crate::outcome::{ErrorClass, Rejection};
use crate::rows::Values;
use crate::signature::TensorSpec;

use super::columns::{self, Failures, never_missing, too_large, unreadable};

/// The input, and its field, that a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) input: usize,
    /// `None` is the whole input.
    pub(super) field: Option<usize>,
}

/// Where the rows of one array go.
pub(super) struct Target<'a> {
    pub(super) spec: &'a TensorSpec,
    pub(super) values: &'a mut Values,
    /// Number of the first row in the column.
    pub(super) at: usize,
    /// Number of the first row in the message.
    pub(super) first_row: usize,
    /// The field that the array holds; `None` is the whole input.
    pub(super) field: Option<usize>,
}

/// True for the types that [`append`] converts.
pub(super) fn is_number(data_type: &DataType) -> bool {
    data_type.is_floating() || data_type.is_integer() || *data_type == DataType::Boolean
}

/// Appends an array whose type fits the target.
pub(super) fn append(array: &ArrayRef, target: &mut Target<'_>, failures: &mut Failures) -> Result<(), Rejection> {
    match array.data_type() {
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let width = target.spec.width;
            fail_nulls(array, target, failures);
            let start = list.value_offset(0) as usize;
            target.extend(&target.numbers(list.values(), start, list.len() * width)?, 0, failures);
        }
        DataType::List(_) => append_lists(array.as_list::<i32>(), target, failures)?,
        DataType::LargeList(_) => append_lists(array.as_list::<i64>(), target, failures)?,
        _ => {
            let numbers = match Texts::of(array) {
                Some(texts) => target.spelled(&texts, failures),
                None => target.numbers(array, 0, array.len())?,
            };
            match target.field {
                None => target.extend(&numbers, 0, failures),
                Some(field) => target.spread(&numbers, field, failures),
            }
        }
    }
    Ok(())
}

/// A column of text, of whichever layout.
enum Texts<'a> {
    Short(&'a StringArray),
    Long(&'a LargeStringArray),
    View(&'a StringViewArray),
    Null(usize),
}

impl<'a> Texts<'a> {
    fn of(array: &'a ArrayRef) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => Some(Texts::Short(array.as_string())),
            DataType::LargeUtf8 => Some(Texts::Long(array.as_string())),
            DataType::Utf8View => Some(Texts::View(array.as_string_view())),
            DataType::Null => Some(Texts::Null(array.len())),
            _ => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Texts::Short(texts) => texts.len(),
            Texts::Long(texts) => texts.len(),
            Texts::View(texts) => texts.len(),
            Texts::Null(len) => *len,
        }
    }

    /// The text of a cell without the blanks around it; `None` is a missing value.
    fn get(&self, at: usize) -> Option<&'a str> {
        let text = match self {
            Texts::Short(texts) => texts.is_valid(at).then(|| texts.value(at)),
            Texts::Long(texts) => texts.is_valid(at).then(|| texts.value(at)),
            Texts::View(texts) => texts.is_valid(at).then(|| texts.value(at)),
            Texts::Null(_) => None,
        };
        text.map(str::trim).filter(|text| !MISSING.iter().any(|word| text.eq_ignore_ascii_case(word)))
    }
}

/// What pandas, numpy, R and spreadsheets write for a missing value.
const MISSING: [&str; 6] = ["", "nan", "na", "n/a", "null", "none"];

/// The number that a cell spells; an infinity only where it says so.
fn spelled(text: &str) -> Option<f64> {
    let number: f64 = fast_float2::parse(text).ok()?;
    let infinite = text.trim_start_matches(['+', '-']).get(..3).is_some_and(|word| word.eq_ignore_ascii_case("inf"));
    (number.is_finite() || infinite).then_some(number)
}

/// A list that is null has no values at all, not missing ones.
fn fail_nulls(array: &dyn Array, target: &Target<'_>, failures: &mut Failures) {
    if array.null_count() == 0 {
        return;
    }
    for index in (0..array.len()).filter(|index| array.is_null(*index)) {
        let (row, name) = (target.first_row + index, &target.spec.name);
        let text = || format!("row {row}: `{name}` is null; send its values, null where single ones are missing");
        failures.push(row, || Rejection::new(ErrorClass::Missing, text()));
    }
}

fn append_lists<O: OffsetSizeTrait>(
    lists: &GenericListArray<O>,
    target: &mut Target<'_>,
    failures: &mut Failures,
) -> Result<(), Rejection> {
    fail_nulls(lists, target, failures);
    let offsets = lists.value_offsets();
    let (start, end) = (offsets[0].as_usize(), offsets[lists.len()].as_usize());
    let numbers = target.numbers(lists.values(), start, end - start)?;
    let width = target.spec.width;
    for (index, bounds) in offsets.windows(2).enumerate() {
        let (from, to) = (bounds[0].as_usize() - start, bounds[1].as_usize() - start);
        if to - from == width {
            target.extend(&numbers.part(from, to), index, failures);
            continue;
        }
        columns::extend_missing(target.values, width);
        let (row, name, found) = (target.first_row + index, &target.spec.name, to - from);
        let text = || format!("row {row}: {found} values where the model's input `{name}` takes {width}; send {width}");
        failures.push(row, || Rejection::new(ErrorClass::Shape, text()));
    }
    Ok(())
}

impl Target<'_> {
    /// `len` values of a column from `start` on, as numbers of the sort that this target takes.
    fn numbers<'a>(&self, array: &'a ArrayRef, start: usize, len: usize) -> Result<Numbers<'a>, Rejection> {
        match &*self.values {
            Values::I64(_) => Numbers::whole(array, start, len),
            _ => Numbers::of(array, start, len),
        }
    }

    /// The numbers that cells of text spell; rows with others fail.
    fn spelled<'a>(&self, texts: &Texts<'_>, failures: &mut Failures) -> Numbers<'a> {
        match &*self.values {
            Values::I64(_) => {
                let whole = |number: f64| columns::whole(number).ok_or(number);
                let parse = |text: &str| text.parse().map(Ok).ok().or_else(|| spelled(text).map(whole));
                Numbers::Whole(self.cells(texts, Err(f64::NAN), parse, failures).into())
            }
            _ => Numbers::F64(self.cells(texts, f64::NAN, spelled, failures).into()),
        }
    }

    fn cells<T: Clone>(
        &self,
        texts: &Texts<'_>,
        missing: T,
        parse: impl Fn(&str) -> Option<T>,
        failures: &mut Failures,
    ) -> Vec<T> {
        let element = self.field.unwrap_or(0);
        let mut cell = |at: usize| {
            let text = texts.get(at)?;
            let number = parse(text);
            if number.is_none() {
                let row = self.first_row + at;
                failures.push(row, || unreadable(row, self.spec, element, text));
            }
            number
        };
        (0..texts.len()).map(|at| cell(at).unwrap_or_else(|| missing.clone())).collect()
    }

    /// Notes the rows of values that the target does not hold; `place` gives row and element of a value.
    fn fail_unfit(&self, numbers: &Numbers<'_>, place: impl Fn(usize) -> (usize, usize), failures: &mut Failures) {
        let mut fail = |at: usize, number: f64| {
            let (row, element) = place(at);
            failures.push(row, || match number.is_nan() {
                true => never_missing(row, self.spec, element),
                false => too_large(row, self.spec, element, &number.to_string()),
            });
        };
        match (&*self.values, numbers) {
            (Values::F32(_), Numbers::F64(numbers)) => overflows(numbers).for_each(|(at, number)| fail(at, number)),
            (_, Numbers::Whole(numbers)) => {
                let unfit = numbers.iter().enumerate().filter_map(|(at, number)| Some((at, number.err()?)));
                unfit.for_each(|(at, number)| fail(at, number));
            }
            _ => {}
        }
    }

    /// Appends whole rows; `index` is the row of the array that they start with.
    fn extend(&mut self, numbers: &Numbers<'_>, index: usize, failures: &mut Failures) {
        match (&mut *self.values, numbers) {
            (Values::F32(values), Numbers::F32(numbers)) => values.extend_from_slice(numbers),
            (Values::F64(values), Numbers::F64(numbers)) => values.extend_from_slice(numbers),
            (Values::F64(values), Numbers::F32(numbers)) => values.extend(numbers.iter().map(|n| f64::from(*n))),
            (Values::F32(values), Numbers::F64(numbers)) => values.extend(numbers.iter().map(|n| *n as f32)),
            (Values::I64(values), Numbers::Whole(numbers)) => values.extend(numbers.iter().map(|n| n.unwrap_or(0))),
            (values, numbers) => columns::extend_missing(values, numbers.len()),
        }
        let (first, width) = (self.first_row + index, self.spec.width);
        self.fail_unfit(numbers, |at| (first + at / width, at % width), failures);
    }

    /// Writes one field of each row, among fields that are there or will come.
    fn spread(&mut self, numbers: &Numbers<'_>, field: usize, failures: &mut Failures) {
        let (width, start) = (self.spec.width, self.at * self.spec.width);
        if self.values.len() == start {
            columns::extend_missing(self.values, numbers.len() * width);
        }
        match (&mut *self.values, numbers) {
            (Values::F32(values), Numbers::F32(numbers)) => spread(&mut values[start + field..], width, numbers, |n| n),
            (Values::F64(values), Numbers::F64(numbers)) => spread(&mut values[start + field..], width, numbers, |n| n),
            (Values::F64(values), Numbers::F32(numbers)) => {
                spread(&mut values[start + field..], width, numbers, f64::from);
            }
            (Values::F32(values), Numbers::F64(numbers)) => {
                spread(&mut values[start + field..], width, numbers, |number| number as f32);
            }
            (Values::I64(values), Numbers::Whole(numbers)) => {
                spread(&mut values[start + field..], width, numbers, |number| number.unwrap_or(0));
            }
            _ => {}
        }
        self.fail_unfit(numbers, |at| (self.first_row + at, field), failures);
    }
}

fn spread<S: Copy, T>(values: &mut [T], width: usize, numbers: &[S], convert: impl Fn(S) -> T) {
    values.iter_mut().step_by(width).zip(numbers).for_each(|(value, number)| *value = convert(*number));
}

/// The values of a numeric array: borrowed where it is one of the two floats and has no nulls.
enum Numbers<'a> {
    F32(&'a [f32]),
    F64(Cow<'a, [f64]>),
    Whole(Cow<'a, [Whole]>),
}

/// An integer, or the double that is none (NaN where the value is missing).
type Whole = Result<i64, f64>;

fn short() -> Rejection {
    Rejection::new(ErrorClass::Malformed, "a list has fewer values than it announces")
}

/// Finite doubles that are infinite as 32-bit floats.
fn overflows(numbers: &[f64]) -> impl Iterator<Item = (usize, f64)> {
    let overflow = |number: f64| number.is_finite() && (number as f32).is_infinite();
    numbers.iter().copied().enumerate().filter(move |(_, number)| overflow(*number))
}

impl<'a> Numbers<'a> {
    /// `len` values from `start` on, NaN where they are null.
    fn of(array: &'a ArrayRef, start: usize, len: usize) -> Result<Self, Rejection> {
        let end = start.checked_add(len).filter(|end| *end <= array.len()).ok_or_else(short)?;
        if array.null_count() == 0 {
            match array.data_type() {
                DataType::Float32 => return Ok(Self::F32(&array.as_primitive::<Float32Type>().values()[start..end])),
                DataType::Float64 => {
                    return Ok(Self::F64(Cow::Borrowed(&array.as_primitive::<Float64Type>().values()[start..end])));
                }
                _ => {}
            }
        }
        converted(&array.slice(start, len)).map(|values| Self::F64(Cow::Owned(values)))
    }

    /// The same values as integers, exactly.
    fn whole(array: &'a ArrayRef, start: usize, len: usize) -> Result<Self, Rejection> {
        let end = start.checked_add(len).filter(|end| *end <= array.len());
        let slice = end.map(|_| array.slice(start, len)).ok_or_else(short)?;
        let missing = Err(f64::NAN);
        let values: Vec<Whole> = match slice.data_type() {
            DataType::Int64 => slice.as_primitive::<Int64Type>().iter().map(|v| v.map_or(missing, Ok)).collect(),
            DataType::UInt64 => {
                let fit = |value: u64| i64::try_from(value).map_err(|_| value as f64);
                slice.as_primitive::<UInt64Type>().iter().map(|v| v.map_or(missing, fit)).collect()
            }
            _ => converted(&slice)?.into_iter().map(|value| columns::whole(value).ok_or(value)).collect(),
        };
        Ok(Self::Whole(Cow::Owned(values)))
    }

    fn len(&self) -> usize {
        match self {
            Numbers::F32(numbers) => numbers.len(),
            Numbers::F64(numbers) => numbers.len(),
            Numbers::Whole(numbers) => numbers.len(),
        }
    }

    fn part(&self, from: usize, to: usize) -> Numbers<'_> {
        match self {
            Numbers::F32(numbers) => Numbers::F32(&numbers[from..to]),
            Numbers::F64(numbers) => Numbers::F64(Cow::Borrowed(&numbers[from..to])),
            Numbers::Whole(numbers) => Numbers::Whole(Cow::Borrowed(&numbers[from..to])),
        }
    }
}

/// The array's values as doubles, NaN where they are null.
fn converted(array: &dyn Array) -> Result<Vec<f64>, Rejection> {
    macro_rules! primitive {
        ($type:ty, $convert:expr) => {
            array.as_primitive::<$type>().iter().map(|value| value.map_or(f64::NAN, $convert)).collect()
        };
    }
    Ok(match array.data_type() {
        DataType::Float16 => primitive!(Float16Type, |value| value.to_f64()),
        DataType::Float32 => primitive!(Float32Type, f64::from),
        DataType::Float64 => primitive!(Float64Type, |value| value),
        DataType::Int8 => primitive!(Int8Type, f64::from),
        DataType::Int16 => primitive!(Int16Type, f64::from),
        DataType::Int32 => primitive!(Int32Type, f64::from),
        DataType::Int64 => primitive!(Int64Type, |value| value as f64),
        DataType::UInt8 => primitive!(UInt8Type, f64::from),
        DataType::UInt16 => primitive!(UInt16Type, f64::from),
        DataType::UInt32 => primitive!(UInt32Type, f64::from),
        DataType::UInt64 => primitive!(UInt64Type, |value| value as f64),
        DataType::Boolean => {
            let truth = |value: Option<bool>| value.map_or(f64::NAN, |value| f64::from(u8::from(value)));
            array.as_boolean().iter().map(truth).collect()
        }
        other => {
            let text = format!("a column of type {other} is not numeric; send numbers");
            return Err(Rejection::new(ErrorClass::Shape, text));
        }
    })
}
