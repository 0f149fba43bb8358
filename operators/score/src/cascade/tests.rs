//! Cascades of toy models: what they answer, and what is refused at load.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use lunapark_models::{Accepts, Model, ModelError};
use lunapark_schemas::rows::{Values, f32_values, f64_values, i64_values, string_values};
use lunapark_schemas::{Datatype, Signature, TensorSpec};

use super::{Cascade, CascadeError, Part, StepText, describes};
use crate::refused::{Refused, refused_rows};

/// Sums up a row of floats, times a factor; and says whether that is above 10.
struct Toy {
    signature: Arc<Signature>,
    accepts: Accepts,
    factor: f32,
    most_rows: usize,
}

impl Model for Toy {
    fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    fn accepts(&self) -> Accepts {
        self.accepts
    }

    fn infer(&self, rows: &RecordBatch) -> Result<RecordBatch, ModelError> {
        assert!(rows.num_rows() > 0 && rows.num_rows() <= self.most_rows, "{} rows", rows.num_rows());
        let width = self.signature.inputs[0].width;
        let values: Vec<f32> = match f32_values(rows.column(0)) {
            Some(values) => values.to_vec(),
            None => f64_values(rows.column(0)).unwrap().iter().map(|value| *value as f32).collect(),
        };
        assert!(self.accepts.missing || values.iter().all(|value| !value.is_nan()));
        let sums: Vec<f32> = values.chunks(width).map(|row| row.iter().sum::<f32>() * self.factor).collect();
        let labels = sums.iter().map(|sum| i64::from(*sum > 10.0)).collect();
        let names = sums.iter().map(|sum| if *sum > 10.0 { "high" } else { "low" }.to_owned()).collect();
        let columns = [Values::F32(sums), Values::I64(labels), Values::Strings(names)];
        let columns: Vec<ArrayRef> =
            columns.into_iter().zip(&self.signature.outputs).map(|(v, spec)| v.into_column(spec).unwrap()).collect();
        Ok(RecordBatch::try_new(self.signature.output_schema(), columns).unwrap())
    }
}

fn toy(input: TensorSpec, factor: f32, accepts: Accepts, most_rows: usize) -> Arc<dyn Model> {
    let outputs = vec![
        TensorSpec::new("sum", Datatype::Fp32, 1),
        TensorSpec::new("label", Datatype::Int64, 1),
        TensorSpec::new("name", Datatype::Bytes, 1),
    ];
    let signature = Arc::new(Signature { inputs: vec![input], outputs });
    Arc::new(Toy { signature, accepts, factor, most_rows })
}

fn named(name: &str, datatype: Datatype, fields: &[&str]) -> TensorSpec {
    let mut spec = TensorSpec::new(name, datatype, fields.len());
    spec.fields = fields.iter().map(|field| (*field).to_owned()).collect();
    spec
}

const STRICT: Accepts = Accepts { missing: false, infinite: false };
const ALL: Accepts = Accepts { missing: true, infinite: true };

/// `gate.m` sees all of a, b, c; `main.m` two of them, times ten, and takes nothing missing; `one.m` is a scalar's double.
fn part(step: &StepText) -> Result<Part, String> {
    let model = match step.model.as_str() {
        "gate.m" => toy(named("x", Datatype::Fp32, &["a", "b", "c"]), 1.0, ALL, usize::MAX),
        "main.m" => toy(named("x", Datatype::Fp64, &["c", "a"]), 10.0, STRICT, usize::MAX),
        "one.m" => toy(TensorSpec::new("score", Datatype::Fp32, 1), 2.0, STRICT, usize::MAX),
        "three.m" => toy(TensorSpec::new("v", Datatype::Fp32, 3), 1.0, ALL, usize::MAX),
        "two-rows.m" => toy(named("x", Datatype::Fp32, &["a", "b", "c"]), 1.0, ALL, 2),
        other => return Err(format!("no file {other}")),
    };
    Ok(Part { model, digest: format!("{:064}", step.model.len()) })
}

fn read(text: &str) -> Result<Cascade, CascadeError> {
    Cascade::read(text.as_bytes(), part)
}

const CASCADE: &str = r#"
kind = "cascade"

[[steps]]
name = "gate"
model = "gate.m"

[[steps]]
name = "main"
model = "main.m"
when = "gate.sum >= 3 and b != 100"

[[steps]]
name = "calibrate"
model = "one.m"
inputs = { score = "main.sum" }

[[outputs]]
name = "score"
from = ["calibrate.sum", "gate.sum"]

[[outputs]]
name = "label"
from = ["main.label", "gate.label"]

[[outputs]]
name = "only"
from = "calibrate.sum"
"#;

fn rows(cascade: &Cascade, values: &[f32]) -> RecordBatch {
    let spec = &cascade.signature().inputs[0];
    let column = Values::F32(values.to_vec()).into_column(spec).unwrap();
    RecordBatch::try_new(cascade.signature().input_schema(), vec![column]).unwrap()
}

