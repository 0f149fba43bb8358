//! Networks that are more than perceptron chains: neighbouring steps in single precision become one step of
//! [`lanes`](crate::lanes).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::sync::Arc;

use super::program::{Column, Operation, Program, Step};
use crate::ModelError;
use crate::lanes::{ALIGN, Engine, Join, Lanes, Map, Matrix, Op, Port, Products, Reach, Step as LaneStep, Windows};

/// Up to so many steps a slot's room is used again after its last reader; to search for room is quadratic.
const MAX_REUSE: usize = 1 << 12;
/// Weights of the dense layers up to which a graph without convolutions and the like is run in lanes.
const MAX_DENSE: usize = 1 << 15;

/// What a step is to rows side by side.
#[derive(Clone, Debug)]
pub(super) enum Lane {
    Op(Op),
    Dense(Draft),
    Convolution(Draft),
}

/// Sums of products in the making.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// Output by output, over all groups of channels.
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    /// Groups of channels, each with as many outputs.
    pub groups: usize,
    pub reach: Reach,
    pub map: Map,
}

impl Draft {
    /// Of rows of so many times `weights`' inputs, whose weights are given input by input.
    pub(super) fn dense(weights: &[f32], bias: &[f32], times: usize) -> Self {
        let outputs = bias.len();
        let turned = (0..outputs).flat_map(|output| weights.iter().skip(output).step_by(outputs).copied()).collect();
        Self { weights: turned, bias: bias.to_vec(), groups: 1, reach: Reach::Groups(times), map: Map::Identity }
    }

    pub(super) fn convolution(weights: Vec<f32>, bias: Vec<f32>, groups: usize, windows: Arc<Windows>) -> Self {
        Self { weights, bias, groups, reach: Reach::Windows(windows), map: Map::Identity }
    }

    /// Takes up the next step; false where it cannot.
    fn take(&mut self, lane: &Lane) -> bool {
        match lane {
            Lane::Op(Op::Each(map, _)) if self.map == Map::Identity => self.map = *map,
            Lane::Op(Op::Pairs(pairs)) if self.map == Map::Identity => {
                let Some((join, constant)) = pairs.constant() else { return false };
                let Some(by) = self.per_output(constant) else { return false };
                return self.scale(join, &by);
            }
            _ => return false,
        }
        true
    }

    fn scale(&mut self, join: Join, by: &[f32]) -> bool {
        match join {
            Join::Add => self.bias.iter_mut().zip(by).for_each(|(bias, by)| *bias += by),
            Join::Mul => {
                let taps = self.weights.len() / self.bias.len();
                self.bias.iter_mut().zip(by).for_each(|(bias, by)| *bias *= by);
                let rows = self.weights.chunks_exact_mut(taps.max(1));
                rows.zip(by).for_each(|(row, by)| row.iter_mut().for_each(|weight| *weight *= by));
            }
            Join::Sub | Join::Div => return false,
        }
        true
    }

    /// One number per output, where a row's constant has no more than these.
    fn per_output(&self, constant: &[f32]) -> Option<Vec<f32>> {
        let outputs = self.bias.len();
        let (places, output_of): (usize, fn(usize, usize, usize) -> usize) = match &self.reach {
            Reach::Groups(times) => (*times, |at, _, outputs| at % outputs),
            Reach::Windows(windows) => (windows.places(), |at, places, _| at / places),
        };
        let of = |at| output_of(at, places, outputs);
        let mut by = vec![f32::NAN; outputs];
        let values = constant.iter().take(outputs * places).enumerate();
        values.clone().for_each(|(at, &x)| by[of(at)] = x);
        let fits = constant.len() >= outputs * places && values.clone().all(|(at, x)| by[of(at)] == *x);
        fits.then_some(by)
    }

    fn finish(self) -> Op {
        let outputs = self.bias.len() / self.groups;
        let taps = self.weights.len() / self.bias.len();
        let groups = self.weights.chunks_exact(outputs * taps).zip(self.bias.chunks_exact(outputs));
        let matrices = groups.map(|(weights, bias)| Matrix::new(taps, weights, bias)).collect();
        Op::Products(Products { matrices, reach: self.reach, map: self.map })
    }
}

