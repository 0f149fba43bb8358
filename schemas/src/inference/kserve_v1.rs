//! KServe v1 requests: `{"instances": [...]}`.
//!
//! An instance is an array of the input's numbers, one number where the width is 1, or an object of inputs or fields
//! by name; an input of several dimensions may come as arrays in arrays. `null` is a missing value.

use std::collections::HashSet;

use crate::outcome::{ErrorClass, Rejection};
use crate::rows::{RowsBuilder, Values};
use crate::signature::{Signature, TensorSpec};

use super::columns::{self, Failures, check_rows, commit, locate, names, never_missing, not_a_number, too_large};
use super::json::{Value, shorten};
use super::{Extra, Format, Limits, Request, plain};

/// Decodes `{"instances":[[numbers and nulls],…]}` and nothing else, without an allocation. `None`, with `rows`
/// unchanged, says only that the payload is not of this plain form.
pub(super) fn decode_plain(payload: &[u8], rows: &mut RowsBuilder, limits: &Limits) -> Option<Request> {
    let [spec] = rows.signature().inputs.as_slice() else { return None };
    let (width, before) = (spec.width, rows.rows());
    let count = match rows.columns_mut() {
        [Values::F32(values)] => plain::instances(payload, width, limits.max_rows, values),
        [Values::F64(values)] => plain::instances(payload, width, limits.max_rows, values),
        _ => None,
    };
    match count {
        Some(count) if rows.commit(count) => {
            Some(Request { format: Format::KserveV1, rows: count as u32, extra: None })
        }
        _ => {
            rows.rollback(before);
            None
        }
    }
}

/// Decodes the value of `instances`, whatever its form, and says what is wrong with each row that does not fit.
pub(super) fn decode(instances: Value<'_>, rows: &mut RowsBuilder, limits: &Limits) -> Result<Request, Rejection> {
    if !instances.is_array() {
        let text = format!("`instances` is {} where an array of rows belongs", instances.kind());
        return Err(Rejection::new(ErrorClass::Shape, text));
    }
    let signature = rows.signature().clone();
    let mut failures = Failures::default();
    let (before, mut good, mut count) = (rows.rows(), 0, 0);
    for instance in instances.elements() {
        check_rows(count + 1, limits.max_rows)?;
        let mut row = Row { number: count, at: before + good, signature: &signature, columns: rows.columns_mut() };
        match row.fill(instance) {
            Ok(()) => good += 1,
            Err(rejection) => {
                row.drop();
                failures.push(count, || rejection);
            }
        }
        count += 1;
    }
    check_rows(count, limits.max_rows)?;
    let failed = failures.finish(count)?;
    commit(good, rows)?;
    Ok(Request::new(Format::KserveV1, count as u32, Extra { failed, ..Extra::default() }))
}

/// One row that is being read.
struct Row<'a> {
    /// Its number in the message.
    number: usize,
    /// Its number in the columns.
    at: usize,
    signature: &'a Signature,
    columns: &'a mut [Values],
}

