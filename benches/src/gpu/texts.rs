//! A text encoder on a device against this machine's own kernels.

use std::path::Path;

use anyhow::Context as _;
use lunapark_embed::{Embeddings, Encoder, EncoderOptions, Folder, Role};
use lunapark_models::Device;

use super::{Args, both, noise};
use crate::report::{Table, number};

/// Texts per call: a question, a page of them, a transaction's passages, many.
const TEXTS: [usize; 4] = [1, 16, 256, 2048];
/// Words of a text, at most: with MiniLM's tokens at most as many as a passage has.
const WORDS: f32 = 180.0;
const WORD: [&str; 8] = ["wing", "boundary layer", "heat", "of", "the", "hypersonic", "transfer", "muon"];

/// A line for each number of texts, in tokens a second.
pub(super) fn measure(args: &Args, folder: &Path, table: &mut Table) -> anyhow::Result<()> {
    let load = |device| Encoder::load(&Folder::new(folder), &EncoderOptions { device, ..EncoderOptions::default() });
    let (cpu, device) = (load(Device::Cpu)?, load(args.device).context("nothing was measured")?);
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut state = 3;
    let texts: Vec<String> = (0..TEXTS[TEXTS.len() - 1]).map(|_| text(&mut state)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokens = |embeddings: Embeddings| embeddings.tokens.iter().sum::<usize>();
    for count in TEXTS {
        let embed = |encoder: &Encoder| Ok(tokens(encoder.embed(&texts[..count], Role::Passage)?));
        let (slow, fast) = both(args, &|| embed(&cpu), &|| embed(&device))?;
        let cells = [format!("{name}, tokens"), format!("{count} texts"), number(slow), number(fast)];
        table.row([&cells[..], &[format!("{:.2}", fast / slow), "by its batch".to_owned()]].concat());
    }
    Ok(())
}

/// A text of some words, of any length up to the most.
fn text(state: &mut u64) -> String {
    let words = 1.0 + noise(state).abs() * WORDS;
    let word = |_| WORD[(noise(state).abs() * WORD.len() as f32) as usize % WORD.len()];
    (0..words as usize).map(word).collect::<Vec<_>>().join(" ")
}
