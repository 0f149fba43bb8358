//! Which nodes tract is given.

use std::collections::HashMap;

use super::node::OTHER_WAY;
use super::proto::{Attribute, Model, Node};
use super::tensor::Tensor;
use crate::ModelError;

/// The operators that were compared with ONNX Runtime or are plain arithmetic. Control flow is not among them: what a
/// loop costs cannot be told from its graph.
const OPERATORS: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "GRU",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "Identity",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "RNN",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Selu",
    "Shape",
    "Sigmoid",
    "Sign",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Attributes that tract passes over: a file that sets one would get other answers. The value is the one that it may
/// have.
const PASSED_OVER: &[(&str, &str, i64)] = &[
    ("LSTM", "layout", 0),
    ("GRU", "layout", 0),
    ("RNN", "layout", 0),
    ("LSTM", "input_forget", 0),
    ("MaxPool", "storage_order", 0),
    ("BatchNormalization", "training_mode", 0),
    ("ArgMax", "select_last_index", 0),
    ("ArgMin", "select_last_index", 0),
    ("Cast", "saturate", 1),
];

/// The same, of attributes that must not be there.
const NOT_TAKEN: &[(&str, &str)] = &[
    ("LSTM", "clip"),
    ("GRU", "clip"),
    ("RNN", "clip"),
    ("LSTM", "activation_alpha"),
    ("GRU", "activation_alpha"),
    ("RNN", "activation_alpha"),
    ("LSTM", "activation_beta"),
    ("GRU", "activation_beta"),
    ("RNN", "activation_beta"),
];

/// Dimensions that no tensor exceeds: tract loops from 0 to an axis before it asks whether there is one.
const MAX_RANK: u64 = 64;
/// Places of a pooling window: tract lists them all.
const MAX_WINDOW: u64 = 1 << 16;

/// The new shape is a constant without a zero, so it means the same either way.
fn has_no_zero(model: &Model<'_>, node: &Node<'_>) -> bool {
    let shape = model.graph.initializers.iter().find(|(name, _)| node.inputs.get(1) == Some(name));
    shape.and_then(|(_, tensor)| tensor.ints()).is_some_and(|shape| !shape.contains(&0))
}

/// The integers of a constant, be it an initializer or made by a node.
pub(super) fn ints<'m>(model: &'m Model<'_>, name: &str) -> Option<&'m [i64]> {
    let initializer = model.graph.initializers.iter().find(|(found, _)| *found == name).map(|(_, tensor)| tensor);
    let made = || model.graph.nodes.iter().find(|node| node.op == "Constant" && node.outputs.first() == Some(&name));
    initializer.or_else(|| made()?.tensor("value").ok().flatten()).and_then(Tensor::ints)
}

/// Refuses a graph with a node that is not among them, or whose nodes read more weights than the file may have.
pub(super) fn check_nodes(model: &Model<'_>) -> Result<(), ModelError> {
    model.graph.nodes.iter().try_for_each(|node| check_node(model, node))?;
    check_weights(model)
}

/// Each node's weights are packed for it alone.
fn check_weights(model: &Model<'_>) -> Result<(), ModelError> {
    let initializers = model.graph.initializers.iter().map(|(name, tensor)| (*name, tensor.memory_bytes()));
    let made = model.graph.nodes.iter().filter(|node| node.op == "Constant").filter_map(|node| {
        let tensor = node.tensor("value").ok().flatten()?;
        Some((*node.outputs.first()?, tensor.memory_bytes()))
    });
    let sizes: HashMap<&str, usize> = initializers.chain(made).collect();
    let mut bytes = 0usize;
    for node in &model.graph.nodes {
        let read = node.inputs.iter().filter_map(|name| sizes.get(name));
        bytes = read.fold(bytes, |sum, size| sum.saturating_add(*size));
        model.check_bytes(node, bytes)?;
    }
    Ok(())
}

fn check_node(model: &Model<'_>, node: &Node<'_>) -> Result<(), ModelError> {
    if !OPERATORS.contains(&node.op) {
        return Err(ModelError::unsupported(format!("{node} is not run"), OTHER_WAY));
    }
    if let Some((name, _)) = node.attributes.iter().find(|(_, value)| matches!(value, Attribute::Other)) {
        return Err(
            node.unsupported(format_args!("its attribute {} is of a sort that is not read", name.escape_debug()))
        );
    }
    if node.op == "ConstantOfShape" && !node.has("value") {
        // tract would fill it in double precision.
        return Err(node.unsupported("without a value"));
    }
    if node.op == "Dropout" && node.has_input(2) && ints(model, node.inputs[2]) != Some(&[0][..]) {
        // tract would pass it over.
        return Err(node.unsupported("with training_mode: it drops numbers at random"));
    }
    if node.op == "Reshape" && node.int("allowzero", 0)? != 0 && !has_no_zero(model, node) {
        return Err(node.unsupported("with allowzero and a shape that may hold 0"));
    }
    node.attributes.iter().try_for_each(|(name, value)| check_size(node, name, value))?;
    check_attributes(node)
}

/// Numbers that tract counts up to.
fn check_size(node: &Node<'_>, name: &str, value: &Attribute<'_>) -> Result<(), ModelError> {
    let numbers = match value {
        Attribute::Int(number) => std::slice::from_ref(number),
        Attribute::Ints(numbers) => numbers,
        _ => return Ok(()),
    };
    let product = numbers.iter().fold(1u64, |product, number| product.saturating_mul(number.unsigned_abs()));
    let fits = match name {
        "axis" | "axes" => numbers.iter().all(|axis| axis.unsigned_abs() <= MAX_RANK),
        "perm" => is_permutation(numbers),
        "kernel_shape" => product <= MAX_WINDOW,
        _ => true,
    };
    if fits { Ok(()) } else { Err(node.unreadable(format_args!("its {name} is {numbers:?}"))) }
}

/// Each axis once: tract looks for ever for an axis that is not there, and writes down each step.
fn is_permutation(axes: &[i64]) -> bool {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    axes.len() as u64 <= MAX_RANK && sorted.iter().enumerate().all(|(at, axis)| *axis == at as i64)
}

fn check_attributes(node: &Node<'_>) -> Result<(), ModelError> {
    for (_, name, allowed) in PASSED_OVER.iter().filter(|(op, _, _)| *op == node.op) {
        let value = node.int(name, *allowed)?;
        if value != *allowed {
            return Err(node.unsupported(format_args!("with {name} = {value}")));
        }
    }
    match NOT_TAKEN.iter().find(|(op, name)| *op == node.op && node.has(name)) {
        Some((_, name)) => Err(node.unsupported(format_args!("with {name}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::tests::onnx::cases;

    /// What is listed was compared with ONNX Runtime.
    #[test]
    fn every_operator_stands_in_a_fixture() {
        let mut used = HashSet::new();
        for case in cases() {
            let bytes = case.bytes();
            used.extend(Model::read(&bytes).unwrap().graph.nodes.iter().map(|node| node.op.to_owned()));
        }
        let unused: Vec<_> = OPERATORS.iter().filter(|operator| !used.contains(**operator)).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}
