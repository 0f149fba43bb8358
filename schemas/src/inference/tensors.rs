//! Tensors of an Open Inference Protocol request, as JSON or as raw little-endian bytes, on their way into columns.

use std::borrow::Cow;

use arrow_array::types::{ArrowPrimitiveType, Float16Type};

use crate::outcome::{ErrorClass, Rejection};
use crate::rows::Values;
use crate::signature::TensorSpec;

use super::columns::{self, Failures, never_missing, not_a_number, too_large};
use super::json::{Value, once, shorten};
use super::plain;
use super::wire::V2Datatype;

/// More dimensions than any tensor here has; bounds the recursion into nested data.
const MAX_DIMENSIONS: usize = 8;

/// How elements become a model's.
impl V2Datatype {
    const ALL: [(&'static str, V2Datatype, usize); 13] = [
        ("BOOL", V2Datatype::Bool, 1),
        ("UINT8", V2Datatype::Uint8, 1),
        ("UINT16", V2Datatype::Uint16, 2),
        ("UINT32", V2Datatype::Uint32, 4),
        ("UINT64", V2Datatype::Uint64, 8),
        ("INT8", V2Datatype::Int8, 1),
        ("INT16", V2Datatype::Int16, 2),
        ("INT32", V2Datatype::Int32, 4),
        ("INT64", V2Datatype::Int64, 8),
        ("FP16", V2Datatype::Fp16, 2),
        ("BF16", V2Datatype::Bf16, 2),
        ("FP32", V2Datatype::Fp32, 4),
        ("FP64", V2Datatype::Fp64, 8),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, ..)| *known == name).map(|(_, wire, _)| *wire)
    }

    /// Bytes of one raw element.
    pub(super) fn size(self) -> usize {
        Self::ALL.iter().find(|(_, wire, _)| *wire == self).map_or(1, |(.., size)| *size)
    }

    /// The value of one raw element of [`size`](Self::size) bytes.
    fn read(self, bytes: &[u8]) -> f64 {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        match self {
            V2Datatype::Bool => f64::from(u8::from(bits != 0)),
            V2Datatype::Uint8 | V2Datatype::Uint16 | V2Datatype::Uint32 | V2Datatype::Uint64 => bits as f64,
            V2Datatype::Int8 => f64::from(bits as i8),
            V2Datatype::Int16 => f64::from(bits as i16),
            V2Datatype::Int32 => f64::from(bits as i32),
            V2Datatype::Int64 => bits as i64 as f64,
            V2Datatype::Fp16 => <Float16Type as ArrowPrimitiveType>::Native::from_bits(bits as u16).to_f64(),
            V2Datatype::Bf16 => f64::from(f32::from_bits((bits as u32) << 16)),
            V2Datatype::Fp32 => f64::from(f32::from_bits(bits as u32)),
            V2Datatype::Fp64 => f64::from_bits(bits),
        }
    }

    /// The value of one raw integer that a double may not hold.
    fn read_whole(self, bytes: &[u8]) -> Option<i64> {
        let bits = bytes.try_into().map(u64::from_le_bytes);
        match self {
            V2Datatype::Int64 => bits.map(|bits| bits as i64).ok(),
            V2Datatype::Uint64 => bits.ok().and_then(|bits| i64::try_from(bits).ok()),
            _ => None,
        }
    }
}

