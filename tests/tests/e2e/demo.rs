//! The demo: what a visitor runs first, and the commands that it suggests.

use std::collections::BTreeMap;
use std::process::Command;

use lunapark_tests::harness::{Outcome, Workplace};
use serde_json::{Value, json};

/// The detector's own numbers: one event in so many is too late, and one in so many is broken.
const LATE_ONE_IN: u64 = 101;
const BROKEN_ONE_IN: u64 = 250;
/// Why the broken ones are refused, in the order in which they come: cut in the middle, 27 features, a bare NaN, a string
/// in the place of a number, an unknown model, an empty payload.
const REASONS: [&str; 6] = ["malformed", "shape", "malformed", "shape", "unknown-model", "empty"];
/// Of the shipped model on the shipped events, of which it has seen none, as `pipelines/assets/README.md` has it; the
/// late and the broken ones are missing from the stream.
const AUC: f64 = 0.7794;
/// A command that the demo suggests takes no longer, in seconds.
const SUGGESTED: &str = "60";

fn demo(place: &Workplace, arguments: &[&str]) -> Outcome {
    let data = place.dir().join("demo");
    let data = data.to_string_lossy();
    place.cli(&[&["demo", "--data", &data], arguments].concat())
}

/// How the events of the detector must end: filtered, and dead by reason.
fn due(events: u64) -> (u64, BTreeMap<&'static str, u64>) {
    let late = |number: &u64| number % LATE_ONE_IN == LATE_ONE_IN - 1;
    let mut dead = BTreeMap::new();
    for number in (BROKEN_ONE_IN - 1..events).step_by(BROKEN_ONE_IN as usize).filter(|number| !late(number)) {
        *dead.entry(REASONS[(number / BROKEN_ONE_IN % 6) as usize]).or_default() += 1;
    }
    ((0..events).filter(late).count() as u64, dead)
}

#[test]
fn the_demo_ends_with_an_account_of_every_event() {
    let place = Workplace::embedded();
    let printed = demo(&place, &["--json"]).ok();
    let told: Value = serde_json::from_str(printed.stdout.lines().last().unwrap_or_default()).unwrap();
    let number = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("no {name} in {told:#}"));
    let [events, results, filtered, dead] = ["in", "results", "filtered", "dead"].map(number);
    assert!(events >= 10_000, "{told:#}");
    assert_eq!(events, results + filtered + dead, "{told:#}");
    assert_eq!((number("lost"), number("duplicated"), &told["proven"]), (0, 0, &json!(true)), "{told:#}");
    let (late, reasons) = due(events);
    assert_eq!((filtered, &told["dead_by_reason"]), (late, &json!(reasons)), "{told:#}");
    assert_eq!(dead, reasons.values().sum::<u64>(), "{told:#}");
    let figure = |name: &str| told[name].as_f64().unwrap_or_else(|| panic!("no {name} in {told:#}"));
    let [speed, p50, p99, auc] = ["events_per_second", "latency_p50_ms", "latency_p99_ms", "auc"].map(figure);
    assert!(speed > 0.0 && p50 > 0.0 && p50 <= p99, "{told:#}");
    assert!((auc - AUC).abs() < 0.01, "{told:#}");
}

#[test]
fn the_demo_suggests_three_commands_that_work() {
    let place = Workplace::embedded();
    let printed = demo(&place, &[]).ok().stdout;
    for words in ["AUC", "background", "dead letters  ", "audit   in ", "lost 0, duplicated 0", "proven: every event"] {
        assert!(printed.contains(words), "no `{words}` in:\n{printed}");
    }
    let (_, suggested) = printed.split_once("try next\n").unwrap_or_else(|| panic!("no commands in:\n{printed}"));
    let [consume, count, audit] =
        suggested.lines().map(|line| run(&place, line)).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(consume.matches("lunapark-source").count(), 3, "{consume}");
    for reason in REASONS {
        assert!(count.contains(reason), "no {reason} in:\n{count}");
    }
    assert!(audit.contains("lost") && audit.contains("duplicated"), "{audit}");
}

/// Runs a line as a visitor would: in a shell, without any configuration.
fn run(place: &Workplace, line: &str) -> String {
    let mut command = Command::new("timeout");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LUNAPARK_")) {
        command.env_remove(name);
    }
    let output = command.args([SUGGESTED, "sh", "-c", line]).current_dir(place.dir()).output().expect("a shell");
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{line}: {:?}\n{stdout}\n{stderr}", output.status);
    stdout
}
