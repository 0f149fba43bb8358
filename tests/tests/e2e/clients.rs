//! Any Kafka client: the examples of the README, run as they stand there.

use std::process::Command;

use lunapark_tests::harness::{Kafka, Workplace, variable};

use super::higgs::{self, TREES};

const README: &str = include_str!("../../../README.md");

/// The code block that follows a marker of the README.
fn example(marker: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("<!-- {marker} -->")).expect("the marker");
    let (_, rest) = rest.split_once("```").expect("a code block");
    let (_, code) = rest.split_once('\n').expect("its first line");
    code.split_once("```").expect("its end").0
}

/// The README names the default topics and a broker on the usual port.
fn adapted(code: &str, place: &Workplace) -> String {
    let code = code.replace("localhost:9092", &Kafka::bootstrap());
    let code =
        code.replace("inference.events", "\u{0}events").replace("inference.results", &place.topic("inference.results"));
    code.replace("\u{0}events", &place.topic("inference.events"))
}

/// What a client prints.
fn run(command: &mut Command, place: &Workplace) -> String {
    let output = command.current_dir(place.dir()).output().expect("the client starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn ten_lines_of_python_produce_an_event_and_print_its_score() {
    let code = example("python-example");
    assert!(code.lines().filter(|line| !line.is_empty()).count() <= 10, "{code}");
    let place = Workplace::kafka();
    let service = place.service("one", &[]);
    std::fs::write(place.dir().join("example.py"), adapted(code, &place)).unwrap();
    let mut python = Command::new(variable("LUNAPARK_PYTHON"));
    let score = run(python.arg("example.py"), &place);
    assert_eq!(score.trim().parse::<f32>().expect("a score"), score_of_the_first());
    service.terminate().ok();
}

#[test]
fn kcat_produces_an_event_and_prints_its_result() {
    let place = Workplace::kafka();
    let service = place.service("one", &[]);
    let script = adapted(example("kcat-example"), &place);
    let printed = run(Command::new("sh").args(["-euc", &script]), &place);
    let expected = format!("{{\"predictions\":[{}]}}", score_of_the_first());
    assert!(printed.contains(&expected), "no {expected} in:\n{printed}");
    service.terminate().ok();
}

/// The README's event is the first of the sample.
fn score_of_the_first() -> f32 {
    higgs::scores(TREES, &higgs::sample(1))[0]
}
