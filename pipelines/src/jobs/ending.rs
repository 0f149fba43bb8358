//! The end of a task: the artifact is stored first, then the records that name it are made.

use std::collections::BTreeMap;
use std::time::Duration;

use lunapark_schemas::Signature;
use lunapark_schemas::catalog::{CatalogRecord, Lineage, ModelVersion, Stage};
use lunapark_schemas::training::{
    DatasetReport, Epoch, ModelReference, TopicRange, TrainingRequest, TrainingStatus, TrialRecord,
};
use lunapark_stores::StoreError;
use lunapark_stores::artifacts::{ArtifactStore, Stored};
use lunapark_stores::catalog::decision_id;
use lunapark_topics::catalog::Encoded;
use lunapark_topics::{LogError, Topic};
use lunapark_train::{Refusal, Trained};
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::{Shared, slices};
use crate::clock;
use crate::version::code_version;

/// What a record needs beside its value: key, headers, frame.
const RECORD_ROOM: usize = 4096;
/// Longest text that a request decides about, in characters.
const MAX_TEXT: usize = 1_000;
/// Features and classes that a status tells of, at most.
const MAX_ROWS: usize = 1_000;
/// So many trials stay on a leaderboard that is too long.
const MANY_TRIALS: usize = 10;
/// So many epochs stay in a status before the features go.
const MANY_EPOCHS: usize = 100;

/// A trained model whose artifact is in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) digest: String,
    address: String,
    format: String,
    signature: Signature,
    pub(super) evaluation: BTreeMap<String, f64>,
    pub(super) history: Vec<Epoch>,
    pub(super) dataset: DatasetReport,
    #[serde(default)]
    dataset_digest: Option<String>,
    pictures: Vec<(String, String)>,
}

impl Made {
    /// Stores the artifact. Nothing names it yet: where this worker dies now, another one makes the same bytes.
    pub(super) fn store(shared: &Shared, trained: &Trained, dataset_digest: Option<&str>) -> Result<Self, Fault> {
        let Stored { digest, address } = shared.shelf.put(&trained.artifact)?;
        // What is not finite cannot be read back.
        let finite = trained.evaluation.iter().filter(|(_, value)| value.is_finite());
        Ok(Self {
            digest,
            address,
            format: trained.format.to_owned(),
            signature: trained.signature.clone(),
            evaluation: finite.map(|(name, value)| (name.clone(), *value)).collect(),
            history: trained.history.clone(),
            dataset: trained.dataset.clone(),
            dataset_digest: dataset_digest.map(str::to_owned),
            pictures: trained.pictures.clone(),
        })
    }
}

/// What is registered under which task.
pub(super) struct Registered<'a> {
    pub(super) task_id: &'a str,
    pub(super) request_position: &'a str,
    pub(super) request: &'a TrainingRequest,
    pub(super) range: Option<&'a TopicRange>,
}

/// Stores pictures and copy, and gives the entry of the catalog, with whether it is not there yet.
pub(super) fn register(shared: &Shared, task: &Registered<'_>, made: &Made) -> Result<(ModelVersion, bool), Fault> {
    let request = task.request;
    for (file, text) in &made.pictures {
        shared.shelf.put_picture(&made.digest, file, text)?;
    }
    let version = shared.shelf.reserve(&request.model.name, task.task_id)?;
    if let Some(known) = shared.shelf.version(&request.model.name, version)? {
        return same(known, &made.digest);
    }
    copy(shared, request, made)?;
    let dataset = task.range.map_or_else(|| request.dataset.path.clone(), slices::address);
    let lineage = Lineage {
        request: Some(task.request_position.to_owned()),
        dataset: Some(cut(dataset)),
        file: None,
        code_version: code_version(),
    };
    let entry = ModelVersion {
        name: request.model.name.clone(),
        version,
        task_id: task.task_id.to_owned(),
        stage: Stage::Registered,
        decision: decision_id(),
        objective: request.model.objective.clone(),
        format: made.format.clone(),
        description: cut(format!("trained on {}", request.dataset.path)),
        inputs: made.signature.inputs.clone(),
        outputs: made.signature.outputs.clone(),
        metrics: made.evaluation.clone(),
        digest: made.digest.clone(),
        artifact: made.address.clone(),
        dataset_digest: made.dataset_digest.clone(),
        lineage,
        created_at: clock::now_millis(),
    };
    Ok((entry, true))
}

