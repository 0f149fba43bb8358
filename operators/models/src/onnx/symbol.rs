//! What is computed from shapes alone: the batch's size is not known when a model is loaded, and where it is only
//! passed on, it need not be.

use super::lower::{Lowering, MAX_WIDTH, Value};
use super::node::OTHER_WAY;
use super::proto::Node;
use super::tensor::{Data, Element, Tensor, checked_len};
use crate::ModelError;

/// More dimensions than any tensor has.
const MAX_LIST: usize = 64;

/// A number of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Batch,
    Known(i64),
}

/// A value that depends on the batch's size, and on nothing else of the rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Symbol {
    /// A list of integers, or a single one.
    Sizes { list: Vec<Size>, scalar: bool },
    /// A tensor of one number throughout.
    Uniform { value: f32, dims: Vec<Size> },
}

/// Whether the node is one of these, or reads one.
pub(super) fn is_symbolic<'a>(node: &Node<'a>, to: &Lowering<'a>) -> bool {
    let reads = || (0..node.inputs.len()).any(|at| to.symbol(node, at).is_some());
    let rows = || (0..node.inputs.len()).any(|at| to.placed_rows(node, at).is_ok());
    match node.op {
        "Shape" => true,
        "GRU" | "LSTM" | "RNN" | "Reshape" => false,
        "Add" | "Sub" | "Mul" | "Div" => !rows(),
        _ => reads(),
    }
}

/// An input with the batch first; one of the same number throughout is a constant row.
pub(super) fn operand<'a>(node: &Node<'a>, to: &Lowering<'a>, at: usize) -> Result<Value, ModelError> {
    let Some(Symbol::Uniform { value, dims }) = to.symbol(node, at) else {
        return to.value(node, at).cloned();
    };
    let [Size::Batch, inner @ ..] = &dims[..] else {
        return Err(node.unsupported(format_args!("its input {at} has not the batch first: {dims:?}")));
    };
    let inner = inner.iter().map(|size| if let Size::Known(size) = size { usize::try_from(*size).ok() } else { None });
    let dims: Option<Vec<usize>> = [Some(1)].into_iter().chain(inner).collect();
    let dims = dims.and_then(|dims| Some((checked_len(&dims).filter(|&len| len <= MAX_WIDTH)?, dims)));
    let (len, dims) = dims.ok_or_else(|| node.unsupported(format_args!("its input {at} is too wide")))?;
    Ok(Value::Constant(Tensor { dims, element: Some(Element::F32), data: Data::F32(vec![*value; len]) }.into()))
}

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let made = match node.op {
        "Shape" => shape(node, to)?,
        "Identity" | "Cast" => same(node, to)?,
        "Gather" => gather(node, to)?,
        "Slice" => slice(node, to)?,
        // A single number becomes a list of one, or the other way round.
        "Squeeze" | "Unsqueeze" => squeezed(node, to)?,
        "Concat" => concat(node, to)?,
        "ConstantOfShape" => filled(node, to)?,
        "Expand" => expanded(node, to)?,
        "MatMul" => product(node, to)?,
        "Add" | "Sub" | "Mul" | "Div" => arithmetic(node, to)?,
        _ => return Err(ModelError::unsupported(format!("{node} on the batch's size is not run"), OTHER_WAY)),
    };
    bind(node, to, made)
}

impl From<(Vec<Size>, bool)> for Symbol {
    fn from((list, scalar): (Vec<Size>, bool)) -> Self {
        Symbol::Sizes { list, scalar }
    }
}

/// What does not depend on the batch is a constant.
fn bind<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>, symbol: Symbol) -> Result<(), ModelError> {
    let known = |size: &Size| if let Size::Known(size) = size { Some(*size) } else { None };
    match &symbol {
        Symbol::Sizes { list, scalar } if list.len() > MAX_LIST || *scalar && list.len() != 1 => {
            return Err(node.unreadable(format_args!("a list of {} numbers", list.len())));
        }
        Symbol::Sizes { list, scalar } => match list.iter().map(known).collect::<Option<Vec<_>>>() {
            Some(list) => to.bind(node, 0, Value::Constant(Tensor::list(&list, *scalar).into())),
            None => to.bind_symbol(node, symbol),
        },
        Symbol::Uniform { .. } => to.bind_symbol(node, symbol),
    }
    Ok(())
}

