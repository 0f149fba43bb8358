//! From a graph to a program: what each name stands for while the nodes are read in order.

use std::collections::HashMap;
use std::sync::Arc;

use super::program::{Operation, Program, Step};
use super::proto::{Model, Node};
use super::signature::Input;
use super::symbol::Symbol;
use super::tensor::{Element, Tensor, checked_len};
use super::{fuse, ops, perceptron};
use crate::ModelError;

/// Widest row between two steps: 512 KiB in double precision.
pub(super) const MAX_WIDTH: usize = 1 << 16;
/// Elements that one row may have over all steps; bounds what a row can cost.
const MAX_TOTAL_WIDTH: usize = 1 << 22;

/// A tensor with the batch as one of its dimensions.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub slot: usize,
    pub element: Element,
    /// Dimensions without the batch's; none is a scalar per row.
    pub dims: Vec<usize>,
    /// How many of them stand before the batch: a row's numbers lie as if it were first, wherever it is.
    pub batch: usize,
    /// What the values of a text are indices into.
    pub table: Option<Arc<[String]>>,
    /// Integers that are known to be less than this.
    pub bound: Option<usize>,
}

impl Rows {
    pub(super) fn width(&self) -> usize {
        self.dims.iter().product()
    }

    /// All dimensions; the batch is none of the numbers.
    pub(super) fn full(&self) -> Vec<Option<usize>> {
        let mut full: Vec<_> = self.dims.iter().copied().map(Some).collect();
        full.insert(self.batch.min(full.len()), None);
        full
    }

    /// The same numbers in other dimensions, one of which is the batch.
    pub(super) fn with_full(self, full: &[Option<usize>]) -> Self {
        let batch = full.iter().position(Option::is_none).unwrap_or(0);
        Self { dims: full.iter().copied().flatten().collect(), batch, ..self }
    }
}

/// What a step gives: its slot is not known yet.
#[derive(Debug)]
pub(super) struct Made {
    pub element: Element,
    pub dims: Vec<usize>,
    pub table: Option<Arc<[String]>>,
    pub bound: Option<usize>,
}

impl Made {
    pub(super) fn new(element: Element, dims: Vec<usize>) -> Self {
        Self { element, dims, table: None, bound: None }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Constant(Arc<Tensor>),
    Rows(Rows),
}

/// The state of lowering.
#[derive(Debug)]
pub(super) struct Lowering<'a> {
    pub model: &'a Model<'a>,
    /// The file says that a batch is one row: a constant's first dimension 1 may then mean the batch.
    pub single: bool,
    values: HashMap<&'a str, Value>,
    /// What is computed from shapes alone.
    symbols: HashMap<&'a str, Symbol>,
    steps: Vec<Step>,
    widths: Vec<usize>,
    /// Which slots are in single precision.
    singles: Vec<bool>,
    /// Sum of the widths.
    total: usize,
    /// Bytes of the steps' weights, and of the constants that the file does not hold as they are.
    bytes: usize,
}

/// The program of a graph whose every node is run by an operation of ours, and what its outputs are.
pub(super) fn lower<'a>(model: &'a Model<'a>, inputs: &[Input<'a>]) -> Result<(Program, Vec<Rows>), ModelError> {
    let mut lowering = Lowering::new(model, inputs);
    for node in &model.graph.nodes {
        lowering.check(node)?;
        ops::lower(node, &mut lowering)?;
    }
    lowering.finish(inputs.len())
}

