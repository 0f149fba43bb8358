//! Tables in files: Parquet, CSV, Arrow and NDJSON, read and written in batches, whatever their size.
//!
//! [`Table::open`] finds the format by looking into the bytes, and by the name only where the bytes leave it open.
//! Memory holds a batch or two, a row group of a Parquet file, and the first megabyte of a text, which tells its columns.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod error;
mod kind;
mod binary;
mod read;
mod source;
mod text;
#[cfg(test)]
mod tests;
mod write;

pub use error::TableError;
pub use kind::Kind;
pub use read::{Batches, Extent, ReadOptions, Table};
pub use write::TableWriter;