/// A version never changes: an earlier task of this name may have made the same bytes, and no others.
fn same(known: ModelVersion, digest: &str) -> Result<(ModelVersion, bool), Fault> {
    if known.digest == digest {
        return Ok((known, false));
    }
    Err(Refusal::request(format!(
        "the `task_id` was used before, for {} of other bytes, and a version never changes; choose another `task_id`",
        known.reference()
    ))
    .into())
}

/// Refuses a copy (`model_save`) where the configuration allows none: looked at before anything is trained.
pub(super) fn check_save(shared: &Shared, request: &TrainingRequest) -> Result<(), Refusal> {
    let Some(save) = &request.model_save else { return Ok(()) };
    let allowed = &shared.settings.save;
    let may = match save.path.starts_with("s3://") {
        true => allowed.object(&save.path),
        false => allowed.folder(std::path::Path::new(save.path.strip_prefix("file://").unwrap_or(&save.path))),
    };
    match may {
        true => Ok(()),
        false => Err(Refusal::request(format!(
            "`model_save.path` `{}` lies outside of `train.save` of the worker's configuration; leave it out: the artifact \
             store has the model",
            save.path
        ))),
    }
}

/// `model_save`: a copy for people, where the configuration allows one.
fn copy(shared: &Shared, request: &TrainingRequest, made: &Made) -> Result<(), Fault> {
    let Some(save) = &request.model_save else { return Ok(()) };
    check_save(shared, request)?;
    let failed = |error: StoreError| match error.passes() {
        true => Fault::Away(error.to_string()),
        false => Refusal::training(format!("`model_save.path`: {error}")).into(),
    };
    let store = ArtifactStore::open(&save.path, &shared.settings.s3).map_err(failed)?.with_patience(Duration::ZERO);
    let artifact = shared.shelf.artifact(&made.digest)?;
    let pictures = made.pictures.iter().map(|(file, text)| (file.as_str(), text.as_bytes()));
    let files = std::iter::once(("model.safetensors", &artifact[..])).chain(pictures);
    files.into_iter().try_for_each(|(file, bytes)| store.put_named(file, bytes)).map_err(failed)
}

/// What the status says of the version.
pub(super) fn reference(version: &ModelVersion) -> ModelReference {
    ModelReference { name: version.name.clone(), version: version.version, digest: version.digest.clone() }
}

/// The record of `models`; a model that its topic does not take is refused.
pub(super) fn record(shared: &Shared, version: ModelVersion) -> Result<Encoded, Fault> {
    let topic = &shared.catalog.models;
    let encoded = topic.encode(&CatalogRecord::Version(Box::new(version))).map_err(Fault::Log)?;
    match fits(&encoded, topic.spec.max_message_bytes) {
        true => Ok(encoded),
        false => Err(Refusal::request(
            "the model's entry is too large for the catalog; name fewer `dataset.features`, or give columns shorter names",
        )
        .into()),
    }
}

/// A trial as a record of `training.trials`; a request that leaves no room for what is added to it is refused.
pub(super) fn trial(shared: &Shared, record: &TrialRecord) -> Result<Encoded, Fault> {
    let topic = &shared.catalog.training_trials;
    let encoded = topic.encode(record).map_err(Fault::Log)?;
    match fits(&encoded, topic.spec.max_message_bytes) {
        true => Ok(encoded),
        false => Err(Refusal::request("the request is too large for a search; name fewer `dataset.features`").into()),
    }
}