/// A tensor of a request.
#[derive(Clone, Debug)]
pub(super) struct Tensor<'a> {
    pub(super) name: Cow<'a, str>,
    /// First the rows; at least one dimension, and the product fits a `usize`.
    shape: Vec<usize>,
    datatype: V2Datatype,
    data: Data<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Data<'a> {
    Json(Value<'a>),
    Raw(&'a [u8]),
}

impl<'a> Tensor<'a> {
    /// Reads one member of `inputs`; takes its raw bytes, if it has any, from the front of `raw`.
    pub(super) fn read(input: Value<'a>, raw: &mut &'a [u8]) -> Result<Self, Rejection> {
        let parts = Parts::of(input)?;
        let name = parts.name.and_then(Value::string).ok_or_else(|| malformed("an input has no `name`; name it"))?;
        let label = shorten(name.as_bytes());
        let shape = read_shape(parts.shape, &label)?;
        let datatype = read_datatype(parts.datatype, &label)?;
        let elements = shape.iter().product::<usize>();
        let data = match (parts.binary_data_size()?, parts.data) {
            (Some(size), None) => Data::Raw(take_raw(raw, size, elements, datatype, &label)?),
            (None, Some(data)) if data.is_array() => Data::Json(data),
            (None, _) => return Err(malformed(format!("input `{label}` has no array `data`; send its values"))),
            (Some(_), Some(_)) => {
                return Err(malformed(format!("input `{label}` has both `data` and `binary_data_size`; send one")));
            }
        };
        Ok(Self { name, shape, datatype, data })
    }

    /// Number of rows that the shape claims.
    pub(super) fn rows(&self) -> usize {
        self.shape[0]
    }

    /// Dimensions of a row that the shape claims.
    pub(super) fn dims(&self) -> &[usize] {
        &self.shape[1..]
    }

    /// Elements per row that the shape claims.
    pub(super) fn width(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// The shape, for error messages.
    pub(super) fn shape_text(&self) -> String {
        format!("{:?}", self.shape)
    }

    /// Refuses a shape that claims more elements than the data can spell, before anything is allocated for it.
    pub(super) fn check_size(&self) -> Result<(), Rejection> {
        match self.data {
            Data::Json(data) if self.rows() * self.width() > data.text().len() / 2 + 1 => Err(self.wrong_count(None)),
            _ => Ok(()),
        }
    }

    fn wrong_count(&self, found: Option<usize>) -> Rejection {
        let (name, shape, takes) = (shorten(self.name.as_bytes()), self.shape_text(), self.rows() * self.width());
        let found = found.map_or("`data` has fewer".to_owned(), |found| format!("`data` has {found}"));
        let text = format!("input `{name}`: shape {shape} means {takes} values, {found}; make them agree");
        Rejection::new(ErrorClass::Shape, text)
    }

    /// Writes the values where `target` says.
    pub(super) fn fill(&self, target: &mut Target<'_>, failures: &mut Failures) -> Result<(), Rejection> {
        match self.data {
            Data::Raw(bytes) => self.fill_raw(bytes, target, failures),
            Data::Json(data) => {
                if target.copy_plain(data, self.rows() * self.width()) {
                    return Ok(());
                }
                let mut index = 0;
                self.fill_json(data, &self.shape, &mut index, target, failures)?;
                if index == self.rows() * self.width() { Ok(()) } else { Err(self.wrong_count(Some(index))) }
            }
        }
    }

    fn fill_raw(&self, bytes: &[u8], target: &mut Target<'_>, failures: &mut Failures) -> Result<(), Rejection> {
        if target.copy_raw(bytes, self.datatype) {
            return Ok(());
        }
        let integers = matches!(target.values, Values::I64(_));
        for (index, element) in bytes.chunks_exact(self.datatype.size()).enumerate() {
            if let Some(whole) = self.datatype.read_whole(element).filter(|_| integers) {
                target.put_whole(index, whole);
                continue;
            }
            let value = self.datatype.read(element);
            target.put(index, value, failures, || value.to_string());
        }
        Ok(())
    }

    /// Data may be flat or nested as the shape is; a nested array must have exactly its part of the values, or the
    /// rows behind it would shift unnoticed.
    fn fill_json(
        &self,
        data: Value<'_>,
        shape: &[usize],
        index: &mut usize,
        target: &mut Target<'_>,
        failures: &mut Failures,
    ) -> Result<(), Rejection> {
        let nested = shape.len() > 1 && data.elements().next().is_some_and(Value::is_array);
        let end = *index + shape.iter().product::<usize>();
        for element in data.elements() {
            if *index == end {
                return Err(self.wrong_part(shape, *index));
            }
            if nested && element.is_array() {
                self.fill_json(element, &shape[1..], index, target, failures)?;
            } else if nested || element.is_array() {
                return Err(self.wrong_part(shape, *index));
            } else {
                target.put_json(*index, element, self.datatype, failures);
                *index += 1;
            }
        }
        if *index == end { Ok(()) } else { Err(self.wrong_part(shape, *index)) }
    }

    fn wrong_part(&self, part: &[usize], index: usize) -> Rejection {
        let (name, shape) = (shorten(self.name.as_bytes()), self.shape_text());
        let row = index / self.width().max(1);
        let text = format!(
            "input `{name}`, about row {row}: `data` does not have the {part:?} values of shape {shape} there; \
             send {} values in all",
            self.rows() * self.width()
        );
        Rejection::new(ErrorClass::Shape, text)
    }
}

/// Where a tensor's values go: a whole input, or one field of it.
pub(super) struct Target<'a> {
    pub(super) spec: &'a TensorSpec,
    pub(super) values: &'a mut Values,
    /// Rows in the column before this message.
    pub(super) base: usize,
    /// The field that the tensor holds; `None` is the whole input.
    pub(super) field: Option<usize>,
}

impl Target<'_> {
    /// Row and element of the tensor's value `index`.
    fn position(&self, index: usize) -> (usize, usize) {
        match self.field {
            Some(field) => (index, field),
            None => (index / self.spec.width, index % self.spec.width),
        }
    }

    /// Place of the tensor's value `index` in the column; room for a whole input is made as values come, so that no
    /// claim is believed.
    fn place(&mut self, (row, element): (usize, usize)) -> usize {
        let at = (self.base + row) * self.spec.width + element;
        if at == self.values.len() {
            columns::extend_missing(self.values, 1);
        }
        at
    }

    fn put(&mut self, index: usize, value: f64, failures: &mut Failures, shown: impl FnOnce() -> String) {
        let (row, element) = self.position(index);
        let at = self.place((row, element));
        if !columns::set(self.values, at, value) {
            failures.push(row, || too_large(row, self.spec, element, &shown()));
        }
    }

    /// Writes an integer into integers, exactly.
    fn put_whole(&mut self, index: usize, value: i64) {
        let at = self.place(self.position(index));
        if let Values::I64(values) = self.values {
            values[at] = value;
        }
    }

    fn put_json(&mut self, index: usize, value: Value<'_>, datatype: V2Datatype, failures: &mut Failures) {
        if let (Values::I64(_), Some(whole)) = (&*self.values, value.integer()) {
            return self.put_whole(index, whole);
        }
        let number = match value.number() {
            None if value.is_null() => Some(f64::NAN),
            None if datatype == V2Datatype::Bool => value.boolean().map(|truth| f64::from(u8::from(truth))),
            number => number,
        };
        let (row, element) = self.position(index);
        match number {
            None => failures.push(row, || not_a_number(row, self.spec, element, value)),
            Some(_) if value.is_null() && !columns::has_missing(self.values) => {
                failures.push(row, || never_missing(row, self.spec, element));
            }
            Some(number) if number.is_infinite() => {
                failures.push(row, || too_large(row, self.spec, element, &shorten(value.text())));
            }
            _ => {}
        }
        self.put(index, number.unwrap_or(f64::NAN), failures, || shorten(value.text()));
    }

    /// Appends a flat array of `count` numbers and nulls; false, and nothing appended, where the data are not that.
    fn copy_plain(&mut self, data: Value<'_>, count: usize) -> bool {
        let before = self.values.len();
        let end = match (&mut *self.values, self.field) {
            (Values::F32(values), None) => plain::array(data.text(), 1, count, values),
            (Values::F64(values), None) => plain::array(data.text(), 1, count, values),
            _ => None,
        };
        if end.is_none() {
            self.values.truncate(before);
        }
        end.is_some()
    }

    /// Appends all at once where the element types are the same; false where they are not.
    fn copy_raw(&mut self, bytes: &[u8], datatype: V2Datatype) -> bool {
        match (&mut *self.values, datatype, self.field) {
            (Values::F32(values), V2Datatype::Fp32, None) => {
                values.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            (Values::F64(values), V2Datatype::Fp64, None) => {
                values.extend(bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)));
            }
            (Values::I64(values), V2Datatype::Int64, None) => {
                values.extend(bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)));
            }
            _ => return false,
        }
        true
    }
}

