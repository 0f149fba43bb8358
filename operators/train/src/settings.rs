//! The request, checked: what the user wrote becomes what is valid.

use lunapark_schemas::training::{ClassWeight, EarlyStopping, TrainingRequest};

use crate::Refusal;
use crate::kernel::Activation;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objective {
    Classification,
    Regression,
    AnomalyDetection,
}

impl Objective {
    pub(crate) const ALL: [Objective; 3] =
        [Objective::Classification, Objective::Regression, Objective::AnomalyDetection];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Objective::Classification => "classification",
            Objective::Regression => "regression",
            Objective::AnomalyDetection => "anomaly-detection",
        }
    }

    pub(crate) fn of(request: &TrainingRequest) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == request.model.objective)
    }
}

/// Bounds of what a request may ask for: far beyond any table's need, and nothing overflows within them.
const MAX_EPOCHS: u32 = 1_000_000;
const MAX_BATCH: u32 = 1 << 20;
const MAX_LAYERS: usize = 32;
const MAX_WIDTH: usize = 1 << 13;
/// Weights and biases of all layers: each costs memory several times over, for its gradient and the optimizer.
const MAX_PARAMETERS: usize = 50_000_000;
/// Epochs that a table without gain may take; larger ones mean "never".
const MAX_PATIENCE: u32 = MAX_EPOCHS;

/// A request that can be trained, as far as it alone tells.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub objective: Objective,
    pub hidden: Option<Vec<usize>>,
    pub activation: Activation,
    pub epochs: u32,
    pub batch: usize,
    pub rate: f64,
    pub decay: f64,
    pub warm_up: u64,
    pub seed: u64,
    pub early: Option<EarlyStopping>,
    pub class_weight: Option<ClassWeight>,
    pub test_share: f64,
    /// Of the rows that are left, where some are held out to judge each epoch.
    pub validation_share: Option<f64>,
}

impl Settings {
    pub(crate) fn of(request: &TrainingRequest) -> Result<Self, Refusal> {
        let objective = objective(request)?;
        let activation = architecture(request, objective)?;
        let (train, optimizer) = (&request.model_train, &request.model_train.optimizer);
        numbers(request)?;
        if let Some(early) = &train.early_stopping {
            early_stopping(early)?;
        }
        Ok(Self {
            objective,
            hidden: request.model.architecture.as_ref().map(|architecture| architecture.hidden.clone()),
            activation,
            epochs: train.epochs,
            batch: train.batch_size as usize,
            rate: optimizer.init_lr,
            decay: optimizer.weight_decay_rate,
            warm_up: optimizer.num_warm_steps,
            seed: train.seed,
            early: train.early_stopping.clone(),
            class_weight: class_weight(request, objective)?,
            test_share: request.dataset.train_test_split,
            validation_share: validation_share(request)?,
        })
    }
}

fn objective(request: &TrainingRequest) -> Result<Objective, Refusal> {
    let Some(objective) = Objective::of(request) else {
        let known = Objective::ALL.map(Objective::name).join(", ");
        let found = request.model.objective.escape_debug();
        let what = format!("the objective \"{found}\" is not known");
        return Err(Refusal::request(format!("{what}; set `model.objective` to one of: {known}")));
    };
    if request.model.path.is_some() {
        let what = "a model on a table starts from new weights";
        return Err(Refusal::request(format!("{what}; take `model.path` out of the request")));
    }
    if request.dataset.label.is_none() && objective != Objective::AnomalyDetection {
        let what = format!("{} needs a label", objective.name());
        return Err(Refusal::request(format!("{what}; set `dataset.label` to its column")));
    }
    Ok(objective)
}

fn architecture(request: &TrainingRequest, objective: Objective) -> Result<Activation, Refusal> {
    let Some(architecture) = &request.model.architecture else {
        // The narrow code of an autoencoder must not die, as a few ReLUs may.
        return Ok(if objective == Objective::AnomalyDetection { Activation::Tanh } else { Activation::Relu });
    };
    if architecture.hidden.len() > MAX_LAYERS {
        let what = format!("{} hidden layers are too many", architecture.hidden.len());
        return Err(Refusal::request(format!("{what}; use at most {MAX_LAYERS}")));
    }
    if let Some(width) = architecture.hidden.iter().find(|width| !(1..=MAX_WIDTH).contains(*width)) {
        let what = format!("a hidden layer of {width} cannot be trained");
        return Err(Refusal::request(format!("{what}; use widths of 1 to {MAX_WIDTH} in `model.architecture.hidden`")));
    }
    check_size(&architecture.hidden)?;
    Activation::of_name(&architecture.activation).ok_or_else(|| {
        let what = format!("the activation \"{}\" is not known", architecture.activation.escape_debug());
        Refusal::request(format!("{what}; set `model.architecture.activation` to relu, tanh or sigmoid"))
    })
}

