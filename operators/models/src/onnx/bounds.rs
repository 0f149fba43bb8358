//! How large the tensors of a graph become, found before anything is computed.
//!
//! tract evaluates what is constant while it reads a graph, and a few bytes of a file can ask for any size: a shape to
//! fill, a tensor joined with itself forty times. So its own rules for shapes run first, node by node, and only small
//! constants (the shapes themselves) are evaluated.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::{Factoid, InferenceOp};

/// Elements of one tensor: 16 MiB in single precision, for one row.
const MAX_ELEMENTS: usize = 1 << 22;
/// Elements of a constant that is evaluated here: a shape, an index list.
const MAX_EVALUATED: usize = 1 << 12;
/// Facts found about a later node can help an earlier one; more rounds than this help no exported graph.
const ROUNDS: usize = 3;

/// The bytes of all tensors of so many rows; an error where one is too large, all together are, or where its shape
/// depends on the data.
pub(super) fn check_sizes(graph: &InferenceModel, max_total: usize, rows: usize) -> Result<usize, String> {
    let text = |error: TractError| format!("{error:#}");
    let mut graph = graph.clone();
    for _ in 0..ROUNDS {
        let mut total = 0;
        let mut open = None;
        // All nodes, in the file's order: tract computes also those that no output needs.
        for node in 0..graph.nodes().len() {
            infer(&mut graph, node).map_err(text)?;
            match sizes(&graph, node, rows)? {
                Some(elements) => total += elements,
                None => open = Some(graph.node(node).name.clone()),
            }
            if total > max_total {
                return Err(format!("its tensors have more than {max_total} elements"));
            }
        }
        if open.is_none() {
            return Ok(4 * total);
        }
    }
    Err("the shape of a tensor depends on the data".to_owned())
}

/// Elements of a node's outputs; none where a shape is not known yet.
fn sizes(graph: &InferenceModel, node: usize, rows: usize) -> Result<Option<usize>, String> {
    let mut elements = 0usize;
    for outlet in &graph.node(node).outputs {
        let Some(shape) = outlet.fact.shape.as_concrete_finite().map_err(|error| format!("{error:#}"))? else {
            return Ok(None);
        };
        let size = shape.iter().try_fold(1usize, |size, &dim| size.checked_mul(dim));
        match size {
            Some(size) if size <= MAX_ELEMENTS.saturating_mul(rows) => elements += size,
            _ => return Err(format!("node \"{}\" makes a tensor of the shape {shape:?}", graph.node(node).name)),
        }
    }
    Ok(Some(elements))
}

/// One step of tract's analysis, without its eager evaluation of large constants.
fn infer(graph: &mut InferenceModel, node: usize) -> TractResult<()> {
    let (inputs, outputs) = graph.node_facts(node)?;
    let inputs: Vec<InferenceFact> = inputs.into_iter().cloned().collect();
    let outputs: Vec<InferenceFact> = outputs.into_iter().cloned().collect();
    let observed = graph.node(node).op.observe_outlets(graph, graph.node(node))?;
    let observed: Vec<InferenceFact> =
        observed.iter().map(|outlet| graph.outlet_fact(*outlet).cloned()).collect::<TractResult<_>>()?;
    let mut op: Box<dyn InferenceOp> = graph.node(node).op.clone();
    let (known, mut found, _) =
        op.infer_facts(inputs.iter().collect(), outputs.iter().collect(), observed.iter().collect())?;
    let small = is_small(&known) && is_small(&found) && op.is_stateless();
    let values = known.iter().map(|fact| fact.value.concretize()).collect::<Option<TVec<_>>>().filter(|_| small);
    let values = values.map(|values| values.into_iter().map(|value| value.into_tvalue()).collect());
    // What cannot be evaluated yet stays open.
    if let Some(Ok(values)) = values.map(|values| op.eval(values)) {
        found = values.into_iter().map(|value| InferenceFact::from(value.into_arc_tensor())).collect();
    }
    for (slot, fact) in found.into_iter().enumerate() {
        let outlet = OutletId::new(node, slot);
        let unified = graph.outlet_fact(outlet)?.unify(&fact)?;
        graph.set_outlet_fact(outlet, unified)?;
    }
    Ok(())
}

fn is_small(facts: &[InferenceFact]) -> bool {
    facts.iter().all(|fact| {
        let shape = fact.shape.as_concrete_finite().ok().flatten();
        let size = shape.and_then(|shape| shape.iter().try_fold(1usize, |size, &dim| size.checked_mul(dim)));
        size.is_some_and(|size| size <= MAX_EVALUATED)
    })
}