fn floats(batch: &RecordBatch, name: &str) -> Vec<f32> {
    f32_values(batch.column_by_name(name).unwrap()).unwrap().to_vec()
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<String> {
    let texts = string_values(batch.column_by_name(name).unwrap()).unwrap();
    texts.iter().map(|text| text.unwrap().to_owned()).collect()
}

#[test]
fn rows_go_as_far_as_their_conditions_let_them() {
    let cascade = read(CASCADE).unwrap();
    assert_eq!(
        cascade.signature().inputs,
        [named("x", Datatype::Fp32, &["a", "b", "c"])],
        "the wider x is the event's"
    );
    let answers = cascade.infer(&rows(&cascade, &[1.0, 1.0, 0.5, 1.0, 1.0, 2.0, 1.0, 100.0, 2.0])).unwrap();
    assert_eq!(answers.schema(), cascade.signature().output_schema());
    // Row 0 fails the gate, row 1 passes ((2 + 1) · 10 · 2), row 2 has b = 100.
    assert_eq!(floats(&answers, "score"), [2.5, 60.0, 103.0]);
    let only = floats(&answers, "only");
    assert!(only[0].is_nan() && only[1] == 60.0 && only[2].is_nan());
    assert_eq!(i64_values(answers.column_by_name("label").unwrap()), Some(&[0, 1, 1][..]));
    assert_eq!(texts(&answers, "step"), ["gate", "calibrate", "gate"]);
}

#[test]
fn a_row_is_answered_alike_in_any_batch() {
    let cascade = read(CASCADE).unwrap();
    let values: Vec<f32> = (0..300).map(|at| (at * 37 % 101) as f32 / 50.0).collect();
    let batch = rows(&cascade, &values);
    let whole = cascade.infer(&batch).unwrap();
    assert!(texts(&whole, "step").iter().any(|step| step == "gate"));
    for (start, length) in [(0, 1), (17, 1), (3, 64), (50, 50), (99, 1)] {
        let part = cascade.infer(&batch.slice(start, length)).unwrap();
        let expected = whole.slice(start, length);
        let bits = |batch: &RecordBatch| floats(batch, "score").iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&part), bits(&expected));
        assert_eq!(texts(&part, "step"), texts(&expected, "step"));
    }
    assert_eq!(cascade.infer(&batch.slice(0, 0)).unwrap().num_rows(), 0);
}

#[test]
fn expensive_steps_see_only_what_passes() {
    let text = CASCADE.replace("main.m", "two-rows.m");
    let cascade = read(&text).unwrap();
    let answers = cascade.infer(&rows(&cascade, &[1.0; 3].repeat(2).into_iter().chain([0.0; 9]).collect::<Vec<_>>()));
    assert_eq!(texts(&answers.unwrap(), "step"), ["calibrate", "calibrate", "gate", "gate", "gate"]);
}

#[test]
fn inputs_are_put_together_from_answers_and_fields() {
    let text = r#"{"kind": "cascade",
        "steps": [{"name": "gate", "model": "gate.m"},
                  {"name": "sum", "model": "three.m", "inputs": {"v": ["gate.sum", "x[1]", "gate.label"]}}],
        "outputs": [{"name": "y", "from": "sum.sum"}, {"name": "b", "from": "b"}, {"name": "n", "from": "sum.name"}]}"#;
    let cascade = read(text).unwrap();
    let answers = cascade.infer(&rows(&cascade, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).unwrap();
    assert_eq!((floats(&answers, "y"), floats(&answers, "b")), (vec![8.0, 21.0], vec![2.0, 5.0]));
    assert_eq!(texts(&answers, "n"), ["low", "high"]);
    assert!(answers.column_by_name("step").is_none(), "every step runs always");
}

#[test]
fn refusals_are_those_of_the_steps_that_read_the_event() {
    assert_eq!(read(CASCADE).unwrap().accepts(), STRICT);
    let text = r#"
        kind = "cascade"
        steps = [{ name = "gate", model = "gate.m" }, { name = "one", model = "one.m", inputs = { score = "gate.sum" } }]
        outputs = [{ name = "y", from = "one.sum" }, { name = "label", from = ["one.label", "gate.label"] }]"#;
    let cascade = read(text).unwrap();
    assert_eq!(cascade.accepts(), ALL, "one.m sees only what the gate gives");
    let answers = cascade.infer(&rows(&cascade, &[1.0, 2.0, f32::NAN, 1.0, 1.0, 1.0])).unwrap();
    let y = floats(&answers, "y");
    assert!(y[0].is_nan() && y[1] == 6.0, "{y:?}");
    assert_eq!(i64_values(answers.column_by_name("label").unwrap()), Some(&[0, 0][..]));
}

