//! Shapes, choices of columns, and putting columns together.

use super::super::lower::{Lowering, MAX_WIDTH, Made, Rows, Value};
use super::super::program::{Column, Missing, Operation};
use super::super::proto::Node;
use super::super::tensor::{Data, Element, Tensor, checked_len};
use super::elementwise::cast_rows;
use crate::ModelError;

pub(super) fn is_shape(op: &str) -> bool {
    matches!(
        op,
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Slice" | "Gather" | "Concat" | "Split"
    )
}

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    match node.op {
        "Reshape" => reshape(node, to),
        "Flatten" => flatten(node, to),
        "Squeeze" | "Unsqueeze" => squeeze(node, to),
        "Transpose" => transpose(node, to),
        "Slice" => slice(node, to),
        "Split" => split(node, to),
        "Concat" => concat(node, to),
        "FeatureVectorizer" => vectorize(node, to),
        _ => gather(node, to),
    }
}

/// The dimension inside a row that ONNX's `axis` means, of rows of `rank` dimensions.
pub(super) fn row_axis(node: &Node<'_>, axis: i64, rank: usize) -> Result<usize, ModelError> {
    let all = rank as i64 + 1;
    match if axis < 0 { axis + all } else { axis } {
        0 => Err(node.unsupported("along the batch: it would mix rows")),
        at if at > 0 && at < all => Ok(at as usize - 1),
        _ => Err(node.unreadable(format_args!("axis {axis} of {all} dimensions"))),
    }
}

fn reshape<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    if let Value::Constant(tensor) = to.value(node, 0)? {
        let (tensor, shape) = (tensor.clone(), to.ints(node, 1)?);
        return reshape_constant(node, to, &tensor, &shape);
    }
    let rows = to.rows(node, 0)?.clone();
    let shape = if node.has_input(1) { to.ints(node, 1)? } else { node.ints("shape")?.to_vec() };
    let dims = reshaped(&rows, &shape, to.single, node.int("allowzero", 0)? != 0);
    let dims = dims.ok_or_else(|| {
        node.unsupported(format_args!("rows of the shape {:?} to {shape:?}: the batch must stay first", rows.dims))
    })?;
    to.alias(node, Rows { dims, ..rows });
    Ok(())
}

fn reshape_constant<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    tensor: &Tensor,
    shape: &[i64],
) -> Result<(), ModelError> {
    let rest: i64 = shape.iter().filter(|&&dim| dim > 0).product();
    let fill = |&dim: &i64| if dim == -1 { tensor.len() as i64 / rest.max(1) } else { dim };
    let dims: Vec<usize> = shape.iter().map(fill).filter_map(|dim| usize::try_from(dim).ok()).collect();
    if dims.len() != shape.len() || checked_len(&dims) != Some(tensor.len()) {
        return Err(node.unreadable(format_args!("a constant of the shape {:?} to {shape:?}", tensor.dims)));
    }
    to.bind(node, 0, Value::Constant(Tensor { dims, ..tensor.clone() }.into()));
    Ok(())
}

/// The row's dimensions in the new shape; none where the batch does not stay first.
fn reshaped(rows: &Rows, shape: &[i64], single: bool, zero_is_zero: bool) -> Option<Vec<usize>> {
    let (&first, rest) = shape.split_first()?;
    let open = rest.iter().filter(|&&dim| dim == -1).count();
    let batch_first = match first {
        -1 => open == 0,
        0 => !zero_is_zero && open <= 1,
        1 => single && open <= 1,
        _ => false,
    };
    let width = rows.width();
    let known = |(at, &dim): (usize, &i64)| match dim {
        -1 => Some(1),
        0 if !zero_is_zero => rows.dims.get(at).copied(),
        dim => usize::try_from(dim).ok().filter(|dim| (1..=MAX_WIDTH).contains(dim)),
    };
    let mut dims: Vec<usize> = rest.iter().enumerate().map(known).collect::<Option<_>>()?;
    let product = checked_len(&dims)?;
    if let Some(at) = rest.iter().position(|&dim| dim == -1) {
        dims[at] = width / product.max(1);
    }
    (batch_first && checked_len(&dims) == Some(width)).then_some(dims)
}

fn flatten<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    match node.int("axis", 1)? {
        1 => {
            let dims = vec![rows.width()];
            to.alias(node, Rows { dims, ..rows });
            Ok(())
        }
        axis => Err(node.unsupported(format_args!("from axis {axis}: it would mix rows"))),
    }
}

