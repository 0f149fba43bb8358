//! Recurrent layers: GRU, LSTM and plain ones, in one direction or both.

use std::sync::Arc;

use super::super::fuse::{InLanes, Lane};
use super::super::lower::{Lowering, Made, Rows, Value};
use super::super::proto::Node;
use super::super::symbol::{Size, Symbol};
use super::super::tensor::Element;
use super::conv::MAX_WORK;
use super::number::Real as _;
use crate::ModelError;
use crate::lanes::{Direction, Map, Matrix, Op, Recurrent, RecurrentCell};

/// Inputs of a node.
const SEQUENCE_LENGTHS: usize = 4;
const FIRST_STATE: usize = 5;
const FIRST_CELL: usize = 6;
const PEEPHOLES: usize = 7;

/// Weights and bias of one direction: rows of as many gates as the layer has, each of `hidden` outputs.
struct Weights<'w> {
    hidden: usize,
    inputs: usize,
    of_inputs: &'w [f32],
    of_state: &'w [f32],
    /// Of the inputs, then of the state.
    bias: Option<&'w [f32]>,
}

/// Which sums a matrix makes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Inputs,
    State,
    Both,
}

impl Weights<'_> {
    /// The outputs of some gates.
    fn matrix(&self, gates: std::ops::Range<usize>, over: Over) -> Matrix {
        let outputs = gates.start * self.hidden..gates.end * self.hidden;
        let all = self.of_state.len() / self.hidden;
        let bias = |output: usize| {
            let part = |at: usize| self.bias.map_or(0.0, |bias| bias[at]);
            match over {
                Over::Inputs => part(output),
                Over::State => part(all + output),
                Over::Both => part(output) + part(all + output),
            }
        };
        let (mut weights, mut taps) = (Vec::new(), 0);
        for output in outputs.clone() {
            let of_inputs = &self.of_inputs[output * self.inputs..][..self.inputs];
            let of_state = &self.of_state[output * self.hidden..][..self.hidden];
            let row = match over {
                Over::Inputs => [of_inputs, &[]].concat(),
                Over::State => [&[], of_state].concat(),
                Over::Both => [of_inputs, of_state].concat(),
            };
            taps = row.len();
            weights.extend(row);
        }
        Matrix::new(taps, &weights, &outputs.map(bias).collect::<Vec<_>>())
    }
}

/// What the node says about itself.
struct Layer<'n> {
    node: &'n Node<'n>,
    gates: usize,
    /// For each direction, whether it runs from the last step to the first.
    reverse: Vec<bool>,
    steps: usize,
    inputs: usize,
    hidden: usize,
}

impl<'n> Layer<'n> {
    fn read(node: &'n Node<'n>, rows: &Rows, weights: &[usize]) -> Result<Self, ModelError> {
        let reverse = match node.text("direction", "forward")? {
            "forward" => vec![false],
            "reverse" => vec![true],
            "bidirectional" => vec![false, true],
            other => return Err(node.unreadable(format_args!("the direction \"{}\"", other.escape_debug()))),
        };
        let gates = match node.op {
            "GRU" => 3,
            "LSTM" => 4,
            _ => 1,
        };
        let ([steps, inputs], 1, Element::F32) = (&rows.dims[..], rows.batch, rows.element) else {
            let what = format!("{:?} rows of the shape {:?}, the batch at {}", rows.element, rows.dims, rows.batch);
            return Err(node.unsupported(what));
        };
        let hidden = weights.get(1).map_or(0, |rows| rows / gates);
        let expected = [reverse.len(), gates * hidden, *inputs];
        if hidden == 0 || weights != expected || ![0, hidden as i64].contains(&node.int("hidden_size", 0)?) {
            return Err(node.unreadable(format_args!("weights of the shape {weights:?} for {inputs} inputs")));
        }
        let work =
            (inputs + hidden).checked_mul(gates * hidden * reverse.len()).and_then(|one| one.checked_mul(*steps));
        if work.is_none_or(|work| work > MAX_WORK) {
            return Err(node.unsupported("too large"));
        }
        Ok(Self { node, gates, reverse, steps: *steps, inputs: *inputs, hidden })
    }

    /// Only what ONNX's defaults say.
    fn check(&self) -> Result<(), ModelError> {
        let node = self.node;
        let odd = ["clip", "activation_alpha", "activation_beta"].into_iter().find(|name| node.has(name));
        if let Some(name) = odd {
            return Err(node.unsupported(format_args!("with {name}")));
        }
        if node.int("layout", 0)? != 0 || node.int("input_forget", 0)? != 0 {
            return Err(node.unsupported("with another layout, or coupled gates"));
        }
        if node.has_input(SEQUENCE_LENGTHS) || node.op == "LSTM" && node.has_input(PEEPHOLES) {
            return Err(node.unsupported("with sequences of different lengths, or peepholes"));
        }
        let activations = node.texts("activations")?;
        let usual: &[&str] = match node.op {
            "GRU" => &["Sigmoid", "Tanh"],
            "LSTM" => &["Sigmoid", "Tanh", "Tanh"],
            _ => return Ok(()),
        };
        let all = activations.iter().zip(usual.iter().cycle()).all(|(a, b)| a.eq_ignore_ascii_case(b));
        let count = activations.is_empty() || activations.len() == usual.len() * self.reverse.len();
        if all && count { Ok(()) } else { Err(node.unsupported(format_args!("with the activations {activations:?}"))) }
    }

