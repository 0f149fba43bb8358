//! The pipelines: one file each, one readable chain.

pub mod score;
pub mod train;
