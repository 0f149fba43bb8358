//! Files of events scored without a stream, and models compared with expected answers.

use std::path::PathBuf;

use arrow_array::{Array, RecordBatch};
use lunapark_schemas::TensorSpec;
use lunapark_schemas::rows::{Values, f32_values, f64_values, i64_values, string_values};
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

/// A model of another tool, from the fixtures of the formats, and rows for it.
pub struct Foreign {
    /// Its name in a stream.
    pub name: &'static str,
    /// How its file is called.
    pub file: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
    /// The values of each input, row by row.
    pub inputs: Vec<Vec<f64>>,
    /// What the columns of its answers are called.
    header: &'static str,
}

macro_rules! fixture {
    ($path:literal) => {
        include_bytes!(concat!("../../../operators/models/fixtures/", $path))
    };
}

/// What the demo's models do not have: a label as text beside a vector, two inputs of different types, double precision.
pub fn foreign_models(rows: usize) -> [Foreign; 3] {
    let events = higgs::sample(rows).iter().flat_map(higgs::numbers).map(f64::from).collect();
    let steps =
        |count: usize, by: usize, around: f64| (0..count).map(|at| (at * by % 23) as f64 / 2.0 - around).collect();
    let mut table: Vec<f64> = steps(rows * 8, 13, 2.5);
    // LightGBM takes missing values.
    table.iter_mut().step_by(11).for_each(|value| *value = f64::NAN);
    let jets = (0..rows).map(|row| (row % 7) as f64).collect();
    let foreign = |name, file, bytes, inputs, header| Foreign { name, file, bytes, inputs, header };
    [
        foreign(
            "forest",
            "forest.onnx",
            fixture!("onnx/forest-higgs.onnx"),
            vec![events],
            "label,probabilities_0,probabilities_1",
        ),
        foreign(
            "two",
            "two.onnx",
            fixture!("onnx/two-inputs.onnx"),
            vec![steps(rows * 4, 7, 5.0), jets],
            "label,probabilities_0,probabilities_1",
        ),
        foreign(
            "boosted",
            "boosted.txt",
            fixture!("lightgbm/4.7.0-multiclass.txt"),
            vec![table],
            "probabilities_0,probabilities_1,probabilities_2",
        ),
    ]
}

impl Foreign {
    /// The inputs as the model has them.
    pub fn specs(&self) -> Vec<TensorSpec> {
        higgs::model(self.bytes).model.signature().inputs.clone()
    }

    /// The answers of the model in this process.
    pub fn answers(&self) -> RecordBatch {
        let model = higgs::model(self.bytes).model;
        let column = |(spec, values): (&TensorSpec, &Vec<f64>)| {
            let mut column = Values::with_capacity(spec.datatype, values.len());
            values.iter().for_each(|value| column.push(*value));
            column.into_column(spec).expect("a column")
        };
        let columns = model.signature().inputs.iter().zip(&self.inputs).map(column).collect();
        let rows = RecordBatch::try_new(model.signature().input_schema(), columns).expect("rows");
        model.infer(&rows).expect("answers")
    }

    /// Names of the columns of a table for it: its fields, or the input's name and a number.
    fn columns(&self) -> Vec<String> {
        let numbered = |spec: &TensorSpec| (0..spec.width).map(|at| format!("{}_{at}", spec.name)).collect();
        let names = |spec: &TensorSpec| if spec.fields.is_empty() { numbered(spec) } else { spec.fields.clone() };
        self.specs().iter().flat_map(names).collect()
    }

    /// The rows as CSV, the columns in reverse: only their names can set them right.
    fn csv(&self, rows: usize) -> String {
        let cell = |value: &f64| if value.is_nan() { String::new() } else { value.to_string() };
        let reversed = |cells: Vec<String>| cells.into_iter().rev().collect::<Vec<_>>().join(",") + "\n";
        let mut text = reversed(self.columns());
        for row in 0..rows {
            let of = |values: &Vec<f64>| -> Vec<String> {
                let width = values.len() / rows;
                values[row * width..(row + 1) * width].iter().map(cell).collect()
            };
            text.push_str(&reversed(self.inputs.iter().flat_map(of).collect()));
        }
        text
    }
}

/// Whether the cell of a CSV file says what the column has at that place, to the last bit.
fn says(cell: &str, column: &dyn Array, at: usize) -> bool {
    let single = f32_values(column).map(|values| cell.parse() == Ok(values[at]));
    let double = || f64_values(column).map(|values| cell.parse() == Ok(values[at]));
    let whole = || i64_values(column).map(|values| cell.parse() == Ok(values[at]));
    let text = || string_values(column).map(|texts| cell.trim_matches('"') == texts.value(at));
    single.or_else(double).or_else(whole).or_else(text).unwrap_or(false)
}

/// One line of the file against the answers to its row.
fn is_answered(cells: &[String], answers: &RecordBatch, widths: &[usize], row: usize) -> bool {
    let places =
        widths.iter().enumerate().flat_map(|(column, width)| (0..*width).map(move |at| (column, row * width + at)));
    let places: Vec<_> = places.collect();
    cells.len() == places.len()
        && cells.iter().zip(places).all(|(cell, (column, at))| says(cell, answers.column(column), at))
}

#[test]
fn models_of_other_tools_score_tables_with_a_column_for_each_value() {
    const ROWS: usize = 200;
    let place = Workplace::embedded();
    for foreign in foreign_models(ROWS) {
        let model = write(&place, foreign.file, foreign.bytes).to_string_lossy().into_owned();
        write(&place, "rows.csv", foreign.csv(ROWS));
        let told = score(&place, &model, &["--input", "rows.csv", "--output", "answers.csv", "--force"]);
        assert_eq!((&told["rows"], &told["refused"]), (&json!(ROWS), &json!(0)), "{}", foreign.name);
        let text = std::fs::read_to_string(place.dir().join("answers.csv")).unwrap();
        assert_eq!(text.lines().next(), Some(foreign.header), "{}", foreign.name);
        let (answers, found) = (foreign.answers(), cells(&place, "answers.csv"));
        let outputs = higgs::model(foreign.bytes).model.signature().outputs.clone();
        let widths: Vec<usize> = outputs.iter().map(|spec| spec.width).collect();
        assert_eq!((found.len(), widths.iter().sum::<usize>()), (ROWS, foreign.header.split(',').count()));
        for (row, cells) in found.iter().enumerate() {
            assert!(is_answered(cells, &answers, &widths, row), "{} row {row}: {cells:?}", foreign.name);
        }
    }
}

/// Labels as text and vectors are compared too, from Parquet.
#[test]
fn a_forest_is_compared_with_its_own_answers_from_parquet() {
    let place = Workplace::embedded();
    let [forest, ..] = foreign_models(100);
    let model = write(&place, forest.file, forest.bytes).to_string_lossy().into_owned();
    write(&place, "rows.csv", forest.csv(100));
    let keep = forest.columns().join(",");
    score(&place, &model, &["--input", "rows.csv", "--output", "golden.parquet", "--keep", &keep]);
    let told = place.cli_json(&["model", "check", &model, "--no-speed", "--golden", "golden.parquet"]);
    assert_eq!((&told["golden"]["rows"], &told["golden"]["values"]), (&json!(100), &json!(300)));
    assert_eq!((&told["golden"]["largest"], &told["outputs"][0]["datatype"]), (&Value::Null, &json!("BYTES")));
}