fn shape<'a>(node: &'a Node<'a>, to: &Lowering<'a>) -> Result<Symbol, ModelError> {
    let rows = to.placed_rows(node, 0)?;
    let sizes = rows.full().into_iter().map(|dim| dim.map_or(Size::Batch, |dim| Size::Known(dim as i64)));
    let sizes: Vec<_> = sizes.collect();
    let place =
        |at: i64| (if at < 0 { at.saturating_add(sizes.len() as i64) } else { at }).clamp(0, sizes.len() as i64);
    let (start, end) = (place(node.int("start", 0)?), place(node.int("end", i64::MAX)?));
    let range = start as usize..end.max(start) as usize;
    Ok((sizes[range].to_vec(), false).into())
}

/// A list of sizes, from a symbol or a constant.
pub(super) fn list<'a>(node: &Node<'a>, to: &Lowering<'a>, at: usize) -> Result<(Vec<Size>, bool), ModelError> {
    match to.symbol(node, at) {
        Some(Symbol::Sizes { list, scalar }) => Ok((list.clone(), *scalar)),
        Some(Symbol::Uniform { .. }) => Err(node.unsupported(format_args!("its input {at} is no list of sizes"))),
        None => {
            let tensor = to.constant(node, at)?;
            let list = tensor.ints().filter(|list| list.len() <= MAX_LIST && tensor.dims.len() < 2);
            let list = list.ok_or_else(|| node.unsupported(format_args!("its input {at} is no list of integers")))?;
            Ok((list.iter().map(|&size| Size::Known(size)).collect(), tensor.dims.is_empty()))
        }
    }
}

/// A cast to a type of integers changes no size; another would be no size any more.
fn same<'a>(node: &'a Node<'a>, to: &Lowering<'a>) -> Result<Symbol, ModelError> {
    let whole = node.op == "Identity" || matches!(node.int("to", 7)?, 6 | 7);
    let symbol = to.symbol(node, 0).filter(|symbol| whole || matches!(symbol, Symbol::Uniform { .. }));
    let symbol = symbol.filter(|symbol| node.op == "Identity" || matches!(symbol, Symbol::Sizes { .. }));
    symbol.cloned().ok_or_else(|| node.unsupported("of the batch's size to that type"))
}

fn place(node: &Node<'_>, at: i64, count: usize) -> Result<usize, ModelError> {
    let place = if at < 0 { at.checked_add(count as i64) } else { Some(at) };
    let place = place.and_then(|at| usize::try_from(at).ok()).filter(|&at| at < count);
    place.ok_or_else(|| node.unreadable(format_args!("the element {at} of {count}")))
}

fn gather<'a>(node: &'a Node<'a>, to: &Lowering<'a>) -> Result<Symbol, ModelError> {
    let (sizes, _) = list(node, to, 0)?;
    let indices = to.constant(node, 1)?;
    let scalar = indices.dims.is_empty();
    let indices = indices.ints().filter(|list| list.len() <= MAX_LIST);
    let indices = indices.ok_or_else(|| node.unreadable("its indices are no list of integers"))?;
    let picked: Result<Vec<_>, _> = indices.iter().map(|&at| Ok(sizes[place(node, at, sizes.len())?])).collect();
    Ok((picked?, scalar).into())
}

