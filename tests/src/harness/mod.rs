//! The test harness: a [`Workplace`] on a log, `lunapark run` in it as [`Service`], other commands as [`Outcome`]s.

mod child;
mod http;
mod place;
mod proxy;
mod records;
mod settings;
mod wait;

pub use child::{Outcome, Running, Service};
pub use http::{Answer, get};
pub use place::{Backend, Kafka, Workplace, quoted, variable};
pub use proxy::{Proxy, Weather};
pub use records::{Event, OwnedRecord, header_list};
pub use settings::TopicSettings;
pub use wait::until;
