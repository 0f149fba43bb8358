//! What an operator is: a batch in, one outcome per message out. No Kafka, no topic names.

mod batch;
mod error;

pub use batch::{Batch, Decoded, Member, Scored, VersionName, Waiting};
pub use error::{OperatorError, Retry};

use lunapark_schemas::outcome::FailedRow;
use lunapark_schemas::{HeadersBuf, Message, Messages, Outcome, Position, Rejection};

/// A stateless step over batches. `&self` makes statelessness a fact of the type.
///
/// `Err` concerns the whole batch and says whether to try again. A batch that fails for good is bisected by the
/// runner until the poison message stands alone and is rejected.
pub trait Operator: Send + Sync {
    /// What a message becomes when it ends as a result.
    type Out: Output;

    /// Name in metrics, logs and the header `error-operator`.
    fn name(&self) -> &'static str;

    /// One outcome per member of the batch, in the same order.
    fn process(&self, batch: &Batch) -> impl Future<Output = Result<Vec<Outcome<Self::Out>>, OperatorError>> + Send;

    /// What to do about a result that is larger than its topic takes.
    fn advice_on_size(&self) -> &'static str {
        "send fewer rows per message"
    }

    /// The log has the outcomes of all that lies before these offsets: none of it is read again. An operator that keeps
    /// outcomes until then may forget them.
    fn committed(&self, _next: &[Position]) {}
}

/// A result that may cover only some rows of its message.
pub trait Output: Send {
    /// Rows of the message that have no result, ascending.
    fn failed(&self) -> &[FailedRow];
}

impl Output for Scored {
    fn failed(&self) -> &[FailedRow] {
        &self.failed
    }
}

/// The way from messages to batches and from outcomes back to bytes.
pub trait Codec<Out>: Send + Sync {
    /// Decodes the messages at `indices` into batches, one per model and kind of input; what does not decode is
    /// rejected here. Every index ends in exactly one batch or one rejection, or waits for a model.
    fn decode(&self, messages: &Messages, indices: &[usize]) -> Decoded;

    /// The key whose partition a message belongs to, where the order of a key's messages matters: one that lies elsewhere
    /// is put there under this key instead of being decoded.
    fn home_key(&self, _message: &Message<'_>) -> Option<Vec<u8>> {
        None
    }

    /// Writes the reply to `message`, scored by `model`, into `reply`, which is empty.
    fn encode(
        &self,
        message: &Message<'_>,
        model: usize,
        member: &Member,
        out: &Out,
        reply: &mut Reply,
    ) -> Result<(), Rejection>;

    /// Name, version and digest of a model, for the ledger.
    fn model_tag(&self, model: usize) -> Option<&str>;
}

/// The value and headers of a result under construction; one buffer serves many results.
#[derive(Debug, Default)]
pub struct Reply {
    /// Payload.
    pub value: Vec<u8>,
    /// Headers, without those that the runner adds.
    pub headers: HeadersBuf,
}

impl Reply {
    /// Forgets the content, keeps the memory.
    pub fn clear(&mut self) {
        self.value.clear();
        self.value.shrink_to(1 << 20);
        self.headers.clear();
    }
}
