//! Scores a batch of messages as the pipeline would, without writing anything.

use std::io::Cursor;

use futures::executor::block_on;
use lunapark_operator::{Batch, Codec, Decoded, Operator, Reply, Scored};
use lunapark_schemas::headers::CONTENT_TYPE;
use lunapark_schemas::inference::wire::{V1Answer, V1Answers, V1Prediction, V1Reply, V2Answers, V2Reply};
use lunapark_schemas::rows::{f32_values, f64_values};
use lunapark_schemas::{ErrorClass, Headers, HeadersBuf, Messages, Outcome, Rejection};
use lunapark_score::{InferenceCodec, Scorer};

const ARROW: &str = "application/vnd.apache.arrow.stream";

/// What a message would end as.
pub(super) enum Answer {
    /// A result.
    Result {
        /// Its payload.
        value: Vec<u8>,
        /// Its headers, without the source.
        headers: HeadersBuf,
    },
    /// A dead letter.
    Rejected(Rejection),
    /// It had expired.
    Filtered,
}

/// One answer per message, in their order; those at the indices were decoded.
pub(super) fn of(
    codec: &InferenceCodec,
    scorer: &Scorer,
    messages: &Messages,
    indices: &[usize],
    decoded: Decoded,
) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = (0..messages.len()).map(|_| Some(Answer::Filtered)).collect();
    indices.iter().for_each(|index| answers[*index] = None);
    for (index, rejection) in decoded.rejected {
        answers[index] = Some(Answer::Rejected(rejection));
    }
    decoded.batches.into_iter().for_each(|batch| process(codec, scorer, messages, batch, &mut answers));
    let lost = || Answer::Rejected(Rejection::new(ErrorClass::Operator, "it was left without an outcome".to_owned()));
    answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
}

/// By halves where it fails, as the runner does it.
fn process(codec: &InferenceCodec, scorer: &Scorer, messages: &Messages, batch: Batch, into: &mut [Option<Answer>]) {
    let mut todo = vec![batch];
    while let Some(batch) = todo.pop() {
        match block_on(scorer.process(&batch)) {
            Ok(outcomes) => {
                for (member, outcome) in batch.members.iter().zip(outcomes) {
                    into[member.message] = Some(match outcome {
                        Outcome::Emit(scored) => encode(codec, messages, &batch, member, &scored),
                        Outcome::Reject(rejection) => Answer::Rejected(rejection),
                        Outcome::Skip(reason) => {
                            Answer::Rejected(Rejection::new(ErrorClass::Operator, reason.as_str().to_owned()))
                        }
                    });
                }
            }
            Err(_) if batch.members.len() > 1 => {
                let middle = batch.members.len() / 2;
                todo.extend([batch.slice(middle..batch.members.len()), batch.slice(0..middle)]);
            }
            Err(error) => {
                for member in &batch.members {
                    let rejection = Rejection::new(ErrorClass::Operator, error.message.clone());
                    into[member.message] = Some(Answer::Rejected(rejection));
                }
            }
        }
    }
}

fn encode(
    codec: &InferenceCodec,
    messages: &Messages,
    batch: &Batch,
    member: &lunapark_operator::Member,
    scored: &Scored,
) -> Answer {
    let mut reply = Reply::default();
    match codec.encode(&messages.get(member.message), batch.model, member, scored, &mut reply) {
        Ok(()) => Answer::Result { value: reply.value, headers: reply.headers },
        Err(rejection) => Answer::Rejected(rejection),
    }
}

/// The score of each row of a result: the first number of its first output, or of the output `score`. None where the
/// format has none that we read.
pub(in crate::cli) fn scores(value: &[u8], headers: Headers<'_>) -> Option<Vec<Option<f64>>> {
    if headers.get_str(CONTENT_TYPE) == Some(ARROW) {
        return arrow_scores(value);
    }
    if let Ok(reply) = serde_json::from_slice::<V1Reply>(value) {
        return Some(reply.predictions.iter().map(|prediction| prediction.as_ref().and_then(v1_score)).collect());
    }
    v2_scores(&serde_json::from_slice(value).ok()?)
}

fn v1_score(prediction: &V1Prediction) -> Option<f64> {
    match prediction {
        V1Prediction::Number(score) => Some(*score),
        V1Prediction::Text(_) => None,
        V1Prediction::Values(answers) => first(answers),
        V1Prediction::Named(outputs) => match outputs.get("score").or_else(|| outputs.values().next())? {
            V1Answer::Number(score) => *score,
            V1Answer::Text(_) => None,
            V1Answer::Values(answers) => first(answers),
        },
    }
}

fn first(answers: &V1Answers) -> Option<f64> {
    match answers {
        V1Answers::Numbers(numbers) => numbers.first().copied().flatten(),
        V1Answers::Texts(_) => None,
        V1Answers::Nested(nested) => nested.first().and_then(first),
    }
}

fn v2_scores(reply: &V2Reply) -> Option<Vec<Option<f64>>> {
    let output = reply.outputs.iter().find(|output| output.name == "score").or_else(|| reply.outputs.first())?;
    let rows = usize::try_from(*output.shape.first()?).ok()?;
    match output.data.as_ref()? {
        V2Answers::Numbers(numbers) if rows > 0 => Some(
            numbers.chunks(numbers.len().div_ceil(rows).max(1)).map(|row| row.first().copied().flatten()).collect(),
        ),
        V2Answers::Numbers(_) => Some(Vec::new()),
        V2Answers::Texts(_) => None,
    }
}

fn arrow_scores(value: &[u8]) -> Option<Vec<Option<f64>>> {
    let mut scores = Vec::new();
    for batch in arrow_ipc::reader::StreamReader::try_new(Cursor::new(value), None).ok()? {
        let batch = batch.ok()?;
        let column = batch.column_by_name("score").or_else(|| batch.columns().first())?;
        let values: Vec<f64> = match (f32_values(column.as_ref()), f64_values(column.as_ref())) {
            (Some(values), _) => values.iter().copied().map(f64::from).collect(),
            (_, Some(values)) => values.to_vec(),
            _ => return None,
        };
        let width = (values.len() / batch.num_rows().max(1)).max(1);
        scores.extend(values.chunks(width).map(|row| row.first().copied().filter(|score| score.is_finite())));
    }
    Some(scores)
}
