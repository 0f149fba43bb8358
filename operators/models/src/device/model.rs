//! A network on a device as a model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use lunapark_schemas::Signature;
use lunapark_schemas::rows::{Values, f32_values};

use super::backend::Backend;
use super::owner::{Owner, Seat};
use super::plan::Plan;
use super::shapes::TRIED;
use super::{Device, ON_THE_CPU, not_built};
use crate::input::input_values;
use crate::mlp::{Network, softmax};
use crate::{Accepts, Model, ModelError};

/// How far a device's answers may be from the CPU's, relative above 1: they add in another order.
pub(super) const TOLERANCE: f32 = 1e-4;

/// A network on a device.
struct DeviceModel {
    file: String,
    device: Device,
    signature: Arc<Signature>,
    schema: SchemaRef,
    accepts: Accepts,
    same_bits: bool,
    /// The outputs of the last layer become probabilities here: they are few, and the device is dear.
    normalizes: bool,
    seat: Seat<Plan>,
}

/// Puts the network of `model` on a device, where it must answer as `model` does on the CPU.
pub(crate) fn place(
    device: Device,
    file: &str,
    model: &dyn Model,
    network: &Network,
) -> Result<Arc<dyn Model>, ModelError> {
    place_on(&owner(device)?, device, file, model, network)
}

/// The same on a device that is open.
pub(super) fn place_on(
    owner: &Arc<Owner<Plan>>,
    device: Device,
    file: &str,
    model: &dyn Model,
    network: &Network,
) -> Result<Arc<dyn Model>, ModelError> {
    let plan = network.plan();
    let (widths, normalizes, rows, bytes) = (plan.widths(), plan.normalizes(), plan.trial_rows(), plan.bytes());
    let (seat, probe) = owner.place(plan, widths, rows.clone()).map_err(|what| {
        let advice = format!("make room on it for {} MiB and its batches, or {ON_THE_CPU}", bytes.div_ceil(1 << 20));
        ModelError::device(format!("the network does not fit on {device}: {what}"), advice)
    })?;
    let placed = DeviceModel {
        file: file.to_owned(),
        device,
        signature: model.signature().clone(),
        schema: model.signature().output_schema(),
        accepts: model.accepts(),
        same_bits: probe.same_bits,
        normalizes,
        seat,
    };
    check(device, model, rows, placed.finished(probe.answers))?;
    Ok(Arc::new(placed))
}

/// Compares the answers to the trial rows with the CPU's.
fn check(device: Device, model: &dyn Model, rows: Vec<f32>, answers: Vec<f32>) -> Result<(), ModelError> {
    let shape = |error: arrow_schema::ArrowError| ModelError::shape(error.to_string());
    let signature = model.signature();
    let column = Values::F32(rows).into_column(&signature.inputs[0]).map_err(shape)?;
    let batch = RecordBatch::try_new(signature.input_schema(), vec![column]).map_err(shape)?;
    let expected = model.infer(&batch)?;
    let expected = f32_values(&**expected.column(0)).unwrap_or_default();
    let near =
        |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * b.abs().max(1.0);
    let differing = expected.len().max(answers.len()) - answers.iter().zip(expected).filter(|pair| near(*pair)).count();
    match differing {
        0 => Ok(()),
        _ => Err(ModelError::device(
            format!(
                "{device} answers {differing} of {} numbers of {TRIED} rows otherwise than the CPU",
                expected.len()
            ),
            format!("{ON_THE_CPU}: the network magnifies the last bits of its sums, or the device is broken"),
        )),
    }
}

impl DeviceModel {
    fn finished(&self, mut answers: Vec<f32>) -> Vec<f32> {
        let width = self.signature.outputs[0].width;
        if self.normalizes && width > 0 {
            answers.chunks_exact_mut(width).for_each(softmax);
        }
        answers
    }

    fn score(&self, batch: &RecordBatch) -> Result<RecordBatch, ModelError> {
        input_values(&self.signature, batch)?;
        let rows = batch.num_rows();
        let answers = match rows {
            0 => Ok(Vec::new()),
            _ => self.seat.score(batch.column(0).clone(), rows),
        };
        let answers = answers.map_err(|what| {
            let advice = "look at `nvidia-smi` and the kernel's log; the events wait until the device answers again";
            ModelError::device(format!("{} does not answer: {what}", self.device), advice)
        })?;
        let column = Values::F32(self.finished(answers)).into_column(&self.signature.outputs[0]);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        column
            .and_then(|column| RecordBatch::try_new_with_options(self.schema.clone(), vec![column], &options))
            .map_err(|error| ModelError::shape(error.to_string()))
    }
}

impl Model for DeviceModel {
    fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    fn accepts(&self) -> Accepts {
        self.accepts
    }

    fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError> {
        self.score(rows).map_err(|error| error.in_file(&self.file))
    }

    fn device(&self) -> Device {
        self.device
    }

    fn same_bits_in_any_batch(&self) -> bool {
        self.same_bits
    }
}

/// Each device has one owner while any model is on it.
static OWNERS: Mutex<BTreeMap<Device, Weak<Owner<Plan>>>> = Mutex::new(BTreeMap::new());

/// The owner of a device, started where there is none.
fn owner(device: Device) -> Result<Arc<Owner<Plan>>, ModelError> {
    if !cfg!(feature = "cuda") {
        return Err(not_built(device));
    }
    let mut owners = OWNERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(owner) = owners.get(&device).and_then(Weak::upgrade) {
        return Ok(owner);
    }
    let owner = Owner::start(&device.to_string(), move || Backend::open(device)).map_err(|what| {
        let advice = format!("see which devices `nvidia-smi` lists and that its driver is loaded, or {ON_THE_CPU}");
        ModelError::device(format!("the device {device} is asked for and cannot be used: {what}"), advice)
    })?;
    owners.insert(device, Arc::downgrade(&owner));
    Ok(owner)
}
