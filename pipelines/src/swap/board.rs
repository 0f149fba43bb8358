//! What one instance knows of promotions: the models it has loaded, and the switches that are to be made.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use lunapark_schemas::cuts::CutRecord;
use lunapark_schemas::promotion::{Promotion, PromotionKind};
use lunapark_schemas::{Position, Signature};
use lunapark_score::{Kept, ModelEntry, ModelSet};
use lunapark_topics::{Delivery, Log, LogError, Topic};

use super::held::{Held, HeldCut};
use super::history::{self, Tracks};
use super::takeover::Taken;
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

/// Which pipeline switches, and where that is recorded.
pub struct Premises {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Where cuts go.
    pub cuts: Topic<CutRecord>,
    /// Input topic.
    pub source: Arc<str>,
    /// Pipeline (consumer group).
    pub pipeline: String,
    /// Address of the default model, which cuts of the configuration name.
    pub default_artifact: String,
    /// Only where results and offsets are one are cuts as well.
    pub delivery: Delivery,
}

/// A promotion that is on.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) promotion: Arc<Promotion>,
    /// Its model; none where a shadow ends.
    pub(super) kept: Option<Kept>,
}

/// The promotions that are on: of results, and of shadows.
#[derive(Clone, Default)]
pub(super) struct Wants {
    pub(super) live: Option<Wanted>,
    pub(super) shadow: Option<Wanted>,
}

impl Wants {
    fn of(&mut self, kind: PromotionKind) -> &mut Option<Wanted> {
        if kind.shadows() { &mut self.shadow } else { &mut self.live }
    }
}

/// Shared by the stream threads of an instance and by its agent.
pub struct Switchboard {
    pub(super) premises: Premises,
    pub(super) models: Arc<ModelSet>,
    places: models::Places,
    wants: RwLock<Wants>,
    /// How often `wants` has changed, for the look that every turn of the loop takes.
    changes: AtomicU64,
}

impl Switchboard {
    /// A board of one pipeline.
    pub fn new(premises: Premises, models: Arc<ModelSet>, places: models::Places) -> Self {
        Self { premises, models, places, wants: RwLock::default(), changes: AtomicU64::new(0) }
    }

    /// Input topic.
    pub(super) fn source(&self) -> &Arc<str> {
        &self.premises.source
    }

    /// Whether cuts are made here at all.
    pub(super) fn cuts(&self) -> bool {
        self.premises.delivery == Delivery::ExactlyOnce
    }

