//! A training: epochs of steps, judged after each, until the last or until nothing is gained.

use std::time::{Duration, Instant};

use lunapark_schemas::training::{Epoch, TrainingRequest};

use crate::artifact;
use crate::checkpoint::{Best, Checkpoint};
use crate::device::{Device, Ground, Position};
use crate::loss::Loss;
use crate::network::Shape;
use crate::prepare::{Prepared, Target, prepare};
use crate::random::{Random, mix};
use crate::schedule::Schedule;
use crate::settings::{Objective, Settings, check_size};
use crate::tables::Tables;
use crate::{Job, Progress, Refusal, Trained, judge, picture};

/// Purpose of the random numbers of an epoch's order, to which the epoch's number is added.
const ORDER: u64 = 0;
/// More threads than that wait longer for each other than they help with the tables' small networks.
const MAX_THREADS: usize = 8;

/// A job of the trainers of this crate.
pub(crate) struct TableJob {
    settings: Settings,
    prepared: Prepared,
    shape: Shape,
    device: Box<dyn Device>,
    schedule: Schedule,
    fingerprint: u64,
    /// Steps of the tries before.
    steps_before: u64,
    /// From 0.
    epoch: u32,
    at: Position,
    order: Vec<u32>,
    history: Vec<Epoch>,
    best: Option<Best>,
    stale: u32,
    done: bool,
}

impl TableJob {
    pub(crate) fn start(
        request: &TrainingRequest,
        tables: &Tables,
        resume: Option<&[u8]>,
        (threads, device): (Option<usize>, lunapark_models::Device),
    ) -> Result<Self, Refusal> {
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        Self::start_on(request, tables, resume, &Ground::open(device)?, threads.min(MAX_THREADS))
    }

    pub(crate) fn start_on(
        request: &TrainingRequest,
        tables: &Tables,
        resume: Option<&[u8]>,
        ground: &Ground,
        threads: usize,
    ) -> Result<Self, Refusal> {
        let settings = Settings::of(request)?;
        let prepared = prepare(tables, &settings, threads)?;
        let shape = shape(&settings, &prepared)?;
        let device = ground.network(&shape, loss(&prepared.target), settings.seed, threads)?;
        let mut job = Self {
            fingerprint: fingerprint(request, &prepared, ground),
            schedule: schedule(&settings, prepared.train.len()),
            device,
            settings,
            prepared,
            shape,
            steps_before: 0,
            epoch: 0,
            at: Position::default(),
            order: Vec::new(),
            history: Vec::new(),
            best: None,
            stale: 0,
            done: false,
        };
        job.shuffle();
        job.device.check_gradients(&job.prepared.train, &job.order)?;
        resume.map_or(Ok(()), |file| job.resume(file))?;
        Ok(job)
    }

    fn resume(&mut self, file: &[u8]) -> Result<(), Refusal> {
        let rows = self.prepared.train.len();
        let saved = Checkpoint::read(file, self.fingerprint, self.shape.parameters(), rows)?;
        self.device.restore(saved.state)?;
        (self.epoch, self.at, self.done) = (saved.epoch, saved.at, saved.done);
        self.steps_before = self.at.step;
        (self.history, self.best, self.stale) = (saved.history, saved.best, saved.stale);
        self.shuffle();
        Ok(())
    }

    /// The order of the epoch's rows: of seed and epoch alone.
    fn shuffle(&mut self) {
        self.order = (0..self.prepared.train.len() as u32).collect();
        Random::new(self.settings.seed, ORDER + u64::from(self.epoch)).shuffle(&mut self.order);
    }

    /// Judges the epoch and goes on to the next one, or ends.
    fn end_epoch(&mut self) -> Result<(), Refusal> {
        let loss = self.at.loss / self.prepared.train.len() as f64;
        let (answers, val_loss) = self.device.answers(&self.prepared.watched.rows)?;
        if !loss.is_finite() || !val_loss.is_finite() {
            let what = format!("the loss is not finite after epoch {}", self.epoch + 1);
            return Err(Refusal::training(format!("{what}; lower `model_train.optimizer.init_lr`")));
        }
        let (val_accuracy, val_auc) = judge::epoch_scores(&self.prepared.target, &self.prepared.watched, &answers);
        let (epoch, learning_rate) = (self.epoch + 1, self.schedule.rate_at(self.at.step - 1));
        self.history.push(Epoch { epoch, loss, val_loss, val_accuracy, val_auc, learning_rate });
        self.done = self.nothing_gained(val_loss)? || epoch == self.settings.epochs;
        (self.at.row, self.at.loss) = (0, 0.0);
        if !self.done {
            self.epoch += 1;
            self.shuffle();
        }
        Ok(())
    }

