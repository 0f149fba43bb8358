//! What travels through Lunapark: messages, outcomes, wire codecs and their published schemas.
//!
//! No I/O happens here: bytes come in, typed values go out, and the other way round.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod catalog;
pub mod control;
pub mod cuts;
pub mod device;
pub mod documents;
pub mod event;
pub mod headers;
pub mod inference;
pub mod labels;
pub mod ledger;
pub mod messages;
pub mod metrics;
pub mod outcome;
pub mod position;
pub mod promotion;
pub mod publish;
pub mod rows;
pub mod search;
pub mod share;
pub mod signature;
pub mod training;

pub use device::Device;
pub use event::Event;
pub use headers::{Headers, HeadersBuf};
pub use messages::{Message, Messages, Record};
pub use outcome::{ErrorClass, Outcome, Rejection, SkipReason};
pub use position::{Position, TopicPartition};
pub use rows::RowsBuilder;
pub use share::Share;
pub use signature::{Datatype, Signature, TensorSpec};
