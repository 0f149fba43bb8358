//! XGBoost JSON models, versions 1 to 3: gradient-boosted trees with one answer per row.
//!
//! All trees of the file count, as in `Booster.predict`; to score with the best iteration only, save
//! `booster[: booster.best_iteration + 1]`.

mod check;
mod file;
mod flags;
mod nesting;
mod objective;
mod tree;

use std::sync::Arc;

use arrow_array::{Float32Array, RecordBatch};
use arrow_schema::SchemaRef;
use lunapark_schemas::{Datatype, Signature, TensorSpec};

use crate::input::input_values;
use crate::trees::Forest;
use crate::{Accepts, Details, Model, ModelError, Summary};
use objective::Objective;

/// A gradient-boosted model. Missing values (NaN) take each split's default direction.
#[derive(Debug)]
pub struct XgboostModel {
    file: String,
    signature: Arc<Signature>,
    schema: SchemaRef,
    objective_name: String,
    objective: Objective,
    forest: Forest,
}

impl XgboostModel {
    /// Reads and checks a model; `file` names it in the errors of [`infer`](Model::infer).
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self, ModelError> {
        let learner = check::read(bytes)?;
        let objective = Objective::from_name(&learner.objective.name)?;
        let features = check::features(&learner)?;
        let base = objective.margin(check::base_score(&learner.learner_model_param.base_score)?)?;
        let mut input = TensorSpec::new("input", Datatype::Fp32, features);
        let forest = check::forest(&learner, features, base)?;
        input.fields = learner.feature_names;
        let output = TensorSpec::new(objective.output(), Datatype::Fp32, 1);
        let signature = Arc::new(Signature { inputs: vec![input], outputs: vec![output] });
        let schema = signature.output_schema();
        let objective_name = learner.objective.name;
        Ok(Self { file: file.to_owned(), signature, schema, objective_name, objective, forest })
    }

    /// Size and make, for `model check`.
    pub fn summary(&self) -> Summary {
        let objective = self.objective_name.clone();
        let (trees, depth, nodes) = (self.forest.trees(), self.forest.depth(), self.forest.nodes());
        let details = Details::Trees { objective, trees, depth, nodes };
        Summary { details, kernel: self.forest.kernel(), memory_bytes: self.forest.memory_bytes() }
    }

    fn score(&self, batch: &RecordBatch) -> Result<RecordBatch, ModelError> {
        let values = input_values(&self.signature, batch)?;
        let mut answers = vec![0.0; batch.num_rows()];
        self.forest.margins(values, &mut answers);
        self.objective.apply(&mut answers);
        RecordBatch::try_new(self.schema.clone(), vec![Arc::new(Float32Array::from(answers))])
            .map_err(|error| ModelError::shape(error.to_string()))
    }
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
