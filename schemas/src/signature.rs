//! What a model takes and gives: named tensors, as the Open Inference Protocol describes them.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Element type of a tensor, in the Open Inference Protocol's spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Datatype {
    /// 32-bit IEEE 754.
    #[serde(rename = "FP32")]
    Fp32,
    /// 64-bit IEEE 754.
    #[serde(rename = "FP64")]
    Fp64,
    /// 64-bit integers: counts and class labels. They have no missing value.
    #[serde(rename = "INT64")]
    Int64,
    /// Text, UTF-8: class labels. Outputs only.
    #[serde(rename = "BYTES")]
    Bytes,
}

impl Datatype {
    /// `FP32`, `FP64`, `INT64` or `BYTES`.
    pub fn as_str(self) -> &'static str {
        match self {
            Datatype::Fp32 => "FP32",
            Datatype::Fp64 => "FP64",
            Datatype::Int64 => "INT64",
            Datatype::Bytes => "BYTES",
        }
    }

    /// The Arrow type of one element.
    pub fn arrow(self) -> DataType {
        match self {
            Datatype::Fp32 => DataType::Float32,
            Datatype::Fp64 => DataType::Float64,
            Datatype::Int64 => DataType::Int64,
            Datatype::Bytes => DataType::Utf8,
        }
    }
}

/// One named input or output: per row `width` elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TensorSpec {
    /// Tensor name.
    pub name: String,
    /// Element type.
    pub datatype: Datatype,
    /// Elements per row: the product of `shape`.
    pub width: usize,
    /// Dimensions of a row, without the batch's; empty is a scalar, or where the width is not 1, a flat vector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<usize>,
    /// Names of the elements, where the model file has them (`width` of them), else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

impl TensorSpec {
    /// A scalar, or a flat vector of `width` elements per row.
    pub fn new(name: impl Into<String>, datatype: Datatype, width: usize) -> Self {
        Self { name: name.into(), datatype, width, shape: Vec::new(), fields: Vec::new() }
    }

    /// A tensor whose rows have these dimensions. Their product must fit a `usize`: it is the caller's to check.
    pub fn with_shape(name: impl Into<String>, datatype: Datatype, shape: Vec<usize>) -> Self {
        Self { width: shape.iter().product(), shape, ..Self::new(name, datatype, 1) }
    }

    /// Dimensions of a row: none for a scalar, one for a flat vector.
    pub fn dims(&self) -> &[usize] {
        match (self.shape.is_empty(), self.width) {
            (true, 1) | (false, _) => &self.shape,
            (true, _) => std::slice::from_ref(&self.width),
        }
    }

    /// The Arrow column: a primitive where the width is 1, else a fixed-size list. Missing values are NaN inside
    /// the buffer, never a null, so that a row-major matrix is one buffer without a copy.
    pub fn arrow(&self) -> Field {
        let element = self.datatype.arrow();
        match self.width {
            1 => Field::new(&self.name, element, false),
            width => {
                let item = Arc::new(Field::new("item", element, false));
                Field::new(&self.name, DataType::FixedSizeList(item, width as i32), false)
            }
        }
    }
}

/// Inputs and outputs of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signature {
    /// Inputs in order.
    pub inputs: Vec<TensorSpec>,
    /// Outputs in order.
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// Schema of the batch that the model takes.
    pub fn input_schema(&self) -> SchemaRef {
        schema(&self.inputs)
    }

    /// Schema of the batch that the model gives.
    pub fn output_schema(&self) -> SchemaRef {
        schema(&self.outputs)
    }
}

fn schema(tensors: &[TensorSpec]) -> SchemaRef {
    Arc::new(Schema::new(tensors.iter().map(TensorSpec::arrow).collect::<Vec<_>>()))
}
