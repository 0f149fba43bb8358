//! The pipelines: one file each, one readable chain.

pub mod documents;
pub mod plain;
pub mod score;
pub mod search;
pub mod train;
