//! The JSON payloads as types: what the published JSON Schemas are made from, and what replies are written with.
//!
//! Requests are decoded without these types (see [`super::decode`]); tests hold both to the same payloads.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::FailedRow;

/// A KServe v1 request. Other members are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct V1Request {
    /// One entry per row.
    pub instances: Vec<V1Instance>,
}

/// One row of a KServe v1 request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum V1Instance {
    /// The value of a model with one input of one number.
    Number(f64),
    /// The values of a model with one input.
    Values(V1Array),
    /// Inputs, or fields of inputs, by name.
    Named(BTreeMap<String, V1Value>),
}

/// A named input or field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum V1Value {
    /// A number; null is a missing value.
    Number(Option<f64>),
    /// The numbers of an input.
    Values(V1Array),
}

/// The numbers of an input: flat, or arrays in arrays as its dimensions are; null is a missing value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum V1Array {
    /// Row-major.
    Flat(Vec<Option<f64>>),
    /// One level per dimension.
    Nested(Vec<V1Array>),
}

/// A KServe v1 reply: one prediction per row, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct V1Reply {
    /// Null where the row failed or the model gave no finite number.
    pub predictions: Vec<Option<V1Prediction>>,
    /// The rows that failed; absent where none did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<RowError<'static>>,
}

/// What the model says of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum V1Prediction {
    /// A model with one output of one number.
    Number(f64),
    /// A model with one output of one text, a class label.
    Text(String),
    /// A model with one output of several numbers or texts.
    Values(V1Answers),
    /// A model with several outputs.
    Named(BTreeMap<String, V1Answer>),
}

/// One output for one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum V1Answer {
    /// A number; null where the model gave no finite one.
    Number(Option<f64>),
    /// A text, such as a class label.
    Text(String),
    /// Several of them.
    Values(V1Answers),
}

/// An output of several values: flat, or arrays in arrays as its dimensions are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum V1Answers {
    /// Numbers.
    Numbers(Vec<Option<f64>>),
    /// Texts.
    Texts(Vec<String>),
    /// One level per dimension.
    Nested(Vec<V1Answers>),
}

/// Why one row of a request has no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RowError<'a> {
    /// Row number in the request, from 0.
    pub row: u32,
    /// Machine-readable reason, as in the header `error-class` of a dead letter.
    pub class: Cow<'a, str>,
    /// What is wrong and what to do.
    pub message: Cow<'a, str>,
}

impl<'a> From<&'a FailedRow> for RowError<'a> {
    fn from(failed: &'a FailedRow) -> Self {
        let (class, message) = (failed.rejection.class.as_str(), failed.rejection.message.as_str());
        Self { row: failed.row, class: class.into(), message: message.into() }
    }
}

/// An Open Inference Protocol v2 request. Other members are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct V2Request {
    /// Echoed in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The model's inputs, or the fields of its inputs, by name; a single input may have any name.
    pub inputs: Vec<V2Input>,
    /// The outputs wanted; absent or empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<V2Output>,
}

/// One tensor of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct V2Input {
    /// Name of an input or of a field.
    pub name: String,
    /// Rows first, then the input's dimensions, or all values of a row: `[rows, 28, 28]` or `[rows, 784]`; `[rows]` and
    /// `[rows, 1]` mean the same.
    pub shape: Vec<u64>,
    /// Element type; it is converted to the model's.
    pub datatype: V2Datatype,
    /// The values, flat or nested as the shape is; null is a missing value. Absent in the binary format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<V2Data>,
    /// In the binary format: the length of the raw tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<V2TensorParameters>,
}

/// Element types that requests may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub enum V2Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
}

/// Tensor values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum V2Data {
    /// Row after row.
    Flat(Vec<Option<f64>>),
    /// True and false, of datatype BOOL.
    Truths(Vec<bool>),
    /// An array per row (and so on, one level per dimension).
    Nested(Vec<V2Data>),
}

/// The values of an output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum V2Answers {
    /// Numbers; null where the row failed or the model gave no finite one.
    Numbers(Vec<Option<f64>>),
    /// Texts, of datatype BYTES; null where the row failed.
    Texts(Vec<Option<String>>),
}

/// Parameters of a tensor in the binary format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct V2TensorParameters {
    /// Bytes of the raw little-endian tensor behind the JSON part; of BYTES, each text behind its length in four bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_data_size: Option<u64>,
}

/// A wanted output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct V2Output {
    /// Name of one of the model's outputs.
    pub name: String,
}

/// An Open Inference Protocol v2 reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct V2Reply {
    /// Which model.
    pub model_name: String,
    /// Which version.
    pub model_version: String,
    /// The request's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Present where rows failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<V2ReplyParameters>,
    /// One tensor per output.
    pub outputs: Vec<V2ReplyOutput>,
}

/// What a reply says besides its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct V2ReplyParameters {
    /// The rows that failed; their values are null (in the binary format NaN, 0 in INT64, empty in BYTES).
    pub failed_rows: Vec<RowError<'static>>,
}

/// One tensor of a reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct V2ReplyOutput {
    /// Output name.
    pub name: String,
    /// Rows first, then the output's dimensions: `[rows]` where it has one value per row.
    pub shape: Vec<u64>,
    /// `FP32`, `FP64`, `INT64` or `BYTES`.
    pub datatype: crate::signature::Datatype,
    /// The values, flat. Absent in the binary format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<V2Answers>,
    /// In the binary format: the length of the raw tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<V2TensorParameters>,
}
