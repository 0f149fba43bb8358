//! Conversions between the types of numbers.

use super::super::super::lower::{Lowering, Made, Rows, Value};
use super::super::super::program::{Column, Missing, Operation};
use super::super::super::proto::Node;
use super::super::super::tensor::{Data, Element, Tensor, element_name};
use super::super::number::{Real, zero};
use crate::ModelError;

/// A conversion between numbers.
#[derive(Debug)]
struct Cast {
    to: Element,
}

impl Cast {
    fn floats<R: Real>(&self, values: &[R]) -> Column<'static> {
        match self.to {
            Element::F32 => values.iter().map(|x| x.to_f64() as f32).collect::<Vec<_>>().into(),
            Element::F64 => values.iter().map(|x| x.to_f64()).collect::<Vec<_>>().into(),
            Element::Bool => values.iter().map(|&x| i64::from(x != zero())).collect::<Vec<_>>().into(),
            Element::I32 => values.iter().map(|x| i64::from(x.to_f64() as i32)).collect::<Vec<_>>().into(),
            Element::I64 | Element::Text => values.iter().map(|x| x.to_f64() as i64).collect::<Vec<_>>().into(),
        }
    }

    fn ints(&self, values: &[i64]) -> Column<'static> {
        match self.to {
            Element::F32 => values.iter().map(|&x| x as f32).collect::<Vec<_>>().into(),
            Element::F64 => values.iter().map(|&x| x as f64).collect::<Vec<_>>().into(),
            Element::Bool => values.iter().map(|&x| i64::from(x != 0)).collect::<Vec<_>>().into(),
            Element::I32 => values.iter().map(|&x| i64::from(x as i32)).collect::<Vec<_>>().into(),
            Element::I64 | Element::Text => values.to_vec().into(),
        }
    }
}

impl Operation for Cast {
    fn run(&self, inputs: &[&Column<'_>], _: usize) -> Vec<Column<'static>> {
        vec![match inputs[0] {
            Column::F32(values) => self.floats(values),
            Column::F64(values) => self.floats(values),
            Column::Ints(values) => self.ints(values),
        }]
    }

    fn missing(&self) -> Missing {
        if self.to.is_float() { Missing::Passes } else { Missing::Refused }
    }
}

pub(in super::super) fn lower_cast<'a>(node: &'a Node<'a>, to: &mut Lowering<'a>) -> Result<(), ModelError> {
    let number = node.int("to", 0)?;
    let element = Element::from_onnx(number);
    let element = element.ok_or_else(|| node.unsupported(format_args!("to {}", element_name(number))))?;
    let rows = match to.value(node, 0)? {
        Value::Rows(rows) => rows.clone(),
        Value::Constant(tensor) => {
            let cast = cast_constant(tensor, element).ok_or_else(|| node.unsupported("of a constant to that type"))?;
            to.bind(node, 0, Value::Constant(cast.into()));
            return Ok(());
        }
    };
    let cast = cast_rows(node, to, rows, element)?;
    to.alias(node, cast);
    Ok(())
}

/// The rows in another type; the same where they have it already.
pub(in super::super) fn cast_rows<'a>(
    node: &'a Node<'a>,
    to: &mut Lowering<'a>,
    rows: Rows,
    element: Element,
) -> Result<Rows, ModelError> {
    if rows.element == element {
        return Ok(rows);
    }
    if rows.element == Element::Text || element == Element::Text {
        return Err(node.unsupported(format_args!("from {:?} to {element:?}", rows.element)));
    }
    // Classes that were found by their index stay within its bound.
    let mut made = Made::new(element, rows.dims.clone());
    made.bound = rows.bound.filter(|_| element == Element::I64);
    let cast = to.hidden_step(node, Cast { to: element }, &[rows.slot], vec![made])?;
    cast.into_iter().next().ok_or_else(|| node.unreadable("no output"))
}

/// The constant in another type.
fn cast_constant(tensor: &Tensor, element: Element) -> Option<Tensor> {
    let cast = Cast { to: element };
    let column = match &tensor.data {
        Data::F32(values) => cast.floats(values),
        Data::F64(values) => cast.floats(values),
        Data::Ints(values) => cast.ints(values),
        Data::Text(_) | Data::Foreign(_) => return None,
    };
    let data = match column {
        _ if element == Element::Text => return None,
        Column::F32(values) => Data::F32(values.into_owned()),
        Column::F64(values) => Data::F64(values.into_owned()),
        Column::Ints(values) => Data::Ints(values.into_owned()),
    };
    Some(Tensor { dims: tensor.dims.clone(), element: Some(element), data })
}
