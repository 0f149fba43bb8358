//! What one instance knows of promotions: the models it has loaded, and the switches that are to be made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use lunapark_operator::VersionName;
use lunapark_schemas::cuts::{Canary, CutRecord, FORMAT};
use lunapark_schemas::promotion::{Promotion, PromotionKind};
use lunapark_schemas::{Position, Signature};
use lunapark_score::{Kept, ModelEntry, ModelSet};
use lunapark_topics::{Delivery, Log, LogError, Topic};

use super::held::{Held, HeldCut};
use super::history::{self, Readable, Tracks};
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

/// Versions of models.
pub(super) type Versions = BTreeSet<VersionName>;

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
    /// How often `wants` or `failed` has changed, for the look that every turn of the loop takes.
    changes: AtomicU64,
    /// Shadows that failed here, by the number of their promotion, and why. Kept as long as the process lives: what fails
    /// together with its transaction must not be begun again by the next one.
    failed: RwLock<BTreeMap<u64, String>>,
}

impl Switchboard {
    /// A board of one pipeline.
    pub fn new(premises: Premises, models: Arc<ModelSet>, places: models::Places) -> Self {
        let (wants, failed, changes) = (RwLock::default(), RwLock::default(), AtomicU64::new(0));
        Self { premises, models, places, wants, failed, changes }
    }

    /// A shadow does not score any more: the owners of partitions are asked to end it. True where that is news.
    pub(super) fn shadow_failed(&self, promotion: u64, reason: &str) -> bool {
        let mut failed = self.failed.write().unwrap_or_else(PoisonError::into_inner);
        if failed.contains_key(&promotion) {
            return false;
        }
        failed.insert(promotion, reason.to_owned());
        if self.cuts() {
            self.changes.fetch_add(1, Ordering::Release);
        }
        true
    }

    /// Why a shadow does not score any more.
    pub(super) fn failure(&self, promotion: u64) -> Option<String> {
        self.failed.read().unwrap_or_else(PoisonError::into_inner).get(&promotion).cloned()
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
        let (artifact, digest) = (promotion.artifact.as_str(), promotion.digest.as_str());
        let kept = self.load(Part { name, version, artifact, digest })?;
        self.fits(kept.model.signature()).map_err(|cause| refused(name, version, &promotion.artifact, cause))?;
        Ok(kept)
    }

    /// What is said of a model whose loading panicked.
    pub(super) fn panicked(&self, promotion: &Promotion) -> SwapError {
        let cause = "loading it panicked; please report it".to_owned();
        refused(&promotion.model, &promotion.version, &promotion.artifact, cause)
    }

    /// What the owner of a partition needs before its first event: the versions of the cut that governs there and of
    /// those behind it, what events are known to name, and the shadow, without which the partition can do. Versions of
    /// long ago are loaded when an event names one.
    pub(super) fn take(&self, start: Position, tracks: Tracks, named: &Versions) -> Result<Taken, SwapError> {
        let versions = versions(&start, &tracks, named);
        let live = tracks.live.into_iter().map(|cut| self.load_live(cut, &versions)).collect::<Result<Vec<_>, _>>()?;
        let mut held = Held { live, shadow: Vec::new() };
        held.shadow.extend(tracks.shadow.into_iter().next_back().map(|cut| self.load_shadow(cut)));
        Ok(Taken { start, held })
    }

    /// Whether [`take`](Self::take) finds everything loaded already.
    pub(super) fn at_hand(&self, start: &Position, tracks: &Tracks, named: &Versions) -> bool {
        let versions = versions(start, tracks, named);
        let promoted = tracks.live.iter().filter(|cut| cut.promotion > 0).flat_map(parts);
        let live = promoted.filter(|part| versions.contains(&part.version()));
        let shadow = tracks.shadow.last().filter(|cut| cut.share.is_some()).into_iter().flat_map(parts);
        live.chain(shadow).all(|part| self.models.keep(part.name, part.version, part.digest).is_some())
    }

    /// Loads what these versions ask for.
    fn load_live(&self, cut: CutRecord, versions: &Versions) -> Result<HeldCut, SwapError> {
        if cut.promotion == 0 {
            return Ok(HeldCut::bare(cut));
        }
        let kept = |part: Part<'_>| versions.contains(&part.version()).then(|| self.load(part)).transpose();
        let mut kept = parts(&cut).map(kept).collect::<Result<Vec<_>, _>>()?.into_iter();
        let (model, canary) = (kept.next().flatten(), kept.next().flatten());
        Ok(HeldCut { cut, model, canary })
    }

    /// One that cannot be loaded has failed: the partition does without it.
    fn load_shadow(&self, cut: CutRecord) -> HeldCut {
        let scores = cut.share.is_some() && self.failure(cut.promotion).is_none();
        let loaded = parts(&cut).next().filter(|_| scores).map(|part| self.load(part));
        match loaded {
            Some(Ok(kept)) => HeldCut { cut, model: Some(kept), canary: None },
            Some(Err(error)) => {
                if self.shadow_failed(cut.promotion, &error.to_string()) {
                    tracing::error!(promotion = cut.promotion, %error, "the shadow cannot be loaded and is ended");
                }
                HeldCut::bare(cut)
            }
            None => HeldCut::bare(cut),
        }
    }

    fn load(&self, Part { name, version, artifact, digest }: Part<'_>) -> Result<Kept, SwapError> {
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
            format: FORMAT,
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
    pub(super) fn history(&self, partitions: &[i32], given_up: &AtomicBool) -> Result<Readable, LogError> {
        let Premises { log, cuts, source, pipeline, .. } = &self.premises;
        history::read_unless(&**log, cuts.name(), pipeline, source, partitions, given_up)
    }
}

/// One of the models of a cut.
#[derive(Clone, Copy)]
struct Part<'a> {
    name: &'a str,
    version: &'a str,
    artifact: &'a str,
    digest: &'a str,
}

impl Part<'_> {
    fn version(&self) -> VersionName {
        VersionName { name: self.name.to_owned(), version: self.version.to_owned() }
    }
}

/// The model of a cut, and its canary.
fn parts(cut: &CutRecord) -> impl Iterator<Item = Part<'_>> {
    let CutRecord { model: name, version, artifact, digest, .. } = cut;
    let canary = cut.canary.as_ref().map(|Canary { model: name, version, artifact, digest, .. }| Part {
        name,
        version,
        artifact,
        digest,
    });
    std::iter::once(Part { name, version, artifact, digest }).chain(canary)
}

/// The versions that can be wanted from a position on: those of the cut that governs there and of all behind it, and those
/// that events are known to name.
fn versions(start: &Position, tracks: &Tracks, named: &Versions) -> Versions {
    let governing = tracks.live.partition_point(|cut| cut.next_offset <= start.offset).saturating_sub(1);
    let cut_to = tracks.live.iter().skip(governing).flat_map(parts).map(|part| part.version());
    cut_to.chain(named.iter().cloned()).collect()
}

fn refused(name: &str, version: &str, artifact: &str, cause: String) -> SwapError {
    SwapError { name: name.to_owned(), version: version.to_owned(), artifact: artifact.to_owned(), cause }
}