/// Of sizes that are known; the batch's is not computed with.
fn arithmetic<'a>(node: &'a Node<'a>, to: &Lowering<'a>) -> Result<Symbol, ModelError> {
    let ((a, scalar), (b, other)) = (list(node, to, 0)?, list(node, to, 1)?);
    let of = |a: i64, b: i64| match node.op {
        "Add" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        _ => a.checked_div(b),
    };
    let both = |(a, b): (&Size, &Size)| match (a, b) {
        (Size::Known(a), Size::Known(b)) => of(*a, *b).map(Size::Known),
        _ => None,
    };
    let sizes: Option<Vec<Size>> = a.iter().zip(&b).map(both).collect();
    let sizes = sizes.filter(|_| a.len() == b.len());
    Ok((sizes.ok_or_else(|| node.unsupported(format_args!("of {a:?} and {b:?}")))?, scalar && other).into())
}

/// Part of a tensor of one number throughout.
fn part<'a>(node: &'a Node<'a>, to: &Lowering<'a>, value: f32, dims: &[Size]) -> Result<Symbol, ModelError> {
    let axes = if node.has_input(3) { to.ints(node, 3)? } else { node.ints("axes")?.to_vec() };
    let at = match axes[..] {
        [] => 0,
        [axis] => place(node, axis, dims.len())?,
        _ => return Err(node.unsupported("along several axes")),
    };
    let Some(&Size::Known(count)) = dims.get(at) else { return Err(node.unsupported("along the batch")) };
    let (start, end) = bounds(node, to, count)?;
    let mut dims = dims.to_vec();
    dims[at] = Size::Known(end - start);
    Ok(Symbol::Uniform { value, dims })
}

fn slice<'a>(node: &'a Node<'a>, to: &Lowering<'a>) -> Result<Symbol, ModelError> {
    if let Some(Symbol::Uniform { value, dims }) = to.symbol(node, 0) {
        return part(node, to, *value, dims);
    }
    let (sizes, _) = list(node, to, 0)?;
    let (start, end) = bounds(node, to, sizes.len() as i64)?;
    Ok((sizes[start as usize..end as usize].to_vec(), false).into())
}

/// First element and end of a slice of `count`, by steps of one.
fn bounds<'a>(node: &'a Node<'a>, to: &Lowering<'a>, count: i64) -> Result<(i64, i64), ModelError> {
    let one = |at: usize, name: &str, default: i64| {
        let list = if node.has_input(at) { to.ints(node, at)? } else { node.ints(name)?.to_vec() };
        match list[..] {
            [] => Ok(default),
            [one] => Ok(one),
            _ => Err(node.unreadable("along several axes")),
        }
    };
    let (start, end, step) = (one(1, "starts", 0)?, one(2, "ends", i64::MAX)?, one(4, "steps", 1)?);
    if step != 1 {
        return Err(node.unsupported(format_args!("sizes by steps of {step}")));
    }
    let count = count.max(0);
    let place = |at: i64| (if at < 0 { at.saturating_add(count) } else { at }).clamp(0, count);
    Ok((place(start), place(end).max(place(start))))
}

fn squeezed<'a>(node: &'a Node<'a>, to: &Lowering<'a>) -> Result<Symbol, ModelError> {
    let Some(Symbol::Uniform { value, dims }) = to.symbol(node, 0) else {
        // A single number becomes a list of one, or the other way round.
        return Ok((list(node, to, 0)?.0, node.op == "Squeeze").into());
    };
    let axes = if node.has_input(1) { to.ints(node, 1)? } else { node.ints("axes")?.to_vec() };
    let ([axis], mut dims) = (&axes[..], dims.clone()) else {
        return Err(node.unsupported(format_args!("along the axes {axes:?}")));
    };
    let at = place(node, *axis, dims.len() + usize::from(node.op == "Unsqueeze"))?;
    match node.op {
        "Unsqueeze" => dims.insert(at, Size::Known(1)),
        _ if dims[at] == Size::Known(1) => {
            dims.remove(at);
        }
        _ => return Err(node.unreadable(format_args!("{dims:?} along {at}"))),
    }
    Ok(Symbol::Uniform { value: *value, dims })
}

