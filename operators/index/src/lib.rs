//! A collection of documents to search, kept on an object store alone.
//!
//! ```text
//!  changes, with vectors                                      questions, with vectors
//!        │                                                          ▼
//!  writer.rs  segment, then manifest n+1 (put-if-absent)     search/   filter, exact scan or lists, BM25, fusion
//!        │    next offset of each partition inside                  ▲
//!        ▼                                                          │
//!  collections/NAME/segments/ID.segment ──────────────────► snapshot.rs   what counts, as of one version
//!  collections/NAME/manifests/NUMBER.json ────────────────► reader.rs     newest version, or an older one
//!        ▲
//!  compact.rs  merges segments     rebuild.rs  other settings: beside the live version, then in its place
//!  sweep.rs    removes what no kept manifest names             verify.rs   checks every byte
//!  lists/      sorts the vectors of large ones
//! ```
//!
//! Segments never change, and a version is a manifest: a list of segments in the order of their changes. What the last
//! segment that names a document says of it is so, so replacing or deleting a document hides all its parts at once. The
//! offsets in the manifest make the collection exactly-once without a database.
//!
//! Nothing here knows topics, tokenizers or models: texts come cut, vectors come computed. All calls block.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod answers;
mod bits;
mod cache;
mod clock;
mod collections;
mod compact;
mod document;
mod error;
mod fields;
mod filter;
mod history;
mod lists;
mod manifest;
pub mod metrics;
mod names;
mod quick;
mod reader;
mod rebuild;
mod search;
mod segment;
mod settings;
mod snapshot;
mod sweep;
mod upkeep;
mod verify;
mod words;
mod writer;

pub use answers::Answers;
pub use cache::Cache;
pub use collections::{drop_collection, exists, list, names as collection_names, newest, probe};
pub use compact::{Compaction, compact};
pub use document::{Action, Applied, Batch, Change, Child, Document, Mark, Outcome, Parent, Source};
pub use error::IndexError;
pub use fields::Kinds;
pub use filter::{Asked, FieldKind, Filter};
pub use manifest::{Manifest, Reason, SegmentEntry, WriterName};
pub use reader::Reader;
pub use rebuild::{Remake, rebuild};
pub use search::{ChildHit, Fusion, Hit, Mode, ParentHit, Prepared, Question, Recall, Scored, Search, Unit};
pub use settings::{Bm25, Chunking, MAX_DIMENSION, Metric, Settings};
pub use snapshot::{About, Counts, Last, Snapshot};
pub use sweep::{Sweep, Swept, sweep};
pub use upkeep::{Done, Upkeep, UpkeepPlan};
pub use verify::{Verified, verify};
pub use words::{find_words, question_words, title_beside};
pub use writer::{Beside, Writer};
