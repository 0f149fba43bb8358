//! Tables as rows: which column goes where, and what cells of text say.

use arrow_array::{ArrayRef, Float64Array, Int64Array, LargeStringArray, NullArray, StringArray};
use arrow_schema::{DataType, Field, Schema};

use super::super::table::TablePlan;
use super::arrow::lists;
use super::*;
use crate::outcome::FailedRow;
use crate::rows::{f64_values, i64_values};

fn doubles(names: &[&str]) -> Schema {
    Schema::new(names.iter().map(|name| Field::new(*name, DataType::Float64, true)).collect::<Vec<_>>())
}

/// The columns that a plan reads, or the reason why there is none.
fn planned(schema: &Schema, signature: &Signature, aside: &[usize]) -> Result<Vec<usize>, String> {
    TablePlan::new(schema, signature, aside).map(|plan| plan.columns().collect()).map_err(|error| error.message)
}

fn read(columns: Vec<(&str, ArrayRef)>, signature: &Arc<Signature>) -> (RecordBatch, Vec<FailedRow>) {
    let table = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let plan = TablePlan::new(&table.schema(), signature, &[]).unwrap();
    let mut rows = builder(signature);
    let failed = plan.append(&table.project(&plan.columns().collect::<Vec<_>>()).unwrap(), &mut rows).unwrap();
    (rows.finish().unwrap(), failed)
}

#[test]
fn columns_are_found_by_name_before_they_are_counted() {
    let rich = rich();
    assert_eq!(planned(&doubles(&["id", "y", "energy", "x"]), &rich, &[]), Ok(vec![1, 2, 3]));
    assert_eq!(planned(&doubles(&["hits_1", "energy", "hits_0"]), &rich, &[]), Ok(vec![0, 1, 2]));
    assert_eq!(planned(&doubles(&["a", "b", "c"]), &rich, &[]), Ok(vec![0, 1, 2]));
    assert_eq!(planned(&doubles(&["id", "a", "b", "c"]), &rich, &[0]), Ok(vec![1, 2, 3]));
    // One name fits, so the order says nothing: a misspelt name must not move values to other fields.
    let error = planned(&doubles(&["y", "x", "enrgy"]), &rich, &[]).unwrap_err();
    assert!(error.starts_with("no column `energy` among `y`, `x`, `enrgy`"), "{error}");
    assert!(planned(&doubles(&["a", "b"]), &rich, &[]).unwrap_err().starts_with("no column `x`, `y` among"));
    assert!(planned(&doubles(&["x", "x", "y", "energy"]), &rich, &[]).unwrap_err().contains("no column `x`"));
    let dates = Schema::new(vec![Field::new("input", DataType::Date32, true)]);
    assert!(planned(&dates, &plain(1), &[]).unwrap_err().contains("column `input` is Date32"));
}

#[test]
fn names_put_values_in_their_places() {
    let column = |values: [f64; 2]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
    let columns = vec![("y", column([2.0, 5.0])), ("energy", column([3.0, 6.0])), ("x", column([1.0, 4.0]))];
    let (rows, failed) = read(columns, &rich());
    assert_eq!(f64_values(rows.column(0)), Some(&[1.0, 2.0, 4.0, 5.0][..]));
    assert_eq!((f32_values(rows.column(1)), failed.len()), (Some(&[3.0, 6.0][..]), 0));
    let whole = lists(&[Some(&[1.0, 2.0]), None], 2);
    let (rows, failed) = read(vec![("hits", whole), ("energy", column([3.0, 6.0]))], &rich());
    assert_eq!((rows.num_rows(), failed[0].row, failed[0].rejection.class), (1, 1, ErrorClass::Missing));
}

#[test]
fn cells_of_text_are_numbers_missing_or_wrong() {
    let cells = ["1.5", " -2e3 ", "", "NaN", "null", "inf", "-Infinity", "1e400", "x", "1,5"];
    let expected: [Option<f32>; 8] =
        [Some(1.5), Some(-2000.0), None, None, None, Some(f32::INFINITY), Some(f32::NEG_INFINITY), None];
    let columns: [ArrayRef; 2] =
        [Arc::new(StringArray::from(cells.to_vec())), Arc::new(LargeStringArray::from(cells.to_vec()))];
    for column in columns {
        let (rows, failed) = read(vec![("input", column)], &plain(1));
        assert_eq!(failed.iter().map(|failed| failed.row).collect::<Vec<_>>(), [7, 8, 9]);
        assert!(failed[1].rejection.message.contains("row 8, input `input`: `x` is no number"), "{failed:?}");
        let found = f32_values(rows.column(0)).unwrap();
        assert_eq!(found.len(), 7);
        let same = |(found, expected): (&f32, &Option<f32>)| expected.map_or(found.is_nan(), |value| *found == value);
        assert!(found.iter().zip(&expected).all(same), "{found:?}");
    }
    let (rows, failed) = read(vec![("input", Arc::new(NullArray::new(2)))], &plain(1));
    assert!(failed.is_empty() && f32_values(rows.column(0)).unwrap().iter().all(|value| value.is_nan()));
}

