//! Tests of the codecs as a whole; what one module does by itself is tested there.

mod allocations;
mod arrow;
mod arrow_direct;
mod examples;
mod formats;
mod properties;
mod table;
mod types;

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::*;
use crate::headers::{Headers, HeadersBuf};
use crate::messages::{At, Messages};
use crate::rows::f32_values;
use crate::signature::{Datatype, TensorSpec};

/// One input `input` of `width` floats without field names, one output `score`.
fn plain(width: usize) -> Arc<Signature> {
    let input = TensorSpec::new("input", Datatype::Fp32, width);
    Arc::new(Signature { inputs: vec![input], outputs: vec![TensorSpec::new("score", Datatype::Fp32, 1)] })
}

/// Two inputs (one of doubles with field names), two outputs.
fn rich() -> Arc<Signature> {
    let mut hits = TensorSpec::new("hits", Datatype::Fp64, 2);
    hits.fields = vec!["x".into(), "y".into()];
    let energy = TensorSpec::new("energy", Datatype::Fp32, 1);
    let outputs = vec![TensorSpec::new("score", Datatype::Fp32, 1), TensorSpec::new("shape", Datatype::Fp64, 2)];
    Arc::new(Signature { inputs: vec![hits, energy], outputs })
}

fn builder(signature: &Arc<Signature>) -> RowsBuilder {
    RowsBuilder::new(signature.clone(), 0)
}

fn with_message<T>(payload: &[u8], headers: Headers<'_>, act: impl FnOnce(&Message<'_>) -> T) -> T {
    let mut messages = Messages::new();
    let at = At { topic: "inference.events", partition: 0, offset: 0, timestamp: 0 };
    messages.push_encoded(at, None, Some(payload), headers);
    act(&messages.get(0))
}

fn decode_with(payload: &[u8], headers: &[(&str, &str)], rows: &mut RowsBuilder) -> Result<Request, Rejection> {
    let mut buf = HeadersBuf::new();
    for (name, value) in headers {
        buf.push_str(name, value);
    }
    with_message(payload, buf.view(), |message| decode(message, rows, &Limits::default()))
}

fn decode_text(payload: &str, rows: &mut RowsBuilder) -> Result<Request, Rejection> {
    decode_with(payload.as_bytes(), &[], rows)
}

/// The first input's values.
fn decoded(rows: RowsBuilder) -> Vec<f32> {
    f32_values(rows.finish().unwrap().column(0)).unwrap().to_vec()
}

/// Result rows for [`plain`]: one score each.
fn scores(values: &[f32]) -> RecordBatch {
    let column = Arc::new(arrow_array::Float32Array::from(values.to_vec()));
    RecordBatch::try_new(plain(1).output_schema(), vec![column]).unwrap()
}

fn encode_all(
    request: &Request,
    signature: &Signature,
    outputs: &RecordBatch,
    range: Range<usize>,
) -> (Vec<u8>, Encoded) {
    let context = ReplyContext { model_name: "higgs", model_version: "3", signature };
    let mut value = b"before".to_vec();
    let encoded = encode(request, &context, outputs, range, request.failed(), &mut value).unwrap();
    assert_eq!(&value[..6], b"before");
    (value.split_off(6), encoded)
}

fn encode_text(request: &Request, signature: &Signature, outputs: &RecordBatch, range: Range<usize>) -> String {
    String::from_utf8(encode_all(request, signature, outputs, range).0).unwrap()
}
