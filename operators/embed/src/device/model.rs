//! A text encoder's network on a device.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use lunapark_schemas::Device;

use super::backend::Backend;
use super::owner::{Answer, Owner, Pending, Seat};
use super::{ON_THE_CPU, Trial, not_built};
use crate::EmbedError;
use crate::config::Config;
use crate::forward::Room;
use crate::groups::Groups;
use crate::kernel::Panels;
use crate::network::{Linear, Network};

/// Tokens at once: enough to keep a large GPU busy, and some 20 ms of a small encoder.
const TOKENS: usize = 16_384;
/// Numbers of the widest matrix at once, of which three are on the device: 256 MiB each.
const NUMBERS: usize = 1 << 26;
/// What the driver and cuBLAS say where there is no room.
const NO_ROOM: [&str; 2] = ["OUT_OF_MEMORY", "ALLOC_FAILED"];
/// The cosine between the device's vector of a text and the CPU's.
const NEAR: f64 = 0.99999;
/// Tokens of the texts that a network is tried with: of one, of nearly one length, and one that is alone.
const TRIED: [usize; 7] = [1, 90, 17, 3, 24, 19, 22];

/// A network on a device.
#[derive(Debug)]
pub(crate) struct OnDevice {
    device: Device,
    dimension: usize,
    /// Tokens at once.
    budget: usize,
    seat: Seat<Trial>,
}

/// Puts a network on a device, where it must answer as on the CPU.
pub(crate) fn place(device: Device, trial: Trial) -> Result<OnDevice, EmbedError> {
    place_on(&owner(device)?, device, trial)
}

/// The same on a device that is open.
pub(super) fn place_on(owner: &Arc<Owner<Trial>>, device: Device, trial: Trial) -> Result<OnDevice, EmbedError> {
    let texts = tried(&trial);
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let expected = trial.network.pooled(&texts, trial.pooling, &mut Room::default());
    let (dimension, budget, bytes) =
        (trial.network.config.hidden, budget(&trial.network.config), bytes(&trial.network));
    let seat = owner.place(trial, budget).map_err(|what| {
        let advice = format!("make room on it for {} MiB and its batches, or {ON_THE_CPU}", bytes.div_ceil(1 << 20));
        EmbedError::device(format!("the text encoder does not fit on {device}: {what}"), advice)
    })?;
    let placed = OnDevice { device, dimension, budget, seat };
    check(device, dimension, &expected, &placed.vectors(&texts)?)?;
    Ok(placed)
}

impl OnDevice {
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// The vectors of texts, not normalised. While the device computes a group, the next one is handed over already, and
    /// no more: other threads' groups come between.
    pub(crate) fn vectors(&self, texts: &[&[u32]]) -> Result<Vec<f32>, EmbedError> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let groups = Groups::within(&lengths, self.budget);
        let (mut answers, mut before) = (Vec::with_capacity(groups.parts.len()), None::<Pending>);
        for part in 0..groups.parts.len() {
            let own = groups.texts(part, texts).into_iter().map(<[u32]>::to_vec).collect();
            let next = self.seat.send(own).map_err(|what| self.silent(&what))?;
            if let Some(pending) = before.replace(next) {
                answers.push(self.answered(pending.wait())?);
            }
        }
        if let Some(pending) = before {
            answers.push(self.answered(pending.wait())?);
        }
        Ok(groups.gathered(self.dimension, answers))
    }

    fn answered(&self, answer: Answer) -> Result<Vec<f32>, EmbedError> {
        answer.map_err(|what| self.silent(&what))
    }

    fn silent(&self, what: &str) -> EmbedError {
        let (device, full) = (self.device, NO_ROOM.iter().any(|code| what.contains(code)));
        match full {
            true => EmbedError::device(
                format!("{device} has no room for some {} tokens at once: {what}", self.budget),
                format!("texts wait: end what else is on it, or {ON_THE_CPU}"),
            ),
            false => EmbedError::device(
                format!("{device} does not answer: {what}"),
                "texts wait: look at `nvidia-smi` and the kernel's log, and restart this process where the fault stays",
            ),
        }
    }
}

/// Tokens at once, so that no matrix is larger than a device has room for.
fn budget(config: &Config) -> usize {
    (NUMBERS / config.intermediate.max(3 * config.hidden)).clamp(1, TOKENS)
}

/// Bytes of the weights.
fn bytes(network: &Network) -> usize {
    let panels = |panels: &Panels| (panels.depth + 1) * panels.columns;
    let linear = |linear: &Linear| linear.weights.floats().map_or(0, panels);
    let layers = network
        .layers
        .iter()
        .flat_map(|layer| [&layer.attention_in, &layer.attention_out, &layer.wide, &layer.narrow].map(linear));
    (network.words.len() + network.positions.len() + layers.sum::<usize>()) * size_of::<f32>()
}

/// Texts to try the device with: tokens of the whole vocabulary, the same each time.
fn tried(trial: &Trial) -> Vec<Vec<u32>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let vocabulary = trial.network.vocabulary() as u64;
    let mut token = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 16) % vocabulary) as u32
    };
    TRIED.iter().map(|&tokens| (0..tokens.min(trial.max_tokens)).map(|_| token()).collect()).collect()
}

/// Compares the device's vectors with the CPU's.
pub(super) fn check(device: Device, width: usize, expected: &[f32], answers: &[f32]) -> Result<(), EmbedError> {
    let cosines = expected.chunks_exact(width).zip(answers.chunks_exact(width)).map(|(a, b)| cosine(a, b));
    // A cosine that is no number is no near one.
    let near = cosines.filter(|&cosine| cosine >= NEAR).count();
    match expected.len() / width - near {
        0 => Ok(()),
        differing => Err(EmbedError::device(
            format!("{device} answers {differing} of {} texts otherwise than the CPU", expected.len() / width),
            format!("{ON_THE_CPU}: the network magnifies the last bits of its sums, or the device is broken"),
        )),
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

/// Each device has one owner while any encoder is on it.
static OWNERS: Mutex<BTreeMap<Device, Weak<Owner<Trial>>>> = Mutex::new(BTreeMap::new());

/// The owner of a device, started where there is none.
fn owner(device: Device) -> Result<Arc<Owner<Trial>>, EmbedError> {
    if !cfg!(feature = "cuda") {
        return Err(not_built(device));
    }
    let mut owners = OWNERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(owner) = owners.get(&device).and_then(Weak::upgrade) {
        return Ok(owner);
    }
    let owner = Owner::start(&device.to_string(), move || Backend::open(device)).map_err(|what| {
        let advice = format!("see which devices `nvidia-smi` lists and that its driver is loaded, or {ON_THE_CPU}");
        EmbedError::device(format!("the device {device} is asked for and cannot be used: {what}"), advice)
    })?;
    owners.insert(device, Arc::downgrade(&owner));
    Ok(owner)
}
