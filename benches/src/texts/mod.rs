//! Documents and questions: Cranfield's abstracts through the real service, beside what people would have picked.

mod cranfield;
mod embed;
mod ingest;
mod quality;
mod service;

pub use embed::{Args as EmbedArgs, run as embed};
pub use ingest::{Args as IngestArgs, run as ingest};
pub use quality::{Args as QualityArgs, run as quality};

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lunapark_embed::{Encoder, EncoderOptions, Folder, Precision, PrecisionChoice};
use serde::{Deserialize, Serialize};

use crate::broker::root;
use crate::duel::models::python;
use crate::duel::side::Opponent;

/// Where texts and encoder are.
#[derive(Clone, Debug, clap::Args)]
pub struct Places {
    /// Cranfield as docs.json, queries.json and qrels.json; a relative path begins at the repository.
    #[arg(long, default_value = "../shared/data/cranfield", value_name = "FOLDER")]
    cranfield: PathBuf,
    /// The text encoder in sentence-transformers layout (deploy/models/minilm fetches it).
    #[arg(long, default_value = ".servers/models/all-MiniLM-L6-v2", value_name = "FOLDER")]
    encoder: PathBuf,
}

impl Places {
    fn cranfield(&self) -> PathBuf {
        root().join(&self.cranfield)
    }

    fn encoder(&self) -> anyhow::Result<PathBuf> {
        let path = root().join(&self.encoder);
        path.canonicalize().with_context(|| format!("{}: no encoder there; run deploy/models/minilm", path.display()))
    }
}

/// Our encoder.
fn load(folder: &Path, threads: usize, precision: PrecisionChoice) -> anyhow::Result<Encoder> {
    let options = EncoderOptions { threads, precision, ..EncoderOptions::default() };
    Ok(Encoder::load(&Folder::new(folder), &options)?)
}

/// The same in bfloat16; `None` where the CPU has no instructions for it.
fn load_bf16(folder: &Path, threads: usize) -> anyhow::Result<Option<Encoder>> {
    let encoder = load(folder, threads, PrecisionChoice::Auto)?;
    Ok((encoder.precision() == Precision::Bf16).then_some(encoder))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The other side: torch, ONNX Runtime and rank_bm25.
fn rivals() -> anyhow::Result<Opponent> {
    Opponent::script(&python(Some("texts"))?, "texts.py")
}

/// What the other side is asked.
#[derive(Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Ask<'a> {
    /// Vectors of the texts of a file into another, and how many tokens a second.
    Embed { runtime: &'a str, encoder: &'a Path, threads: usize, texts: &'a Path, vectors: &'a Path },
    /// BM25Okapi's scores of all passages for each question, from lists of words.
    Bm25 { passages: &'a Path, questions: &'a Path, scores: &'a Path },
}

/// What it answers.
#[derive(Deserialize)]
struct Done {
    /// Tokens per second, where there were any.
    #[serde(default)]
    rate: f64,
    /// Tokens.
    #[serde(default)]
    tokens: usize,
}

fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    Ok(std::fs::write(path, serde_json::to_vec(value)?)?)
}

/// Numbers that Python's side wrote, little-endian.
fn read_f32(path: &Path) -> anyhow::Result<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::cosine;

    #[test]
    fn cosines() {
        assert!((cosine(&[1.0, 0.0], &[2.0, 0.0]) - 1.0).abs() < 1e-12);
        assert!(cosine(&[1.0, 0.0], &[0.0, 3.0]).abs() < 1e-12);
    }
}
