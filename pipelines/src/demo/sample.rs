//! The shipped sample: labels and features of real events (see `assets/README.md`).

use anyhow::{Context as _, ensure};

const TSV: &str = include_str!("../../assets/higgs-sample.tsv");
/// Features of an event.
const FEATURES: usize = 28;

/// One event: what it truly was, and the request that asks for its score.
pub struct Event {
    /// True for signal.
    pub signal: bool,
    /// KServe v1 JSON.
    pub request: Vec<u8>,
    features: Vec<&'static str>,
}

impl Event {
    /// The features as the file has them: numbers of JSON.
    pub fn features(&self) -> &[&'static str] {
        &self.features
    }

    /// The request with feature `index` left out or replaced.
    pub fn with_feature(&self, index: usize, replaced: Option<&str>) -> Vec<u8> {
        let keep = |(i, text): (usize, &&'static str)| match (i == index, replaced) {
            (false, _) => Some((*text).to_owned()),
            (true, replaced) => replaced.map(str::to_owned),
        };
        request(&self.features.iter().enumerate().filter_map(keep).collect::<Vec<_>>())
    }
}

fn request<T: std::borrow::Borrow<str>>(features: &[T]) -> Vec<u8> {
    format!("{{\"instances\":[[{}]]}}", features.join(",")).into_bytes()
}

/// All events, in the order of the file.
pub struct Sample {
    /// The events.
    pub events: Vec<Event>,
}

impl Sample {
    /// Reads the shipped file.
    pub fn load() -> anyhow::Result<Self> {
        let events = TSV
            .lines()
            .enumerate()
            .map(|(n, line)| parse(line).with_context(|| format!("higgs-sample.tsv, line {}", n + 1)));
        Ok(Self { events: events.collect::<Result<_, _>>()? })
    }
}

fn parse(line: &'static str) -> anyhow::Result<Event> {
    let mut fields = line.split('\t');
    let label = fields.next().context("empty line")?;
    let features: Vec<_> = fields.collect();
    ensure!(features.len() == FEATURES, "{} features, not {FEATURES}", features.len());
    Ok(Event { signal: label.starts_with('1'), request: request(&features), features })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_has_both_kinds_and_whole_requests() {
        let sample = Sample::load().unwrap();
        let signal = sample.events.iter().filter(|e| e.signal).count();
        assert!(signal > 1000 && sample.events.len() - signal > 1000);
        let commas = |bytes: &[u8]| bytes.iter().filter(|b| **b == b',').count();
        assert_eq!(commas(&sample.events[0].request), 27);
        assert_eq!(commas(&sample.events[0].with_feature(3, None)), 26);
    }
}
