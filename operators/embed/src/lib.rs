//! Text encoders: a folder in the layout of sentence-transformers in, vectors out.
//!
//! ```text
//!  texts
//!    │   prefix of the role, the model's own tokenizer           tokenizer.rs, prefixes.rs
//!    ▼
//!  tokens ─── too many? cut, and told
//!    │   sorted by length, up to 768 tokens together             groups.rs
//!    ▼
//!  packed groups ─── spread over threads                         threads.rs
//!    │   all tokens of a group in one matrix, no padding         forward.rs
//!    ▼
//!  layers ─┬─ attention inside each text, head by head           attention.rs
//!    │     └─ products, gelu, softmax, normalisation             kernel/
//!    ▼
//!  pooling ─── mean, first or greatest; length one               pooling.rs
//!    ▼
//!  vectors, with each text's tokens and whether it was cut       encoder.rs
//! ```
//!
//! [`Encoder::load`] reads the files by name ([`ModelFiles`]), so that a folder, an archive and an object store are
//! the same. It takes BERT, XLM-RoBERTa and MPNet encoders, and refuses by name what it would run wrongly:
//! `config.rs` says what it knows of the network, `modules.rs` of what is around it, `weights.rs` of the tensors.
//!
//! A text's vector has the same bits alone and in any batch: each number of a product is one chain of
//! multiply-adds, whatever rows are beside it, and attention sees nothing but its own text. AVX-512, AVX2 and NEON give
//! the same bits; a machine without fused multiply-add rounds differently.
//!
//! [`Precision::Bf16`] rounds what goes into products, where the CPU multiplies bfloat16: on AMX tiles ([`amx`] says
//! whether, or why not) into all of them, with AVX512-BF16 into those of the linear layers. Sums and everything else
//! stay in 32-bit floats. The kernel for tiles is written to Intel's manual, and tests run its instructions on a model
//! of it; its authors had no CPU with AMX to run or measure it on. A unit that does not multiply whole numbers exactly
//! is not used.
//!
//! With the feature `cuda` a network runs on an NVIDIA GPU where [`EncoderOptions::device`] says so (`device/`), in 32-bit
//! floats, packed as above; a text's vector is then the same to 1e-6 in any batch, and within a cosine of 0.99999 of the CPU's.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attention;
mod config;
mod device;
mod digest;
mod encoder;
mod error;
mod files;
mod forward;
mod groups;
mod kernel;
mod modules;
mod network;
mod pooling;
mod prefixes;
#[cfg(test)]
mod tests;
mod threads;
mod tokenizer;
mod weights;

pub use config::Architecture;
pub use encoder::{Embeddings, Encoder, EncoderOptions, Precision, PrecisionChoice};
pub use error::{EmbedError, EmbedErrorKind};
pub use files::{Folder, ModelFiles};
pub use kernel::{NoTiles, amx};
pub use modules::{Pooling, Similarity};
pub use prefixes::{Prefixes, Role};
pub use tokenizer::TextTokenizer;
