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
}

impl Datatype {
    /// `FP32` or `FP64`.
    pub fn as_str(self) -> &'static str {
        match self {
            Datatype::Fp32 => "FP32",
            Datatype::Fp64 => "FP64",
        }
    }

    /// The Arrow type of one element.
    pub fn arrow(self) -> DataType {
        match self {
            Datatype::Fp32 => DataType::Float32,
            Datatype::Fp64 => DataType::Float64,
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
    /// Elements per row; 1 is a scalar.
    pub width: usize,
    /// Names of the elements, where the model file has them (`width` of them), else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

impl TensorSpec {
    /// A tensor of `width` elements per row.
    pub fn new(name: impl Into<String>, datatype: Datatype, width: usize) -> Self {
        Self { name: name.into(), datatype, width, fields: Vec::new() }
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
