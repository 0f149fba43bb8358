//! Arrow streams, case by case.

use arrow_array::builder::{FixedSizeListBuilder, Float32Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray};
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};

use super::*;
use crate::rows::f64_values;

const HEADERS: [(&str, &str); 1] = [("content-type", "application/vnd.apache.arrow.stream")];

pub(super) fn stream(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

pub(super) fn lists(rows: &[Option<&[f32]>], width: i32) -> ArrayRef {
    let mut builder = FixedSizeListBuilder::new(Float32Builder::new(), width);
    for row in rows {
        match row {
            Some(values) => builder.values().append_slice(values),
            None => builder.values().append_nulls(width as usize),
        }
        builder.append(row.is_some());
    }
    Arc::new(builder.finish())
}

fn f32s(values: &[f32]) -> ArrayRef {
    Arc::new(Float32Array::from(values.to_vec()))
}

fn decode_arrow(payload: &[u8], signature: &Arc<Signature>) -> Result<(Request, RowsBuilder), Rejection> {
    let mut rows = builder(signature);
    decode_with(payload, &HEADERS, &mut rows).map(|request| (request, rows))
}

#[test]
fn fixed_size_lists_of_several_batches_are_copied_whole() {
    let first = batch(vec![
        ("id", Arc::new(StringArray::from(vec!["a", "b"]))),
        ("input", lists(&[Some(&[1.0, 2.0]), Some(&[3.0, 4.0])], 2)),
    ]);
    let second = batch(vec![("id", Arc::new(StringArray::from(vec!["c"]))), ("input", lists(&[Some(&[5.0, 6.0])], 2))]);
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let payload = stream(&[first.clone(), second.clone()], compression);
        let (request, rows) = decode_arrow(&payload, &plain(2)).unwrap();
        assert_eq!((request.format, request.rows, request.extra), (Format::Arrow, 3, None));
        assert_eq!(decoded(rows), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}

#[test]
fn compressed_buffers_that_do_shrink_are_read() {
    let values = vec![0.5; 4096];
    let rows: Vec<_> = values.chunks(64).map(Some).collect();
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let payload = stream(&[batch(vec![("input", lists(&rows, 64))])], Some(compression));
        assert!(payload.len() < 4096, "{}", payload.len());
        assert_eq!(decoded(decode_arrow(&payload, &plain(64)).unwrap().1), values);
    }
}

#[test]
fn columns_are_found_by_input_by_field_and_by_order() {
    let by_order = batch(vec![("a", f32s(&[1.0, 3.0])), ("b", Arc::new(Int64Array::from(vec![Some(2), None])))]);
    let values = decoded(decode_arrow(&stream(&[by_order], None), &plain(2)).unwrap().1);
    assert!(values[..3] == [1.0, 2.0, 3.0] && values[3].is_nan(), "{values:?}");
    let by_field = batch(vec![
        ("y", f32s(&[2.0])),
        ("other", f32s(&[9.0])),
        ("energy", Arc::new(BooleanArray::from(vec![true]))),
        ("x", Arc::new(Float64Array::from(vec![0.1]))),
    ]);
    let rows = decode_arrow(&stream(&[by_field], None), &rich()).unwrap().1.finish().unwrap();
    assert_eq!(f64_values(rows.column(0)), Some(&[0.1, 2.0][..]));
    assert_eq!(f32_values(rows.column(1)), Some(&[1.0][..]));
    let only = batch(vec![("any", lists(&[Some(&[1.0, 2.0])], 2))]);
    assert_eq!(decoded(decode_arrow(&stream(&[only], None), &plain(2)).unwrap().1), [1.0, 2.0]);
}

#[test]
fn a_slice_sends_only_its_own_rows() {
    let whole = batch(vec![("input", lists(&[Some(&[1.0, 2.0]), Some(&[3.0, 4.0]), Some(&[5.0, 6.0])], 2))]);
    let payload = stream(&[whole.slice(1, 2)], None);
    assert_eq!(decoded(decode_arrow(&payload, &plain(2)).unwrap().1), [3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn rows_that_do_not_fit_fail_alone() {
    let mut builder = ListBuilder::new(Float32Builder::new());
    for row in [Some(vec![1.0, 2.0]), Some(vec![3.0]), None, Some(vec![4.0, 5.0])] {
        row.iter().for_each(|values| builder.values().append_slice(values));
        builder.append(row.is_some());
    }
    let payload = stream(&[batch(vec![("input", Arc::new(builder.finish()))])], None);
    let (request, rows) = decode_arrow(&payload, &plain(2)).unwrap();
    assert_eq!(decoded(rows), [1.0, 2.0, 4.0, 5.0]);
    let failed: Vec<_> = request.failed().iter().map(|f| (f.row, f.rejection.class)).collect();
    assert_eq!(failed, [(1, ErrorClass::Shape), (2, ErrorClass::Missing)]);
    let payload = stream(&[batch(vec![("input", lists(&[None, Some(&[1.0, 2.0])], 2))])], None);
    let (request, rows) = decode_arrow(&payload, &plain(2)).unwrap();
    assert_eq!((decoded(rows), request.failed()[0].row), (vec![1.0, 2.0], 0));
    let wide = batch(vec![("a", Arc::new(Float64Array::from(vec![1e39, 1.0])) as ArrayRef), ("b", f32s(&[1.0, 2.0]))]);
    let (request, rows) = decode_arrow(&stream(&[wide], None), &plain(2)).unwrap();
    assert_eq!((decoded(rows), request.failed()[0].rejection.class), (vec![1.0, 2.0], ErrorClass::Value));
}

#[test]
fn columns_that_do_not_fit_are_refused_by_name() {
    let text = |columns| decode_arrow(&stream(&[batch(columns)], None), &plain(3)).unwrap_err().message;
    let narrow = text(vec![("input", lists(&[Some(&[1.0, 2.0])], 2))]);
    assert!(narrow.contains("column `input`") && narrow.contains("takes 3 numbers per row"), "{narrow}");
    let strings: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    assert!(text(vec![("input", strings)]).contains("column `input` is Utf8"));
    let missing = text(vec![("a", f32s(&[1.0])), ("b", f32s(&[1.0]))]);
    assert!(missing.contains("no columns for input `input` among `a`, `b`"), "{missing}");
}

#[test]
fn streams_that_lie_or_end_early_are_refused() {
    let good = stream(&[batch(vec![("input", lists(&[Some(&[1.0, 2.0])], 2))])], None);
    let refused = |payload: &[u8]| decode_arrow(payload, &plain(2)).unwrap_err();
    for end in 1..good.len() - 8 {
        let rejection = decode_arrow(&good[..end], &plain(2));
        assert!(rejection.is_err(), "{end} bytes of {}", good.len());
    }
    assert!(refused(&[&good[..], b"x"].concat()).message.contains("1 bytes follow the end"));
    let mut lying = good.clone();
    lying[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
    assert!(refused(&lying).message.contains("2147483647 bytes of metadata are announced"));
    assert!(refused(b"ARROW1\0\0").class == ErrorClass::Malformed);
    assert_eq!(refused(&stream(&[batch(vec![("input", lists(&[], 2))])], None)).class, ErrorClass::Empty);
}

#[test]
fn a_big_endian_stream_is_refused() {
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let mut schema = arrow_ipc::SchemaBuilder::new(&mut builder);
    schema.add_endianness(arrow_ipc::Endianness::Big);
    let schema = schema.finish().as_union_value();
    let mut message = arrow_ipc::MessageBuilder::new(&mut builder);
    message.add_header_type(arrow_ipc::MessageHeader::Schema);
    message.add_header(schema);
    let message = message.finish();
    builder.finish(message, None);
    let length = (builder.finished_data().len() as u32).to_le_bytes();
    let payload = [&[0xff; 4], &length[..], builder.finished_data()].concat();
    assert!(decode_arrow(&payload, &plain(2)).unwrap_err().message.contains("big-endian"));
}

#[test]
fn a_compressed_buffer_that_claims_too_much_is_refused_before_unpacking() {
    let values = vec![0.5; 4096];
    let rows: Vec<_> = values.chunks(64).map(Some).collect();
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let mut payload = stream(&[batch(vec![("input", lists(&rows, 64))])], Some(compression));
        let claim = (values.len() as i64 * 4).to_le_bytes();
        let at = payload.windows(8).rposition(|window| window == claim).unwrap();
        payload[at..at + 8].copy_from_slice(&(1_i64 << 50).to_le_bytes());
        assert_eq!(decode_arrow(&payload, &plain(64)).unwrap_err().class, ErrorClass::TooLarge);
    }
}

#[test]
fn an_lz4_bomb_behind_a_small_claim_is_refused_before_unpacking() {
    let values = vec![0.0; 1 << 20];
    let rows: Vec<_> = values.chunks(64).map(Some).collect();
    let mut payload = stream(&[batch(vec![("input", lists(&rows, 64))])], Some(CompressionType::LZ4_FRAME));
    let claim = (values.len() as i64 * 4).to_le_bytes();
    let at = payload.windows(8).rposition(|window| window == claim).unwrap();
    payload[at..at + 8].copy_from_slice(&16_i64.to_le_bytes());
    let limits = Limits { max_payload_bytes: 1 << 20, ..Limits::default() };
    let mut headers = HeadersBuf::new();
    headers.push_str(HEADERS[0].0, HEADERS[0].1);
    let mut rows = builder(&plain(64));
    let refused = with_message(&payload, headers.view(), |message| decode(message, &mut rows, &limits));
    assert_eq!(refused.unwrap_err().class, ErrorClass::TooLarge);
}

fn read_reply(request: &Request, outputs: &RecordBatch, range: Range<usize>) -> RecordBatch {
    let (value, encoded) = encode_all(request, &plain(2), outputs, range);
    assert_eq!(encoded.content_type, HEADERS[0].1);
    let mut reader = StreamReader::try_new(&value[..], None).unwrap();
    reader.next().unwrap().unwrap()
}

#[test]
fn replies_have_a_row_per_row_of_the_request() {
    let request = Request::new(Format::Arrow, 2, Extra::default());
    let reply = read_reply(&request, &scores(&[0.1, 0.2, 0.3]), 1..3);
    assert_eq!(reply.num_columns(), 1);
    assert_eq!(f32_values(reply.column(0)), Some(&[0.2, 0.3][..]));
    let failed = vec![FailedRow { row: 1, rejection: Rejection::new(ErrorClass::Shape, "row 1: why") }];
    let request = Request::new(Format::Arrow, 3, Extra { failed, ..Extra::default() });
    let reply = read_reply(&request, &scores(&[0.1, 0.2, 0.3]), 1..3);
    let read: Vec<_> = reply.column(0).as_primitive::<Float32Type>().iter().collect();
    assert_eq!(read, [Some(0.2), None, Some(0.3)]);
    let errors: Vec<_> = reply.column_by_name("error").unwrap().as_string::<i32>().iter().collect();
    assert_eq!(errors, [None, Some("row 1: why"), None]);
}

#[test]
fn replies_of_lists_keep_their_rows() {
    let mut spec = TensorSpec::new("out", Datatype::Fp32, 2);
    spec.fields.clear();
    let signature = Signature { inputs: plain(2).inputs.clone(), outputs: vec![spec] };
    let column = lists(&[Some(&[1.0, 2.0]), Some(&[3.0, 4.0]), Some(&[5.0, 6.0])], 2);
    let outputs = batch(vec![("out", column)]);
    let failed = vec![FailedRow { row: 0, rejection: Rejection::new(ErrorClass::Shape, "bad") }];
    for (rows, failed) in [(2, vec![]), (3, failed)] {
        let request = Request::new(Format::Arrow, rows, Extra { failed, ..Extra::default() });
        let (value, _) = encode_all(&request, &signature, &outputs, 1..3);
        let reply = StreamReader::try_new(&value[..], None).unwrap().next().unwrap().unwrap();
        let values = f32_values(reply.column(0)).unwrap();
        assert_eq!(values[values.len() - 4..], [3.0, 4.0, 5.0, 6.0]);
        assert_eq!(reply.num_rows(), rows as usize);
        assert_eq!(reply.column(0).null_count(), rows as usize - 2);
    }
}

#[test]
fn a_stream_read_without_a_model_gives_its_columns_of_numbers() {
    let columns = batch(vec![
        ("id", Arc::new(StringArray::from(vec!["a", "b"]))),
        ("pt", Arc::new(Int64Array::from(vec![Some(7), None]))),
        ("hits", lists(&[Some(&[1.0, 2.0]), Some(&[3.0, 4.0])], 2)),
    ]);
    let mut buf = HeadersBuf::new();
    buf.push_str(HEADERS[0].0, HEADERS[0].1);
    let own = |payload: &[u8]| with_message(payload, buf.view(), |message| own_columns(message, &Limits::default()));
    let found = own(&stream(&[columns], None)).unwrap().unwrap();
    let names: Vec<_> = found.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!((names, found.num_rows()), (vec!["pt".to_owned(), "hits".to_owned()], 2));
    let pt = f64_values(found.column(0)).unwrap();
    assert!(pt[0] == 7.0 && pt[1].is_nan());
    assert_eq!(f64_values(found.column(1)).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    let text = batch(vec![("id", Arc::new(StringArray::from(vec!["a"])))]);
    assert_eq!(own(&stream(&[text], None)).unwrap_err().message, "there is no column of numbers");
}