#[derive(Default)]
struct Parts<'a> {
    name: Option<Value<'a>>,
    shape: Option<Value<'a>>,
    datatype: Option<Value<'a>>,
    data: Option<Value<'a>>,
    parameters: Option<Value<'a>>,
}

impl<'a> Parts<'a> {
    fn of(input: Value<'a>) -> Result<Self, Rejection> {
        if !input.is_object() {
            return Err(malformed(format!("`inputs` holds {} where an object belongs", input.kind())));
        }
        let mut parts = Self::default();
        for (name, value) in input.members() {
            let slot = match &*name {
                "name" => &mut parts.name,
                "shape" => &mut parts.shape,
                "datatype" => &mut parts.datatype,
                "data" => &mut parts.data,
                "parameters" => &mut parts.parameters,
                _ => continue,
            };
            once(slot, value, &name)?;
        }
        Ok(parts)
    }

    fn binary_data_size(&self) -> Result<Option<usize>, Rejection> {
        let members = self.parameters.into_iter().flat_map(Value::members);
        let mut sizes = members.filter(|(name, _)| name == "binary_data_size").map(|(_, value)| value);
        let Some(size) = sizes.next() else { return Ok(None) };
        match count(size).filter(|_| sizes.next().is_none()) {
            Some(size) => Ok(Some(size)),
            None => Err(malformed("`binary_data_size` must be one number of bytes")),
        }
    }
}

