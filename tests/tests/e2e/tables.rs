//! Files of events scored without a stream, and models compared with expected answers.

use std::path::PathBuf;

use lunapark_tests::harness::Workplace;
use serde_json::{Value, json};

use super::higgs::{self, FEATURES, PERCEPTRON, TREES};

fn fields() -> Vec<String> {
    higgs::model(TREES).model.signature().inputs[0].fields.clone()
}

/// The events as CSV with an id in front and their columns in reverse, which only names can set right.
fn csv(events: &[higgs::Features]) -> String {
    let reversed = |cells: Vec<String>| cells.into_iter().rev().collect::<Vec<_>>().join(",");
    let mut text = format!("id,{}\n", reversed(fields()));
    for (number, event) in events.iter().enumerate() {
        let cells = event.iter().map(|cell| (*cell).to_owned()).collect();
        text.push_str(&format!("e-{number},{}\n", reversed(cells)));
    }
    text
}

fn write(place: &Workplace, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = place.dir().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn score(place: &Workplace, model: &str, arguments: &[&str]) -> Value {
    place.cli(&[&["--json", "model", "score", model], arguments].concat()).ok().json()
}

/// The lines of a CSV file without its header, as cells.
fn cells(place: &Workplace, name: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(place.dir().join(name)).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// From CSV by way of every other kind of file: the scores are those of the stream, ids stay with their rows.
#[test]
fn every_kind_of_file_gives_the_same_scores() {
    let place = Workplace::embedded();
    let events = higgs::sample(3000);
    write(&place, "events.csv", csv(&events));
    let keep = format!("id,{}", fields().join(","));
    let told = score(&place, "builtin:higgs-xgb", &["--input", "events.csv", "--output", "0.parquet", "--keep", &keep]);
    assert_eq!((&told["rows"], &told["refused"]), (&json!(3000), &json!(0)));
    let expected = higgs::scores(TREES, &events);
    for (from, to) in [("0.parquet", "1.arrow"), ("1.arrow", "2.ndjson"), ("2.ndjson", "3.csv")] {
        score(&place, "builtin:higgs-xgb", &["--input", from, "--output", &format!("{from}.csv"), "--keep", "id"]);
        let found = cells(&place, &format!("{from}.csv"));
        assert_eq!(found.len(), expected.len());
        for (row, (cells, score)) in found.iter().zip(&expected).enumerate() {
            assert_eq!((cells[0].as_str(), cells[1].parse()), (format!("e-{row}").as_str(), Ok(*score)), "{from}");
        }
        score(&place, "builtin:higgs-xgb", &["--input", from, "--output", to, "--keep", &keep]);
    }
}

#[test]
fn refused_rows_are_empty_counted_and_fatal_only_if_asked() {
    let place = Workplace::embedded();
    let events = higgs::sample(5);
    let text = csv(&events);
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let last_cell = |line: &str, cell: &str| format!("{}{cell}", &line[..line.rfind(',').unwrap() + 1]);
    lines[2] = last_cell(&lines[2], "");
    lines[4] = last_cell(&lines[4], "many");
    write(&place, "events.csv", lines.join("\n"));
    let told = score(&place, "builtin:higgs-mlp", &["--input", "events.csv", "--output", "net.csv"]);
    assert_eq!((&told["rows"], &told["refused"], &told["first_refused"]["row"]), (&json!(5), &json!(2), &json!(1)));
    let reason = told["first_refused"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("row 1: `lepton_pT` is missing"), "{reason}");
    let expected = higgs::scores(PERCEPTRON, &events);
    for (row, cells) in cells(&place, "net.csv").iter().enumerate() {
        match row {
            1 | 3 => assert_eq!(cells, &["\"\""]),
            _ => assert_eq!(cells[0].parse(), Ok(expected[row])),
        }
    }
    // Trees take a missing value; what is no number, nobody does.
    let told = score(&place, "builtin:higgs-xgb", &["--input", "events.csv", "--output", "trees.csv"]);
    assert_eq!((&told["refused"], &told["first_refused"]["row"]), (&json!(1), &json!(3)));
    let strict = ["model", "score", "builtin:higgs-mlp", "--input", "events.csv", "--output", "s.csv", "--strict"];
    let outcome = place.cli(&strict).failed();
    assert!(outcome.stdout.contains("2 rows were refused"), "{}", outcome.stdout);
    place.cli(&strict).failed().says(&["s.csv", "--force"]);
}

#[test]
fn pipes_are_scored_too_and_columns_count_by_order_without_names() {
    let place = Workplace::embedded();
    let events = higgs::sample(50);
    let bare: String = events.iter().map(|event| event.join(";") + "\n").collect();
    let command = ["model", "score", "builtin:higgs-xgb", "--input", "-", "--output", "-"];
    let outcome = place.cli_with_input(&[&command[..], &["--no-header"]].concat(), bare.as_bytes()).ok();
    let expected = higgs::scores(TREES, &events);
    let found: Vec<f32> = outcome.stdout.lines().skip(1).map(|line| line.parse().unwrap()).collect();
    assert_eq!((outcome.stdout.lines().next(), found), (Some("probability"), expected));
    place.cli_with_input(&command, bare.as_bytes()).failed().says(&["--no-header"]);
    let short: String = events.iter().map(|event| event[..27].join(",") + "\n").collect();
    place.cli_with_input(&[&command[..], &["--no-header"]].concat(), short.as_bytes()).failed().says(&["28 values"]);
    let named = csv(&events).replace("m_bb", "m_bx");
    place.cli_with_input(&command, named.as_bytes()).failed().says(&["no column `m_bb`"]);
}

#[test]
fn models_are_measured_and_compared_with_expected_answers() {
    let place = Workplace::embedded();
    let events = higgs::sample(500);
    let expected = higgs::scores(TREES, &events);
    let golden = |change: f32| {
        let mut lines = csv(&events).lines().map(str::to_owned).collect::<Vec<_>>();
        lines[0].push_str(",probability");
        for (row, score) in expected.iter().enumerate() {
            let score = if row == 321 { score + change } else { *score };
            lines[row + 1].push_str(&format!(",{score}"));
        }
        lines.join("\n")
    };
    write(&place, "same.csv", golden(0.0));
    write(&place, "other.csv", golden(1e-3));
    let told = place.cli_json(&["model", "check", "builtin:higgs-xgb", "--golden", "same.csv"]);
    assert_eq!((&told["golden"]["rows"], &told["golden"]["largest"]), (&json!(500), &Value::Null));
    let speeds = told["speed"].as_array().unwrap();
    assert!(speeds.iter().all(|speed| speed["rows_per_second"].as_f64() > Some(1000.0)), "{speeds:?}");
    assert_eq!(told["inputs"][0]["fields"].as_array().map(Vec::len), Some(FEATURES));
    let check = ["model", "check", "builtin:higgs-xgb", "--no-speed", "--golden", "other.csv"];
    let outcome = place.cli(&check).failed();
    assert!(outcome.stdout.contains("1 of 500 values of 500 rows DIFFER"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("row 321, `probability`"), "{}", outcome.stdout);
    place.cli(&[&check[..], &["--tolerance", "1e-2"]].concat()).ok();
}
