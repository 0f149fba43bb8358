//! Which model has to score what, from the topic `model.cuts` alone: written anew here, so that it checks the scorer's.

use std::collections::HashMap;

use crate::harness::{OwnedRecord, Workplace};

struct Cut {
    promotion: u64,
    from: i64,
    tag: String,
    /// Share in millionths, and who scores it instead.
    canary: Option<(u64, String)>,
}

/// Where a shadow begins to score a share (in millionths), or ends.
struct Shadow {
    promotion: u64,
    from: i64,
    share: u64,
    tag: String,
}

/// The cuts of one workplace.
pub struct CutBook {
    cuts: HashMap<i64, Vec<Cut>>,
    shadows: HashMap<i64, Vec<Shadow>>,
}

/// FNV-1a and the finaliser of MurmurHash3, as `schemas/src/share.rs` documents them.
fn takes(millionths: u64, key: &[u8]) -> bool {
    let mut hash: u64 = 14_695_981_039_346_656_037;
    for byte in key {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211);
    }
    for factor in [18_397_679_294_719_823_053, 14_181_476_777_654_086_739] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    (hash ^ (hash >> 33)) % 1_000_000 < millionths
}

fn millionths(share: &serde_json::Value) -> u64 {
    share.as_f64().map_or(0, |share| (share * 1e6).round() as u64)
}

impl CutBook {
    /// Reads all cuts.
    #[track_caller]
    pub fn read(place: &Workplace) -> Self {
        let (mut cuts, mut shadows): (HashMap<i64, Vec<Cut>>, HashMap<i64, Vec<Shadow>>) = Default::default();
        for record in place.read_all("model.cuts") {
            let cut = record.json();
            let text = |name: &str| cut[name].as_str().unwrap_or_else(|| panic!("no {name} in {cut}"));
            let number = |name: &str| cut[name].as_i64().unwrap_or_else(|| panic!("no {name} in {cut}"));
            assert_eq!((text("pipeline"), text("topic")), (&*place.group(), &*place.topic("inference.events")));
            assert_eq!(i64::from(record.partition), number("partition"), "a cut lies beside its partition");
            let tag_of = |model: &serde_json::Value| {
                let text = |name: &str| model[name].as_str().unwrap_or_else(|| panic!("no {name} in {cut}"));
                format!("{}/{}#{}", text("model"), text("version"), &text("digest")[..8])
            };
            let (promotion, from, tag) = (number("promotion") as u64, number("next_offset"), tag_of(&cut));
            if cut["role"] == "shadow" {
                let shadow = Shadow { promotion, from, share: millionths(&cut["share"]), tag };
                shadows.entry(number("partition")).or_default().push(shadow);
                continue;
            }
            let canary = cut.get("canary").map(|canary| (millionths(&canary["share"]), tag_of(canary)));
            cuts.entry(number("partition")).or_default().push(Cut { promotion, from, tag, canary });
        }
        Self { cuts, shadows }
    }

    /// The model of an event that pins none: that of the latest promotion among the cuts at or before it, or its canary.
    pub fn tag(&self, partition: i32, offset: i64, key: Option<&[u8]>) -> Option<&str> {
        let cuts = self.cuts.get(&i64::from(partition))?;
        let governing = cuts.iter().filter(|cut| cut.from <= offset).max_by_key(|cut| (cut.promotion, cut.from))?;
        let place = format!("{partition}/{offset}");
        let takes = |share: u64| takes(share, key.unwrap_or(place.as_bytes()));
        let canary = governing.canary.as_ref().filter(|(share, _)| takes(*share));
        Some(canary.map_or(governing.tag.as_str(), |(_, tag)| tag.as_str()))
    }

    /// The shadow that scores an event which pins no model, too.
    pub fn shadow(&self, partition: i32, offset: i64, key: Option<&[u8]>) -> Option<&str> {
        let all = self.shadows.get(&i64::from(partition))?;
        // Of the records of one offset and promotion the last holds: it has the same key.
        let before = all.iter().filter(|shadow| shadow.from <= offset);
        let governing = before.max_by_key(|shadow| (shadow.promotion, shadow.from))?;
        let place = format!("{partition}/{offset}");
        takes(governing.share, key.unwrap_or(place.as_bytes())).then_some(governing.tag.as_str())
    }

    /// First offsets of the cuts to a model, by partition.
    pub fn of(&self, tag: &str) -> HashMap<i64, i64> {
        let all = self.cuts.iter().flat_map(|(partition, cuts)| cuts.iter().map(move |cut| (*partition, cut)));
        all.filter(|(_, cut)| cut.tag == tag).map(|(partition, cut)| (partition, cut.from)).collect()
    }

    /// Every result of an event that pins no version is by the model that the cuts say, or by `default` before the first
    /// cut; how many results each model has.
    #[track_caller]
    pub fn assert_obeyed(&self, results: &[OwnedRecord], default: &str) -> HashMap<String, usize> {
        let mut by_model: HashMap<String, usize> = HashMap::new();
        for result in results {
            let source = result.header("lunapark-source").expect("a source");
            let offset = source.rsplit('/').next().and_then(|text| text.parse().ok()).expect("an offset");
            let found = result.header("lunapark-model").expect("a model");
            let due = self.tag(result.partition, offset, result.key.as_deref()).unwrap_or(default);
            assert_eq!(found, due, "{source} was scored by another model than the cuts say");
            *by_model.entry(found.to_owned()).or_default() += 1;
        }
        by_model
    }
}