/// `b` is read by the gate alone, which takes everything; `a` and `c` by main.m too, which does not.
#[test]
fn a_missing_value_refuses_a_row_only_by_the_steps_that_read_it() {
    let cascade = read(CASCADE).unwrap();
    let accepted: Vec<_> = (0..3).map(|element| cascade.accepts_element(0, element)).collect();
    assert_eq!(accepted, [STRICT, ALL, STRICT]);
    let nan = f32::NAN;
    let b_alone = rows(&cascade, &[1.0, nan, 2.0, 1.0, f32::INFINITY, 2.0]);
    assert_eq!(refused_rows(&cascade, &b_alone), None);
    assert_eq!(texts(&cascade.infer(&b_alone).unwrap(), "step"), ["gate", "calibrate"]);
    let mixed = rows(&cascade, &[1.0, nan, nan, 1.0, nan, 2.0, f32::INFINITY, 1.0, 1.0]);
    let refused = |element, infinite| Some(Refused { input: 0, element, infinite });
    assert_eq!(refused_rows(&cascade, &mixed), Some(vec![refused(2, false), None, refused(0, true)]));
}

#[test]
fn the_digest_covers_the_parts() {
    let digest = |text: &str| read(text).unwrap().digest().to_owned();
    let first = digest(CASCADE);
    assert_eq!(first.len(), 64);
    assert_ne!(first, digest(&CASCADE.replace("3 and", "4 and")));
    let other = |step: &StepText| part(step).map(|part| Part { digest: "f".repeat(64), ..part });
    assert_ne!(first, Cascade::read(CASCADE.as_bytes(), other).unwrap().digest());
}

#[test]
fn what_cannot_work_is_refused_and_says_why() {
    for (from, to, why) in [
        ("kind = \"cascade\"", "kind = \"cascade\"\nspeed = 1", "unknown field `speed`"),
        ("name = \"main\"", "name = \"gate\"", "two steps are called `gate`"),
        ("name = \"main\"", "name = \"ma.in\"", "name it with a letter"),
        ("main.m", "none.m", "step `main`: no file none.m"),
        ("gate.sum >= 3", "gate.sums >= 3", "step `main`: when = \"gate.sums"),
        ("gate.sum >= 3", "gate.sum >= 'a'", "compares a number with a text"),
        ("gate.sum >= 3", "x >= 3", "`x` has 3 values"),
        ("gate.sum >= 3", "calibrate.sum >= 3", "no source `calibrate.sum`"),
        ("score = \"main.sum\"", "scores = \"main.sum\"", "no input `scores`; it has `score`"),
        ("score = \"main.sum\"", "score = [\"main.sum\", \"a\"]", "takes 1 values, its sources give 2"),
        ("score = \"main.sum\"", "score = \"main.name\"", "takes FP32, `name` is BYTES"),
        ("score = \"main.sum\"", "score = \"x[3]\"", "no such element"),
        ("\"main.label\", \"gate.label\"", "\"main.label\"", "add a source that always answers"),
        ("\"main.label\", \"gate.label\"", "\"main.label\", \"gate.sum\"", "its sources differ"),
        ("name = \"only\"", "name = \"step\"", "output `step` is there twice"),
        ("name = \"only\"", "name = \"label\"", "output `label` is there twice"),
        ("inputs = { score = \"main.sum\" }", "", "no input `score` of 1 values"),
    ] {
        assert!(CASCADE.contains(from), "{from}");
        // Without its mapping `score` becomes an input of the event: only declared inputs refuse it.
        let declared =
            "[[inputs]]\nname = \"x\"\ndatatype = \"FP32\"\nwidth = 3\nfields = [\"a\", \"b\", \"c\"]\n\n[[steps]]";
        let text = CASCADE.replacen("[[steps]]", declared, 1).replacen(from, to, 1);
        let error = read(&text).err().unwrap_or_else(|| panic!("{to} is taken")).to_string();
        assert!(error.contains(why), "{to}: {error}");
    }
    for (text, why) in [
        ("kind = \"cascade\"\nsteps = []\noutputs = []", "0 steps"),
        ("kind = \"cascade\"", "missing field `steps`"),
        ("kind = \"cascade\"\n[[", "TOML"),
        ("{\"kind\": \"cascade\", \"steps\": 3}", "invalid type"),
    ] {
        let error = read(text).err().unwrap().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    for text in [
        format!("kind = \"cascade\"\nsteps = {}", "[".repeat(200_000)),
        format!("kind = \"cascade\"\nsteps = {}", "{a=".repeat(200_000)),
        format!("{{\"kind\": \"cascade\", \"steps\": {}", "[".repeat(200_000)),
    ] {
        assert!(read(&text).is_err());
    }
}

#[test]
fn descriptions_are_told_from_models() {
    assert!(describes(CASCADE.as_bytes()) && describes(b"  kind=\"cascade\" # so\nrest"));
    assert!(describes(b"{\"steps\": [], \"kind\": \"cascade\"}"));
    for other in ["", "{}", "{\"kind\": \"other\"}", "{\"learner\": {\"kind\": \"cascade\"}}", "tree\nversion=v4\n"] {
        assert!(!describes(other.as_bytes()), "{other}");
    }
    assert!(!describes(&[b' '; (1 << 20) + 1]) && !describes(&[0xff, 0xfe]));
}