fn squeeze<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let mut rows = to.rows(node, 0)?.clone();
    let axes = if node.has_input(1) { to.ints(node, 1)? } else { node.ints("axes")?.to_vec() };
    let rank = if node.op == "Squeeze" { rows.dims.len() } else { rows.dims.len() + axes.len() };
    let mut axes: Vec<usize> = axes.iter().map(|&axis| row_axis(node, axis, rank)).collect::<Result<_, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    if node.op == "Unsqueeze" {
        axes.iter().for_each(|&axis| rows.dims.insert(axis.min(rows.dims.len()), 1));
    } else if axes.is_empty() || axes.iter().any(|&axis| rows.dims[axis] != 1) {
        return Err(node.unsupported(format_args!("rows of the shape {:?} along {axes:?}", rows.dims)));
    } else {
        axes.iter().rev().for_each(|&axis| {
            rows.dims.remove(axis);
        });
    }
    to.alias(node, rows);
    Ok(())
}

/// Chosen elements of each row.
#[derive(Debug)]
struct Pick {
    width: usize,
    map: Vec<u32>,
}

impl Pick {
    fn rows<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let mut out = Vec::with_capacity(values.len() / self.width * self.map.len());
        for row in values.chunks_exact(self.width) {
            out.extend(self.map.iter().map(|&at| row[at as usize]));
        }
        out
    }
}

impl Operation for Pick {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F32(values) => self.rows(values).into(),
            Column::F64(values) => self.rows(values).into(),
            Column::Ints(values) => self.rows(values).into(),
        }]
    }

    fn missing(&self) -> Missing {
        Missing::Passes
    }

    fn memory_bytes(&self) -> usize {
        4 * self.map.len()
    }
}

/// Adds the step that keeps `indices` of one axis; the columns' meaning stays.
fn pick<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    rows: &Rows,
    axis: usize,
    indices: &[usize],
    at: usize,
) -> Result<(), ModelError> {
    let mut dims = rows.dims.clone();
    dims[axis] = indices.len();
    if checked_len(&dims).is_none_or(|width| width == 0 || width > MAX_WIDTH) {
        return Err(node.unsupported(format_args!("its rows have the shape {dims:?}")));
    }
    let inner: usize = rows.dims[axis + 1..].iter().product();
    let outer: usize = rows.dims[..axis].iter().product();
    let element = |o: usize| {
        indices.iter().flat_map(move |&index| {
            let first = (o * rows.dims[axis] + index) * inner;
            first as u32..(first + inner) as u32
        })
    };
    let map = (0..outer).flat_map(element).collect();
    pick_map(node, to, rows, dims, map, at)
}

fn pick_map<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    rows: &Rows,
    dims: Vec<usize>,
    map: Vec<u32>,
    at: usize,
) -> Result<(), ModelError> {
    let made = Made { element: rows.element, dims, table: rows.table.clone(), bound: rows.bound };
    let picked = to.hidden_step(node, Pick { width: rows.width(), map }, &[rows.slot], vec![made])?;
    picked.into_iter().for_each(|rows| to.bind(node, at, Value::Rows(rows)));
    Ok(())
}

fn transpose<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let perm = node.ints("perm")?;
    let axes: Vec<usize> = perm.iter().skip(1).filter_map(|&axis| usize::try_from(axis - 1).ok()).collect();
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if perm.first() != Some(&0) || !sorted.iter().copied().eq(0..rows.dims.len()) {
        return Err(node.unsupported(format_args!("rows of the shape {:?} by {perm:?}", rows.dims)));
    }
    let strides: Vec<usize> = (0..rows.dims.len()).map(|axis| rows.dims[axis + 1..].iter().product()).collect();
    let dims: Vec<usize> = axes.iter().map(|&axis| rows.dims[axis]).collect();
    let source = |mut at: usize| {
        let mut index = 0;
        for (&dim, &axis) in dims.iter().zip(&axes).rev() {
            index += at % dim * strides[axis];
            at /= dim;
        }
        index as u32
    };
    let map = (0..rows.width()).map(source).collect();
    pick_map(node, to, &rows, dims.clone(), map, 0)
}

/// One axis at a time, with steps of any sign.
fn slice<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let list = |at, name: &str| match node.has_input(at) {
        true => to.ints(node, at),
        false => Ok(node.ints(name)?.to_vec()),
    };
    let (starts, ends, axes, steps) = (list(1, "starts")?, list(2, "ends")?, list(3, "axes")?, list(4, "steps")?);
    let ([start], [end]) = (&starts[..], &ends[..]) else {
        return Err(node.unsupported(format_args!("along {} axes", starts.len())));
    };
    let axis = row_axis(node, axes.first().copied().unwrap_or(0), rows.dims.len())?;
    let indices = sliced(rows.dims[axis] as i64, *start, *end, steps.first().copied().unwrap_or(1));
    let indices = indices.ok_or_else(|| node.unreadable("a step of 0"))?;
    pick(node, to, &rows, axis, &indices, 0)
}

