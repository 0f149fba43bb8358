//! LightGBM text models, file versions v2 (LightGBM 2.1) to v4 (4.x).
//!
//! The answer is what `Booster.predict` gives, in double precision as LightGBM computes: all trees of the file count.
//! Tried with files of 2.2.3, 2.3.1, 3.3.5 and 4.7.0.
//!
//! Where each rule comes from, in LightGBM's sources: splits, missing values, categories and linear leaves
//! `include/LightGBM/tree.h`, values near zero `src/c_api.cpp`, sums and averages `src/boosting/gbdt_prediction.cpp`,
//! the file `src/boosting/gbdt_model_text.cpp` and `src/io/tree.cpp`, objectives `src/objective/`.

mod head;
mod linear;
mod objective;
mod text;
mod tree;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use lunapark_schemas::rows::Values;
use lunapark_schemas::{Datatype, Signature, TensorSpec};

use crate::input::input_values_f64;
use crate::trees::{Combine, Forest, ForestBuilder, ForestSpec, Precision};
use crate::{Accepts, Details, Model, ModelError, Summary};
use head::Head;
use linear::{LinearTree, LinearTrees};
use text::{Fields, Text};
use tree::Tree;

/// A boosted model or random forest. Each split says what a missing value (NaN) is; infinities are numbers.
#[derive(Debug)]
pub struct LightgbmModel {
    file: String,
    signature: Arc<Signature>,
    schema: SchemaRef,
    head: Head,
    /// What the sums are divided by: the iterations of a random forest, else 1.
    iterations: f64,
    trees: Trees,
}

#[derive(Debug)]
enum Trees {
    Constant(Forest),
    Linear(LinearTrees),
}

impl LightgbmModel {
    /// Reads and checks a model; `file` names it in the errors of [`infer`](Model::infer).
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self, ModelError> {
        let text = Text::parse(bytes)?;
        let head = Head::read(&text.head)?;
        if text.trees.len() % head.outputs != 0 {
            let what = format!("{} trees, {} per iteration", text.trees.len(), head.outputs);
            return Err(ModelError::unreadable(what));
        }
        let iterations = if head.average { text.trees.len() / head.outputs } else { 1 };
        if iterations == 0 {
            return Err(ModelError::unreadable("an average over no trees"));
        }
        let trees = match text.trees.iter().any(linear::is_linear) {
            false => Trees::Constant(constant(&text.trees, &head)?),
            true => Trees::Linear(linear(&text.trees, &head)?),
        };
        let signature = Arc::new(signature(&head));
        let schema = signature.output_schema();
        Ok(Self { file: file.to_owned(), signature, schema, head, iterations: iterations as f64, trees })
    }

    /// Size and make, for `model check`.
    pub fn summary(&self) -> Summary {
        let (forest, memory_bytes) = match &self.trees {
            Trees::Constant(forest) => (forest, forest.memory_bytes()),
            Trees::Linear(trees) => (trees.forest(), trees.memory_bytes()),
        };
        let objective = self.head.objective_name.clone();
        let (trees, depth, nodes) = (forest.trees(), forest.depth(), forest.nodes());
        Summary { details: Details::Trees { objective, trees, depth, nodes }, kernel: forest.kernel(), memory_bytes }
    }

    fn score(&self, batch: &RecordBatch) -> Result<RecordBatch, ModelError> {
        let values = input_values_f64(&self.signature, batch)?;
        let mut margins = vec![0.0; batch.num_rows() * self.head.outputs];
        match &self.trees {
            Trees::Constant(forest) => forest.margins_f64(values, &mut margins),
            Trees::Linear(trees) => trees.margins(values, &mut margins),
        }
        if self.head.average {
            margins.iter_mut().for_each(|margin| *margin /= self.iterations);
        }
        self.head.objective.apply(&mut margins, self.head.outputs);
        let column = Values::F64(margins).into_column(&self.signature.outputs[0]);
        column
            .and_then(|column| RecordBatch::try_new(self.schema.clone(), vec![column]))
            .map_err(|error| ModelError::shape(error.to_string()))
    }
}

/// The forest of trees whose leaves are numbers.
fn constant(trees: &[Fields], head: &Head) -> Result<Forest, ModelError> {
    let mut builder = builder(head.features, head.outputs);
    for (index, fields) in trees.iter().enumerate() {
        builder.start_tree(index % head.outputs);
        let add = |tree: Tree| tree.add(&mut builder, |leaf| tree.leaf_value[leaf]);
        Tree::read(fields).and_then(add).map_err(|error| in_tree(error, index))?;
    }
    builder.finish()
}

/// The forest of trees whose leaves are functions.
fn linear(trees: &[Fields], head: &Head) -> Result<LinearTrees, ModelError> {
    let (mut builder, mut functions) = (builder(head.features, trees.len()), Vec::new());
    for (index, fields) in trees.iter().enumerate() {
        builder.start_tree(index);
        let add = |tree: Tree| {
            tree.add(&mut builder, |leaf| leaf as f64)?;
            LinearTree::read(fields, &tree, head.features)
        };
        functions.push(Tree::read(fields).and_then(add).map_err(|error| in_tree(error, index))?);
    }
    Ok(LinearTrees::new(builder.finish()?, functions, head.features, head.outputs))
}

fn builder(features: usize, outputs: usize) -> ForestBuilder {
    let (precision, combine, base) = (Precision::Double, Combine::Sum, vec![0.0; outputs]);
    ForestBuilder::new(ForestSpec { features, outputs, precision, combine, base })
}

fn in_tree(mut error: ModelError, index: usize) -> ModelError {
    error.what = format!("tree {index}: {}", error.what);
    error
}

fn signature(head: &Head) -> Signature {
    let mut input = TensorSpec::new("input", Datatype::Fp64, head.features);
    input.fields = head.names.clone();
    let output = TensorSpec::new(head.objective.output(head.outputs), Datatype::Fp64, head.outputs);
    Signature { inputs: vec![input], outputs: vec![output] }
}

impl Model for LightgbmModel {
    fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    fn accepts(&self) -> Accepts {
        Accepts { missing: true, infinite: true }
    }

    fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError> {
        self.score(rows).map_err(|error| error.in_file(&self.file))
    }
}
