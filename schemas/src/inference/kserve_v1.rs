//! KServe v1 requests: `{"instances": [...]}`.
//!
//! An instance is an array of the input's numbers, one number where the width is 1, or an object of inputs or fields
//! by name. `null` is a missing value.

use crate::outcome::{ErrorClass, Rejection};
use crate::rows::{RowsBuilder, Values};
use crate::signature::{Signature, TensorSpec};

use super::columns::{self, Element, Failures, check_rows, commit, locate, names, not_a_number, too_large};
use super::json::{Value, shorten};
use super::{Extra, Format, Limits, Request, number};

/// Decodes `{"instances":[[numbers],…]}` and nothing else, without an allocation. `None`, with `rows` unchanged, says
/// only that the payload is not of this plain form.
pub(super) fn decode_plain(payload: &[u8], rows: &mut RowsBuilder, limits: &Limits) -> Option<Request> {
    let [spec] = rows.signature().inputs.as_slice() else { return None };
    let (width, before) = (spec.width, rows.rows());
    let count = match rows.columns_mut() {
        [Values::F32(values)] => plain_rows(payload, width, values, limits.max_rows),
        [Values::F64(values)] => plain_rows(payload, width, values, limits.max_rows),
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

fn plain_rows<T: Element>(text: &[u8], width: usize, values: &mut Vec<T>, max_rows: usize) -> Option<usize> {
    let mut at = 0;
    for word in [&b"{"[..], b"\"instances\"", b":", b"["] {
        at = expect(text, at, word)?;
    }
    let mut separators = Separators::new(text, at);
    let mut count = 0;
    loop {
        at = expect(text, at, b"[")?;
        at = plain_row(text, at, width, &mut separators, values)?;
        count += 1;
        let (next, end) = token(text, at)?;
        if separators.next() != Some(end - 1) || count > max_rows {
            return None;
        }
        at = end;
        match next {
            b',' => {}
            b']' => break,
            _ => return None,
        }
    }
    at = expect(text, at, b"}")?;
    text[at..].trim_ascii_start().is_empty().then_some(count)
}

/// One row's numbers from behind its `[`; gives the position behind its `]`.
#[inline]
fn plain_row<T: Element>(
    text: &[u8],
    at: usize,
    width: usize,
    separators: &mut Separators<'_>,
    values: &mut Vec<T>,
) -> Option<usize> {
    // A row of n numbers takes 2n bytes at least: the payload, not the model, bounds what is allocated.
    if width == 0 || (text.len() - at) / 2 < width {
        return None;
    }
    let first = values.len();
    values.resize(first + width, T::default());
    let mut start = at;
    for (index, slot) in values[first..].iter_mut().enumerate() {
        let end = separators.next()?;
        if (text[end] == b']') != (index + 1 == width) {
            return None;
        }
        start += usize::from(text[start] == b' ');
        *slot = T::of(plain_number(text, start, end)?);
        if !slot.finite() {
            return None;
        }
        start = end + 1;
    }
    Some(start)
}

#[inline]
fn plain_number(text: &[u8], start: usize, end: usize) -> Option<f64> {
    number::short(text, start, end).or_else(|| number::parse(text.get(start..end)?))
}

/// The next byte that is not white space, and the position behind it.
#[inline]
fn token(text: &[u8], mut at: usize) -> Option<(u8, usize)> {
    while matches!(text.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    text.get(at).map(|byte| (*byte, at + 1))
}

/// The position behind `word`, where it comes next.
#[inline]
fn expect(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let start = token(text, at)?.1 - 1;
    text[start..].starts_with(word).then_some(start + word.len())
}

/// The positions of `,` and `]`, found 64 bytes at a time so that the numbers between them do not wait for each other.
struct Separators<'a> {
    text: &'a [u8],
    base: usize,
    mask: u64,
}

impl<'a> Separators<'a> {
    fn new(text: &'a [u8], base: usize) -> Self {
        Self { text, base, mask: separators(&text[base..]) }
    }

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            self.base += 64;
            self.mask = separators(self.text.get(self.base..).filter(|rest| !rest.is_empty())?);
        }
        let position = self.base + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(position)
    }
}

/// One bit for each of the first 64 bytes: whether it is `,` or `]`.
fn separators(text: &[u8]) -> u64 {
    match text.first_chunk::<64>() {
        Some(block) => block_separators(block),
        None => {
            let mut block = [0; 64];
            block[..text.len()].copy_from_slice(text);
            block_separators(&block)
        }
    }
}

fn block_separators(block: &[u8; 64]) -> u64 {
    const COMMAS: u64 = u64::MAX / 255 * b',' as u64;
    const BRACKETS: u64 = u64::MAX / 255 * b']' as u64;
    /// Gathers the high bits of eight bytes into the top byte, the lowest byte's bit lowest.
    const GATHER: u64 = 0x0002_0408_1020_4081;
    let (words, _) = block.as_chunks::<8>();
    words.iter().enumerate().fold(0, |mask, (index, word)| {
        let word = u64::from_le_bytes(*word);
        let found = number::bytes_equal(word, COMMAS) | number::bytes_equal(word, BRACKETS);
        mask | (found.wrapping_mul(GATHER) >> 56) << (8 * index)
    })
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

    /// Appends the values of input `input`: an array of its width, or a scalar where the width is 1.
    fn append(&mut self, input: usize, value: Value<'_>) -> Result<(), Rejection> {
        let spec = &self.signature.inputs[input];
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
        if value.is_null() {
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
            match locate(self.signature, &name) {
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
struct FieldsSeen(std::collections::HashSet<(usize, usize)>);

impl FieldsSeen {
    fn first_time(&mut self, input: usize, index: usize) -> bool {
        self.0.insert((input, index))
    }

    fn has(&self, input: usize, index: usize) -> bool {
        self.0.contains(&(input, index))
    }
}