/// The indices that a slice of `dim` elements takes, as Python does.
fn sliced(dim: i64, start: i64, end: i64, step: i64) -> Option<Vec<usize>> {
    let (low, high) = if step > 0 { (0, dim) } else { (-1, dim - 1) };
    let place = |at: i64| (if at < 0 { at.saturating_add(dim) } else { at }).clamp(low, high);
    let (start, end) = (place(start), place(end));
    let step = if step == 0 { return None } else { step.clamp(-dim - 1, dim + 1) };
    let going = |&at: &i64| if step > 0 { at < end } else { at > end };
    Some(std::iter::successors(Some(start), |at| Some(at + step)).take_while(going).map(|at| at as usize).collect())
}

fn split<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let axis = row_axis(node, node.int("axis", 0)?, rows.dims.len())?;
    let dim = rows.dims[axis];
    let sizes = if node.has_input(1) { to.ints(node, 1)? } else { node.ints("split")?.to_vec() };
    let mut sizes: Vec<usize> = sizes.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
    if sizes.is_empty() {
        let part = dim.div_ceil(node.outputs.len().max(1));
        sizes = (0..dim).step_by(part.max(1)).map(|start| part.min(dim - start)).collect();
    }
    if sizes.len() != node.outputs.len()
        || sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size)) != Some(dim)
    {
        return Err(node.unreadable(format_args!("{dim} columns into {sizes:?}")));
    }
    let mut start = 0;
    for (at, size) in sizes.into_iter().enumerate() {
        let indices: Vec<usize> = (start..start + size).collect();
        pick(node, to, &rows, axis, &indices, at)?;
        start += size;
    }
    Ok(())
}

/// Gather and ArrayFeatureExtractor: constant columns of the rows, or a constant's elements by the rows' indices.
fn gather<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    if let Value::Constant(table) = to.value(node, 0)? {
        let (table, indices) = (table.clone(), to.rows(node, 1)?.clone());
        return look_up(node, to, &table, indices);
    }
    let rows = to.rows(node, 0)?.clone();
    let indices = to.constant(node, 1)?.clone();
    let axis = if node.op == "Gather" { node.int("axis", 0)? } else { -1 };
    let axis = row_axis(node, axis, rows.dims.len())?;
    let dim = rows.dims[axis];
    let place = |&index: &i64| usize::try_from(if index < 0 { index + dim as i64 } else { index }).ok();
    let list = indices.ints().map(|list| list.iter().map(place).collect::<Option<Vec<usize>>>());
    let list = list.flatten().filter(|list| list.iter().all(|&index| index < dim));
    let list = list.ok_or_else(|| node.unreadable(format_args!("its indices are not all within 0..{dim}")))?;
    pick(node, to, &rows, axis, &list, 0)?;
    // A scalar index takes the dimension away; ArrayFeatureExtractor keeps it.
    if node.op == "Gather" && indices.dims.is_empty() {
        let name = Node { inputs: node.outputs.clone(), ..Node::default() };
        let mut picked = to.rows(&name, 0)?.clone();
        picked.dims.remove(axis);
        to.alias(node, picked);
    }
    Ok(())
}

/// A constant's elements by index.
#[derive(Debug)]
pub(super) struct LookUp {
    pub table: Data,
}

fn looked_up<T: Copy>(table: &[T], indices: &[i64]) -> Vec<T> {
    indices.iter().map(|&at| table[at as usize]).collect()
}

impl Operation for LookUp {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let indices = inputs[0].ints();
        vec![match &self.table {
            Data::F32(table) => looked_up(table, indices).into(),
            Data::F64(table) => looked_up(table, indices).into(),
            Data::Ints(table) => looked_up(table, indices).into(),
            Data::Text(_) | Data::Foreign(_) => indices.to_vec().into(),
        }]
    }
}

/// Only indices that cannot leave the table are run: ArgMax's, say.
pub(super) fn look_up<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    table: &Tensor,
    indices: Rows,
) -> Result<(), ModelError> {
    let in_range = indices.bound.is_some_and(|bound| bound <= table.len());
    if !in_range || table.dims.iter().filter(|&&dim| dim != 1).count() > 1 {
        return Err(node.unsupported("its indices may leave the constant, or it is no list"));
    }
    // ArrayFeatureExtractor's own shape is [1, rows]; its readers only flatten it.
    let dims = if indices.width() == 1 && node.op != "Gather" { Vec::new() } else { indices.dims.clone() };
    match (&table.data, table.element) {
        (Data::Text(texts), _) => {
            let table = Some(texts.clone().into());
            to.alias(node, Rows { element: Element::Text, dims, table, ..indices });
            Ok(())
        }
        (data, Some(element)) => {
            to.step(node, LookUp { table: data.clone() }, &[indices.slot], vec![Made::new(element, dims)])
        }
        (_, None) => Err(node.unsupported("in a constant of that type")),
    }
}

