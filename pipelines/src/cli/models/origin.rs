//! Where a version comes from: the end of its training, and the pictures that were stored beside it.

use std::path::Path;

use anyhow::Context as _;
use lunapark_schemas::catalog::{ModelVersion, check_name};
use lunapark_schemas::training::TrainingStatus;
use lunapark_stores::artifacts::ArtifactStore;
use lunapark_topics::{LogError, LogErrorKind};
use lunapark_train::picture;

use super::{Shelf, diff, distribution};
use crate::audit::scan;
use crate::catalog::library::Library;
use crate::models::{self, Places};

/// Rows of a sample that are drawn, at most: as `models diff` takes.
const SAMPLE_ROWS: usize = 100_000;

/// A picture of a card.
pub(super) struct Picture {
    pub(super) title: String,
    pub(super) file: String,
    pub(super) svg: Vec<u8>,
}

/// The terminal status of the task that made the version; none of one that was added from a file, or where retention has
/// deleted it.
pub(super) fn status(shelf: &Shelf<'_>, version: &ModelVersion) -> anyhow::Result<Option<TrainingStatus>> {
    let (log, topic) = (&*shelf.log, shelf.topics.training_status.name());
    let mut ended = None;
    let read = scan::whole(log, topic, |message| {
        let value = message.value.filter(|_| message.key == Some(version.task_id.as_bytes()));
        let status = value.and_then(|value| serde_json::from_slice::<TrainingStatus>(value).ok());
        let of_version = |status: &TrainingStatus| {
            status.task_id == version.task_id
                && status.model.as_ref().is_some_and(|model| model.digest == version.digest)
        };
        ended = status.filter(of_version).or(ended.take());
        Ok::<(), LogError>(())
    });
    match read {
        Err(error) if error.kind == LogErrorKind::TopicMissing => Ok(None),
        read => Ok(read.map(|()| ended)?),
    }
}

/// The pictures that its training left in the store.
pub(super) fn pictures(shelf: &Shelf<'_>, version: &ModelVersion) -> anyhow::Result<Vec<Picture>> {
    let store = ArtifactStore::open(&shelf.config.artifacts, &models::s3_options(&shelf.config.store))?;
    let mut pictures = Vec::new();
    for stored in store.list_named(&crate::jobs::picture(&version.digest, ""))? {
        let file = stored.name.rsplit('/').next().unwrap_or_default().to_owned();
        // It becomes a path here: only what a training names so.
        if check_name(&file).is_err() || !file.ends_with(".svg") {
            continue;
        }
        if let Some(svg) = store.get_named(&stored.name)? {
            pictures.push(Picture { title: title(&file), file, svg });
        }
    }
    Ok(pictures)
}

fn title(file: &str) -> String {
    match file {
        "loss.svg" => "Losses by epoch".to_owned(),
        "roc.svg" => "ROC curve on the test part".to_owned(),
        "scores.svg" => "Answers for the test part".to_owned(),
        other => other.trim_end_matches(".svg").to_owned(),
    }
}

/// Histograms of what the version answers for a table of events.
pub(super) fn sample(shelf: &Shelf<'_>, version: &ModelVersion, sample: &Path) -> anyhow::Result<Picture> {
    let s3 = models::s3_options(&shelf.config.store);
    let places = Places { s3, library: Library::on(shelf.log.clone(), &shelf.topics) };
    let loaded = models::load(&format!("catalog:{}", version.reference()), None, &places);
    let scores = diff::scores_of(&*loaded.map_err(anyhow::Error::msg)?.model, sample, SAMPLE_ROWS)
        .with_context(|| format!("{} does not fit {}", sample.display(), version.reference()))?;
    let samples: Vec<_> = scores.iter().map(|(name, scores)| distribution::sample(name, scores)).collect();
    let svg = picture::histogram("Scores of the sample", "score", &samples).into_bytes();
    Ok(Picture { title: "Scores of the sample".to_owned(), file: "sample.svg".to_owned(), svg })
}
