//! Inference payloads: one request decoder and one reply encoder per content type.
//!
//! | content type | format |
//! |---|---|
//! | `application/json`, or none | Open Inference Protocol v2 (`inputs`) and KServe v1 (`instances`) |
//! | any, with `inference-header-content-length` | Open Inference Protocol binary tensors |
//! | `application/vnd.apache.arrow.stream` | Arrow IPC stream, many events per message |
//!
//! [`decode`] appends a message's rows to a [`RowsBuilder`]; [`encode`] writes the reply in the request's own format.
//! A row that is wrong by itself fails alone where other rows of its message are good.

mod arrow_columns;
mod arrow_direct;
mod arrow_frames;
pub(crate) mod arrow_layout;
mod arrow_reply;
mod arrow_request;
mod columns;
mod content_type;
mod json;
mod json_check;
mod kserve_v1;
mod number;
mod open_inference;
mod own_columns;
mod plain;
mod reply;
pub mod table;
mod tensors;
#[cfg(test)]
mod tests;
pub mod wire;

use std::ops::Range;

use arrow_array::RecordBatch;

use crate::messages::Message;
use crate::outcome::{ErrorClass, FailedRow, Rejection};
use crate::rows::RowsBuilder;
use crate::signature::Signature;

pub use own_columns::{is_json, own_columns};

/// The format of a request; its reply has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// KServe v1 JSON: `{"instances": [...]}`.
    KserveV1,
    /// Open Inference Protocol v2 JSON: `{"inputs": [...]}`.
    OpenInference,
    /// Open Inference Protocol v2 with binary tensors.
    OpenInferenceBinary,
    /// Arrow IPC stream.
    Arrow,
}

/// What the reply must know of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Wire format.
    pub format: Format,
    /// Rows in the message, failed ones included.
    pub rows: u32,
    /// What only few requests carry; boxed so that the many stay small.
    pub extra: Option<Box<Extra>>,
}

/// The rarer parts of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    /// Open Inference Protocol request id, echoed.
    pub id: Option<String>,
    /// Names of the outputs asked for, where the request names any.
    pub outputs: Vec<String>,
    /// Rows that did not decode, ascending; they have no row in the batch.
    pub failed: Vec<FailedRow>,
}

impl Request {
    /// A request with nothing extra, unless `extra` holds something.
    fn new(format: Format, rows: u32, extra: Extra) -> Self {
        let extra = (extra != Extra::default()).then(|| Box::new(extra));
        Self { format, rows, extra }
    }

    /// Rows that decoded: all but the failed ones.
    pub fn decoded_rows(&self) -> usize {
        self.rows as usize - self.failed().len()
    }

    /// Rows that did not decode, ascending.
    pub fn failed(&self) -> &[FailedRow] {
        self.extra.as_deref().map_or(&[], |extra| &extra.failed)
    }
}

/// The most that one message may hold, so that no message decides how much memory the process takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows per message.
    pub max_rows: usize,
    /// Bytes of a payload; compressed Arrow buffers may not unpack to more than this either.
    pub max_payload_bytes: usize,
}

impl Default for Limits {
    /// A million rows and 256 MiB: above any topic's message size, below what hurts a laptop.
    fn default() -> Self {
        Self { max_rows: 1_000_000, max_payload_bytes: 256 << 20 }
    }
}

/// What a reply says of the model.
#[derive(Clone, Copy, Debug)]
pub struct ReplyContext<'a> {
    /// Model name.
    pub model_name: &'a str,
    /// Model version.
    pub model_version: &'a str,
    /// Inputs and outputs; the columns of the result batch are its outputs in order.
    pub signature: &'a Signature,
}

/// How an encoded reply is to be labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Value of the header `content-type`.
    pub content_type: &'static str,
    /// Value of the header `inference-header-content-length`, for the binary format only.
    pub json_length: Option<usize>,
}

/// Appends the message's rows to `rows`, committed; where it is rejected, `rows` is as it was.
///
/// Content-type parameters such as `charset` are ignored; KServe v1 and Open Inference JSON are told apart by their
/// members. Numbers are read as doubles and rounded to the model's element type, which is what Python users get.
pub fn decode(message: &Message<'_>, rows: &mut RowsBuilder, limits: &Limits) -> Result<Request, Rejection> {
    let before = rows.rows();
    let decoded = decode_payload(message, rows, limits);
    if decoded.is_err() {
        rows.rollback(before);
    }
    decoded
}

fn decode_payload(message: &Message<'_>, rows: &mut RowsBuilder, limits: &Limits) -> Result<Request, Rejection> {
    let payload = message.value.unwrap_or_default();
    if payload.is_empty() {
        return Err(Rejection::new(ErrorClass::Empty, "the payload is empty; send at least one row"));
    }
    if payload.len() > limits.max_payload_bytes {
        let (len, most) = (payload.len(), limits.max_payload_bytes);
        let text = format!("the payload has {len} bytes, the limit is {most}; send fewer rows per message");
        return Err(Rejection::new(ErrorClass::TooLarge, text));
    }
    match content_type::of(message.headers)? {
        content_type::Announced::Json => decode_json(payload, rows, limits),
        content_type::Announced::Binary { json_length } => {
            open_inference::decode_binary(payload, json_length, rows, limits)
        }
        content_type::Announced::Arrow => arrow_request::decode(payload, rows, limits),
    }
}

/// The fast path of KServe v1 gives up on anything unusual and leaves it to the parser that explains.
fn decode_json(payload: &[u8], rows: &mut RowsBuilder, limits: &Limits) -> Result<Request, Rejection> {
    if let Some(request) = kserve_v1::decode_plain(payload, rows, limits) {
        return Ok(request);
    }
    let fields = match rows.signature().inputs.as_slice() {
        [only] => &only.fields[..],
        _ => &[],
    };
    let members = json::Members::of(json::document(payload, fields)?)?;
    match (members.instances, members.inputs) {
        (Some(instances), None) => kserve_v1::decode(instances, rows, limits),
        (None, Some(_)) => open_inference::decode(&members, &[], rows, limits),
        (Some(_), Some(_)) => {
            Err(Rejection::new(ErrorClass::Malformed, "both `instances` and `inputs` are present; send one of them"))
        }
        (None, None) => Err(Rejection::new(
            ErrorClass::Malformed,
            "neither `instances` nor `inputs` is present; send {\"instances\": [[…]]} or {\"inputs\": […]}",
        )),
    }
}

/// Appends the reply to `value`; where it cannot be made, `value` is as it was.
///
/// `range` are the rows of `outputs` (the result of the whole batch) that belong to this message: those that have a
/// score, in order. `failed` are all rows of the message that have none, ascending: each row of the message is either
/// in `failed` or the next one of `range`.
pub fn encode(
    request: &Request,
    reply: &ReplyContext<'_>,
    outputs: &RecordBatch,
    range: Range<usize>,
    failed: &[FailedRow],
    value: &mut Vec<u8>,
) -> Result<Encoded, Rejection> {
    let before = value.len();
    let encoded = reply::Reply::new(request, reply, outputs, range, failed).and_then(|reply| reply.write(value));
    if encoded.is_err() {
        value.truncate(before);
    }
    encoded
}
