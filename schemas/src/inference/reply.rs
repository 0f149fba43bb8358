//! Replies, in the request's own format.

use std::ops::Range;

use arrow_array::RecordBatch;

use super::*;

/// interim
pub(super) struct Reply;
impl Reply {
    pub(super) fn new(_: &Request, _: &ReplyContext<'_>, _: &RecordBatch, _: Range<usize>, _: &[FailedRow]) -> Result<Self, Rejection> { Ok(Reply) }
    pub(super) fn write(&self, _: &mut Vec<u8>) -> Result<Encoded, Rejection> { Ok(Encoded { content_type: content_type::JSON, json_length: None }) }
}
