//! Class labels: the index of the greatest score, and tables from and to labels.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::lower::{Lowering, Made, Rows};
use super::super::program::{Column, Operation};
use super::super::proto::Node;
use super::super::tensor::{Data, Element, Tensor};
use super::elementwise::cast_rows;
use super::look_up::look_up;
use super::shape::row_axis;
use crate::ModelError;

/// The labels of a classifier.
#[derive(Clone, Debug)]
pub(super) enum Labels {
    Ints(Vec<i64>),
    Texts(Arc<[String]>),
}

impl Labels {
    pub(super) fn read(node: &Node<'_>, ints: &str, texts: &str) -> Result<Self, ModelError> {
        let texts = node.texts(texts)?;
        if texts.is_empty() {
            return Ok(Labels::Ints(node.ints(ints)?.to_vec()));
        }
        Ok(Labels::Texts(texts.iter().map(|&text| text.to_owned()).collect()))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Labels::Ints(labels) => labels.len(),
            Labels::Texts(labels) => labels.len(),
        }
    }

    /// What a step gives that answers labels: a text is its index.
    pub(super) fn made(&self) -> Made {
        match self {
            Labels::Ints(_) => Made::new(Element::I64, Vec::new()),
            Labels::Texts(texts) => {
                Made { element: Element::Text, dims: Vec::new(), table: Some(texts.clone()), bound: Some(texts.len()) }
            }
        }
    }

    /// The label of a class, as a column holds it.
    pub(super) fn value(&self, class: usize) -> i64 {
        match self {
            Labels::Ints(labels) => labels.get(class).copied().unwrap_or(0),
            Labels::Texts(_) => class as i64,
        }
    }
}

/// The index of a group's greatest or least element, the first of equals unless asked for the last.
#[derive(Debug)]
struct Arg {
    least: bool,
    last: bool,
    dim: usize,
    /// Numbers per step along the axis.
    inner: usize,
}

impl Arg {
    fn rows<T: PartialOrd + Copy>(&self, values: &[T]) -> Vec<i64> {
        let block = self.dim * self.inner;
        let blocks = values.chunks_exact(block);
        blocks.flat_map(|block| (0..self.inner).map(|at| self.best(block[at..].iter().step_by(self.inner)))).collect()
    }

    fn best<'v, T: PartialOrd + Copy + 'v>(&self, values: impl Iterator<Item = &'v T>) -> i64 {
        let mut best: Option<(usize, T)> = None;
        for (at, &x) in values.enumerate() {
            let better = |y: T| (if self.least { x < y } else { x > y }) || (self.last && x == y);
            if best.is_none_or(|(_, y)| better(y)) {
                best = Some((at, x));
            }
        }
        best.map_or(0, |(at, _)| at as i64)
    }
}

impl Operation for Arg {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F32(values) => self.rows(values).into(),
            Column::F64(values) => self.rows(values).into(),
            Column::Ints(values) => self.rows(values).into(),
        }]
    }
}

pub(super) fn lower_arg<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let axis = row_axis(node, node.int("axis", 0)?, rows.dims.len())?;
    let (least, last) = (node.op == "ArgMin", node.int("select_last_index", 0)? != 0);
    let (dim, inner) = (rows.dims[axis], rows.dims[axis + 1..].iter().product());
    let mut dims = rows.dims.clone();
    match node.int("keepdims", 1)? {
        0 => {
            dims.remove(axis);
        }
        _ => dims[axis] = 1,
    }
    let made = Made { bound: Some(dim), ..Made::new(Element::I64, dims) };
    to.step(node, Arg { least, last, dim, inner }, &[rows.slot], vec![made])
}

pub(super) fn lower<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    if node.op == "OneHotEncoder" { one_hot(node, to) } else { label_encoder(node, to) }
}

/// A list that is an attribute or, in opset 4, a tensor.
fn list(node: &Node<'_>, prefix: &str) -> Result<Data, ModelError> {
    if let Some(tensor) = node.tensor(&format!("{prefix}_tensor"))? {
        return Ok(tensor.data.clone());
    }
    let (ints, floats) = (node.ints(&format!("{prefix}_int64s"))?, node.floats(&format!("{prefix}_floats"))?);
    let texts = node.texts(&format!("{prefix}_strings"))?;
    match (ints, floats, &texts[..]) {
        (ints, [], []) => Ok(Data::Ints(ints.to_vec())),
        ([], floats, []) => Ok(Data::F32(floats.to_vec())),
        ([], [], texts) => Ok(Data::Text(texts.iter().map(|&text| text.to_owned()).collect())),
        _ => Err(node.unreadable(format_args!("it has several sorts of {prefix}"))),
    }
}

