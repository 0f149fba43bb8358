//! What `model check` tells about an ONNX model.

use super::Runner;
use super::program::Program;
use super::proto::Model;
use crate::lanes::Lanes;
use crate::mlp::Perceptron;
use crate::trees::Forest;
use crate::{Details, Summary};

pub(super) fn summary(model: &Model<'_>, runner: &Runner) -> Summary {
    let details = Details::Graph {
        producer: model.producer.to_owned(),
        opsets: model.opsets.iter().map(|(domain, version)| opset(domain, *version)).collect(),
        operators: operators(model),
        trees: forests(runner).map(Forest::trees).sum(),
        layers: perceptrons(runner).flat_map(Perceptron::layers).count()
            + lanes(runner).map(Lanes::layers).sum::<usize>(),
    };
    let memory_bytes = match runner {
        Runner::Steps { program, .. } => program.memory_bytes(),
        Runner::Tract(engine) => engine.memory_bytes(),
    };
    Summary { details, kernel: kernel(runner), memory_bytes }
}

fn opset(domain: &str, version: i64) -> String {
    format!("{} {version}", if domain.is_empty() { "ai.onnx" } else { domain })
}

/// Each operator of the graph once, in order.
fn operators(model: &Model<'_>) -> Vec<String> {
    let mut operators: Vec<String> = Vec::new();
    for node in &model.graph.nodes {
        if !operators.iter().any(|known| known == node.op) {
            operators.push(node.op.to_owned());
        }
    }
    operators
}

fn steps(runner: &Runner) -> Option<&Program> {
    if let Runner::Steps { program, .. } = runner { Some(program) } else { None }
}

fn forests(runner: &Runner) -> impl Iterator<Item = &Forest> {
    steps(runner).into_iter().flat_map(|program| program.steps.iter().filter_map(|step| step.operation.forest()))
}

fn perceptrons(runner: &Runner) -> impl Iterator<Item = &Perceptron> {
    steps(runner).into_iter().flat_map(|program| program.steps.iter().filter_map(|step| step.operation.perceptron()))
}

fn lanes(runner: &Runner) -> impl Iterator<Item = &Lanes> {
    steps(runner).into_iter().flat_map(|program| program.steps.iter().filter_map(|step| step.operation.lanes()))
}

/// The kernel of the costly part.
fn kernel(runner: &Runner) -> &'static str {
    let networks = || perceptrons(runner).map(Perceptron::kernel).chain(lanes(runner).map(Lanes::kernel)).next();
    let ours = forests(runner).map(Forest::kernel).next().or_else(networks);
    match runner {
        Runner::Tract(_) => "tract",
        Runner::Steps { .. } => ours.unwrap_or("portable"),
    }
}