/// Columns side by side.
#[derive(Debug)]
struct Concat {
    parts: Vec<Part>,
    /// How often each part gives a chunk per row.
    times: usize,
}

#[derive(Debug)]
struct Part {
    /// Numbers per chunk.
    chunk: usize,
    /// A constant's own; else the next input.
    constant: Option<Data>,
}

impl Concat {
    fn rows<'v, T: Copy + 'v>(
        &'v self,
        inputs: &'v [&'v Column<'v>],
        rows: usize,
        of: impl Fn(&'v Column<'v>) -> &'v [T],
        constant: impl Fn(&'v Data) -> &'v [T],
    ) -> Vec<T> {
        let mut next = inputs.iter();
        let source = |part: &'v Part| match &part.constant {
            Some(data) => (part, constant(data)),
            None => (part, next.next().map_or(&[][..], |column| of(column))),
        };
        let sources: Vec<_> = self.parts.iter().map(source).collect();
        let mut out = Vec::with_capacity(rows * self.times * self.parts.iter().map(|part| part.chunk).sum::<usize>());
        for at in 0..rows * self.times {
            for (part, values) in &sources {
                let at = if part.constant.is_some() { at % self.times } else { at };
                out.extend_from_slice(&values[at * part.chunk..(at + 1) * part.chunk]);
            }
        }
        out
    }
}

impl Operation for Concat {
    fn run(&self, inputs: &[&Column<'_>], rows: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F32(_) => {
                self.rows(inputs, rows, Column::f32, |d| if let Data::F32(v) = d { v } else { &[] }).into()
            }
            Column::F64(_) => {
                self.rows(inputs, rows, Column::f64, |d| if let Data::F64(v) = d { v } else { &[] }).into()
            }
            Column::Ints(_) => {
                self.rows(inputs, rows, Column::ints, |d| if let Data::Ints(v) = d { v } else { &[] }).into()
            }
        }]
    }

    fn missing(&self) -> Missing {
        Missing::Passes
    }
}

fn concat<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let values: Vec<Value> = (0..node.inputs.len()).map(|at| to.value(node, at).cloned()).collect::<Result<_, _>>()?;
    let first = values.iter().find_map(|value| if let Value::Rows(rows) = value { Some(rows.clone()) } else { None });
    let first = first.ok_or_else(|| node.unsupported("of constants"))?;
    let axis = row_axis(node, node.int("axis", 0)?, first.dims.len())?;
    let (mut parts, mut slots, mut dims) = (Vec::new(), Vec::new(), first.dims.clone());
    dims[axis] = 0;
    for value in values {
        let (part_dims, element, constant) = match value {
            Value::Rows(rows) => {
                slots.push(rows.slot);
                (rows.dims, Some(rows.element), None)
            }
            // A constant is a row of its own only where the batch is one row too.
            Value::Constant(tensor) if to.single && tensor.dims.first() == Some(&1) => {
                (tensor.dims[1..].to_vec(), tensor.element, Some(tensor.data.clone()))
            }
            Value::Constant(_) => return Err(node.unsupported("of a constant and rows")),
        };
        let fits = part_dims.len() == dims.len() && (0..dims.len()).all(|at| at == axis || part_dims[at] == dims[at]);
        if !fits || element != Some(first.element) || first.element == Element::Text {
            return Err(
                node.unsupported(format_args!("of {element:?} {part_dims:?} and {:?} {:?}", first.element, first.dims))
            );
        }
        dims[axis] += part_dims[axis];
        parts.push(Part { chunk: part_dims[axis..].iter().product(), constant });
    }
    let times = first.dims[..axis].iter().product();
    to.step(node, Concat { parts, times }, &slots, vec![Made::new(first.element, dims)])
}

/// All inputs as single-precision columns side by side.
fn vectorize<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let (mut parts, mut slots, mut width) = (Vec::new(), Vec::new(), 0);
    for at in 0..node.inputs.len() {
        let rows = to.rows(node, at)?.clone();
        let chunk = rows.width();
        slots.push(cast_rows(node, to, rows, Element::F32)?.slot);
        parts.push(Part { chunk, constant: None });
        width += chunk;
    }
    if node.ints("inputdimensions")?.iter().sum::<i64>() != width as i64 {
        return Err(node.unreadable(format_args!("its inputdimensions do not add up to {width}")));
    }
    to.step(node, Concat { parts, times: 1 }, &slots, vec![Made::new(Element::F32, vec![width])])
}