    /// The function of a plain layer's direction.
    fn plain(&self, direction: usize) -> Result<Map, ModelError> {
        let activations = self.node.texts("activations")?;
        match activations.get(direction).copied().unwrap_or("Tanh") {
            "Tanh" => Ok(Map::Tanh),
            "Relu" => Ok(Map::Relu),
            "Sigmoid" => Ok(Map::Sigmoid),
            other => Err(self.node.unsupported(format_args!("with the activation {}", other.escape_debug()))),
        }
    }

    fn cell(&self, direction: usize, weights: &Weights<'_>) -> Result<RecurrentCell, ModelError> {
        let matrix = |gates, over| weights.matrix(gates, over);
        Ok(match (self.node.op, self.node.int("linear_before_reset", 0)?) {
            ("GRU", 0) => RecurrentCell::Gru { gates: matrix(0..2, Over::Both), new: matrix(2..3, Over::Both) },
            ("GRU", _) => RecurrentCell::GruAfter {
                gates: matrix(0..2, Over::Both),
                of_inputs: matrix(2..3, Over::Inputs),
                of_state: matrix(2..3, Over::State),
            },
            ("LSTM", _) => RecurrentCell::Lstm { gates: matrix(0..3, Over::Both), new: matrix(3..4, Over::Both) },
            _ => RecurrentCell::Plain { both: matrix(0..1, Over::Both), map: self.plain(direction)? },
        })
    }

    /// The first state of each direction: one number throughout, or, where the batch is a single row, constants.
    fn first<'a>(&self, to: &Lowering<'a>, node: &'a Node<'a>, at: usize) -> Result<Vec<Vec<f32>>, ModelError> {
        let (count, hidden) = (self.reverse.len(), self.hidden);
        if !node.has_input(at) {
            return Ok(vec![vec![0.0; hidden]; count]);
        }
        if let Some(Symbol::Uniform { value, dims }) = to.symbol(node, at) {
            let expected = [Size::Known(count as i64), Size::Batch, Size::Known(hidden as i64)];
            let fits = dims[..] == expected;
            return if fits { Ok(vec![vec![*value; hidden]; count]) } else { Err(self.odd_first(at)) };
        }
        match to.placed(node, at)? {
            Value::Constant(tensor) if to.single && tensor.dims == [count, 1, hidden] => {
                let values = f32::constant(tensor).ok_or_else(|| self.odd_first(at))?;
                Ok(values.chunks_exact(hidden).map(<[f32]>::to_vec).collect())
            }
            _ => Err(self.odd_first(at)),
        }
    }

    fn odd_first(&self, at: usize) -> ModelError {
        self.node.unsupported(format_args!("its first state (input {at}) is not the same for all rows"))
    }
}

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.placed_rows(node, 0)?.clone();
    let (of_inputs, of_state) = (to.constant(node, 1)?.clone(), to.constant(node, 2)?.clone());
    let layer = Layer::read(node, &rows, &of_inputs.dims)?;
    layer.check()?;
    let (count, all) = (layer.reverse.len(), layer.gates * layer.hidden);
    let bias = if node.has_input(3) { Some(to.constant(node, 3)?.clone()) } else { None };
    let bias_values = bias.as_ref().map(|bias| f32::constant(bias).filter(|_| bias.dims == [count, 2 * all]));
    let (Some(w), Some(r), true, true) = (
        f32::constant(&of_inputs),
        f32::constant(&of_state),
        of_state.dims == [count, all, layer.hidden],
        bias_values != Some(None),
    ) else {
        return Err(node.unreadable(format_args!("weights of the shapes {:?} and {:?}", of_inputs.dims, of_state.dims)));
    };
    let first_state = layer.first(to, node, FIRST_STATE)?;
    let first_cell = match node.op {
        "LSTM" => layer.first(to, node, FIRST_CELL)?,
        _ => vec![vec![0.0; layer.hidden]; count],
    };
    let mut directions = Vec::with_capacity(count);
    for (at, (first_state, first_cell)) in first_state.into_iter().zip(first_cell).enumerate() {
        let weights = Weights {
            hidden: layer.hidden,
            inputs: layer.inputs,
            of_inputs: &w[at * all * layer.inputs..][..all * layer.inputs],
            of_state: &r[at * all * layer.hidden..][..all * layer.hidden],
            bias: bias_values.flatten().map(|bias| &bias[at * 2 * all..][..2 * all]),
        };
        let cell = layer.cell(at, &weights)?;
        directions.push(Direction { cell, reverse: layer.reverse[at], first_state, first_cell });
    }
    step(node, to, &layer, rows.slot, directions)
}

/// The outputs: all states, step by step and the directions side by side, then the last states and cells.
fn step<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    layer: &Layer<'_>,
    slot: usize,
    directions: Vec<Direction>,
) -> Result<(), ModelError> {
    let (count, hidden) = (directions.len(), layer.hidden);
    let last = Made::new(Element::F32, vec![count, hidden]);
    let mut made = vec![Made::new(Element::F32, vec![layer.steps, count, hidden]), last];
    if node.op == "LSTM" {
        made.push(Made::new(Element::F32, vec![count, hidden]));
    }
    let recurrent = Recurrent { directions: Arc::from(directions), steps: layer.steps, inputs: layer.inputs, hidden };
    let outputs = made.iter().map(|made| made.dims.iter().product()).collect();
    let inputs = vec![layer.steps * layer.inputs];
    let lane = Lane::Op(Op::Recurrent(recurrent));
    let made = to.hidden_step(node, InLanes { lane, inputs, outputs }, &[slot], made)?;
    for (at, rows) in made.into_iter().enumerate() {
        // The batch stands before the last dimension.
        let batch = rows.dims.len() - 1;
        to.bind(node, at, Value::Rows(Rows { batch, ..rows }));
    }
    Ok(())
}