    /// Keeps the best weights; true where patience has ended.
    fn nothing_gained(&mut self, loss: f64) -> Result<bool, Refusal> {
        let Some(early) = &self.settings.early else { return Ok(false) };
        if self.best.as_ref().is_none_or(|best| loss < best.loss - early.min_delta) {
            self.best = Some(Best { loss, weights: self.device.state()?.weights });
            self.stale = 0;
        } else {
            self.stale += 1;
        }
        Ok(self.stale >= early.patience)
    }

    fn progress(&self, samples_per_second: f64) -> Progress {
        let metric = self.history.last().map(|epoch| epoch.val_auc.unwrap_or(-epoch.val_loss));
        Progress {
            epoch: self.epoch + 1,
            epochs: self.settings.epochs,
            step: self.at.step,
            steps: self.schedule.steps,
            steps_before: self.steps_before,
            samples_per_second,
            metric,
            done: self.done,
        }
    }
}

impl Job for TableJob {
    fn step(&mut self, slice: Duration) -> Result<Progress, Refusal> {
        let (start, mut rows) = (Instant::now(), 0);
        let deadline = start + slice;
        while !self.done {
            let before = self.at.row;
            let (train, batch) = (&self.prepared.train, self.settings.batch);
            self.at = self.device.train(train, &self.order, batch, &self.schedule, self.at, deadline)?;
            rows += self.at.row - before;
            if self.at.row == self.order.len() {
                self.end_epoch()?;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        let seconds = start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        Ok(self.progress(rows as f64 / seconds))
    }

    fn history(&self) -> &[Epoch] {
        &self.history
    }

    fn checkpoint(&self) -> Result<Vec<u8>, Refusal> {
        let checkpoint = Checkpoint {
            fingerprint: self.fingerprint,
            epoch: self.epoch,
            at: self.at,
            history: self.history.clone(),
            best: self.best.clone(),
            stale: self.stale,
            done: self.done,
            state: self.device.state()?,
        };
        checkpoint.write()
    }

    fn finish(self: Box<Self>) -> Result<Trained, Refusal> {
        let weights = match self.best {
            Some(best) => best.weights,
            None => self.device.state()?.weights,
        };
        let artifact = artifact::write(&self.shape, &weights, &self.prepared)?;
        let loaded = lunapark_models::load(&artifact, "the trained model", None)
            .map_err(|error| Refusal::training(format!("the trained model cannot be read back: {error}")))?;
        let judged = judge::judge(&loaded.model, &self.prepared.target, &self.prepared.test)?;
        let auc = judged.evaluation.get("auc").copied();
        Ok(Trained {
            artifact,
            format: "lunapark-mlp",
            signature: artifact::signature(&self.prepared),
            pictures: picture::all(&self.history, &judged.roc, auc, &judged.answers),
            evaluation: judged.evaluation,
            history: self.history,
            dataset: self.prepared.report,
            roc: judged.roc,
        })
    }
}

fn shape(settings: &Settings, prepared: &Prepared) -> Result<Shape, Refusal> {
    let inputs = prepared.features.len();
    let hidden = settings.hidden.clone().unwrap_or_else(|| match settings.objective {
        // A code of a quarter of the features forgets what is not typical of the rows.
        Objective::AnomalyDetection => vec![(2 * inputs).min(64), inputs.div_ceil(4), (2 * inputs).min(64)],
        // What the demo's perceptron has.
        Objective::Classification | Objective::Regression => vec![128, 64],
    });
    let widths: Vec<_> = std::iter::once(inputs).chain(hidden).chain([prepared.target.width(inputs)]).collect();
    check_size(&widths)?;
    Ok(Shape::new(&widths, settings.activation))
}

fn loss(target: &Target) -> Loss {
    match target {
        Target::Binary(_) => Loss::Logistic,
        Target::Classes(_) => Loss::Softmax,
        Target::Number { .. } => Loss::Squared,
        Target::Inputs(_) => Loss::Reconstruction,
    }
}

fn schedule(settings: &Settings, rows: usize) -> Schedule {
    let steps = u64::from(settings.epochs) * rows.div_ceil(settings.batch) as u64;
    Schedule { rate: settings.rate, decay: settings.decay, warm_up: settings.warm_up, steps }
}

/// Of what the bytes of the model depend on; names and places of the request are no part of it.
fn fingerprint(request: &TrainingRequest, prepared: &Prepared, ground: &Ground) -> u64 {
    let settings =
        serde_json::to_string(&(&request.model.objective, &request.model.architecture, &request.model_train));
    let validation = request.dataset.validation_split.map_or(0, f64::to_bits);
    let split = mix(request.dataset.train_test_split.to_bits()) ^ validation;
    let text = settings.unwrap_or_default() + ground.name();
    text.bytes().fold(mix(prepared.fingerprint ^ split), |hash, byte| mix(hash ^ u64::from(byte)))
}
