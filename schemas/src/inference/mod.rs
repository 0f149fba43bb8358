//! Inference payloads: one request decoder and one reply encoder per content type.
//!
//! | content type | format |
//! |---|---|
//! | `application/json` | Open Inference Protocol v2 (`inputs`) and KServe v1 (`instances`) |
//! | `application/octet-stream` + `inference-header-content-length` | Open Inference Protocol binary tensors |
//! | `application/vnd.apache.arrow.stream` | Arrow IPC stream, many events per message |

use crate::outcome::FailedRow;

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
    /// Rows that decoded: all but the failed ones.
    pub fn decoded_rows(&self) -> usize {
        self.rows as usize - self.failed().len()
    }

    /// Rows that did not decode, ascending.
    pub fn failed(&self) -> &[FailedRow] {
        self.extra.as_deref().map_or(&[], |extra| &extra.failed)
    }
}
