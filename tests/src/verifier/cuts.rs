//! Which model has to score what, from the topic `model.cuts` alone: written anew here, so that it checks the scorer's.

use std::collections::HashMap;

use crate::harness::{OwnedRecord, Workplace};

struct Cut {
    promotion: u64,
    from: i64,
    tag: String,
}

/// The cuts of one workplace.
pub struct CutBook {
    cuts: HashMap<i64, Vec<Cut>>,
}

impl CutBook {
    /// Reads all cuts.
    #[track_caller]
    pub fn read(place: &Workplace) -> Self {
        let mut cuts: HashMap<i64, Vec<Cut>> = HashMap::new();
        for record in place.read_all("model.cuts") {
            let cut = record.json();
            let text = |name: &str| cut[name].as_str().unwrap_or_else(|| panic!("no {name} in {cut}"));
            let number = |name: &str| cut[name].as_i64().unwrap_or_else(|| panic!("no {name} in {cut}"));
            assert_eq!((text("pipeline"), text("topic")), (&*place.group(), &*place.topic("inference.events")));
            assert_eq!(i64::from(record.partition), number("partition"), "a cut lies beside its partition");
            let tag = format!("{}/{}#{}", text("model"), text("version"), &text("digest")[..8]);
            let promotion = number("promotion") as u64;
            cuts.entry(number("partition")).or_default().push(Cut { promotion, from: number("next_offset"), tag });
        }
        Self { cuts }
    }

    /// The model of an event that pins none: that of the latest promotion among the cuts at or before it.
    pub fn tag(&self, partition: i32, offset: i64) -> Option<&str> {
        let cuts = self.cuts.get(&i64::from(partition))?;
        let governing = cuts.iter().filter(|cut| cut.from <= offset).max_by_key(|cut| cut.promotion);
        governing.map(|cut| cut.tag.as_str())
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
            let due = self.tag(result.partition, offset).unwrap_or(default);
            assert_eq!(found, due, "{source} was scored by another model than the cuts say");
            *by_model.entry(found.to_owned()).or_default() += 1;
        }
        by_model
    }
}
