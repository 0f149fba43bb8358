//! Embedding: tokens a second of Lunapark, torch and ONNX Runtime on the same texts, in alternation, and how far apart
//! the vectors are.

use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use lunapark_embed::{Encoder, PrecisionChoice, Role};

use super::cranfield::Cranfield;
use super::{Ask, Done, Places, cosine, load, load_bf16, read_f32, rivals, write_json};
use crate::duel::side::Opponent;
use crate::report::{Bar, Report, Table, median, note, number, ratio};

/// Texts whose vectors are compared.
const COMPARED: usize = 1000;
/// The other sides, as `texts.py` names them and as people do.
const RIVALS: [&str; 3] = ["onnxruntime", "torch", "torch-bf16"];
const TITLES: [&str; 7] = ["threads", "f32", "bf16", "ONNX Runtime", "torch", "torch, bf16", "f32 / the faster of f32"];

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
    let step = all.len().div_ceil(args.abstracts as usize);
    let texts: Vec<&str> = all.iter().copied().step_by(step).collect();
    let folder = tempfile::tempdir()?;
    let mut other = rivals()?;
    let mut table = Table::new(&TITLES);
    let mut bars = Vec::new();
    for threads in [2, 1] {
        let rates = contest(args.rounds, &encoder, threads, &texts, folder.path(), &mut other)?;
        let [ours, paired, onnx, torch, torch_paired] = rates;
        let against = ours / onnx.max(torch);
        note(format!("{threads} threads: {rates:.0?}, ratio {against:.3}"));
        table.row([threads.to_string()].into_iter().chain(rates.map(number)).chain([ratio(against)]).collect());
        if threads == 2 {
            bars.push(Bar::at_least("f32, 2 threads, against the faster of the two", against, 1.1));
            let amx = has_amx().then(|| Bar::at_least("bf16, 2 threads, against torch's", paired / torch_paired, 1.5));
            bars.extend(amx);
        }
    }
    let abstracts = texts.len();
    let texts = mixed(&all);
    let theirs = torch(&encoder, &texts, folder.path(), &mut other)?;
    let exact = apart(&load(&encoder, 2, PrecisionChoice::F32)?, &texts, &theirs)?;
    let unit = " · 10⁻⁹";
    bars.push(Bar::at_most("1 − cosine with torch, farthest of 1,000 texts", exact * 1e9, 10_000.0).in_unit(unit));
    if let Some(encoder) = load_bf16(&encoder, 2)? {
        let apart = apart(&encoder, &texts, &theirs)?;
        bars.push(Bar::at_most("the same in bf16", apart * 1e9, 100_000.0).in_unit(unit));
    }
    let what = format!(
        "all-MiniLM-L6-v2, {abstracts} abstracts of Cranfield as they are, tokens embedded per second of wall time."
    );
    Ok(Report { section: "duel-embed".to_owned(), what, table, bars, notes: notes() })
}

/// The median rates of Lunapark in either precision, and of its rivals; not a number where there is no bf16.
fn contest(
    rounds: u32,
    encoder: &Path,
    threads: usize,
    texts: &[&str],
    folder: &Path,
    other: &mut Opponent,
) -> anyhow::Result<[f64; 5]> {
    let (file, vectors) = (folder.join("texts.json"), folder.join("vectors.f32"));
    write_json(&file, &texts)?;
    let ours = [Some(load(encoder, threads, PrecisionChoice::F32)?), load_bf16(encoder, threads)?];
    let mut rates: [Vec<f64>; 5] = Default::default();
    for round in 0..rounds as usize {
        for turn in 0..rates.len() {
            let side = (turn + round) % rates.len();
            rates[side].extend(match ours.get(side) {
                Some(ours) => ours.as_ref().map(|encoder| rate(encoder, texts)).transpose()?,
                None => {
                    let runtime = RIVALS[side - ours.len()];
                    let ask = Ask::Embed { runtime, encoder, threads, texts: &file, vectors: &vectors };
                    Some(other.ask::<Done>(&ask)?.rate)
                }
            });
        }
    }
    Ok(rates.map(median))
}

fn rate(encoder: &Encoder, texts: &[&str]) -> anyhow::Result<f64> {
    let started = Instant::now();
    let tokens: usize = encoder.embed(texts, Role::Passage)?.tokens.iter().sum();
    Ok(tokens as f64 / started.elapsed().as_secs_f64())
}

/// torch's vectors.
fn torch(encoder: &Path, texts: &[String], folder: &Path, other: &mut Opponent) -> anyhow::Result<Vec<f32>> {
    let (file, vectors) = (folder.join("mixed.json"), folder.join("mixed.f32"));
    write_json(&file, &texts)?;
    let ask = Ask::Embed { runtime: "torch", encoder, threads: 2, texts: &file, vectors: &vectors };
    note(format!("{} texts compared, {} tokens", texts.len(), other.ask::<Done>(&ask)?.tokens));
    read_f32(&vectors)
}

/// One minus the least cosine.
fn apart(encoder: &Encoder, texts: &[String], theirs: &[f32]) -> anyhow::Result<f64> {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let ours = encoder.embed(&texts, Role::Passage)?.values;
    ensure!(ours.len() == theirs.len(), "{} numbers here, {} there", ours.len(), theirs.len());
    let width = theirs.len() / texts.len();
    let pairs = ours.chunks(width).zip(theirs.chunks(width));
    Ok(pairs.map(|(a, b)| 1.0 - cosine(a, b)).fold(f64::NEG_INFINITY, f64::max))
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

/// What this CPU's tiles did.
fn tiles() -> String {
    match (has_amx(), lunapark_embed::amx()) {
        (true, Ok(())) => "This CPU has AMX tiles: torch and Lunapark compute bf16 with them.".to_owned(),
        (true, Err(why)) => format!("Torch computes bf16 with this CPU's AMX tiles, Lunapark does **not**: {why}."),
        (false, _) => {
            "This CPU has no AMX tiles: the bar of bf16, 1.5 × torch's on AMX, was **not measured**, and Lunapark's kernel \
             for them **not run**: both sides compute bf16 with AVX512-BF16 where it is there."
                .to_owned()
        }
    }
}

fn notes() -> Vec<String> {
    vec![
        "Tokens a second of each side. Lunapark's figures hold the tokenizer's work; the rivals get tokens, sorted by \
         length, 32 texts at a time, padded to the longest of them. ONNX Runtime runs the graph that torch exports, fused \
         by its own optimizer for BERT; torch runs transformers' model with its fused attention."
            .to_owned(),
        tiles(),
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
}
