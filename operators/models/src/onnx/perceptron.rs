//! Perceptron chains: products, sums and activations that follow each other become layers of the kernel of `mlp`.

use super::ops::{Function, Piece};
use super::program::{Column, Operation, Program, Step};
use crate::ModelError;
use crate::mlp::{Activation, MAX_CHAIN_WIDTH, Perceptron};

/// A chain that ran through the kernel.
#[derive(Debug)]
struct Layers(Perceptron);

impl Operation for Layers {
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>> {
        let mut answers = vec![0.0; rows * self.0.outputs()];
        self.0.answer(inputs[0].f32(), &mut answers);
        vec![answers.into()]
    }

    fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    fn perceptron(&self) -> Option<&Perceptron> {
        Some(&self.0)
    }
}

/// A layer in the making.
struct Draft {
    inputs: usize,
    /// Input by input.
    weights: Vec<f32>,
    bias: Vec<f32>,
    activation: Option<Activation>,
}

impl Draft {
    fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Takes up the next piece; false where it belongs to no layer of the kernel.
    fn take(&mut self, piece: Piece<'_>) -> bool {
        match piece {
            Piece::Add(by) if self.activation.is_none() && by.len() == self.outputs() => {
                self.bias.iter_mut().zip(by).for_each(|(bias, by)| *bias += by);
            }
            Piece::Mul(by) if self.activation.is_none() && by.len() == self.outputs() => {
                self.bias.iter_mut().zip(by).for_each(|(bias, by)| *bias *= by);
                let outputs = self.outputs();
                self.weights.chunks_exact_mut(outputs).for_each(|w| w.iter_mut().zip(by).for_each(|(w, by)| *w *= by));
            }
            Piece::Function(function) if self.activation.is_none() => match activation(function) {
                Some(activation) => self.activation = Some(activation),
                None => return false,
            },
            _ => return false,
        }
        true
    }

    fn layer(&self) -> (usize, Vec<f32>, Vec<f32>, Activation) {
        let outputs = self.outputs();
        let weights =
            (0..outputs).flat_map(|output| self.weights.iter().skip(output).step_by(outputs).copied()).collect();
        (self.inputs, weights, self.bias.clone(), self.activation.unwrap_or(Activation::Identity))
    }

    /// Numbers that the kernel could turn into others: it answers e^x for a bounded x.
    fn is_finite(&self) -> bool {
        self.weights.iter().chain(&self.bias).all(|x| x.is_finite())
    }
}

fn activation(function: Function) -> Option<Activation> {
    match function {
        Function::Relu => Some(Activation::Relu),
        Function::Sigmoid => Some(Activation::Sigmoid),
        Function::Tanh => Some(Activation::Tanh),
        _ => None,
    }
}

/// Replaces each chain by one step. A single product without activation stays as it is, for its sums are in double,
/// unless it is normalized at once: then it is part of a network.
pub(super) fn fuse(program: Program) -> Result<Program, ModelError> {
    let Program { steps, widths, inputs, outputs, missing } = program;
    let mut readers = vec![0usize; widths.len()];
    steps.iter().flat_map(|step| &step.inputs).chain(&outputs).for_each(|&slot| readers[slot] += 1);
    let mut fused = Vec::with_capacity(steps.len());
    let mut rest = steps.into_iter().peekable();
    while let Some(first) = rest.next() {
        let Some(mut drafts) = start(&first, &widths) else {
            fused.push(first);
            continue;
        };
        let mut chain = vec![first];
        while let Some(next) = rest.next_if(|next| {
            let last = &chain[chain.len() - 1].outputs;
            let follows = next.inputs == *last && readers[last[0]] == 1;
            follows && extend(&mut drafts, next, &widths)
        }) {
            chain.push(next);
        }
        let last = &chain[chain.len() - 1].outputs;
        let normalized = rest.peek().is_some_and(|next| next.operation.normalizes() && next.inputs == *last);
        fused.append(&mut finish(chain, &drafts, normalized)?);
    }
    Ok(Program { steps: fused, widths, inputs, outputs, missing })
}

fn draft(step: &Step, widths: &[usize]) -> Option<Draft> {
    let Some(Piece::Dense { weights, bias }) = step.operation.piece() else { return None };
    let inputs = weights.len() / bias.len();
    let fits = widths[step.inputs[0]] == inputs && inputs.max(bias.len()) <= MAX_CHAIN_WIDTH;
    fits.then(|| Draft { inputs, weights: weights.to_vec(), bias: bias.to_vec(), activation: None })
}

fn start(step: &Step, widths: &[usize]) -> Option<Vec<Draft>> {
    draft(step, widths).map(|draft| vec![draft])
}

fn extend(drafts: &mut Vec<Draft>, step: &Step, widths: &[usize]) -> bool {
    if let Some(draft) = draft(step, widths) {
        drafts.push(draft);
        return true;
    }
    match (step.operation.piece(), drafts.last_mut()) {
        (Some(piece), Some(last)) => last.take(piece),
        _ => false,
    }
}

fn finish(chain: Vec<Step>, drafts: &[Draft], normalized: bool) -> Result<Vec<Step>, ModelError> {
    let is_network = normalized || drafts.len() > 1 || drafts.iter().any(|draft| draft.activation.is_some());
    let (Some(first), Some(last)) = (chain.first(), chain.last()) else { return Ok(chain) };
    if !is_network || !drafts.iter().all(Draft::is_finite) {
        return Ok(chain);
    }
    let layers = Layers(Perceptron::new(drafts.iter().map(Draft::layer).collect())?);
    Ok(vec![Step { operation: Box::new(layers), inputs: first.inputs.clone(), outputs: last.outputs.clone() }])
}
