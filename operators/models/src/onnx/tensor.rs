//! Constant tensors: initializers and tensor attributes.

use super::proto::SELF_CONTAINED;
use super::wire::Fields;
use crate::ModelError;

/// Element types that are computed with; the value of a boolean is 0 or 1, 32-bit integers are kept in 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F64,
    I64,
    I32,
    Bool,
    Text,
}

impl Element {
    /// The element of ONNX's number for it.
    pub(super) fn from_onnx(number: i64) -> Option<Self> {
        match number {
            1 => Some(Element::F32),
            6 => Some(Element::I32),
            7 => Some(Element::I64),
            8 => Some(Element::Text),
            9 => Some(Element::Bool),
            11 => Some(Element::F64),
            _ => None,
        }
    }

    pub(super) fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::F64)
    }
}

/// ONNX's own name of an element type, for messages.
pub(super) fn element_name(number: i64) -> &'static str {
    let names = [
        "undefined",
        "float",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "double",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
        "float8e4m3fn",
        "float8e4m3fnuz",
        "float8e5m2",
        "float8e5m2fnuz",
        "uint4",
        "int4",
    ]; // in the order of TensorProto.DataType
    usize::try_from(number).ok().and_then(|at| names.get(at)).copied().unwrap_or("an unknown type")
}

/// The values of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Integers of 64 or 32 bits, and booleans.
    Ints(Vec<i64>),
    Text(Vec<String>),
    /// Of a type that only other engines read: its number in ONNX.
    Foreign(i64),
}

impl Data {
    /// Values; none of a type that is not read.
    pub(super) fn len(&self) -> usize {
        match self {
            Data::F32(values) => values.len(),
            Data::F64(values) => values.len(),
            Data::Ints(values) => values.len(),
            Data::Text(values) => values.len(),
            Data::Foreign(_) => 0,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Data::F32(values) => size_of_val(&values[..]),
            Data::F64(values) => size_of_val(&values[..]),
            Data::Ints(values) => size_of_val(&values[..]),
            Data::Text(values) => size_of_val(&values[..]) + values.iter().map(String::len).sum::<usize>(),
            Data::Foreign(_) => 0,
        }
    }
}

/// A tensor whose shape fits its values.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub dims: Vec<usize>,
    pub element: Option<Element>,
    pub data: Data,
}

impl Tensor {
    /// Name and value of a `TensorProto`.
    pub(super) fn read(bytes: &[u8]) -> Result<(&str, Self), ModelError> {
        let mut raw = RawTensor::default();
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => value.push_ints("tensor.dims", &mut raw.dims)?,
                2 => raw.element = value.int("tensor.data_type")?,
                4 => value.push_floats("tensor.float_data", &mut raw.floats)?,
                5 | 7 | 11 => value.push_ints("tensor.int_data", &mut raw.ints)?,
                6 => raw.texts.push(value.text("tensor.string_data")?),
                8 => raw.name = value.text("tensor.name")?,
                9 => raw.raw = Some(value.bytes("tensor.raw_data")?),
                10 => value.push_doubles("tensor.double_data", &mut raw.doubles)?,
                13 => raw.external = true,
                14 => raw.external |= value.int("tensor.data_location")? != 0,
                _ => {}
            }
        }
        let name = raw.name;
        raw.finish().map(|tensor| (name, tensor)).map_err(|error| name_it(error, name))
    }

    /// A list of this type, whatever its rank.
    pub(super) fn ints(&self) -> Option<&[i64]> {
        if let Data::Ints(values) = &self.data { Some(values) } else { None }
    }

    /// As doubles, from either width.
    pub(super) fn doubles(&self) -> Option<Vec<f64>> {
        match &self.data {
            Data::F32(values) => Some(values.iter().map(|&x| f64::from(x)).collect()),
            Data::F64(values) => Some(values.clone()),
            _ => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.data.memory_bytes()
    }
}

fn name_it(error: ModelError, name: &str) -> ModelError {
    ModelError { what: format!("tensor \"{}\": {}", name.escape_debug(), error.what), ..error }
}

#[derive(Default)]
struct RawTensor<'a> {
    name: &'a str,
    dims: Vec<i64>,
    element: i64,
    raw: Option<&'a [u8]>,
    floats: Vec<f32>,
    doubles: Vec<f64>,
    ints: Vec<i64>,
    texts: Vec<&'a str>,
    external: bool,
}

