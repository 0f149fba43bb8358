//! What one instance knows of promotions: the models it has loaded, and the switch that is to be made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use lunapark_schemas::Signature;
use lunapark_schemas::cuts::CutRecord;
use lunapark_schemas::promotion::Promotion;
use lunapark_score::{ModelEntry, ModelSet};
use lunapark_topics::{Delivery, Log, LogError, Topic};

use super::history::{self, Cuts};
use crate::models;

/// Why an instance that delivers at least once does not switch.
const NOT_ATOMIC: &str = "this instance delivers at least once, so a switch would not be recorded together with the \
                          offsets that it begins at; set score.delivery = \"exactly_once\" and start it again";

/// A model that a promotion or a cut names and that this instance cannot score with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("model {name}/{version} from `{artifact}`: {cause}")]
pub struct SwapError {
    name: String,
    version: String,
    artifact: String,
    cause: String,
}

/// Shared by the stream threads of an instance and by its agent.
pub struct Switchboard {
    pub(super) log: Arc<dyn Log>,
    /// Where cuts go.
    pub(super) cuts: Topic<CutRecord>,
    /// Input topic.
    pub(super) source: Arc<str>,
    /// Pipeline (consumer group).
    pub(super) pipeline: String,
    pub(super) models: Arc<ModelSet>,
    places: models::Places,
    delivery: Delivery,
    wanted: RwLock<Option<Arc<Promotion>>>,
    /// Number of `wanted`, for the look that every turn of the loop takes; 0 is none.
    wanted_id: AtomicU64,
}

impl Switchboard {
    /// A board of one pipeline.
    pub fn new(
        log: Arc<dyn Log>,
        cuts: Topic<CutRecord>,
        source: Arc<str>,
        pipeline: String,
        models: Arc<ModelSet>,
        places: models::Places,
        delivery: Delivery,
    ) -> Self {
        let (wanted, wanted_id) = (RwLock::default(), AtomicU64::new(0));
        Self { log, cuts, source, pipeline, models, places, delivery, wanted, wanted_id }
    }

    /// Number of the switch that is to be made.
    pub(super) fn wanted_id(&self) -> u64 {
        self.wanted_id.load(Ordering::Acquire)
    }

    /// The switch that is to be made; its model is loaded.
    pub(super) fn wanted(&self) -> Option<Arc<Promotion>> {
        self.wanted.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the owners of partitions to switch. The model must have been loaded. Nothing is asked of owners whose cuts
    /// would not be written together with their offsets.
    pub fn want(&self, promotion: Promotion) {
        if self.delivery != Delivery::ExactlyOnce {
            return;
        }
        let mut wanted = self.wanted.write().unwrap_or_else(PoisonError::into_inner);
        if wanted.as_ref().is_none_or(|earlier| earlier.id < promotion.id) {
            let id = promotion.id;
            *wanted = Some(Arc::new(promotion));
            self.wanted_id.store(id, Ordering::Release);
        }
    }

    /// The model of a promotion, loaded and checked: its digest, and that it takes what the present one takes. Refused
    /// where this instance could not make the switch.
    pub fn load_promoted(&self, promotion: &Promotion) -> Result<usize, SwapError> {
        let (name, version) = (&promotion.model, &promotion.version);
        if self.delivery != Delivery::ExactlyOnce {
            return Err(refused(name, version, &promotion.artifact, NOT_ATOMIC.to_owned()));
        }
        let index = self.load(name, version, &promotion.artifact, &promotion.digest)?;
        let fits = self.models.get(index).map_or(Ok(()), |entry| self.fits(entry.model.signature()));
        fits.map_err(|cause| refused(name, version, &promotion.artifact, cause))?;
        Ok(index)
    }

    /// What is said of a model whose loading panicked.
    pub(super) fn panicked(&self, promotion: &Promotion) -> SwapError {
        let cause = "loading it panicked; please report it".to_owned();
        refused(&promotion.model, &promotion.version, &promotion.artifact, cause)
    }

    /// The model of a cut.
    pub(super) fn load_cut(&self, cut: &CutRecord) -> Result<usize, SwapError> {
        self.load(&cut.model, &cut.version, &cut.artifact, &cut.digest)
    }

    fn load(&self, name: &str, version: &str, artifact: &str, digest: &str) -> Result<usize, SwapError> {
        let same = |index: &usize| self.models.get(*index).is_some_and(|entry| entry.digest == digest);
        if let Some(index) = self.models.find(name, version).filter(same) {
            return Ok(index);
        }
        let failed = |cause: String| refused(name, version, artifact, cause);
        let device = models::device_of(&self.models, name);
        let loaded = models::load_on(device, artifact, Some(digest), &self.places).map_err(failed)?;
        let entry = ModelEntry::new(name, version, &loaded.digest, loaded.model);
        let index = self.models.add(entry).map_err(|error| failed(error.to_string()))?;
        tracing::info!(name, version, digest, "model loaded");
        Ok(index)
    }

    /// Refuses a model for which today's events would all be broken.
    fn fits(&self, signature: &Signature) -> Result<(), String> {
        let Some(present) = self.models.get(0).map(|entry| (&entry.tag, entry.model.signature())) else {
            return Ok(());
        };
        let shape = |signature: &Signature| -> Vec<(String, usize)> {
            signature.inputs.iter().map(|input| (input.name.clone(), input.width)).collect()
        };
        let (has, wants) = (shape(signature), shape(present.1));
        let widths = |inputs: &[(String, usize)]| inputs.iter().map(|(_, width)| *width).collect::<Vec<_>>();
        if has == wants || (has.len() == 1 && widths(&has) == widths(&wants)) {
            return Ok(());
        }
        let told = |inputs: &[(String, usize)]| {
            inputs.iter().map(|(name, width)| format!("{name}[{width}]")).collect::<Vec<_>>().join(", ")
        };
        Err(format!(
            "it takes {} where {} takes {}: events that name no version would be rejected; let events name this model in \
             their header instead",
            told(&has),
            present.0,
            told(&wants)
        ))
    }

    /// The cuts of these partitions, up to what was decided when this was called.
    pub(super) fn history(&self, partitions: &[i32]) -> Result<Cuts, LogError> {
        history::read(&*self.log, self.cuts.name(), &self.pipeline, &self.source, partitions)
    }
}

fn refused(name: &str, version: &str, artifact: &str, cause: String) -> SwapError {
    SwapError { name: name.to_owned(), version: version.to_owned(), artifact: artifact.to_owned(), cause }
}
