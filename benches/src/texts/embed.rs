//! Embedding: tokens a second of Lunapark, torch and ONNX Runtime on the same texts, in alternation, and how far apart
//! the vectors are.

use std::path::Path;
use std::time::Instant;

use lunapark_embed::Role;

use super::cranfield::Cranfield;
use super::{Ask, Done, Places, load, read_f32, rivals, write_json};
use crate::duel::side::Opponent;
use crate::report::{Bar, Report, Table, median, note, number, ratio};

/// Texts whose vectors are compared.
const COMPARED: usize = 1000;
/// The other sides.
const RIVALS: [&str; 2] = ["onnxruntime", "torch"];

/// What the measurement takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    places: Places,
    /// How often each side is measured, in alternation; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Abstracts of one measurement.
    #[arg(long, default_value_t = 350, value_parser = clap::value_parser!(u32).range(1..))]
    abstracts: u32,
}

/// Both thread counts, then the vectors.
pub fn run(args: &Args) -> anyhow::Result<Report> {
    let encoder = args.places.encoder()?;
    let cranfield = Cranfield::read(&args.places.cranfield())?;
    let all: Vec<&str> = cranfield.documents.iter().map(|(_, text)| text.as_str()).collect();
    let step = (all.len() / args.abstracts as usize).max(1);
    let texts: Vec<&str> = all.iter().copied().step_by(step).collect();
    let folder = tempfile::tempdir()?;
    let mut other = rivals()?;
    let mut table = Table::new(&[
        "threads",
        "Lunapark, tokens/s",
        "ONNX Runtime, tokens/s",
        "torch, tokens/s",
        "ratio to the faster",
    ]);
    let mut bars = Vec::new();
    for threads in [2, 1] {
        let rates = contest(args.rounds, &encoder, threads, &texts, folder.path(), &mut other)?;
        let against = rates[0] / rates[1].max(rates[2]);
        note(format!("{threads} threads: {rates:.0?}, ratio {against:.3}"));
        table.row([threads.to_string()].into_iter().chain(rates.map(number)).chain([ratio(against)]).collect());
        if threads == 2 {
            bars.push(Bar::at_least("f32, 2 threads, against the faster of the two", against, 1.1));
        }
    }
    let apart = apart(&encoder, &mixed(&all), folder.path(), &mut other)?;
    bars.push(
        Bar::at_most("1 − cosine with torch, the farthest of 1,000 texts", apart * 1e9, 10_000.0).in_unit(" · 10⁻⁹"),
    );
    let what = format!(
        "all-MiniLM-L6-v2, {} abstracts of Cranfield as they are, tokens embedded per second of wall time.",
        texts.len()
    );
    Ok(Report { section: "duel-embed".to_owned(), what, table, bars, notes: notes() })
}

/// The median rates of Lunapark and its rivals.
fn contest(
    rounds: u32,
    encoder: &Path,
    threads: usize,
    texts: &[&str],
    folder: &Path,
    other: &mut Opponent,
) -> anyhow::Result<[f64; 3]> {
    let (file, vectors) = (folder.join("texts.json"), folder.join("vectors.f32"));
    write_json(&file, &texts)?;
    let ours = load(encoder, threads)?;
    let mut rates: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds as usize {
        for turn in 0..rates.len() {
            let side = (turn + round) % rates.len();
            rates[side].push(match side {
                0 => {
                    let started = Instant::now();
                    let tokens: usize = ours.embed(texts, Role::Passage)?.tokens.iter().sum();
                    tokens as f64 / started.elapsed().as_secs_f64()
                }
                rival => {
                    let runtime = RIVALS[rival - 1];
                    let ask = Ask::Embed { runtime, encoder, threads, texts: &file, vectors: &vectors };
                    other.ask::<Done>(&ask)?.rate
                }
            });
        }
    }
    Ok(rates.map(median))
}

/// One minus the least cosine with torch's vectors.
fn apart(encoder: &Path, texts: &[String], folder: &Path, other: &mut Opponent) -> anyhow::Result<f64> {
    let (file, vectors) = (folder.join("mixed.json"), folder.join("mixed.f32"));
    write_json(&file, &texts)?;
    let ask = Ask::Embed { runtime: "torch", encoder, threads: 2, texts: &file, vectors: &vectors };
    let tokens = other.ask::<Done>(&ask)?.tokens;
    let theirs = read_f32(&vectors)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let ours = load(encoder, 2)?.embed(&texts, Role::Passage)?;
    note(format!("{} texts compared, {} tokens here, {tokens} there", texts.len(), ours.tokens.iter().sum::<usize>()));
    anyhow::ensure!(ours.values.len() == theirs.len(), "{} numbers here, {} there", ours.values.len(), theirs.len());
    let width = theirs.len() / texts.len();
    let pairs = ours.values.chunks(width).zip(theirs.chunks(width));
    Ok(pairs.map(|(a, b)| 1.0 - cosine(a, b)).fold(f64::NEG_INFINITY, f64::max))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

/// Texts of one word to several abstracts, so that every length up to the encoder's own limit and beyond is there.
fn mixed(abstracts: &[&str]) -> Vec<String> {
    let odd = "Perché la velocità non è costante? E = ½mv² e il flusso ∇·B = 0 😀 naïve Ångström 漢字 e\u{301}";
    let of = |number: usize| {
        let text = abstracts[number * 7 % abstracts.len()];
        let words: Vec<&str> = text.split_whitespace().collect();
        match number % 10 {
            0 => odd.split_whitespace().cycle().skip(number % 13).take(1 + number % 60).collect::<Vec<_>>().join(" "),
            1 => words.iter().take(1 + number / 10 % 5).copied().collect::<Vec<_>>().join(" "),
            2 => [text, abstracts[number % abstracts.len()], odd].join(" "),
            _ => words.iter().take(1 + number * 31 % words.len()).copied().collect::<Vec<_>>().join(" "),
        }
    };
    (0..COMPARED).map(of).collect()
}

fn notes() -> Vec<String> {
    let amx = has_amx();
    vec![
        "Lunapark's figure holds the tokenizer's work; the rivals get tokens, sorted by length, 32 texts at a time, padded \
         to the longest of them. ONNX Runtime runs the graph that torch exports, fused by its own optimizer for BERT; \
         torch runs transformers' model with its fused attention."
            .to_owned(),
        format!(
            "bf16 on AMX: **not measured**, Lunapark computes in f32 only; this CPU has {}AMX tiles.",
            if amx { "" } else { "no " }
        ),
    ]
}

fn has_amx() -> bool {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.split_whitespace().any(|flag| flag == "amx_bf16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_texts_are_of_all_lengths_and_none_is_empty() {
        let texts = mixed(&["one two three four five six", "seven eight"]);
        assert_eq!(texts.len(), COMPARED);
        assert!(texts.iter().all(|text| !text.trim().is_empty()));
        assert!(texts.iter().any(|text| !text.contains(' ')));
    }

    #[test]
    fn cosines() {
        assert!((cosine(&[1.0, 0.0], &[2.0, 0.0]) - 1.0).abs() < 1e-12);
        assert!(cosine(&[1.0, 0.0], &[0.0, 3.0]).abs() < 1e-12);
    }
}
