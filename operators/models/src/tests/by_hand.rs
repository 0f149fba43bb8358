//! ONNX files made byte by byte: what no exporter writes.

use super::*;
use crate::{ModelError, ModelErrorKind};

pub(super) const UNREADABLE: ModelErrorKind = ModelErrorKind::Unreadable;
pub(super) const UNSUPPORTED: ModelErrorKind = ModelErrorKind::Unsupported;
pub(super) const TRUNCATED: ModelErrorKind = ModelErrorKind::Truncated;

/// A field of bytes of a protobuf message.
pub(super) fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    bytes.extend(varint(value.len() as u64));
    bytes.extend(value);
    bytes
}

pub(super) fn int(number: u8, value: u64) -> Vec<u8> {
    [vec![number << 3], varint(value)].concat()
}

pub(super) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// `float` unless told otherwise; a negative dimension is a name.
pub(super) fn value_info(name: &str, element: u64, dims: &[i64]) -> Vec<u8> {
    let dim = |&dim: &i64| field(1, &if dim < 0 { field(2, b"rows") } else { int(1, dim as u64) });
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let tensor = [int(1, element), field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

pub(super) fn node(op: &str, domain: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    // tract wants another name for each.
    let name = if outputs.contains(&"y") { "odd" } else { outputs.first().copied().unwrap_or_default() };
    let list =
        |number: u8, names: &[&str]| -> Vec<u8> { names.iter().flat_map(|n| field(number, n.as_bytes())).collect() };
    let attributes: Vec<u8> = attributes.iter().flat_map(|attribute| field(5, attribute)).collect();
    [
        list(1, inputs),
        list(2, outputs),
        field(3, name.as_bytes()),
        field(4, op.as_bytes()),
        attributes,
        field(7, domain.as_bytes()),
    ]
    .concat()
}

pub(super) fn tensor(name: &str, dims: &[u64], element: u64, raw: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&dim| int(1, dim)).collect();
    [dims, int(2, element), field(8, name.as_bytes()), field(9, raw)].concat()
}

pub(super) fn ints_attribute(name: &str, values: &[i64]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|&value| int(8, value as u64)).collect();
    [field(1, name.as_bytes()), values, vec![0xa0, 1, 7]].concat()
}

pub(super) fn texts_attribute(name: &str, texts: &[&str]) -> Vec<u8> {
    let texts: Vec<u8> = texts.iter().flat_map(|text| field(9, text.as_bytes())).collect();
    [field(1, name.as_bytes()), texts, vec![0xa0, 1, 8]].concat()
}

pub(super) fn floats_attribute(name: &str, values: &[f32]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [field(1, name.as_bytes()), field(7, &values), vec![0xa0, 1, 6]].concat()
}

pub(super) fn text_attribute(name: &str, text: &str) -> Vec<u8> {
    [field(1, name.as_bytes()), field(4, text.as_bytes()), vec![0xa0, 1, 3]].concat()
}

pub(super) fn int_attribute(name: &str, value: u64) -> Vec<u8> {
    [field(1, name.as_bytes()), int(3, value), vec![0xa0, 1, 2]].concat()
}

/// Who wrote a file, for which versions of ai.onnx and of ai.onnx.ml.
pub(super) struct Writer(pub &'static str, pub Option<u64>, pub Option<u64>);

pub(super) const BY_HAND: Writer = Writer("by hand", Some(17), Some(3));

/// A file of one output `y`, as [`BY_HAND`] writes it.
pub(super) fn file(nodes: &[Vec<u8>], tensors: &[Vec<u8>], input: Vec<u8>) -> Vec<u8> {
    file_of(&BY_HAND, nodes, tensors, input)
}

pub(super) fn file_of(writer: &Writer, nodes: &[Vec<u8>], tensors: &[Vec<u8>], input: Vec<u8>) -> Vec<u8> {
    let nodes = nodes.iter().flat_map(|node| field(1, node));
    let tensors = tensors.iter().flat_map(|tensor| field(5, tensor));
    let graph: Vec<u8> =
        nodes.chain(tensors).chain(field(11, &input)).chain(field(12, &value_info("y", 1, &[-1, 1]))).collect();
    let Writer(producer, standard, ml) = writer;
    let standard = standard.map(|version| field(8, &int(2, version)));
    let ml = ml.map(|version| field(8, &[field(1, b"ai.onnx.ml"), int(2, version)].concat()));
    let opsets = [standard, ml].into_iter().flatten().flatten().collect::<Vec<u8>>();
    [int(1, 8), field(2, producer.as_bytes()), field(7, &graph), opsets].concat()
}

pub(super) fn rows(width: i64) -> Vec<u8> {
    value_info("x", 1, &[-1, width])
}

pub(super) fn refuse(bytes: &[u8]) -> ModelError {
    load(bytes, "model.onnx", None).expect_err("the file is bad")
}

pub(super) fn assert_says(error: &ModelError, kind: ModelErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind, kind, "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{text:?} lacks {word:?}"));
}
