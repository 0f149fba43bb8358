//! How messages travel: topics, one catalog, and two logs behind the same traits (Apache Kafka and an embedded
//! durable log). The only crate that knows Kafka.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod catalog;
pub mod embedded;
pub mod error;
pub mod kafka;
pub mod log;
pub mod partitioner;

pub use catalog::{Catalog, Cleanup, Topic, TopicSpec};
pub use error::{LogError, LogErrorKind};
pub use log::{
    Ahead, Created, Delivery, Limit, Log, Polled, Reader, Refusal, Start, Stream, StreamSpec, TopicInfo, Transaction,
    Watermarks, Writer,
};