impl<'a> Lowering<'a> {
    fn new(model: &'a Model<'a>, inputs: &[Input<'a>]) -> Self {
        let constants = model.graph.initializers.iter();
        let constant = |(name, tensor): &(&'a str, Tensor)| (*name, Value::Constant(Arc::new(tensor.clone())));
        let mut values: HashMap<_, _> = constants.map(constant).collect();
        for (slot, input) in inputs.iter().enumerate() {
            let (element, dims) = (input.element, input.dims.clone());
            let rows = Rows { slot, element, dims, batch: 0, table: None, bound: None };
            values.insert(input.name, Value::Rows(rows));
        }
        let widths: Vec<usize> = inputs.iter().map(|input| input.dims.iter().product()).collect();
        let total = widths.iter().fold(0, |total: usize, width| total.saturating_add(*width));
        let single = inputs.iter().any(|input| input.single);
        let singles = inputs.iter().map(|input| input.element == Element::F32).collect();
        Self { model, single, values, symbols: HashMap::new(), steps: Vec::new(), widths, singles, total, bytes: 0 }
    }

    /// Every input of the node exists already, its outputs do not, and there is room for them.
    fn check(&self, node: &Node<'a>) -> Result<(), ModelError> {
        self.check_bytes(node)?;
        let known = |name: &&&str| self.values.contains_key(**name) || self.symbols.contains_key(**name);
        if let Some(name) = node.inputs.iter().find(|name| !name.is_empty() && !known(name)) {
            let what = format!("its input \"{}\" is made later or never (a cycle?)", name.escape_debug());
            return Err(node.unreadable(what));
        }
        match node.outputs.iter().find(known) {
            Some(name) => Err(node.unreadable(format_args!("\"{}\" is made twice", name.escape_debug()))),
            None => Ok(()),
        }
    }

    fn check_bytes(&self, node: &Node<'a>) -> Result<(), ModelError> {
        self.model.check_bytes(node, self.bytes)
    }

    /// An input; rows have the batch first.
    pub(super) fn value(&self, node: &Node<'a>, at: usize) -> Result<&Value, ModelError> {
        match self.placed(node, at)? {
            Value::Rows(rows) if rows.batch != 0 => {
                Err(node.unsupported(format_args!("its input {at} has the batch at dimension {}", rows.batch)))
            }
            value => Ok(value),
        }
    }

    /// An input, wherever its batch is.
    pub(super) fn placed(&self, node: &Node<'a>, at: usize) -> Result<&Value, ModelError> {
        if self.symbol(node, at).is_some() {
            return Err(node.unsupported(format_args!("its input {at} depends on the batch's size")));
        }
        let value = node.inputs.get(at).and_then(|name| self.values.get(name));
        value.ok_or_else(|| node.unreadable(format_args!("it has no input {at}")))
    }

    /// An input that depends on the rows, wherever its batch is.
    pub(super) fn placed_rows(&self, node: &Node<'a>, at: usize) -> Result<&Rows, ModelError> {
        match self.placed(node, at)? {
            Value::Rows(rows) => Ok(rows),
            Value::Constant(_) => Err(node.unsupported(format_args!("its input {at} is a constant"))),
        }
    }

    /// An input that is computed from shapes alone.
    pub(super) fn symbol(&self, node: &Node<'a>, at: usize) -> Option<&Symbol> {
        node.inputs.get(at).and_then(|name| self.symbols.get(name))
    }

    pub(super) fn bind_symbol(&mut self, node: &Node<'a>, symbol: Symbol) {
        if let Some(name) = node.outputs.first().filter(|name| !name.is_empty()) {
            self.symbols.insert(name, symbol);
        }
    }

    /// An input that depends on the rows.
    pub(super) fn rows(&self, node: &Node<'a>, at: usize) -> Result<&Rows, ModelError> {
        match self.value(node, at)? {
            Value::Rows(rows) => Ok(rows),
            Value::Constant(_) => Err(node.unsupported(format_args!("its input {at} is a constant"))),
        }
    }

    /// An input that does not.
    pub(super) fn constant(&self, node: &Node<'a>, at: usize) -> Result<&Arc<Tensor>, ModelError> {
        match self.value(node, at)? {
            Value::Constant(tensor) => Ok(tensor),
            Value::Rows(_) => Err(node.unsupported(format_args!("its input {at} is no constant"))),
        }
    }

    /// A constant list of integers.
    pub(super) fn ints(&self, node: &Node<'a>, at: usize) -> Result<Vec<i64>, ModelError> {
        let ints = self.constant(node, at)?.ints().map(<[i64]>::to_vec);
        ints.ok_or_else(|| node.unreadable(format_args!("its input {at} holds no integers")))
    }

    /// Gives the node's output `at` a value. A constant that nothing else holds is new, and counts.
    pub(super) fn bind(&mut self, node: &Node<'a>, at: usize, value: Value) {
        match &value {
            Value::Constant(tensor) if Arc::strong_count(tensor) == 1 => {
                self.bytes = self.bytes.saturating_add(tensor.memory_bytes());
            }
            _ => {}
        }
        if let Some(name) = node.outputs.get(at).filter(|name| !name.is_empty()) {
            self.values.insert(name, value);
        }
    }

    /// The same values under another name, element type or shape.
    pub(super) fn alias(&mut self, node: &Node<'a>, rows: Rows) {
        self.bind(node, 0, Value::Rows(rows));
    }

    /// Adds a step; its outputs are the node's.
    pub(super) fn step(
        &mut self,
        node: &Node<'a>,
        operation: impl Operation + 'static,
        inputs: &[usize],
        outputs: Vec<Made>,
    ) -> Result<(), ModelError> {
        let made = self.hidden_step(node, operation, inputs, outputs)?;
        made.into_iter().enumerate().for_each(|(at, rows)| self.bind(node, at, Value::Rows(rows)));
        Ok(())
    }

    /// Adds a step whose outputs have no names yet.
    pub(super) fn hidden_step(
        &mut self,
        node: &Node<'a>,
        operation: impl Operation + 'static,
        inputs: &[usize],
        outputs: Vec<Made>,
    ) -> Result<Vec<Rows>, ModelError> {
        self.bytes = self.bytes.saturating_add(operation.memory_bytes());
        self.check_bytes(node)?;
        let mut rows = Vec::with_capacity(outputs.len());
        for made in outputs {
            rows.push(self.slot(node, made)?);
        }
        let outputs = rows.iter().map(|rows| rows.slot).collect();
        self.steps.push(Step { operation: Box::new(operation), inputs: inputs.to_vec(), outputs });
        Ok(rows)
    }

    fn slot(&mut self, node: &Node<'a>, made: Made) -> Result<Rows, ModelError> {
        let width = checked_len(&made.dims).filter(|&width| width <= MAX_WIDTH && width > 0);
        let width = width.ok_or_else(|| {
            node.unsupported(format_args!("its rows have the shape {:?}, 1 to {MAX_WIDTH} numbers are run", made.dims))
        })?;
        if self.total + width > MAX_TOTAL_WIDTH {
            return Err(node.unsupported(format_args!("a row has more than {MAX_TOTAL_WIDTH} numbers by now")));
        }
        let slot = self.widths.len();
        self.total += width;
        self.widths.push(width);
        let Made { element, dims, table, bound } = made;
        self.singles.push(element == Element::F32);
        Ok(Rows { slot, element, dims, batch: 0, table, bound })
    }

    fn finish(self, inputs: usize) -> Result<(Program, Vec<Rows>), ModelError> {
        let outputs: Result<Vec<_>, _> = self.model.graph.outputs.iter().map(|info| self.output(info.name)).collect();
        let outputs = outputs?;
        let slots = outputs.iter().map(|rows| rows.slot).collect();
        let Self { steps, widths, singles, .. } = self;
        let mut program = Program { steps, widths, inputs, outputs: slots, missing: false };
        program.missing = program.takes_missing();
        Ok((perceptron::fuse(fuse::fuse(program, &singles)?)?, outputs))
    }

    fn output(&self, name: &str) -> Result<Rows, ModelError> {
        match self.values.get(name) {
            Some(Value::Rows(rows)) if rows.batch != 0 => {
                let what = format!("the output \"{}\" has the batch at dimension {}", name.escape_debug(), rows.batch);
                Err(ModelError::unsupported(what, "transpose it so that the batch stands first"))
            }
            Some(Value::Rows(rows)) => Ok(rows.clone()),
            Some(Value::Constant(_)) => {
                let what = format!("the output \"{}\" does not depend on the inputs", name.escape_debug());
                Err(ModelError::unsupported(what, "leave it out of the model"))
            }
            None => Err(ModelError::unreadable(format!("no node makes the output \"{}\"", name.escape_debug()))),
        }
    }
}
