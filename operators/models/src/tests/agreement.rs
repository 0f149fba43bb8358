//! How answers are compared with those of the tool that wrote the model.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use lunapark_schemas::rows::f64_values;

use super::*;

/// Answers as double precision holds them exactly, whatever their type.
pub(super) fn numbers(model: &dyn Model, rows: &RecordBatch) -> Vec<f64> {
    let answer = model.infer(rows).unwrap();
    assert_eq!(answer.schema(), model.signature().output_schema());
    let column = answer.column(0);
    if let Some(values) = f64_values(column) {
        return values.to_vec();
    }
    match f32_values(column) {
        Some(values) => values.iter().map(|&x| f64::from(x)).collect(),
        None => column.as_primitive::<Int64Type>().values().iter().map(|&x| x as f64).collect(),
    }
}

/// How far two answers are apart, relative above 1; two equal infinities, and two NaN, are equal.
fn distance(ours: f64, theirs: f64) -> f64 {
    if ours == theirs || (ours.is_nan() && theirs.is_nan()) {
        return 0.0;
    }
    let distance = (ours - theirs).abs() / theirs.abs().max(1.0);
    if distance.is_nan() { f64::INFINITY } else { distance }
}

/// What is wrong with a model's answers, if anything.
pub(super) fn fault(
    name: &str,
    model: &dyn Model,
    rows: &RecordBatch,
    theirs: &[f64],
    same_bits: bool,
) -> Option<String> {
    let ours = numbers(model, rows);
    assert_eq!(ours.len(), rows.num_rows() * model.signature().outputs[0].width, "{name}");
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let distances = ours.iter().zip(theirs).map(|(&a, &b)| distance(a, b)).enumerate();
    let (at, worst) = distances.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    // The sign of what is no number is the processor's.
    let differs = |(a, b): &(&f64, &f64)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
    let differing = ours.iter().zip(theirs).filter(differs).count();
    let wrong = worst > 1e-6 || (same_bits && differing > 0);
    wrong.then(|| format!("{name}: value {at} is {} for {}, {differing} differ in a bit", ours[at], theirs[at]))
}

/// A row's answer is the same bits alone and in batches of several sizes.
pub(super) fn check_alone_and_in_batches(name: &str, model: &dyn Model, all: &RecordBatch) {
    let width = model.signature().outputs[0].width;
    let bits = |rows: &RecordBatch| -> Vec<u64> { numbers(model, rows).iter().map(|x| x.to_bits()).collect() };
    let whole = bits(all);
    let some = [(17, 31), (4_321, 64), (5_000, 3_000), (123, 255)];
    let single = (0..all.num_rows()).step_by(97).map(|row| (row, 1));
    for (start, len) in some.into_iter().chain(single) {
        let part = bits(&all.slice(start, len));
        assert_eq!(part, whole[start * width..(start + len) * width], "{name}: {len} rows from {start}");
    }
}
