//! interim
use super::*;
pub(super) fn decode(_: &[u8], _: &mut RowsBuilder, _: &Limits) -> Result<Request, Rejection> { Err(Rejection::new(ErrorClass::ContentType, "soon")) }
