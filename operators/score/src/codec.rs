//! From messages to batches of one model's rows, and from scores back to replies in the request's own format.

use std::sync::Arc;

use lunapark_operator::{Batch, Codec, Decoded, Member, Reply, Scored, Waiting};
use lunapark_schemas::headers::{CONTENT_TYPE, INFERENCE_HEADER_CONTENT_LENGTH, MODEL};
use lunapark_schemas::inference::{self, Format, Limits, ReplyContext};
use lunapark_schemas::{ErrorClass, Message, Messages, Rejection, RowsBuilder};

use crate::cuts::{CutTable, View};
use crate::models::{ModelSet, Unresolved};

/// Decodes inference events and encodes their results.
pub struct InferenceCodec {
    models: Arc<ModelSet>,
    cuts: Arc<CutTable>,
    limits: Limits,
}

impl InferenceCodec {
    /// A codec for the events of these models; without cuts the default scores what names no model.
    pub fn new(models: Arc<ModelSet>, limits: Limits) -> Self {
        Self::with_cuts(models, Arc::default(), limits)
    }

    /// As [`new`](Self::new), under these cuts.
    pub fn with_cuts(models: Arc<ModelSet>, cuts: Arc<CutTable>, limits: Limits) -> Self {
        Self { models, cuts, limits }
    }
}

/// The rows of one model while messages are decoded.
struct Collecting {
    model: usize,
    rows: RowsBuilder,
    members: Vec<Member>,
}

/// How many messages there are, and their bytes.
#[derive(Clone, Copy)]
struct Expected {
    messages: usize,
    bytes: usize,
}

impl Expected {
    /// Rows to come, if the messages to come are like the first one.
    fn rows_like(&self, first: &Message<'_>, rows: u32) -> usize {
        self.bytes.div_ceil(first.size().max(1)).saturating_mul(rows as usize)
    }
}

/// What is decoded of some messages.
struct Decoding<'a> {
    cuts: View<'a>,
    expected: Expected,
    live: Vec<Collecting>,
    shadow: Vec<Collecting>,
    /// Model and reason of what a shadow does not understand: that is nobody else's business.
    shadow_rejected: Vec<(usize, Rejection)>,
}

impl InferenceCodec {
    fn decode_one(&self, message: &Message<'_>, index: usize, into: &mut Decoding<'_>) -> Result<(), Unresolved> {
        let (model, shadow) = match message.headers.get(MODEL) {
            None => {
                let span = into.cuts.span(message.partition, message.offset);
                (self.models.live(span.scorer(message))?, span.shadow)
            }
            Some(header) => (self.models.resolve(header, into.cuts.cuts(message.partition), message)?, None),
        };
        self.collect(message, index, model, into.expected, &mut into.live)?;
        if let Some(taker) = shadow.filter(|taker| taker.share.takes(message)) {
            let collected = self.collect(message, index, taker.model, into.expected, &mut into.shadow);
            into.shadow_rejected.extend(collected.err().map(|rejection| (taker.model, rejection)));
        }
        Ok(())
    }

    fn collect(
        &self,
        message: &Message<'_>,
        index: usize,
        model: usize,
        expected: Expected,
        all: &mut Vec<Collecting>,
    ) -> Result<(), Rejection> {
        let collecting = self.collecting(model, expected.messages, all)?;
        let start = collecting.rows.rows();
        let request = inference::decode(message, &mut collecting.rows, &self.limits)?;
        if collecting.members.is_empty() && request.rows > 1 {
            collecting.rows.reserve_guess(expected.rows_like(message, request.rows));
        }
        collecting.members.push(Member { message: index, start, request });
        Ok(())
    }

    fn collecting<'a>(
        &self,
        model: usize,
        expected: usize,
        all: &'a mut Vec<Collecting>,
    ) -> Result<&'a mut Collecting, Rejection> {
        if let Some(found) = all.iter().position(|c| c.model == model) {
            return Ok(&mut all[found]);
        }
        let unknown = || Rejection::new(ErrorClass::UnknownModel, format!("no model at index {model}"));
        let signature = self.models.get(model).ok_or_else(unknown)?.signature.clone();
        let rows = RowsBuilder::new(signature, expected);
        all.push(Collecting { model, rows, members: Vec::with_capacity(expected) });
        let last = all.len() - 1;
        Ok(&mut all[last])
    }
}

impl Codec<Scored> for InferenceCodec {
    fn decode(&self, messages: &Messages, indices: &[usize]) -> Decoded {
        let cuts = View::new(&self.cuts);
        let (live, shadow, shadow_rejected) = (Vec::new(), Vec::new(), Vec::new());
        let expected = Expected { messages: indices.len(), bytes: messages.bytes() };
        let mut decoding = Decoding { cuts, expected, live, shadow, shadow_rejected };
        let mut decoded = Decoded::default();
        for &index in indices {
            match self.decode_one(&messages.get(index), index, &mut decoding) {
                Ok(()) => {}
                Err(Unresolved::Unknown(rejection)) => decoded.rejected.push((index, rejection)),
                Err(Unresolved::Away(version)) => decoded.waiting.push(Waiting { message: index, version }),
            }
        }
        decoded.shadow_rejected = decoding.shadow_rejected;
        for Collecting { model, rows, members } in decoding.live {
            decoded.add(model, rows.finish(), members);
        }
        let shadow = decoding.shadow.into_iter().filter(|c| !c.members.is_empty());
        let batch = |c: Collecting| Some(Batch { model: c.model, rows: c.rows.finish().ok()?, members: c.members });
        decoded.shadow.extend(shadow.filter_map(batch));
        decoded
    }

    fn encode(
        &self,
        message: &Message<'_>,
        model: usize,
        member: &Member,
        out: &Scored,
        reply: &mut Reply,
    ) -> Result<(), Rejection> {
        let unknown = || Rejection::new(ErrorClass::UnknownModel, format!("no model at index {model}"));
        let entry = self.models.get(model).ok_or_else(unknown)?;
        let context =
            ReplyContext { model_name: &entry.name, model_version: &entry.version, signature: &entry.signature };
        let value = &mut reply.value;
        let encoded = inference::encode(&member.request, &context, &out.outputs, out.rows.clone(), &out.failed, value)?;
        reply.headers.push_str(MODEL, &entry.tag);
        if message.headers.is_empty() && matches!(member.request.format, Format::KserveV1 | Format::OpenInference) {
            return Ok(());
        }
        reply.headers.push_str(CONTENT_TYPE, encoded.content_type);
        if let Some(length) = encoded.json_length {
            reply.headers.push_str(INFERENCE_HEADER_CONTENT_LENGTH, &length.to_string());
        }
        // What we do not know travels through.
        reply.headers.extend(message.headers, |n| ![MODEL, CONTENT_TYPE, INFERENCE_HEADER_CONTENT_LENGTH].contains(&n));
        Ok(())
    }

    fn model_tag(&self, model: usize) -> Option<&str> {
        self.models.get(model).map(|entry| entry.tag.as_str())
    }
}
