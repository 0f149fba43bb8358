//! The operations of our own, by group; each file reads its nodes and runs them.

mod concat;
mod conv;
mod elementwise;
mod labels;
mod layer_norm;
mod linear;
mod look_up;
mod matrix;
mod normalize;
mod number;
mod pick;
mod pool;
mod recurrent;
mod reduce;
mod scores;
mod shape;
mod trees;
mod windows;

pub(super) use elementwise::Function;
pub(super) use matrix::Piece;

use super::lower::{Lowering, Value};
use super::node::OTHER_WAY;
use super::proto::Node;
use super::symbol;
use super::tensor::Tensor;
use crate::ModelError;

/// Adds the steps of one node.
pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    match (node.domain, node.op) {
        ("", _) if symbol::is_symbolic(node, to) => symbol::lower(node, to),
        ("", "Constant") => constant(node, to),
        ("", "Identity") => identity(node, to),
        ("", "Dropout") => dropout(node, to),
        ("", "Cast") => elementwise::lower_cast(node, to),
        ("", op) if elementwise::is_function(op) => elementwise::lower_function(node, to),
        ("", op) if elementwise::is_binary(op) => elementwise::lower_binary(node, to),
        ("", "Where") => elementwise::lower_where(node, to),
        ("", "MatMul" | "Gemm" | "BatchNormalization") => matrix::lower(node, to),
        ("", "Conv") => conv::lower(node, to),
        ("", "MaxPool" | "AveragePool") => pool::lower(node, to),
        ("", "GlobalMaxPool" | "GlobalAveragePool") => reduce::lower_global(node, to),
        ("", "GRU" | "LSTM" | "RNN") => recurrent::lower(node, to),
        ("", "LayerNormalization") => layer_norm::lower(node, to),
        ("", "Softmax" | "LogSoftmax") => scores::lower_softmax(node, to),
        ("", "ArgMax" | "ArgMin") => labels::lower_arg(node, to),
        ("", op) if reduce::is_reduction(op) => reduce::lower(node, to),
        ("", op) if shape::is_shape(op) => shape::lower(node, to),
        ("ai.onnx.ml", "ArrayFeatureExtractor" | "FeatureVectorizer") => shape::lower(node, to),
        ("ai.onnx.ml", "Scaler" | "Imputer" | "Normalizer" | "Binarizer") => normalize::lower(node, to),
        ("ai.onnx.ml", "LinearClassifier" | "LinearRegressor") => linear::lower(node, to),
        ("ai.onnx.ml", "LabelEncoder" | "OneHotEncoder") => labels::lower(node, to),
        ("ai.onnx.ml", "TreeEnsembleClassifier" | "TreeEnsembleRegressor" | "TreeEnsemble") => trees::lower(node, to),
        ("ai.onnx.ml", "ZipMap") => zip_map(node, to),
        _ => Err(ModelError::unsupported(format!("{node} is not run"), OTHER_WAY)),
    }
}

fn constant<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let tensor = match node.tensor("value")? {
        Some(tensor) => tensor.clone(),
        None if node.has("value_float") => Tensor::scalar_f32(node.float("value_float", 0.0)?),
        None if node.has("value_int") => Tensor::list(&[node.int("value_int", 0)?], true),
        None if node.has("value_ints") => Tensor::list(node.ints("value_ints")?, false),
        None => return Err(node.unsupported("its value is of a sort that is not read")),
    };
    to.bind(node, 0, Value::Constant(tensor.into()));
    Ok(())
}

fn identity<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let value = to.placed(node, 0)?.clone();
    to.bind(node, 0, value);
    Ok(())
}

/// At inference it changes nothing; a graph that was exported while it trains would drop numbers at random.
fn dropout<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    if node.has_input(2) && to.constant(node, 2)?.ints() != Some(&[0][..]) {
        return Err(node.unsupported("with training_mode: it drops numbers at random"));
    }
    identity(node, to)
}

/// A map from class to probability is answered as the vector of probabilities, in the order of the classes.
fn zip_map<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let classes = node.ints("classlabels_int64s")?.len().max(node.texts("classlabels_strings")?.len());
    if classes != rows.width() {
        return Err(node.unreadable(format_args!("{classes} classes for {} probabilities", rows.width())));
    }
    to.alias(node, rows);
    Ok(())
}