impl Lane {
    fn finish(self) -> Op {
        match self {
            Lane::Op(op) => op,
            Lane::Dense(draft) | Lane::Convolution(draft) => draft.finish(),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Lane::Op(op) => op.memory_bytes(),
            Lane::Dense(draft) | Lane::Convolution(draft) => {
                let windows = if let Reach::Windows(windows) = &draft.reach { windows.memory_bytes() } else { 0 };
                size_of_val(&draft.weights[..]) + size_of_val(&draft.bias[..]) + windows
            }
        }
    }

    /// A step that no perceptron has.
    fn is_more(&self) -> bool {
        matches!(self, Lane::Convolution(_) | Lane::Op(Op::Pool(_) | Op::Recurrent(_) | Op::LayerNorm(_)))
    }
}

/// A step that has no other form than in lanes; [`fuse`] takes it up.
#[derive(Debug)]
pub(super) struct InLanes {
    pub lane: Lane,
    /// Numbers per row of each input and output.
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
}

impl Operation for InLanes {
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>> {
        let mut room = Room::default();
        let mut ports = |widths: &[usize]| -> Vec<Port> {
            widths.iter().map(|&width| Port { slot: room.take(width), width }).collect()
        };
        let (from, to) = (ports(&self.inputs), ports(&self.outputs));
        let slots = |ports: &[Port]| -> Vec<usize> { ports.iter().map(|port| port.slot).collect() };
        let op = self.lane.clone().finish();
        let scratch = room.take(op.scratch());
        let step = LaneStep { op, inputs: slots(&from), outputs: slots(&to), scratch };
        let lanes = Lanes::portable(Engine { steps: vec![step], inputs: from, outputs: to }, room.end);
        InOne(lanes).run(inputs, rows)
    }

    fn memory_bytes(&self) -> usize {
        self.lane.memory_bytes()
    }

    fn lane(&self) -> Option<Lane> {
        Some(self.lane.clone())
    }
}

/// Steps that became one.
#[derive(Debug)]
struct InOne(Lanes);

impl Operation for InOne {
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>> {
        let inputs: Vec<_> = inputs.iter().map(|column| column.f32()).collect();
        self.0.run(&inputs, rows).into_iter().map(Column::from).collect()
    }

    fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    fn lanes(&self) -> Option<&Lanes> {
        Some(&self.0)
    }
}

/// Which places of the arena are taken.
#[derive(Debug, Default)]
struct Room {
    /// Begin and end of each, in order.
    taken: Vec<(usize, usize)>,
    end: usize,
}

impl Room {
    /// The first place that is wide enough.
    fn take(&mut self, width: usize) -> usize {
        if width == 0 {
            return 0;
        }
        let width = width.next_multiple_of(ALIGN);
        let mut start = 0;
        let mut at = 0;
        while let Some(&(first, end)) = self.taken.get(at).filter(|(first, _)| first - start < width) {
            (start, at) = (end.max(first), at + 1);
        }
        self.taken.insert(at, (start, start + width));
        self.end = self.end.max(start + width);
        start
    }

    /// What begins there, of a width that is not 0.
    fn give_back(&mut self, start: usize) {
        if let Ok(at) = self.taken.binary_search_by_key(&start, |&(first, _)| first) {
            self.taken.remove(at);
        }
    }
}

/// Replaces runs of steps that are a network by one step each.
pub(super) fn fuse(program: Program, singles: &[bool]) -> Result<Program, ModelError> {
    let Program { steps, mut widths, inputs, outputs, missing } = program;
    let lanes: Vec<Option<Lane>> = steps.iter().map(|step| lane(step, singles)).collect();
    let mut readers = vec![0usize; widths.len()];
    steps.iter().flat_map(|step| &step.inputs).chain(&outputs).for_each(|&slot| readers[slot] += 1);
    let mut fused = Vec::with_capacity(steps.len());
    let mut rest = steps.into_iter().zip(lanes).peekable();
    while let Some((step, lane)) = rest.next() {
        let Some(lane) = lane else {
            fused.push(step);
            continue;
        };
        let mut run = vec![(step, lane)];
        while let Some((step, lane)) = rest.next_if(|(_, lane)| lane.is_some()) {
            run.extend(lane.map(|lane| (step, lane)));
        }
        match Network::new(run, &readers) {
            Ok(network) => fused.push(network.finish(&mut widths)?),
            Err(run) => fused.extend(run),
        }
    }
    Ok(Program { steps: fused, widths, inputs, outputs, missing })
}