/// The terminal status as a record that its topic takes: long texts are cut, of a history that is too long every other
/// epoch goes, and the last one stays.
pub(super) fn encode(topic: &Topic<TrainingStatus>, mut status: TrainingStatus) -> Result<Encoded, LogError> {
    shorten(&mut status);
    loop {
        let encoded = topic.encode(&status)?;
        if fits(&encoded, topic.spec.max_message_bytes) || !lighten(&mut status) {
            return Ok(encoded);
        }
    }
}

fn fits(encoded: &Encoded, most: usize) -> bool {
    encoded.record(None).wire_size() + RECORD_ROOM <= most
}

pub(super) fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
    }
    text
}

/// Cuts what a request or a table may have made long.
fn shorten(status: &mut TrainingStatus) {
    status.error = status.error.take().map(cut);
    status.project = status.project.take().map(cut);
    if let Some(report) = &mut status.dataset {
        report.features.truncate(MAX_ROWS);
        report.class_balance.truncate(MAX_ROWS);
        report.features.iter_mut().for_each(|feature| feature.name = cut(std::mem::take(&mut feature.name)));
        report.class_balance.iter_mut().for_each(|count| count.class = cut(std::mem::take(&mut count.class)));
    }
}

/// Leaves out what is missed least; false where nothing is left to go.
fn lighten(status: &mut TrainingStatus) -> bool {
    let full = |report: &DatasetReport| !report.features.is_empty() || !report.class_balance.is_empty();
    let full = status.dataset.as_ref().is_some_and(full);
    if let Some(search) = status.search.as_mut().filter(|search| search.leaderboard.len() > MANY_TRIALS) {
        search.leaderboard.truncate(MANY_TRIALS);
        return true;
    }
    if status.history.len() > MANY_EPOCHS {
        thin(status);
    } else if full && let Some(report) = &mut status.dataset {
        report.features.clear();
        report.class_balance.clear();
    } else if status.history.len() > 1 {
        thin(status);
    } else {
        return false;
    }
    true
}

fn thin(status: &mut TrainingStatus) {
    let odd = status.history.len() % 2;
    let mut place = 0;
    status.history.retain(|_| {
        place += 1;
        place % 2 == odd
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunapark_schemas::training::{Epoch, FeatureStatistics};
    use lunapark_topics::TopicSpec;

    #[test]
    fn a_long_history_is_thinned_until_its_record_fits_and_keeps_its_last_epoch() {
        let topic = Topic::new(TopicSpec { max_message_bytes: 64 << 10, ..TopicSpec::new("s", 1) });
        let epoch = |epoch| Epoch { epoch, loss: 0.5, ..Default::default() };
        let history: Vec<_> = (1..=10_000).map(epoch).collect();
        let status = TrainingStatus { task_id: "t".into(), history, ..Default::default() };
        let encoded = encode(&topic, status).unwrap();
        let record = encoded.record(None);
        assert!(record.wire_size() < 64 << 10);
        let status: TrainingStatus = serde_json::from_slice(record.value.unwrap()).unwrap();
        assert!(status.history.len() > 100);
        assert_eq!(status.history.last().unwrap().epoch, 10_000);
    }

    #[test]
    fn a_status_of_long_texts_and_many_columns_fits() {
        let topic = Topic::new(TopicSpec { max_message_bytes: 64 << 10, ..TopicSpec::new("s", 1) });
        let feature = |n: usize| FeatureStatistics { name: format!("{n}{}", "ä".repeat(2_000)), ..Default::default() };
        let dataset = Some(DatasetReport { features: (0..5_000).map(feature).collect(), ..Default::default() });
        let error = Some("ö".repeat(1 << 20));
        let status = TrainingStatus { task_id: "t".into(), error, dataset, ..Default::default() };
        let encoded = encode(&topic, status).unwrap();
        let record = encoded.record(None);
        assert!(record.wire_size() < 64 << 10);
        let status: TrainingStatus = serde_json::from_slice(record.value.unwrap()).unwrap();
        assert_eq!(status.error.unwrap().chars().count(), MAX_TEXT);
    }
}