/// Version 1 knows one list: a text becomes its place there, a number the text at that place.
fn first_version(node: &Node<'_>, from: Element) -> Result<(Data, Data), ModelError> {
    let classes = node.texts("classes_strings")?;
    let mut seen = HashSet::new();
    if let Some(class) = classes.iter().find(|class| !seen.insert(**class)) {
        return Err(node.unreadable(format_args!("the class \"{}\" twice in classes_strings", class.escape_debug())));
    }
    let places = Data::Ints((0..classes.len() as i64).collect());
    let classes = Data::Text(classes.into_iter().map(str::to_owned).collect());
    Ok(if from == Element::Text { (classes, places) } else { (places, classes) })
}

/// Keys and values of the version that the file says; ONNX Runtime knows none of the other's attributes.
fn table(node: &Node<'_>, to: &Lowering<'_>, from: Element) -> Result<(Data, Data), ModelError> {
    let version = to.model.opset("ai.onnx.ml").unwrap_or(1);
    let (keys, values) = match version {
        ..=1 => first_version(node, from)?,
        _ => (list(node, "keys")?, list(node, "values")?),
    };
    match keys.len() {
        0 => Err(node.unreadable(format_args!("its table is empty (ai.onnx.ml {version})"))),
        _ => Ok((keys, values)),
    }
}

/// Labels to other labels. The default is the last row of the table.
fn label_encoder<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let rows = to.rows(node, 0)?.clone();
    let (keys, values) = table(node, to, rows.element)?;
    let values = with_default(node, values)?;
    let positions = match (&keys, rows.element, &rows.table) {
        (Data::Ints(keys), Element::I64, _) => IntKeys::new(keys),
        (Data::Text(keys), Element::Text, Some(table)) => IntKeys::of_texts(keys, table),
        (_, element, _) => return Err(node.unsupported(format_args!("with such keys on {element:?}"))),
    };
    let keys = positions.keys;
    let length = values.len();
    if length != keys + 1 {
        return Err(node.unreadable(format_args!("{keys} keys for {} values", length - 1)));
    }
    let made = Made { bound: Some(length), ..Made::new(Element::I64, rows.dims.clone()) };
    let positions = to.hidden_step(node, positions, &[rows.slot], vec![made])?;
    look_up(node, to, &values, Rows { dims: rows.dims, ..positions[0].clone() })
}

fn with_default(node: &Node<'_>, values: Data) -> Result<Tensor, ModelError> {
    if node.has("default_tensor") {
        return Err(node.unsupported("with a default_tensor"));
    }
    let (element, len, data) = match values {
        Data::Ints(mut list) => {
            list.push(node.int("default_int64", -1)?);
            (Element::I64, list.len(), Data::Ints(list))
        }
        Data::F32(mut list) => {
            list.push(node.float("default_float", -0.0)?);
            (Element::F32, list.len(), Data::F32(list))
        }
        Data::Text(mut list) => {
            list.push(node.text("default_string", "_Unused")?.to_owned());
            (Element::Text, list.len(), Data::Text(list))
        }
        Data::F64(_) | Data::Foreign(_) => return Err(node.unsupported("to values of that type")),
    };
    Ok(Tensor { dims: vec![len], element: Some(element), data })
}

/// The place of a key in a list; its length where it is not there.
#[derive(Debug)]
struct IntKeys {
    places: HashMap<i64, i64>,
    keys: usize,
}

impl IntKeys {
    fn new(keys: &[i64]) -> Self {
        Self { places: keys.iter().enumerate().rev().map(|(at, &key)| (key, at as i64)).collect(), keys: keys.len() }
    }

    /// Keys that are texts, by their index in the column's table.
    fn of_texts(keys: &[String], table: &[String]) -> Self {
        let place = |text: &String| keys.iter().position(|key| key == text);
        let places = table.iter().enumerate().filter_map(|(at, text)| Some((at as i64, place(text)? as i64))).collect();
        Self { places, keys: keys.len() }
    }
}

impl Operation for IntKeys {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let place = |key: &i64| self.places.get(key).copied().unwrap_or(self.keys as i64);
        vec![inputs[0].ints().iter().map(place).collect::<Vec<_>>().into()]
    }
}

/// A column of zeros and one 1 per category.
#[derive(Debug)]
struct OneHot(Vec<i64>);

impl Operation for OneHot {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        let flags = |&x: &i64| self.0.iter().map(move |&category| f32::from(u8::from(x == category)));
        vec![inputs[0].ints().iter().flat_map(flags).collect::<Vec<f32>>().into()]
    }
}

fn one_hot<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let categories = node.ints("cats_int64s")?.to_vec();
    if categories.is_empty() || node.int("zeros", 1)? == 0 {
        return Err(node.unsupported("on texts, or where an unknown category is an error"));
    }
    let rows = to.rows(node, 0)?.clone();
    let mut dims = rows.dims.clone();
    dims.push(categories.len());
    let rows = cast_rows(node, to, rows, Element::I64)?;
    to.step(node, OneHot(categories), &[rows.slot], vec![Made::new(Element::F32, dims)])
}