impl Row<'_> {
    fn drop(&mut self) {
        for (column, spec) in self.columns.iter_mut().zip(&self.signature.inputs) {
            column.truncate(self.at * spec.width);
        }
    }

    fn fill(&mut self, instance: Value<'_>) -> Result<(), Rejection> {
        if instance.is_object() {
            return self.fill_by_name(instance);
        }
        match self.signature.inputs.as_slice() {
            [_] => self.append(0, instance),
            inputs => {
                let (row, kind, names) = (self.number, instance.kind(), names(inputs));
                let text = format!("row {row}: {kind} where an object of the model's inputs belongs; name {names}");
                Err(Rejection::new(ErrorClass::Shape, text))
            }
        }
    }

    /// Appends the values of input `input`: an array of its width, arrays in arrays as its dimensions are, or a scalar
    /// where the width is 1.
    fn append(&mut self, input: usize, value: Value<'_>) -> Result<(), Rejection> {
        let spec = &self.signature.inputs[input];
        if spec.dims().len() > 1 && value.elements().next().is_some_and(Value::is_array) {
            return self.append_nested(input, value, spec.dims(), &mut 0);
        }
        if !value.is_array() {
            return match spec.width {
                1 => self.push(input, 0, value),
                _ => Err(self.wrong_length(spec, value.kind())),
            };
        }
        let mut found = 0;
        for element in value.elements().take(spec.width) {
            self.push(input, found, element)?;
            found += 1;
        }
        let found = found + value.elements().skip(spec.width).count();
        if found == spec.width {
            return Ok(());
        }
        Err(self.wrong_length(spec, &format!("{found} value{}", if found == 1 { "" } else { "s" })))
    }

    /// Appends arrays in arrays; each level has exactly its dimension, or the values behind would shift unnoticed.
    fn append_nested(
        &mut self,
        input: usize,
        value: Value<'_>,
        dims: &[usize],
        index: &mut usize,
    ) -> Result<(), Rejection> {
        let spec = &self.signature.inputs[input];
        let Some((size, inner)) = dims.split_first() else {
            self.push(input, *index, value)?;
            *index += 1;
            return Ok(());
        };
        let found = value.elements().take(size + 1).count();
        if !value.is_array() || found != *size {
            return Err(self.wrong_nesting(spec, *index));
        }
        value.elements().try_for_each(|element| self.append_nested(input, element, inner, index))
    }

    fn wrong_nesting(&self, spec: &TensorSpec, index: usize) -> Rejection {
        let (row, name, dims) = (self.number, &spec.name, spec.dims());
        let text = format!(
            "row {row}, about value {index}: input `{name}` has the shape {dims:?}, the arrays there do not; nest as \
             the shape is, or send {} numbers flat",
            spec.width
        );
        Rejection::new(ErrorClass::Shape, text)
    }

    fn wrong_length(&self, spec: &TensorSpec, found: &str) -> Rejection {
        let (row, name, width) = (self.number, &spec.name, spec.width);
        let text = format!(
            "row {row}: {found} where the model's input `{name}` takes {width}; send {width} numbers per instance"
        );
        Rejection::new(ErrorClass::Shape, text)
    }

    fn push(&mut self, input: usize, index: usize, value: Value<'_>) -> Result<(), Rejection> {
        columns::extend_missing(&mut self.columns[input], 1);
        self.set(input, index, value)
    }

    /// Writes a value that may be null, at its place in this row.
    fn set(&mut self, input: usize, index: usize, value: Value<'_>) -> Result<(), Rejection> {
        let spec = &self.signature.inputs[input];
        let column = &mut self.columns[input];
        if value.is_null() {
            let missing = columns::has_missing(column);
            return if missing { Ok(()) } else { Err(never_missing(self.number, spec, index)) };
        }
        if let (Values::I64(values), Some(whole)) = (column, value.integer()) {
            values[self.at * spec.width + index] = whole;
            return Ok(());
        }
        let Some(number) = value.number() else { return Err(not_a_number(self.number, spec, index, value)) };
        let fits = columns::set(&mut self.columns[input], self.at * spec.width + index, number);
        if fits && number.is_finite() {
            return Ok(());
        }
        Err(too_large(self.number, spec, index, &shorten(value.text())))
    }

    /// Fills from an object whose members are inputs or fields of inputs.
    fn fill_by_name(&mut self, instance: Value<'_>) -> Result<(), Rejection> {
        let mut seen = vec![0_usize; self.signature.inputs.len()];
        let mut fields = FieldsSeen::default();
        for (name, value) in instance.members() {
            match fields.next(self.signature, &name).or_else(|| locate(self.signature, &name)) {
                Some((input, None)) if seen[input] == 0 => {
                    self.append(input, value)?;
                    seen[input] = self.signature.inputs[input].width;
                }
                Some((input, Some(index))) if fields.first_time(input, index) => {
                    self.start_by_field(input, seen[input])?;
                    self.set(input, index, value)?;
                    seen[input] += 1;
                }
                Some(_) => return Err(self.twice(&name)),
                None => return Err(self.unknown(&name)),
            }
        }
        self.check_seen(&seen, &fields)
    }

    /// Makes room for an input whose fields come one by one.
    fn start_by_field(&mut self, input: usize, seen: usize) -> Result<(), Rejection> {
        let (column, width) = (&mut self.columns[input], self.signature.inputs[input].width);
        if seen == 0 {
            columns::extend_missing(column, width);
        }
        if seen < width { Ok(()) } else { Err(self.twice(&self.signature.inputs[input].name)) }
    }

    fn check_seen(&self, seen: &[usize], fields: &FieldsSeen) -> Result<(), Rejection> {
        for (input, (spec, seen)) in self.signature.inputs.iter().zip(seen).enumerate() {
            if *seen < spec.width {
                let missing = (0..spec.width).find(|index| !fields.has(input, *index)).filter(|_| *seen > 0);
                let name = missing.and_then(|index| spec.fields.get(index)).unwrap_or(&spec.name);
                let row = self.number;
                let text = format!("row {row}: `{name}` is not there; send it, as null where its value is missing");
                return Err(Rejection::new(ErrorClass::Shape, text));
            }
        }
        Ok(())
    }

    fn twice(&self, name: &str) -> Rejection {
        let text = format!("row {}: `{}` is there twice; send it once", self.number, shorten(name.as_bytes()));
        Rejection::new(ErrorClass::Malformed, text)
    }

    fn unknown(&self, name: &str) -> Rejection {
        let (row, name, known) = (self.number, shorten(name.as_bytes()), names(&self.signature.inputs));
        let text = format!("row {row}: the model has no input or field `{name}`; its inputs are {known}");
        Rejection::new(ErrorClass::Shape, text)
    }
}

/// Which fields a row has named so far.
#[derive(Default)]
struct FieldsSeen {
    seen: HashSet<(usize, usize)>,
    latest: Option<(usize, usize)>,
}

impl FieldsSeen {
    fn first_time(&mut self, input: usize, index: usize) -> bool {
        self.latest = Some((input, index));
        self.seen.insert((input, index))
    }

    fn has(&self, input: usize, index: usize) -> bool {
        self.seen.contains(&(input, index))
    }

    /// The field behind the latest one, where that has this name: rows mostly name fields in order, and to search all
    /// of them for each would take the square of their number.
    fn next(&self, signature: &Signature, name: &str) -> Option<(usize, Option<usize>)> {
        let (input, index) = self.latest?;
        let next = signature.inputs[input].fields.get(index + 1)?;
        (next == name).then_some((input, Some(index + 1)))
    }
}