fn lane(step: &Step, singles: &[bool]) -> Option<Lane> {
    let single = step.inputs.iter().chain(&step.outputs).all(|&slot| singles[slot]);
    step.operation.lane().filter(|_| single)
}

/// A step of a network: slots of the program.
struct Part {
    lane: Lane,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

impl Part {
    /// Takes up the next step, where it is the only reader of this one's output.
    fn take(&mut self, next: &Step, lane: &Lane, readers: &[usize]) -> bool {
        let (Lane::Dense(draft) | Lane::Convolution(draft)) = &mut self.lane else { return false };
        let follows = next.inputs == self.outputs && readers[self.outputs[0]] == 1;
        let taken = follows && draft.take(lane);
        if taken {
            self.outputs.clone_from(&next.outputs);
        }
        taken
    }
}

/// A run of steps that is a network.
struct Network {
    parts: Vec<Part>,
    /// Slots of the program.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

impl Network {
    /// The steps back, where they are none.
    fn new(run: Vec<(Step, Lane)>, readers: &[usize]) -> Result<Self, Vec<Step>> {
        let made: HashSet<usize> = run.iter().flat_map(|(step, _)| &step.outputs).copied().collect();
        let mut inside: BTreeMap<usize, usize> = BTreeMap::new();
        run.iter().flat_map(|(step, _)| &step.inputs).for_each(|&slot| *inside.entry(slot).or_default() += 1);
        let is_read = |slot: &usize| readers[*slot] > inside.get(slot).copied().unwrap_or(0);
        let mut outputs: Vec<usize> = made.iter().copied().filter(is_read).collect();
        outputs.sort_unstable();
        if outputs.is_empty() || !is_network(&run) {
            return Err(run.into_iter().map(|(step, _)| step).collect());
        }
        let inputs = inside.into_keys().filter(|slot| !made.contains(slot)).collect();
        let mut parts: Vec<Part> = Vec::with_capacity(run.len());
        for (step, lane) in gelus(run, readers) {
            let taken = parts.last_mut().is_some_and(|last| last.take(&step, &lane, readers));
            if !taken {
                parts.push(Part { lane, inputs: step.inputs, outputs: step.outputs });
            }
        }
        Ok(Self { parts, inputs, outputs })
    }

