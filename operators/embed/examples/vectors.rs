//! Vectors of the texts of a file, and how many tokens a second it took.
//!
//! usage: vectors FOLDER TEXTS.json OUT.f32 THREADS [ROUNDS]
//!
//! The texts are a JSON array of strings; the vectors are written one after the other as little-endian floats.
//! `tests/fixtures/compare.py` holds them against sentence-transformers.
#![expect(clippy::print_stdout, reason = "a program of one measurement, which prints it")]

use std::error::Error;
use std::time::Instant;

use lunapark_embed::{Encoder, EncoderOptions, Folder, Role};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, texts, out, threads, rounds @ ..] = &arguments[..] else {
        return Err("usage: vectors FOLDER TEXTS.json OUT.f32 THREADS [ROUNDS]".into());
    };
    let options = EncoderOptions { threads: threads.parse()?, ..EncoderOptions::default() };
    let encoder = Encoder::load(&Folder::new(folder), &options)?;
    let texts: Vec<String> = serde_json::from_slice(&std::fs::read(texts)?)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let rounds: usize = rounds.first().map_or(Ok(1), |rounds| rounds.parse())?;
    let mut fastest = f64::INFINITY;
    let mut embeddings = encoder.embed(&[], Role::Passage)?;
    for _ in 0..rounds {
        let start = Instant::now();
        embeddings = encoder.embed(&texts, Role::Passage)?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    let tokens: usize = embeddings.tokens.iter().sum();
    let kernel = encoder.kernel();
    println!("{kernel}, {threads} threads: {tokens} tokens, {:.0} tokens/s", tokens as f64 / fastest);
    std::fs::write(out, embeddings.values.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())?;
    Ok(())
}