/// Of tensors of the same number, one of that number.
fn joined<'a>(node: &'a Node<'a>, to: &Lowering<'a>, value: f32, first: &[Size]) -> Result<Symbol, ModelError> {
    let (mut dims, axis) = (first.to_vec(), place(node, node.int("axis", 0)?, first.len())?);
    let mut total = 0i64;
    for at in 0..node.inputs.len() {
        match to.symbol(node, at) {
            Some(Symbol::Uniform { value: next, dims }) if next.to_bits() == value.to_bits() => match dims.get(axis) {
                Some(Size::Known(size)) if same_but(dims, first, axis) => total = total.saturating_add(*size),
                _ => return Err(node.unsupported(format_args!("of {first:?} and {dims:?}"))),
            },
            _ => return Err(node.unsupported("of different numbers")),
        }
    }
    dims[axis] = Size::Known(total);
    Ok(Symbol::Uniform { value, dims })
}

fn same_but(a: &[Size], b: &[Size], axis: usize) -> bool {
    a.len() == b.len() && (0..a.len()).all(|at| at == axis || a[at] == b[at])
}

fn concat<'a>(node: &'a Node<'a>, to: &Lowering<'a>) -> Result<Symbol, ModelError> {
    if let Some(Symbol::Uniform { value, dims }) = to.symbol(node, 0) {
        return joined(node, to, *value, dims);
    }
    let mut all = Vec::new();
    for at in 0..node.inputs.len().min(MAX_LIST) {
        all.extend(list(node, to, at)?.0);
    }
    Ok((all, false).into())
}

fn filled<'a>(node: &'a Node<'a>, to: &Lowering<'a>) -> Result<Symbol, ModelError> {
    let (dims, _) = list(node, to, 0)?;
    let value = match node.tensor("value")? {
        None => Some(0.0),
        Some(tensor) => match &tensor.data {
            Data::F32(values) if values.len() == 1 => Some(values[0]),
            _ => None,
        },
    };
    let value = value.ok_or_else(|| node.unsupported("filled with other than a number in single precision"))?;
    Ok(Symbol::Uniform { value, dims })
}

/// Zeros times a constant matrix are zeros.
fn product<'a>(node: &'a Node<'a>, to: &Lowering<'a>) -> Result<Symbol, ModelError> {
    let weights = to.constant(node, 1)?;
    let (Some(Symbol::Uniform { value: 0.0, dims }), [inputs, outputs], Data::F32(values)) =
        (to.symbol(node, 0), &weights.dims[..], &weights.data)
    else {
        return Err(node.unsupported("of the batch's size"));
    };
    let mut dims = dims.clone();
    let last = dims.pop();
    if dims.is_empty() || last != Some(Size::Known(*inputs as i64)) || !values.iter().all(|x| x.is_finite()) {
        return Err(node.unsupported(format_args!("of {dims:?} and {:?}", weights.dims)));
    }
    dims.push(Size::Known(*outputs as i64));
    Ok(Symbol::Uniform { value: 0.0, dims })
}

/// A constant of one number throughout, in a shape with the batch.
fn expanded<'a>(node: &'a Node<'a>, to: &Lowering<'a>) -> Result<Symbol, ModelError> {
    let value = match &to.constant(node, 0)?.data {
        Data::F32(values) if values.iter().all(|x| x.to_bits() == values[0].to_bits()) => values.first().copied(),
        _ => None,
    };
    let value = value.ok_or_else(|| node.unsupported("of other than one number in single precision"))?;
    let rank = to.constant(node, 0)?.dims.len();
    let (mut dims, _) = list(node, to, 1)?;
    if rank > dims.len() {
        return Err(node.unsupported("to fewer dimensions"));
    }
    // A dimension of the constant that is larger than 1 stays.
    let constant = to.constant(node, 0)?.dims.clone();
    let start = dims.len() - rank;
    for (dim, &own) in dims[start..].iter_mut().zip(&constant) {
        match dim {
            Size::Known(1) => *dim = Size::Known(own as i64),
            Size::Batch if own != 1 => return Err(node.unsupported("of a constant's dimension to the batch")),
            _ => {}
        }
    }
    Ok(Symbol::Uniform { value, dims })
}