    /// How often the switches that are to be made have changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The switches that are to be made.
    pub(super) fn wants(&self) -> Wants {
        self.wants.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Number of the last promotion of this kind's side that was asked of the owners; 0 is none.
    pub(super) fn wanted_id(&self, kind: PromotionKind) -> u64 {
        self.wants().of(kind).as_ref().map_or(0, |wanted| wanted.promotion.id)
    }

    /// Asks the owners of partitions to switch. `kept` is the promotion's model. Nothing is asked of owners whose cuts
    /// would not be written together with their offsets.
    pub fn want(&self, promotion: Promotion, kept: Option<Kept>) {
        if !self.cuts() {
            return;
        }
        let mut wants = self.wants.write().unwrap_or_else(PoisonError::into_inner);
        let wanted = wants.of(promotion.kind);
        if wanted.as_ref().is_none_or(|earlier| earlier.promotion.id < promotion.id) {
            *wanted = Some(Wanted { promotion: Arc::new(promotion), kept });
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// The model of a promotion, loaded and checked: its digest, and that it takes what the present one takes. Refused
    /// where this instance could not make the switch.
    pub fn load_promoted(&self, promotion: &Promotion) -> Result<Kept, SwapError> {
        let (name, version) = (&promotion.model, &promotion.version);
        if !self.cuts() {
            return Err(refused(name, version, &promotion.artifact, NOT_ATOMIC.to_owned()));
        }
        let kept = self.load(name, version, &promotion.artifact, &promotion.digest)?;
        self.fits(kept.model.signature()).map_err(|cause| refused(name, version, &promotion.artifact, cause))?;
        Ok(kept)
    }

    /// What is said of a model whose loading panicked.
    pub(super) fn panicked(&self, promotion: &Promotion) -> SwapError {
        let cause = "loading it panicked; please report it".to_owned();
        refused(&promotion.model, &promotion.version, &promotion.artifact, cause)
    }

    /// What the owner of a partition needs before its first event: every version that a promotion's cut names, since
    /// pinned events may want it; and the shadow, without which the partition can do.
    pub(super) fn take(&self, start: Position, tracks: Tracks) -> Result<Taken, SwapError> {
        let live = tracks.live.into_iter().map(|cut| self.load_live(cut)).collect::<Result<Vec<_>, _>>()?;
        let mut held = Held { live, shadow: Vec::new() };
        let shadow = tracks.shadow.into_iter().next_back();
        let (cut, failed) = shadow.map_or((None, None), |cut| self.load_shadow(cut));
        held.shadow.extend(cut);
        Ok(Taken { start, held, shadow_failed: failed.map(|error| error.to_string()) })
    }

    fn load_live(&self, cut: CutRecord) -> Result<HeldCut, SwapError> {
        if cut.promotion == 0 {
            return Ok(HeldCut::bare(cut));
        }
        let model = Some(self.load(&cut.model, &cut.version, &cut.artifact, &cut.digest)?);
        let canary =
            cut.canary.as_ref().map(|c| self.load(&c.model, &c.version, &c.artifact, &c.digest)).transpose()?;
        Ok(HeldCut { cut, model, canary })
    }

    fn load_shadow(&self, cut: CutRecord) -> (Option<HeldCut>, Option<SwapError>) {
        if cut.share.is_none() {
            return (Some(HeldCut::bare(cut)), None);
        }
        match self.load(&cut.model, &cut.version, &cut.artifact, &cut.digest) {
            Ok(kept) => (Some(HeldCut { cut, model: Some(kept), canary: None }), None),
            Err(error) => (Some(HeldCut::bare(cut)), Some(error)),
        }
    }

    fn load(&self, name: &str, version: &str, artifact: &str, digest: &str) -> Result<Kept, SwapError> {
        if let Some(kept) = self.models.keep(name, version, digest) {
            return Ok(kept);
        }
        let failed = |cause: String| refused(name, version, artifact, cause);
        let device = models::device_of(&self.models, name);
        let loaded = models::load_on(device, artifact, Some(digest), &self.places).map_err(failed)?;
        let entry = ModelEntry::new(name, version, &loaded.digest, loaded.model);
        let kept = self.models.add(entry).map_err(|error| failed(error.to_string()))?;
        tracing::info!(name, version, digest, "model loaded");
        Ok(kept)
    }

    /// The configured default, as a cut names it; its partition and offset are still to be filled in.
    pub(super) fn configured(&self) -> Option<CutRecord> {
        let entry = self.models.default_entry()?;
        Some(CutRecord {
            pipeline: self.premises.pipeline.clone(),
            topic: self.premises.source.to_string(),
            partition: 0,
            next_offset: 0,
            model: entry.name.clone(),
            version: entry.version.clone(),
            digest: entry.digest.clone(),
            artifact: self.premises.default_artifact.clone(),
            promotion: 0,
            role: Default::default(),
            canary: None,
            share: None,
            reason: None,
        })
    }

    /// Refuses a model for which today's events would all be broken.
    fn fits(&self, signature: &Signature) -> Result<(), String> {
        let Some(present) = self.models.default_entry().map(|entry| (&entry.tag, &entry.signature)) else {
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
    pub(super) fn history(&self, partitions: &[i32], given_up: &AtomicBool) -> Result<BTreeMap<i32, Tracks>, LogError> {
        let Premises { log, cuts, source, pipeline, .. } = &self.premises;
        history::read_unless(&**log, cuts.name(), pipeline, source, partitions, given_up)
    }
}

fn refused(name: &str, version: &str, artifact: &str, cause: String) -> SwapError {
    SwapError { name: name.to_owned(), version: version.to_owned(), artifact: artifact.to_owned(), cause }
}
