//! XGBoost models, JSON and UBJSON, versions 1 to 3.
//!
//! The answer is what `Booster.predict` gives: all trees of the file count; to score with the best iteration only,
//! save `booster[: booster.best_iteration + 1]`. Boosters `gbtree`, `dart` and `gblinear`; one or several outputs, by a
//! tree each or by vectors in the leaves. Tried with files of 1.0.2, 1.7.6, 2.1.4, 3.0.5 and 3.2.0.
//!
//! Where each rule comes from, in XGBoost's sources: splits and missing values `src/predictor/predict_fn.h`,
//! categories `src/common/categorical.h`, leaf vectors `src/tree/multi_target_tree_model.cc`, weights of `dart`
//! `src/gbm/gbtree.cc`, objectives `src/objective/`, UBJSON `src/common/json.cc`.

mod categories;
mod check;
mod file;
mod json;
mod lenient;
mod linear;
mod objective;
mod tree;
mod ubjson;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use lunapark_schemas::{Datatype, Signature, TensorSpec};

use crate::input::input_values;
use crate::trees::Forest;
use crate::{Accepts, Details, Model, ModelError, Summary};
use linear::Linear;
use objective::Objective;

/// A boosted model. Missing values (NaN) take each split's default direction.
#[derive(Debug)]
pub struct XgboostModel {
    file: String,
    signature: Arc<Signature>,
    schema: SchemaRef,
    objective_name: String,
    objective: Objective,
    outputs: usize,
    booster: Booster,
}

#[derive(Debug)]
enum Booster {
    Trees(Forest),
    Linear(Linear),
}

impl XgboostModel {
    /// Reads and checks a model, UBJSON where `binary`; `file` names it in the errors of [`infer`](Model::infer).
    pub fn parse(bytes: &[u8], binary: bool, file: &str) -> Result<Self, ModelError> {
        let read = check::read(bytes, binary)?;
        let learner = read.learner;
        let (features, outputs) = (check::features(&learner)?, check::outputs(&learner.learner_model_param)?);
        let objective = Objective::from_name(&learner.objective.name, &read.version, outputs)?;
        let base = check::base(&learner.learner_model_param.base_score, objective, outputs)?;
        let (model, factors) = check::booster(&learner.gradient_booster)?;
        check::categories(&read.version, model)?;
        let booster = match learner.gradient_booster.name.as_str() {
            "gblinear" => Booster::Linear(Linear::new(features, &base, &model.weights)?),
            _ => Booster::Trees(tree::forest(model, factors, tree::Frame { features, base })?),
        };
        let signature = Arc::new(signature(features, learner.feature_names, objective.output(outputs)));
        let (schema, objective_name) = (signature.output_schema(), learner.objective.name);
        Ok(Self { file: file.to_owned(), signature, schema, objective_name, objective, outputs, booster })
    }

    /// Size and make, for `model check`.
    pub fn summary(&self) -> Summary {
        let objective = self.objective_name.clone();
        match &self.booster {
            Booster::Trees(forest) => {
                let (trees, depth, nodes) = (forest.trees(), forest.depth(), forest.nodes());
                let details = Details::Trees { objective, trees, depth, nodes };
                Summary { details, kernel: forest.kernel(), memory_bytes: forest.memory_bytes() }
            }
            Booster::Linear(linear) => {
                let (widths, parameters) = (vec![self.signature.inputs[0].width, self.outputs], linear.parameters());
                let details = Details::Layers { widths, activations: vec!["linear"], parameters };
                Summary { details, kernel: "portable", memory_bytes: linear.memory_bytes() }
            }
        }
    }

    fn score(&self, batch: &RecordBatch) -> Result<RecordBatch, ModelError> {
        let values = input_values(&self.signature, batch)?;
        let mut margins = vec![0.0; batch.num_rows() * self.outputs];
        match &self.booster {
            Booster::Trees(forest) => forest.margins(values, &mut margins),
            Booster::Linear(linear) => linear.margins(values, &mut margins),
        }
        let column = self.objective.apply(margins, self.outputs).into_column(&self.signature.outputs[0]);
        column
            .and_then(|column| RecordBatch::try_new(self.schema.clone(), vec![column]))
            .map_err(|error| ModelError::shape(error.to_string()))
    }
}

fn signature(features: usize, names: Vec<String>, output: TensorSpec) -> Signature {
    let mut input = TensorSpec::new("input", Datatype::Fp32, features);
    input.fields = names;
    Signature { inputs: vec![input], outputs: vec![output] }
}

impl Model for XgboostModel {
    fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    /// XGBoost refuses infinities itself ("Input data contains `inf`").
    fn accepts(&self) -> Accepts {
        Accepts { missing: true, infinite: false }
    }

    fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError> {
        self.score(rows).map_err(|error| error.in_file(&self.file))
    }
}