    /// One step in the place of all; the slots inside are none of the program's any more.
    fn finish(self, widths: &mut [usize]) -> Result<Step, ModelError> {
        let mut places = Places::of(&self);
        let inputs: Vec<Port> = self.inputs.iter().map(|&slot| places.port(slot, widths)).collect();
        let (mut steps, mut made) = (Vec::with_capacity(self.parts.len()), Vec::new());
        for (at, part) in self.parts.into_iter().enumerate() {
            made.extend_from_slice(&part.outputs);
            steps.push(places.step(at, part, widths));
        }
        let outputs = self.outputs.iter().map(|&slot| places.port(slot, widths)).collect();
        let lanes = Lanes::new(Engine { steps, inputs, outputs }, places.room.end)?;
        made.iter().filter(|slot| !self.outputs.contains(slot)).for_each(|&slot| widths[slot] = 0);
        Ok(Step { operation: Box::new(InOne(lanes)), inputs: self.inputs, outputs: self.outputs })
    }
}

/// Operators of a gelu.
const GELU: usize = 5;

/// Replaces x/√2, its error function, + 1, · x, · ½ (as PyTorch writes it) by one function.
fn gelus(run: Vec<(Step, Lane)>, readers: &[usize]) -> Vec<(Step, Lane)> {
    let mut out: Vec<(Step, Lane)> = Vec::with_capacity(run.len());
    for next in run {
        out.push(next);
        let Some((x, width)) = gelu(&out, readers) else { continue };
        let outputs = out.last().map(|(last, _)| last.outputs.clone()).unwrap_or_default();
        out.truncate(out.len() + 1 - GELU);
        if let Some((step, lane)) = out.last_mut() {
            (step.inputs, step.outputs, *lane) = (vec![x], outputs, Lane::Op(Op::Each(Map::Gelu, width)));
        }
    }
    out
}

/// The slot and the width of x, where the last steps are its gelu.
fn gelu(steps: &[(Step, Lane)], readers: &[usize]) -> Option<(usize, usize)> {
    let last: &[(Step, Lane); GELU] = steps.last_chunk()?;
    let [scaled, erf, above, product, half] = last;
    let &[x] = &scaled.0.inputs[..] else { return None };
    let width = by(&scaled.1, &[(Join::Div, SQRT_2), (Join::Mul, FRAC_1_SQRT_2)])?;
    let is_chain = last.windows(2).all(|pair| {
        let made = pair[0].0.outputs[0];
        readers[made] == 1 && pair[1].0.inputs.contains(&made)
    });
    let with_x = product.0.inputs.len() == 2 && product.0.inputs.contains(&x);
    let multiplies = matches!(&product.1, Lane::Op(Op::Pairs(pairs)) if pairs.is_product());
    let is_gelu = matches!(erf.1, Lane::Op(Op::Each(Map::Erf, _)))
        && by(&above.1, &[(Join::Add, 1.0)]).is_some()
        && by(&half.1, &[(Join::Mul, 0.5)]).is_some();
    (is_chain && with_x && multiplies && is_gelu).then_some((x, width))
}

/// The width of a step that joins each number with one of these constants.
fn by(lane: &Lane, with: &[(Join, f32)]) -> Option<usize> {
    let Lane::Op(Op::Pairs(pairs)) = lane else { return None };
    let (join, constant) = pairs.constant()?;
    // The exporter's root of two may be off by its last bits.
    let near = |a: f32, b: f32| (a - b).abs() <= 1e-6;
    let fits = with.iter().any(|&(known, value)| join == known && constant.iter().all(|&x| near(x, value)));
    fits.then_some(constant.len())
}

/// Where each slot of a network lies in the arena.
struct Places {
    room: Room,
    starts: HashMap<usize, usize>,
    /// The last step that reads a slot; none for an output.
    last: HashMap<usize, Option<usize>>,
    reuses: bool,
}

impl Places {
    fn of(network: &Network) -> Self {
        let mut last = HashMap::new();
        for (at, part) in network.parts.iter().enumerate() {
            part.outputs.iter().chain(&part.inputs).for_each(|&slot| {
                last.insert(slot, Some(at));
            });
        }
        network.outputs.iter().for_each(|&slot| {
            last.insert(slot, None);
        });
        let reuses = network.parts.len() <= MAX_REUSE;
        Self { room: Room::default(), starts: HashMap::new(), last, reuses }
    }

    fn port(&mut self, slot: usize, widths: &[usize]) -> Port {
        let width = widths[slot];
        let room = &mut self.room;
        Port { slot: *self.starts.entry(slot).or_insert_with(|| room.take(width)), width }
    }

    /// The slots of a step, whose room is free again after the last step that reads them.
    fn step(&mut self, at: usize, part: Part, widths: &[usize]) -> LaneStep {
        let op = part.lane.finish();
        let mut starts =
            |slots: &[usize]| -> Vec<usize> { slots.iter().map(|&slot| self.port(slot, widths).slot).collect() };
        let (inputs, outputs) = (starts(&part.inputs), starts(&part.outputs));
        let scratch = self.room.take(op.scratch());
        if self.reuses {
            let mut over: Vec<usize> = part.inputs.iter().chain(&part.outputs).copied().collect();
            over.retain(|slot| self.last[slot] == Some(at));
            over.sort_unstable();
            over.dedup();
            over.iter().for_each(|slot| self.room.give_back(self.starts[slot]));
            if op.scratch() > 0 {
                self.room.give_back(scratch);
            }
        }
        LaneStep { op, inputs, outputs, scratch }
    }
}

/// Whether these steps are more than perceptrons, and what they have beside them: layers of another sort, or several
/// products whose sums meet.
fn is_network(run: &[(Step, Lane)]) -> bool {
    if run.iter().any(|(_, lane)| lane.is_more()) {
        return true;
    }
    let dense = || run.iter().filter_map(|(_, lane)| if let Lane::Dense(draft) = lane { Some(draft) } else { None });
    let weights: usize = dense().map(|draft| draft.weights.len()).sum();
    let meets = run.iter().any(|(step, lane)| matches!(lane, Lane::Op(Op::Pairs(_))) && step.inputs.len() == 2);
    let bends = run.iter().any(|(_, lane)| matches!(lane, Lane::Op(Op::Each(..))));
    dense().count() > 1 && weights <= MAX_DENSE && meets && bends
}