impl RawTensor<'_> {
    fn finish(self) -> Result<Tensor, ModelError> {
        if self.external {
            // A path in a file is outside text: nothing outside the file is ever read.
            return Err(ModelError::unsupported("its values lie in another file (external data)", SELF_CONTAINED));
        }
        let dims: Result<Vec<_>, _> = self.dims.iter().map(|&dim| usize::try_from(dim)).collect();
        let dims = dims.ok().filter(|dims| checked_len(dims).is_some());
        let dims = dims.ok_or_else(|| ModelError::unreadable(format!("no shape: {:?}", self.dims)))?;
        let element = Element::from_onnx(self.element);
        let data = self.values(element)?;
        if let Data::Foreign(_) = data {
            return self.foreign(dims);
        }
        let found = data.len();
        if checked_len(&dims) != Some(found) {
            return Err(ModelError::unreadable(format!("it has {found} values, its shape is {dims:?}")));
        }
        Ok(Tensor { dims, element, data })
    }

    fn values(&self, element: Option<Element>) -> Result<Data, ModelError> {
        let odd = || ModelError::unreadable("its bytes are no whole number of values");
        Ok(match (element, self.raw) {
            // Only a tree ensemble's modes are bytes: they are no element type to compute with.
            (None, raw) if self.element == 2 => {
                Data::Ints(raw.map_or(self.ints.clone(), |raw| raw.iter().map(|&byte| i64::from(byte)).collect()))
            }
            (None, _) => Data::Foreign(self.element),
            (Some(Element::F32), None) => Data::F32(self.floats.clone()),
            (Some(Element::F64), None) => Data::F64(self.doubles.clone()),
            (Some(Element::I64 | Element::I32 | Element::Bool), None) => Data::Ints(self.ints.clone()),
            (Some(Element::Text), None) => Data::Text(self.texts.iter().map(|&text| text.to_owned()).collect()),
            (Some(Element::F32), Some(raw)) => Data::F32(numbers(raw, f32::from_le_bytes).ok_or_else(odd)?),
            (Some(Element::F64), Some(raw)) => Data::F64(numbers(raw, f64::from_le_bytes).ok_or_else(odd)?),
            (Some(Element::I64), Some(raw)) => Data::Ints(numbers(raw, i64::from_le_bytes).ok_or_else(odd)?),
            (Some(Element::I32), Some(raw)) => {
                Data::Ints(numbers(raw, |bytes| i64::from(i32::from_le_bytes(bytes))).ok_or_else(odd)?)
            }
            (Some(Element::Bool), Some(raw)) => Data::Ints(raw.iter().map(|&byte| i64::from(byte != 0)).collect()),
            (Some(Element::Text), Some(_)) => return Err(ModelError::unreadable("strings in raw_data")),
        })
    }

    /// Of a type that is not computed with here. Its length is checked as far as ONNX's widest type allows.
    fn foreign(&self, dims: Vec<usize>) -> Result<Tensor, ModelError> {
        let held = self.raw.map_or(self.ints.len().max(self.floats.len()), |raw| 2 * raw.len());
        if checked_len(&dims).is_none_or(|len| len > held) {
            return Err(ModelError::unreadable(format!("its values are fewer than its shape {dims:?} says")));
        }
        Ok(Tensor { dims, element: None, data: Data::Foreign(self.element) })
    }
}

fn numbers<T, const N: usize>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (chunks, []) = raw.as_chunks() else { return None };
    Some(chunks.iter().map(|bytes| read(*bytes)).collect())
}

/// Elements of a shape; none where they are no number of bytes that a machine could hold.
pub(super) fn checked_len(dims: &[usize]) -> Option<usize> {
    // A zero must not hide an overflow of the others.
    let others = dims.iter().filter(|&&dim| dim != 0).try_fold(1usize, |len, &dim| len.checked_mul(dim));
    let others = others.filter(|&len| len <= isize::MAX as usize / 16)?;
    Some(if dims.contains(&0) { 0 } else { others })
}

impl Tensor {
    pub(super) fn scalar_f32(value: f32) -> Self {
        Self { dims: Vec::new(), element: Some(Element::F32), data: Data::F32(vec![value]) }
    }

    /// A list of 64-bit integers, or their scalar.
    pub(super) fn list(values: &[i64], scalar: bool) -> Self {
        let dims = if scalar { Vec::new() } else { vec![values.len()] };
        Self { dims, element: Some(Element::I64), data: Data::Ints(values.to_vec()) }
    }
}
