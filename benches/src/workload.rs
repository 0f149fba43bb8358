//! The events of a measurement, and the very results that the scorer makes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail, ensure};
use futures::executor::block_on;
use lunapark::config::{Config, ModelConfig};
use lunapark::models::{load_all, s3_options};
use lunapark_models::Device;
use lunapark_operator::{Codec as _, Operator as _, Reply};
use lunapark_schemas::headers::CONTENT_TYPE;
use lunapark_schemas::inference::Limits;
use lunapark_schemas::messages::At;
use lunapark_schemas::{HeadersBuf, Message, Messages, Outcome, RowsBuilder};
use lunapark_score::{InferenceCodec, ModelEntry, ModelSet, Scorer};

use crate::job::{self, ModelKind, Payload};

/// 3000 real events: label, then 28 features, tab separated.
const SAMPLE: &str = include_str!("../../pipelines/assets/higgs-sample.tsv");
/// Features of an event.
const FEATURES: usize = 28;

/// The distinct messages that a topic repeats, and the model that scores them.
pub struct Workload {
    /// The one model, as the scorer loads it.
    pub models: Arc<ModelSet>,
    /// Values of the distinct messages; message `i` of a topic has value `i` modulo their number.
    pub values: Vec<Vec<u8>>,
    /// Headers of every message.
    pub headers: HeadersBuf,
}

/// What the scorer answers: the value for each distinct message, and the headers without the source.
pub struct Answers {
    /// One value per distinct message.
    pub values: Vec<Vec<u8>>,
    /// Headers before `lunapark-source`.
    pub headers: HeadersBuf,
}

impl Workload {
    /// The workload of this model and payload.
    pub fn new(model: ModelKind, payload: Payload) -> anyhow::Result<Self> {
        let models = Arc::new(load_model(model)?);
        let mut headers = HeadersBuf::new();
        let values = match payload {
            Payload::Json => sample()?.iter().map(|row| json(row)).collect(),
            Payload::Arrow => {
                headers.push_str(CONTENT_TYPE, "application/vnd.apache.arrow.stream");
                arrow(&sample()?, entry(&models)?, payload.rows())?
            }
        };
        Ok(Self { models, values, headers })
    }

    /// The model.
    pub fn entry(&self) -> anyhow::Result<&ModelEntry> {
        entry(&self.models)
    }

    /// The first `count` messages as a consumer hands them over, distinct ones repeated.
    pub fn messages(&self, count: usize) -> Messages {
        let catalog = job::catalog();
        let mut messages = Messages::new();
        for index in 0..count as u64 {
            let (partition, offset) = job::place_of(index);
            let at = At { topic: catalog.inference_events.name(), partition, offset, timestamp: 0 };
            let key = index.to_string();
            messages.push(at, Some(key.as_bytes()), Some(self.value(index)), self.headers.view());
        }
        messages
    }

    /// Messages of a full batch of the scorer, as its defaults cut it.
    pub fn batch(&self) -> anyhow::Result<usize> {
        let score = Config::from_texts("", std::iter::empty())?.score;
        let mut left = score.batch_bytes;
        let goes_on = |message: &Message<'_>| {
            let more = left > 0;
            left = left.saturating_sub(message.size());
            more
        };
        Ok(self.messages(score.batch_messages).iter().take_while(goes_on).count())
    }

    /// Value of message `index`.
    pub fn value(&self, index: u64) -> &[u8] {
        &self.values[index as usize % self.values.len()]
    }

    /// Decodes, scores and encodes every distinct message once, with the scorer's own parts.
    pub fn answers(&self) -> anyhow::Result<Answers> {
        let codec = InferenceCodec::new(self.models.clone(), Limits::default());
        let messages = self.messages(self.values.len());
        let decoded = codec.decode(&messages, &(0..messages.len()).collect::<Vec<_>>());
        ensure!(decoded.rejected.is_empty(), "an event of the sample does not decode: {:?}", decoded.rejected[0]);
        let batch = decoded.batches.first().context("the sample is empty")?;
        let outcomes = block_on(Scorer::new(self.models.clone()).process(batch))?;
        let mut reply = Reply::default();
        let mut values = Vec::with_capacity(outcomes.len());
        for (member, outcome) in batch.members.iter().zip(outcomes) {
            let Outcome::Emit(scored) = outcome else { bail!("an event of the sample has no score") };
            reply.clear();
            let message = messages.get(member.message);
            let encoded = codec.encode(&message, batch.model, member, &scored, &mut reply);
            encoded.map_err(|rejection| anyhow!("a score cannot be encoded: {}", rejection.message))?;
            values.push(reply.value.clone());
        }
        Ok(Answers { values, headers: reply.headers })
    }
}

/// Loads one built-in model as the scorer does.
pub fn load_model(model: ModelKind) -> anyhow::Result<ModelSet> {
    let (name, version) = job::MODEL;
    let (name, version, path) = (name.into(), version.into(), model.path().into());
    let config = ModelConfig { name, version, path, sha256: None, device: Device::Cpu };
    Ok(load_all(&[config], &s3_options(&BTreeMap::new()).into())?)
}

fn entry(models: &ModelSet) -> anyhow::Result<&ModelEntry> {
    models.get(0).context("no model loaded")
}

/// The features of all events, as the file writes them.
fn sample() -> anyhow::Result<Vec<Vec<&'static str>>> {
    let row = |line: &'static str| {
        let features: Vec<_> = line.split('\t').skip(1).collect();
        ensure!(features.len() == FEATURES, "a line of the sample has {} features", features.len());
        Ok(features)
    };
    SAMPLE.lines().map(row).collect()
}

fn json(row: &[&str]) -> Vec<u8> {
    format!("{{\"instances\":[[{}]]}}", row.join(",")).into_bytes()
}

/// The first `rows` events, repeated from the beginning where there are fewer, as the model's input batch.
pub fn model_rows(models: &ModelSet, rows: usize) -> anyhow::Result<arrow_array::RecordBatch> {
    batch(&sample()?, entry(models)?, 0, rows)
}

fn batch(
    sample: &[Vec<&str>],
    entry: &ModelEntry,
    from: usize,
    rows: usize,
) -> anyhow::Result<arrow_array::RecordBatch> {
    let mut builder = RowsBuilder::new(entry.signature.clone(), rows);
    for row in from..from + rows {
        for text in &sample[row % sample.len()] {
            builder.columns_mut()[0].push(text.parse()?);
        }
        ensure!(builder.commit(1), "the model does not take {FEATURES} features");
    }
    Ok(builder.finish()?)
}

/// Messages of `rows` events each, until the next one would repeat the first.
fn arrow(sample: &[Vec<&str>], entry: &ModelEntry, rows: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    while messages.is_empty() || !(messages.len() * rows).is_multiple_of(sample.len()) {
        let batch = batch(sample, entry, messages.len() * rows, rows)?;
        let mut writer = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(&batch)?;
        messages.push(writer.into_inner()?);
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_events_have_the_size_that_the_measurements_name() {
        let workload = Workload::new(ModelKind::Mlp, Payload::Json).unwrap();
        let mean = workload.values.iter().map(Vec::len).sum::<usize>() / workload.values.len();
        assert!((175..195).contains(&mean), "{mean} bytes");
    }

    #[test]
    fn every_distinct_message_has_an_answer() {
        for payload in [Payload::Json, Payload::Arrow] {
            for model in [ModelKind::Mlp, ModelKind::Xgb] {
                let workload = Workload::new(model, payload).unwrap();
                assert_eq!(workload.answers().unwrap().values.len(), workload.values.len());
            }
        }
    }
}