#[test]
fn integers_keep_all_their_digits() {
    let inputs = vec![TensorSpec::new("n", Datatype::Int64, 1)];
    let signature = Arc::new(Signature { inputs, outputs: plain(1).outputs.clone() });
    let text = StringArray::from(vec!["9007199254740993", "2.0", "2.5", ""]);
    let (rows, failed) = read(vec![("n", Arc::new(text))], &signature);
    assert_eq!(i64_values(rows.column(0)), Some(&[9_007_199_254_740_993, 2][..]));
    assert_eq!(failed.iter().map(|f| f.rejection.class).collect::<Vec<_>>(), [ErrorClass::Value, ErrorClass::Missing]);
    let (rows, _) = read(vec![("n", Arc::new(Int64Array::from(vec![i64::MIN])))], &signature);
    assert_eq!(i64_values(rows.column(0)), Some(&[i64::MIN][..]));
}

/// A batch whose every row is bad is no error: the table goes on.
#[test]
fn no_good_row_is_no_failure_of_the_table() {
    let (rows, failed) = read(vec![("input", Arc::new(StringArray::from(vec!["x", "y"])))], &plain(1));
    assert_eq!((rows.num_rows(), failed.len()), (0, 2));
}

/// Images as lists of lists, of either sort; as an event in Arrow and as a column of a table.
#[test]
fn lists_in_lists_are_an_input_of_several_dimensions() {
    let inputs = vec![TensorSpec::with_shape("image", Datatype::Fp32, vec![2, 3])];
    let signature = Arc::new(Signature { inputs, outputs: plain(1).outputs.clone() });
    let pixels: Vec<f32> = (0..18).map(|value| value as f32).collect();
    let flat = || Arc::new(arrow_array::Float32Array::from(pixels.clone())) as ArrayRef;
    let item = |array: &ArrayRef| Arc::new(Field::new("item", array.data_type().clone(), true));
    let fixed = |array: ArrayRef, size: i32| {
        Arc::new(arrow_array::FixedSizeListArray::new(item(&array), size, array, None)) as ArrayRef
    };
    let list = |array: ArrayRef, lengths: &[usize]| {
        let offsets = arrow_buffer::OffsetBuffer::<i32>::from_lengths(lengths.iter().copied());
        Arc::new(arrow_array::ListArray::new(item(&array), offsets, array, None)) as ArrayRef
    };
    for column in [
        fixed(fixed(flat(), 3), 2),
        list(list(flat(), &[3; 6]), &[2; 3]),
        list(fixed(flat(), 3), &[2; 3]),
        fixed(flat(), 6),
    ] {
        let (rows, failed) = read(vec![("image", column.slice(1, 2))], &signature);
        assert_eq!((f32_values(rows.column(0)), failed.len()), (Some(&pixels[6..]), 0));
        let batch = RecordBatch::try_from_iter_with_nullable([("image", column, true)]).unwrap();
        let mut rows = builder(&signature);
        let headers = [("content-type", "application/vnd.apache.arrow.stream")];
        decode_with(&super::arrow::stream(&[batch], None), &headers, &mut rows).unwrap();
        assert_eq!(decoded(rows), pixels);
    }
    let turned = fixed(fixed(flat(), 2), 3);
    assert!(
        planned(&Schema::new(vec![Field::new("image", turned.data_type().clone(), true)]), &signature, &[]).is_err()
    );
    for uneven in [list(list(flat(), &[2, 4, 3, 3, 3, 3]), &[2; 3]), list(list(flat(), &[3; 6]), &[1, 3, 2])] {
        let table = RecordBatch::try_from_iter_with_nullable([("image", uneven, true)]).unwrap();
        let plan = TablePlan::new(&table.schema(), &signature, &[]).unwrap();
        let error = plan.append(&table, &mut builder(&signature)).unwrap_err().message;
        assert!(error.contains("a list that is null or not of"), "{error}");
    }
}