/// Refuses a network that no worker could hold.
pub(crate) fn check_size(widths: &[usize]) -> Result<(), Refusal> {
    let layer = |pair: &[usize]| pair[0].saturating_add(1).saturating_mul(pair[1]);
    let parameters = widths.windows(2).map(layer).fold(0, usize::saturating_add);
    if parameters > MAX_PARAMETERS {
        let what = format!("a network of {parameters} parameters is too large");
        let advice = "make `model.architecture.hidden` narrower, or name fewer `dataset.features`";
        return Err(Refusal::request(format!("{what}; at most {MAX_PARAMETERS} are trained: {advice}")));
    }
    Ok(())
}

/// A number's key, whether it can be used, and which can.
type Bound = (&'static str, bool, String);

fn numbers(request: &TrainingRequest) -> Result<(), Refusal> {
    let (train, optimizer) = (&request.model_train, &request.model_train.optimizer);
    if optimizer.name != "AdamW" {
        let what = format!("the optimizer \"{}\" is not known", optimizer.name.escape_debug());
        return Err(Refusal::request(format!("{what}; set `model_train.optimizer.name` to AdamW")));
    }
    let (rate, decay) = (optimizer.init_lr, optimizer.weight_decay_rate);
    let split = request.dataset.train_test_split;
    refuse_first(&[
        ("model_train.epochs", (1..=MAX_EPOCHS).contains(&train.epochs), format!("1 to {MAX_EPOCHS}")),
        ("model_train.batch_size", (1..=MAX_BATCH).contains(&train.batch_size), format!("1 to {MAX_BATCH}")),
        ("model_train.optimizer.init_lr", rate > 0.0 && rate <= 10.0, "a number above 0, at most 10".into()),
        ("model_train.optimizer.weight_decay_rate", (0.0..=1.0).contains(&decay), "0 to 1".into()),
        ("dataset.train_test_split", split > 0.0 && split < 1.0, "the test part's share, between 0 and 1".into()),
    ])
}

fn early_stopping(early: &EarlyStopping) -> Result<(), Refusal> {
    let share = early.validation_fraction;
    let patience = (1..=MAX_PATIENCE).contains(&early.patience);
    refuse_first(&[
        ("model_train.early_stopping.patience", patience, format!("1 to {MAX_PATIENCE}")),
        ("model_train.early_stopping.min_delta", early.min_delta >= 0.0, "0 or more".into()),
        ("model_train.early_stopping.validation_fraction", share > 0.0 && share < 1.0, "between 0 and 1".into()),
    ])
}

/// What early stopping holds out, or what the data set says.
fn validation_share(request: &TrainingRequest) -> Result<Option<f64>, Refusal> {
    let Some(share) = request.dataset.validation_split else {
        return Ok(request.model_train.early_stopping.as_ref().map(|early| early.validation_fraction));
    };
    if request.model_train.early_stopping.is_some() {
        let what = "`model_train.early_stopping.validation_fraction` says what judges the epochs";
        return Err(Refusal::request(format!("{what}; take `dataset.validation_split` out of the request")));
    }
    let range = "a share of the rows that do not test, between 0 and 1".into();
    refuse_first(&[("dataset.validation_split", share > 0.0 && share < 1.0, range)])?;
    Ok(Some(share))
}

fn refuse_first(bounds: &[Bound]) -> Result<(), Refusal> {
    match bounds.iter().find(|(_, valid, _)| !valid) {
        Some((key, _, range)) => Err(Refusal::request(format!("`{key}` cannot be used; set it to {range}"))),
        None => Ok(()),
    }
}

fn class_weight(request: &TrainingRequest, objective: Objective) -> Result<Option<ClassWeight>, Refusal> {
    let class_weight = request.model_train.class_weight.clone();
    match &class_weight {
        None => {}
        Some(_) if objective != Objective::Classification => {
            let what = format!("{} has no classes", objective.name());
            return Err(Refusal::request(format!("{what}; take `model_train.class_weight` out of the request")));
        }
        Some(ClassWeight::Rule(rule)) if rule != "balanced" => {
            let what = format!("the class weight \"{}\" is not known", rule.escape_debug());
            return Err(Refusal::request(format!("{what}; write \"balanced\", or a weight per label")));
        }
        Some(ClassWeight::Each(each)) if each.values().any(|weight| !(*weight > 0.0 && weight.is_finite())) => {
            return Err(Refusal::request("a class weight is not above zero; give each label a positive number"));
        }
        Some(_) => {}
    }
    Ok(class_weight)
}
