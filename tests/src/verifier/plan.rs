//! What the oracle issues: event `n` is a pure function of `n`, so nothing has to be remembered but the numbers.

use std::sync::Arc;

use crate::harness::Event;

const SAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines/assets/higgs-sample.tsv"));
/// A prime, so that every payload comes to every partition.
const PAYLOADS: usize = 601;
/// Long over, and far away.
const PAST: &str = "2001-01-01T00:00:00Z";
const FUTURE: &str = "2999-01-01T00:00:00Z";

/// How an event must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With a result of so many rows.
    Scored {
        /// Rows.
        rows: u64,
    },
    /// With a result, and a dead letter for one of its rows.
    Partial {
        /// Rows, the failed one included.
        rows: u64,
    },
    /// As a dead letter.
    Broken,
    /// Filtered.
    Expired,
}

/// Payload and headers of one event.
#[derive(Clone, Debug)]
pub struct Planned {
    /// How it must end.
    pub kind: Kind,
    /// Payload.
    pub value: Vec<u8>,
    /// Headers beside its id.
    pub headers: Vec<(&'static str, &'static str)>,
}

/// All payloads: single rows, several rows, broken ones (1 %), expired ones (1 %).
#[derive(Clone, Debug)]
pub struct Plan {
    payloads: Arc<Vec<Planned>>,
}

impl Plan {
    /// From the shipped HIGGS sample.
    pub fn higgs() -> Self {
        let rows: Vec<String> = SAMPLE.lines().map(row).collect();
        Self { payloads: Arc::new((0..PAYLOADS).map(|number| planned(&rows, number)).collect()) }
    }

    /// The payloads, in the order of the first numbers.
    pub fn payloads(&self) -> &[Planned] {
        &self.payloads
    }

    /// Which payload event `number` carries.
    pub fn payload_of(&self, number: u64) -> usize {
        (number % self.payloads.len() as u64) as usize
    }

    /// The payload of event `number`.
    pub fn of(&self, number: u64) -> &Planned {
        &self.payloads[self.payload_of(number)]
    }

    /// Event `number`: its id is key and header, its partition follows from it.
    pub fn event(&self, number: u64, partitions: i32) -> Event {
        let (planned, id) = (self.of(number), number.to_string());
        let event = Event::new(planned.value.clone()).key(id.clone()).header("ce_id", &id);
        let event = planned.headers.iter().fold(event, |event, (name, value)| event.header(name, value));
        event.to((number % partitions as u64) as i32)
    }
}

/// `[1.0,2.0,…]` of a line whose first column is the label.
fn row(line: &str) -> String {
    let features: Vec<&str> = line.split('\t').skip(1).collect();
    format!("[{}]", features.join(","))
}

fn instances(rows: &[&str]) -> Vec<u8> {
    format!("{{\"instances\":[{}]}}", rows.join(",")).into_bytes()
}

fn planned(rows: &[String], number: usize) -> Planned {
    let single = instances(&[&rows[number]]);
    let (kind, value, headers) = match number % 100 {
        50 => return broken(rows, number),
        25 => (Kind::Expired, single, vec![("ce_expirytime", PAST)]),
        10 => (Kind::Scored { rows: 1 }, single, vec![("ce_expirytime", FUTURE), ("x-run", "travels through")]),
        77 => (Kind::Partial { rows: 4 }, partial(rows, number), vec![]),
        n if n % 20 == 3 => {
            let several: Vec<&str> = (number..number + 2 + n % 7).map(|row| rows[row].as_str()).collect();
            (Kind::Scored { rows: several.len() as u64 }, instances(&several), vec![])
        }
        _ => (Kind::Scored { rows: 1 }, single, vec![]),
    };
    Planned { kind, value, headers }
}

/// Four rows, of which the third has a feature less.
fn partial(rows: &[String], number: usize) -> Vec<u8> {
    let short = without_last(&rows[number + 2]);
    instances(&[&rows[number], &rows[number + 1], &short, &rows[number + 3]])
}

fn without_last(row: &str) -> String {
    format!("{}]", &row[..row.rfind(',').expect("28 features")])
}

fn with_first(row: &str, first: &str) -> String {
    format!("[{first}{}", &row[row.find(',').expect("28 features")..])
}

/// Truncated, 27 features, a bare NaN, a string, an unknown model, nothing at all.
fn broken(rows: &[String], number: usize) -> Planned {
    let row = &rows[number];
    let mut headers = Vec::new();
    let value = match number / 100 % 6 {
        0 => instances(&[row])[..40].to_vec(),
        1 => instances(&[&without_last(row)]),
        2 => instances(&[&with_first(row, "NaN")]),
        3 => instances(&[&with_first(row, "\"high\"")]),
        4 => {
            headers.push(("lunapark-model", "no-such-model/7"));
            instances(&[row])
        }
        _ => Vec::new(),
    };
    Planned { kind: Kind::Broken, value, headers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_issued_in_its_share_and_to_every_partition() {
        let plan = Plan::higgs();
        let count = |kind: fn(&Kind) -> bool| plan.payloads().iter().filter(|p| kind(&p.kind)).count();
        assert_eq!(count(|k| matches!(k, Kind::Broken)), 6);
        assert_eq!(count(|k| matches!(k, Kind::Expired)), 6);
        assert_eq!(count(|k| matches!(k, Kind::Partial { .. })), 6);
        assert!(count(|k| matches!(k, Kind::Scored { rows } if *rows > 1)) > 20);
        let mut partitions: Vec<_> = (0..6).map(|lap| plan.event(50 + lap * 601, 6).partition).collect();
        partitions.sort();
        assert_eq!(partitions, (0..6).map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn broken_payloads_are_broken_each_in_its_own_way() {
        let plan = Plan::higgs();
        let text = |number| String::from_utf8(plan.of(number).value.clone()).unwrap();
        assert!(!text(50).ends_with('}'));
        assert_eq!(text(150).matches(',').count(), 26);
        assert!(text(250).contains("[NaN,"));
        assert!(text(350).contains("[\"high\","));
        assert_eq!(plan.of(450).headers[0].0, "lunapark-model");
        assert!(text(550).is_empty());
    }
}
