//! tract for the graphs that no program of ours fits: what exporters seldom write of convolutions and recurrent layers.
//!
//! tract trusts its files, so a graph is checked before tract sees it: only operators of a list, every tensor's size
//! known and bounded ([`bounds`](super::bounds)). A panic in tract becomes an error, and one row is scored when the
//! model is read. Rows run alone, or in blocks where all rows get the same bits ([`blocks`](super::blocks)); a graph that
//! mixes them is refused ([`mixing`](super::mixing)).

use std::panic::{AssertUnwindSafe, catch_unwind};

use lunapark_schemas::TensorSpec;
use lunapark_schemas::rows::Values;

use super::allowed;
use super::blocks::{BLOCK, Blocks, WORTH, room};
use super::compiled::{Compiled, Fault};
use super::mixing;
use super::node::OTHER_WAY;
use super::program::Column;
use super::proto::Model;
use super::signature::{Input, spec};
use super::tensor::Element;
use crate::{ModelError, ModelErrorKind};

/// Elements of all tensors together, for one row.
const MAX_ELEMENTS: usize = 1 << 26;

/// What to do about a graph that mixes rows.
const ROWS_ALONE: &str = "a row's answer must depend on that row alone: look for an axis, a transposition or a shape that \
    takes in the first dimension, or export with a batch fixed to 1 if single rows are what it is for";

/// A graph that tract runs.
pub(super) struct Engine {
    single: Compiled,
    blocks: Option<Blocks>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let blocks = self.blocks.is_some();
        f.debug_struct("Engine").field("outputs", &self.single.outputs).field("blocks", &blocks).finish_non_exhaustive()
    }
}

impl Engine {
    /// Compiles the graph that could not be lowered because of `error`.
    pub(super) fn instead_of(
        error: ModelError,
        model: &Model<'_>,
        inputs: &[Input<'_>],
        bytes: &[u8],
    ) -> Result<Self, ModelError> {
        if error.kind != ModelErrorKind::Unsupported || model.graph.nodes.iter().any(|node| !node.domain.is_empty()) {
            return Err(error);
        }
        allowed::check_nodes(model)?;
        let compiled = guarded(|| Compiled::new(model, inputs, bytes, 1, MAX_ELEMENTS));
        let single = compiled.map_err(|why: Fault| {
            // Both engines' reasons: the user may change either.
            let why = why.to_string();
            ModelError::unsupported(format!("{} (and on tract: {})", error.what, why.escape_debug()), OTHER_WAY)
        })?;
        let mut engine = Self { single, blocks: None };
        engine.try_one_row(inputs)?;
        engine.blocks = guarded::<_, String>(|| Ok(Blocks::new(model, inputs, bytes, &engine.single))).ok().flatten();
        match engine.mixes_rows(model, inputs, bytes) {
            Some(trace) => {
                let what = format!("the graph mixes rows: {trace} (why it is tract's: {})", error.what);
                Err(ModelError::unsupported(what, ROWS_ALONE))
            }
            None => Ok(engine),
        }
    }

    /// Blocks whose rows have the bits of other batches do not mix them; else a batch of two is tried.
    fn mixes_rows(&self, model: &Model<'_>, inputs: &[Input<'_>], bytes: &[u8]) -> Option<String> {
        if self.blocks.is_some() {
            return None;
        }
        let trace = || Ok(mixing::trace(model, inputs, bytes, &self.single, MAX_ELEMENTS));
        guarded::<_, String>(trace).ok().flatten()
    }

    fn try_one_row(&self, inputs: &[Input<'_>]) -> Result<(), ModelError> {
        let zeros = |input: &Input<'_>| {
            let width = input.dims.iter().product();
            match input.element {
                Element::F32 => Column::from(vec![0.0f32; width]),
                Element::F64 => Column::from(vec![0.0f64; width]),
                _ => Column::from(vec![0i64; width]),
            }
        };
        let zeros: Vec<_> = inputs.iter().map(zeros).collect();
        let refused =
            |error: ModelError| ModelError::unsupported(format!("one row of zeros: {}", error.what), OTHER_WAY);
        self.run(&zeros, 1).map(drop).map_err(refused)
    }

    /// The answers of `rows` rows, one per output.
    pub(super) fn run(&self, inputs: &[Column<'_>], rows: usize) -> Result<Vec<Values>, ModelError> {
        guarded(|| self.run_rows(inputs, rows))
            .map_err(|why| ModelError::shape(format!("tract failed: {}", why.escape_debug())))
    }

    fn run_rows(&self, inputs: &[Column<'_>], rows: usize) -> Result<Vec<Values>, String> {
        let mut answers = room(&self.single, rows);
        let Some(Blocks { block, few }) = &self.blocks else {
            return self.single.answer(inputs, 0..rows, &mut answers).map(|()| answers);
        };
        let done = if rows % BLOCK < WORTH { rows - rows % BLOCK } else { rows };
        block.answer(inputs, 0..done, &mut answers)?;
        few.as_ref().unwrap_or(&self.single).answer(inputs, done..rows, &mut answers)?;
        Ok(answers)
    }

    pub(super) fn output_specs(&self, model: &Model<'_>) -> Vec<TensorSpec> {
        let names = model.graph.outputs.iter().map(|info| info.name);
        names.zip(&self.single.outputs).map(|(name, (datatype, dims))| spec(name, *datatype, dims)).collect()
    }

    /// What a run takes; blocks of rows take more than single ones.
    pub(super) fn memory_bytes(&self) -> usize {
        self.single.memory_bytes.max(self.blocks.as_ref().map_or(0, |blocks| blocks.block.memory_bytes))
    }
}

/// A panic in tract is an error like any other.
fn guarded<T, E: From<String>>(run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("it panicked".to_owned().into()))
}
