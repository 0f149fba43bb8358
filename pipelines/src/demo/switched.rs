//! What scored the demo's stream, read from the topics: each result against the printed cuts, and how good each model was.

use std::collections::BTreeMap;

use anyhow::Context as _;
use lunapark_schemas::Message;
use lunapark_schemas::headers::{MODEL, SOURCE};
use lunapark_topics::{Catalog, Log};
use serde::Deserialize;
use serde_json::{Value, json};

use super::roc::auc;
use super::sample::Sample;
use crate::audit::scan;

/// Scores and truths by topic and model.
type Scores = BTreeMap<(String, String), Vec<(f32, bool)>>;

/// What the topics of results and shadows hold.
pub(super) struct Switched {
    scores: Scores,
    /// Every result is by the model before where it lies before the cut, and by the new one from there on.
    pub(super) obeyed: bool,
}

#[derive(Deserialize)]
struct Reply {
    predictions: Vec<Option<f32>>,
}

impl Switched {
    /// Reads both topics to their ends.
    pub(super) fn read(
        log: &dyn Log,
        catalog: &Catalog,
        sample: &Sample,
        cut: &BTreeMap<i32, i64>,
        promoted: &str,
    ) -> anyhow::Result<Self> {
        let mut switched = Self { scores: BTreeMap::new(), obeyed: true };
        for (topic, shadow) in [(catalog.inference_results.name(), false), (catalog.inference_shadow.name(), true)] {
            scan::whole(log, topic, |message| {
                let cut = cut.get(&message.partition).copied().unwrap_or(i64::MAX);
                let by = switched.take(message, sample)?;
                let due = shadow || offset_of(message)? >= cut;
                switched.obeyed &= due == (by == promoted);
                Ok::<(), anyhow::Error>(())
            })?;
        }
        Ok(switched)
    }

    /// The model of a record, whose score is taken down.
    fn take(&mut self, message: &Message<'_>, sample: &Sample) -> anyhow::Result<String> {
        let tag = message.headers.get_str(MODEL).with_context(|| format!("{} names no model", message.position()))?;
        let model = tag.split('#').next().unwrap_or(tag).to_owned();
        let number = message.key.and_then(|key| std::str::from_utf8(key).ok()?.parse::<usize>().ok());
        let reply = message.value.and_then(|value| serde_json::from_slice::<Reply>(value).ok());
        let score = reply.and_then(|reply| reply.predictions.first().copied().flatten());
        if let Some((number, score)) = number.zip(score) {
            let truth = sample.events[number % sample.events.len()].signal;
            self.scores.entry((message.topic.to_string(), model.clone())).or_default().push((score, truth));
        }
        Ok(model)
    }

    /// Topic, model, number of scores, AUC.
    pub(super) fn rows(&self) -> impl Iterator<Item = (String, String, u64, f64)> {
        self.scores
            .iter()
            .map(|((topic, model), scores)| (topic.clone(), model.clone(), scores.len() as u64, auc(scores)))
    }

    pub(super) fn document(&self) -> Value {
        let row = |(topic, model, events, auc): (String, String, u64, f64)| json!({ "topic": topic, "model": model, "events": events, "auc": auc });
        self.rows().map(row).collect()
    }
}

/// Offset of the event that a record answers.
fn offset_of(message: &Message<'_>) -> anyhow::Result<i64> {
    let source = message.headers.get_str(SOURCE).and_then(|source| source.rsplit('/').next()?.parse().ok());
    source.with_context(|| format!("{} names no source", message.position()))
}
