//! Whether a graph mixes rows. tract runs a row as a batch of its own, where a mean over the batch is the row itself and
//! a softmax over it is 1: answers that look well and mean nothing. So a batch of two is tried when a model is read.

use lunapark_schemas::rows::Values;

use super::allowed::ints;
use super::blocks::{answers, seeded};
use super::compiled::{Compiled, Fault};
use super::proto::{Model, Node};
use super::signature::Input;

/// Rows that are tried, in pairs.
const TRIED: usize = 8;
/// What no order of sums explains, relative to the largest answer above [`LEAST`].
const MATERIAL: f64 = 1e-3;
const LEAST: f64 = 0.1;

/// What tract itself runs over the whole batch: of a graph with it a batch of two says nothing, unless something else
/// stands in for it.
const MIXED_BY_TRACT: &str = "InstanceNormalization";

/// What shows that the graph mixes rows, if anything. A graph that runs for one row alone has none to mix: the file says
/// so, or it cannot be compiled for two.
pub(super) fn trace(
    model: &Model<'_>,
    inputs: &[Input<'_>],
    bytes: &[u8],
    single: &Compiled,
    max_elements: usize,
) -> Option<String> {
    if inputs.iter().any(|input| input.single) {
        return None;
    }
    let mixed: Vec<_> = model.graph.nodes.iter().filter(|node| node.op == MIXED_BY_TRACT).collect();
    if mixed.iter().any(|node| !has_constant_scale(model, node)) {
        // The stand-in leaves out what makes them, which may join rows.
        return along_first(model);
    }
    if !mixed.is_empty() {
        return trace_around(model, inputs, bytes, max_elements);
    }
    let two = Compiled::new(model, inputs, bytes, 2, max_elements.saturating_mul(2));
    compare(model, inputs, single, two)
}

/// Whether what an instance normalization multiplies by and adds is in the file.
fn has_constant_scale(model: &Model<'_>, node: &Node<'_>) -> bool {
    let in_file = |name: &&str| {
        let made = model.graph.nodes.iter().any(|node| node.op == "Constant" && node.outputs.contains(name));
        made || model.graph.initializers.iter().any(|(found, _)| found == name)
    };
    node.inputs.iter().skip(1).all(in_file)
}

/// The same of a graph in which others stand in for what tract runs over the whole batch. Where they cannot be compiled,
/// the nodes are looked at.
fn trace_around(model: &Model<'_>, inputs: &[Input<'_>], bytes: &[u8], max_elements: usize) -> Option<String> {
    let compiled = |rows| Compiled::standing_in(model, inputs, bytes, rows, max_elements.saturating_mul(rows));
    match compiled(1) {
        // A node that is named says more than an output.
        Ok(single) => compare(model, inputs, &single, compiled(2)).map(|what| along_first(model).unwrap_or(what)),
        Err(_) => along_first(model),
    }
}

/// What is another in a batch of two than for each row alone.
fn compare(model: &Model<'_>, inputs: &[Input<'_>], single: &Compiled, two: Result<Compiled, Fault>) -> Option<String> {
    let two = match two {
        Ok(two) if two.outputs == single.outputs => two,
        Ok(_) => return Some("an output whose rows are as wide as the batch is long".to_owned()),
        Err(Fault::Rows(what)) => return Some(what),
        Err(Fault::Other(_)) => return None,
    };
    let rows = seeded(inputs, TRIED);
    let (alone, together) = (answers(single, &rows, TRIED)?, answers(&two, &rows, TRIED)?);
    let differs = alone.iter().zip(&together).position(|(alone, together)| differ(alone, together))?;
    let output = model.graph.outputs.get(differs)?.name.escape_debug();
    Some(format!("in a batch of two rows the output \"{output}\" is another than for each row alone"))
}

/// A node that joins what lies along the first dimension, which is the batch unless the graph moves it.
fn along_first(model: &Model<'_>) -> Option<String> {
    let node = model.graph.nodes.iter().find(|node| joins_first(model, node))?;
    Some(format!("{node} is along the first dimension"))
}

fn joins_first(model: &Model<'_>, node: &Node<'_>) -> bool {
    match node.op {
        "Softmax" | "LogSoftmax" => node.int("axis", -1).is_ok_and(|axis| axis == 0),
        "ArgMax" | "ArgMin" => node.int("axis", 0).is_ok_and(|axis| axis == 0),
        op if op.starts_with("Reduce") => axes(model, node).is_none_or(|axes| axes.is_empty() || axes.contains(&0)),
        _ => false,
    }
}

/// Those of a reduction, where they are a constant.
fn axes<'m>(model: &'m Model<'_>, node: &'m Node<'_>) -> Option<&'m [i64]> {
    if node.has_input(1) { ints(model, node.inputs[1]) } else { node.ints("axes").ok() }
}

/// Of labels a single one may differ: two scores may be as good as equal.
fn differ(alone: &Values, together: &Values) -> bool {
    match (alone, together) {
        (Values::F32(a), Values::F32(b)) => {
            let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
            any_material(&wide(a), &wide(b))
        }
        (Values::F64(a), Values::F64(b)) => any_material(a, b),
        (Values::I64(a), Values::I64(b)) => a.iter().zip(b).filter(|(a, b)| a != b).count() > a.len() / TRIED,
        _ => true,
    }
}

/// Large terms that cancel leave their rounding in a small sum: so the largest answer is the measure.
fn any_material(alone: &[f64], together: &[f64]) -> bool {
    let finite = alone.iter().chain(together).filter(|value| value.is_finite());
    let largest = finite.fold(0.0_f64, |largest, value| largest.max(value.abs()));
    alone.iter().zip(together).any(|(a, b)| is_material(*a, *b, largest))
}

fn is_material(a: f64, b: f64, largest: f64) -> bool {
    let distance = (a - b).abs();
    // NaN beside a number is no small difference, nor is an infinity.
    let far = distance.is_nan() || distance > MATERIAL * largest.max(LEAST);
    far && a != b && !(a.is_nan() && b.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_sums_is_no_material_difference() {
        for (a, b) in [(0.1, 0.1 + 1e-6), (1e6, 1e6 + 1.0), (f64::NAN, f64::NAN), (f64::INFINITY, f64::INFINITY)] {
            assert!(!any_material(&[a], &[b]), "{a} and {b}");
        }
        assert!(!any_material(&[1000.0, 1.0], &[1000.0, 1.01]), "what is left of large terms");
        for (a, b) in [(1.0, 0.5), (0.0, 0.01), (f64::NAN, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0)] {
            assert!(any_material(&[a], &[b]), "{a} and {b}");
        }
        let labels = |labels: &[i64]| Values::I64(labels.to_vec());
        assert!(!differ(&labels(&[0; 8]), &labels(&[0, 0, 0, 1, 0, 0, 0, 0])));
        assert!(differ(&labels(&[0; 8]), &labels(&[0, 0, 0, 1, 0, 2, 0, 0])));
    }
}
