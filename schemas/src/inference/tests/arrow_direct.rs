//! Columns of the model's own types, which are copied straight from the message: the same rows as by the library, whatever
//! comes.

use arrow_array::{ArrayRef, Float32Array, Float64Array, Int64Array, NullArray, StringArray};
use arrow_ipc::CompressionType;
use proptest::collection::vec;
use proptest::prelude::*;

use super::arrow::{lists, stream};
use super::*;
use crate::rows::{f64_values, i64_values};

const HEADERS: [(&str, &str); 1] = [("content-type", "application/vnd.apache.arrow.stream")];

/// `hits` (doubles `x` and `y`), `image` (three floats) and `run` (an integer).
fn mixed() -> Arc<Signature> {
    let mut hits = TensorSpec::new("hits", Datatype::Fp64, 2);
    hits.fields = vec!["x".into(), "y".into()];
    let image = TensorSpec::new("image", Datatype::Fp32, 3);
    let inputs = vec![hits, image, TensorSpec::new("run", Datatype::Int64, 1)];
    Arc::new(Signature { inputs, outputs: vec![TensorSpec::new("score", Datatype::Fp32, 1)] })
}

/// A row: x, y, image, run.
type Row = (f64, f64, [f32; 3], i64);

/// Columns in an order of their own, some of them nobody's.
fn batch(rows: &[Row]) -> RecordBatch {
    let images: Vec<_> = rows.iter().map(|row| Some(&row.2[..])).collect();
    let names: Vec<_> = rows.iter().map(|row| row.3.to_string()).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("y", Arc::new(rows.iter().map(|row| row.1).collect::<Float64Array>())),
        ("name", Arc::new(StringArray::from(names))),
        ("nothing", Arc::new(NullArray::new(rows.len()))),
        ("image", lists(&images, 3)),
        ("run", Arc::new(rows.iter().map(|row| row.3).collect::<Int64Array>())),
        ("x", Arc::new(rows.iter().map(|row| row.0).collect::<Float64Array>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

/// What the rows hold, bit by bit.
fn bits(rows: RowsBuilder) -> (Vec<u64>, Vec<u32>, Vec<i64>) {
    let batch = rows.finish().unwrap();
    let hits = f64_values(batch.column(0)).unwrap().iter().map(|value| value.to_bits()).collect();
    let image = f32_values(batch.column(1)).unwrap().iter().map(|value| value.to_bits()).collect();
    (hits, image, i64_values(batch.column(2)).unwrap().to_vec())
}

fn read(payloads: &[&[u8]], signature: &Arc<Signature>) -> (Vec<Result<Request, Rejection>>, RowsBuilder) {
    let mut rows = builder(signature);
    (payloads.iter().map(|payload| decode_with(payload, &HEADERS, &mut rows)).collect(), rows)
}

fn row() -> impl Strategy<Value = Row> {
    (any::<f64>(), any::<f64>(), any::<[f32; 3]>(), any::<i64>())
}

proptest! {
    /// A compressed batch goes through the library.
    #[test]
    fn rows_are_those_that_the_library_reads(messages in vec(vec(vec(row(), 0..20), 1..4), 1..4)) {
        let streams = |compression| -> Vec<Vec<u8>> {
            let stream = |batches: &Vec<Vec<Row>>| {
                stream(&batches.iter().map(|rows| batch(rows)).collect::<Vec<_>>(), compression)
            };
            messages.iter().map(stream).collect()
        };
        let (plain, packed) = (streams(None), streams(Some(CompressionType::LZ4_FRAME)));
        let read = |streams: &[Vec<u8>]| read(&streams.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mixed());
        let ((direct, rows), (library, expected)) = (read(&plain), read(&packed));
        prop_assert_eq!(direct, library);
        prop_assert_eq!(bits(rows), bits(expected));
    }
}

const ROW: Row = (0.5, -1.5, [1.0, 2.0, 3.0], 7);

#[test]
fn damage_is_found_alike_behind_a_message_that_began_alike() {
    let good = stream(&[batch(&[ROW, ROW])], None);
    for at in 0..good.len() {
        for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut damaged = good.clone();
            damaged[at] = byte;
            let (mut alone, rows) = read(&[&damaged], &mixed());
            let (mut behind, rows_behind) = read(&[&good, &damaged], &mixed());
            assert_eq!(behind.pop(), alone.pop(), "byte {at}: {byte}");
            let (alone, behind) = (bits(rows), bits(rows_behind));
            assert_eq!((&behind.0[4..], &behind.1[6..], &behind.2[2..]), (&alone.0[..], &alone.1[..], &alone.2[..]));
        }
    }
}

#[test]
fn a_message_with_other_columns_is_read_by_its_own() {
    let first = stream(&[batch(&[ROW])], None);
    let narrow = batch(&[(9.0, 8.0, [4.0, 5.0, 6.0], 3)]).project(&[5, 0, 4, 3]).unwrap();
    let (requests, rows) = read(&[&first, &stream(&[narrow], None), &first], &mixed());
    assert!(requests.iter().all(Result::is_ok), "{requests:?}");
    assert_eq!(bits(rows).2, [7, 3, 7]);
}

#[test]
fn nulls_between_messages_without_are_missing_values() {
    let column = |values: Vec<Option<f32>>| Arc::new(Float32Array::from(values)) as ArrayRef;
    let message = |a, b| {
        let columns = [("a", column(a), true), ("b", column(b), true)];
        stream(&[RecordBatch::try_from_iter_with_nullable(columns).unwrap()], None)
    };
    let whole = message(vec![Some(1.0), Some(2.0)], vec![Some(3.0), Some(4.0)]);
    let holes = message(vec![None, Some(5.0)], vec![Some(6.0), None]);
    let (requests, rows) = read(&[&whole, &holes, &whole], &plain(2));
    assert!(requests.iter().all(Result::is_ok), "{requests:?}");
    let values: Vec<_> = decoded(rows).into_iter().map(|value| (!value.is_nan()).then_some(value)).collect();
    let whole = [Some(1.0), Some(3.0), Some(2.0), Some(4.0)];
    assert_eq!(values, [&whole[..], &[None, Some(6.0), Some(5.0), None], &whole].concat());
}

#[test]
fn a_batch_without_rows_takes_nothing_away() {
    let column = |values: &[f32]| Arc::new(Float32Array::from(values.to_vec())) as ArrayRef;
    let batch = |a: &[f32], b: &[f32]| RecordBatch::try_from_iter([("a", column(a)), ("b", column(b))]).unwrap();
    for compression in [None, Some(CompressionType::ZSTD)] {
        let payload = stream(&[batch(&[], &[]), batch(&[1.0], &[2.0]), batch(&[], &[])], compression);
        let (requests, rows) = read(&[&payload], &plain(2));
        assert_eq!(requests[0].as_ref().unwrap().rows, 1);
        assert_eq!(decoded(rows), [1.0, 2.0]);
    }
}
