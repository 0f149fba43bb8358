//! Functions of one or two numbers, with ONNX's broadcasting inside a row.

mod binary;
mod both;
mod broadcast;
mod cast;
mod choose;
mod each;
mod function;
mod pair;

pub(super) use binary::{is_binary, lower_binary};
pub(super) use cast::{cast_rows, lower_cast};
pub(super) use choose::lower_where;
pub(super) use each::lower_function;
pub(in super::super) use function::Function;
pub(super) use function::is_function;
