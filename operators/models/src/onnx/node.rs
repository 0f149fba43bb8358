//! A node's attributes by name, and errors that name the node.

use std::fmt;

use super::proto::{Attribute, Node};
use super::tensor::{Data, Tensor};
use crate::ModelError;

/// What to do about an operator that is not run.
pub(super) const OTHER_WAY: &str =
    "leave that step out of the saved model, or replace it by operators that FORMATS.md lists";

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = if self.domain.is_empty() { "ai.onnx" } else { self.domain };
        write!(f, "node \"{}\" ({}.{})", self.name.escape_debug(), domain.escape_debug(), self.op.escape_debug())
    }
}

impl<'a> Node<'a> {
    /// A valid node that is not run.
    pub(super) fn unsupported(&self, what: impl fmt::Display) -> ModelError {
        ModelError::unsupported(format!("{self}: {what}"), OTHER_WAY)
    }

    /// A node that contradicts itself or the operator's definition.
    pub(super) fn unreadable(&self, what: impl fmt::Display) -> ModelError {
        ModelError::unreadable(format!("{self}: {what}"))
    }

    /// True where the input exists: an optional one may have an empty name.
    pub(super) fn has_input(&self, at: usize) -> bool {
        self.inputs.get(at).is_some_and(|name| !name.is_empty())
    }

    fn get(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|(found, _)| *found == name).map(|(_, attribute)| attribute)
    }

    fn wrong(&self, name: &str) -> ModelError {
        self.unreadable(format_args!("its attribute {name} has the wrong type"))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, ModelError> {
        match self.get(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(*value),
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, ModelError> {
        match self.get(name) {
            None => Ok(default),
            Some(Attribute::Float(value)) => Ok(*value),
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub(super) fn ints(&self, name: &str) -> Result<&[i64], ModelError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Attribute::Ints(values)) => Ok(values),
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub(super) fn floats(&self, name: &str) -> Result<&[f32], ModelError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Attribute::Floats(values)) => Ok(values),
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub(super) fn text(&self, name: &str, default: &'static str) -> Result<&str, ModelError> {
        match self.get(name) {
            None => Ok(default),
            Some(Attribute::Text(value)) => std::str::from_utf8(value).map_err(|_| self.wrong(name)),
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<&str>, ModelError> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Attribute::Texts(values)) => {
                let texts: Result<Vec<_>, _> = values.iter().map(|text| std::str::from_utf8(text)).collect();
                texts.map_err(|_| self.wrong(name))
            }
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<&Tensor>, ModelError> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Tensor(tensor)) => Ok(Some(tensor)),
            Some(_) => Err(self.wrong(name)),
        }
    }

    /// A list that is either in the attribute `name` (single precision) or in `name_as_tensor` (either precision).
    pub(super) fn weights(&self, name: &str) -> Result<Vec<f64>, ModelError> {
        let in_tensor = format!("{name}_as_tensor");
        match (self.floats(name)?, self.tensor(&in_tensor)?) {
            (floats, None) => Ok(floats.iter().map(|&x| f64::from(x)).collect()),
            ([], Some(tensor)) => self.tensor_doubles(&in_tensor, tensor),
            (_, Some(_)) => Err(self.unreadable(format_args!("it has both {name} and {in_tensor}"))),
        }
    }

    fn tensor_doubles(&self, name: &str, tensor: &Tensor) -> Result<Vec<f64>, ModelError> {
        let shown = || match tensor.data {
            Data::Foreign(number) => super::tensor::element_name(number),
            _ => "no floating-point type",
        };
        tensor.doubles().ok_or_else(|| self.unsupported(format_args!("its {name} holds {}", shown())))
    }
}