/// A whole number that is not negative.
fn count(value: Value<'_>) -> Option<usize> {
    std::str::from_utf8(value.text()).ok()?.parse().ok()
}

fn read_shape(shape: Option<Value<'_>>, label: &str) -> Result<Vec<usize>, Rejection> {
    let bad = |found: &str| {
        let text = format!("input `{label}`: shape {found} is not [rows, …]; send 1 to {MAX_DIMENSIONS} whole numbers");
        Rejection::new(ErrorClass::Shape, text)
    };
    let shape = shape.filter(|shape| shape.is_array()).ok_or_else(|| bad("is missing or no array: it"))?;
    let sizes: Option<Vec<usize>> = shape.elements().take(MAX_DIMENSIONS + 1).map(count).collect();
    let sizes = sizes.filter(|sizes| (1..=MAX_DIMENSIONS).contains(&sizes.len()));
    // Zeros must not hide an overflow of the other sizes from the products taken later.
    let product =
        |sizes: &Vec<usize>| sizes.iter().try_fold(1_usize, |product, size| product.checked_mul((*size).max(1)));
    sizes.filter(|sizes| product(sizes).is_some()).ok_or_else(|| bad(&shorten(shape.text())))
}

fn read_datatype(datatype: Option<Value<'_>>, label: &str) -> Result<V2Datatype, Rejection> {
    let name = datatype.and_then(Value::string).unwrap_or_default();
    V2Datatype::named(&name).ok_or_else(|| {
        let known: Vec<_> = V2Datatype::ALL.iter().map(|(name, ..)| *name).collect();
        let (name, known) = (shorten(name.as_bytes()), known.join(", "));
        Rejection::new(ErrorClass::Shape, format!("input `{label}`: datatype `{name}` is not one of {known}"))
    })
}

fn take_raw<'a>(
    raw: &mut &'a [u8],
    size: usize,
    elements: usize,
    datatype: V2Datatype,
    label: &str,
) -> Result<&'a [u8], Rejection> {
    let needed = elements.checked_mul(datatype.size());
    if needed != Some(size) {
        let width = datatype.size();
        let text = format!(
            "input `{label}`: binary_data_size {size} is not {elements} values of {width} bytes; make them agree"
        );
        return Err(Rejection::new(ErrorClass::Shape, text));
    }
    let left = raw.len();
    let (taken, rest) = raw.split_at_checked(size).ok_or_else(|| {
        malformed(format!("input `{label}`: {size} bytes of raw data are announced and {left} are left; send all"))
    })?;
    *raw = rest;
    Ok(taken)
}

fn malformed(text: impl Into<String>) -> Rejection {
    Rejection::new(ErrorClass::Malformed, text)
}
