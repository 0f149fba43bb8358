//! Every kind of file written and read back, and files that are not what they seem.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use tempfile::TempDir;

use crate::{Extent, Kind, ReadOptions, Table, TableError, TableWriter};

fn batch(start: i64, rows: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(start..start + rows));
    let value = |id: i64| (id % 7 != 3).then_some(id as f64 / 8.0);
    let values: ArrayRef = Arc::new(Float64Array::from_iter((start..start + rows).map(value)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((start..start + rows).map(|id| format!("e\"{id},"))));
    RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("x", values, true), ("name", names, false)]).unwrap()
}

fn written(folder: &TempDir, name: &str, kind: Kind) -> PathBuf {
    let path = folder.path().join(name);
    let mut writer = TableWriter::create(&path, kind, &batch(0, 1).schema(), false).unwrap();
    (0..3).for_each(|part| writer.write(&batch(part * 1000, 1000)).unwrap());
    assert!(!path.exists(), "it appears whole");
    writer.finish().unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".part")), "{left:?}");
    path
}

const KINDS: [(Kind, &str); 4] =
    [(Kind::Parquet, "a.parquet"), (Kind::Csv, "a.csv"), (Kind::Arrow, "a.arrow"), (Kind::Ndjson, "a.ndjson")];

#[test]
fn every_kind_reads_back_what_was_written() {
    let folder = TempDir::new().unwrap();
    for (kind, name) in KINDS {
        let path = written(&folder, name, kind);
        let table = Table::open(&path, ReadOptions { batch_rows: 500, ..ReadOptions::default() }).unwrap();
        assert_eq!((table.kind(), table.schema().fields().len()), (kind, 3));
        let mut batches = table.batches(&[0, 1], &[1]).unwrap();
        assert_ne!(batches.extent(), Extent::Unknown);
        let (mut rows, mut sum, mut missing) = (0, 0, 0);
        for read in batches.by_ref().map(Result::unwrap) {
            assert!(read.num_rows() <= 500 && read.num_columns() == 2, "{kind}");
            rows += read.num_rows();
            missing += read.column(1).null_count();
            sum += match kind {
                Kind::Csv => read.column(0).as_string::<i32>().iter().flatten().map(|t| t.parse::<i64>().unwrap()).sum(),
                _ => read.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>(),
            };
        }
        assert_eq!((rows, sum, missing), (3000, 2999 * 1500, 429), "{kind}");
        assert_eq!(Extent::Rows(3000) == batches.extent(), kind == Kind::Parquet);
        assert!(batches.position() >= 3000);
    }
}

#[test]
fn pipes_are_read_but_for_what_is_read_from_its_end() {
    let folder = TempDir::new().unwrap();
    for (kind, name) in KINDS {
        let bytes = std::fs::read(written(&folder, name, kind)).unwrap();
        let piped = Table::pipe(Cursor::new(bytes), "standard input", ReadOptions::default());
        if let Kind::Csv | Kind::Ndjson = kind {
            let rows = piped.unwrap().batches(&[0], &[]).unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>();
            assert_eq!(rows, 3000);
        } else {
            assert!(piped.err().unwrap().to_string().contains("a file, not a pipe"));
        }
    }
}

#[test]
fn an_arrow_stream_goes_through_pipes() {
    let bytes = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Shared {
        fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(part);
            Ok(part.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let schema = batch(0, 1).schema();
    let mut writer = TableWriter::pipe(Shared(bytes.clone()), "standard output", Kind::Arrow, &schema).unwrap();
    writer.write(&batch(0, 50)).unwrap();
    writer.finish().unwrap();
    let bytes = bytes.lock().unwrap().clone();
    let table = Table::pipe(Cursor::new(bytes), "standard input", ReadOptions::default()).unwrap();
    assert_eq!(table.kind(), Kind::Arrow);
    let read = table.batches(&[1], &[]).unwrap().next().unwrap().unwrap();
    assert_eq!(read.column(0).as_primitive::<Float64Type>().value(8), 1.0);
    assert!(TableWriter::pipe(std::io::sink(), "standard output", Kind::Parquet, &schema).is_err());
}

fn piped(text: &str, options: ReadOptions) -> Result<Table, TableError> {
    Table::pipe(Cursor::new(text.to_owned()), "standard input", options)
}

fn names(table: &Table) -> Vec<String> {
    table.schema().fields().iter().map(|field| field.name().clone()).collect()
}

#[test]
fn csv_takes_other_separators_marks_and_no_header() {
    for text in ["a;b\n1;2\n", "\u{feff}a\tb\n1\t2\n", "a, b\r\n1, 2\r\n"] {
        let table = piped(text, ReadOptions::default()).unwrap();
        assert_eq!(names(&table), ["a", "b"], "{text}");
        let read = table.batches(&[1], &[]).unwrap().next().unwrap().unwrap();
        assert_eq!(read.column(0).as_string::<i32>().value(0).trim(), "2");
    }
    let bare = ReadOptions { header: false, separator: Some(b' '), ..ReadOptions::default() };
    let table = piped("1 2 3\n4 5 6\n", bare).unwrap();
    assert_eq!((names(&table).len(), table.batches(&[2], &[]).unwrap().next().unwrap().unwrap().num_rows()), (3, 2));
    let error = piped("1.5,2\n3,4\n", ReadOptions::default()).err().unwrap().to_string();
    assert!(error.contains("--no-header"), "{error}");
    assert!(piped("", ReadOptions::default()).is_err());
}

#[test]
fn an_empty_cell_is_null_and_a_short_row_names_its_line() {
    let table = piped("a,b\n1,\n,2\n", ReadOptions::default()).unwrap();
    let read = table.batches(&[0, 1], &[]).unwrap().next().unwrap().unwrap();
    assert_eq!([0, 1].map(|column| read.column(column).null_count()), [1, 1]);
    let table = piped("a,b\n1,2\n3\n", ReadOptions::default()).unwrap();
    let error = table.batches(&[0], &[]).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(error.contains("line 3"), "{error}");
}

#[test]
fn integers_of_ndjson_may_become_fractions() {
    let text = "{\"a\":1,\"l\":[1,2],\"n\":null}\n{\"a\":2.5,\"l\":[0.5,null],\"n\":3}\n";
    let table = piped(text, ReadOptions::default()).unwrap();
    assert_eq!((table.kind(), names(&table).len()), (Kind::Ndjson, 3));
    let read = table.batches(&[0, 1, 2], &[0, 1, 2]).unwrap().next().unwrap().unwrap();
    assert_eq!(read.column(0).as_primitive::<Float64Type>().values(), &[1.0, 2.5]);
    assert_eq!(read.column(1).as_list::<i32>().value(1).null_count(), 1);
    let error = piped("[{\"a\":1}]", ReadOptions::default()).err().unwrap().to_string();
    assert!(error.contains("jq"), "{error}");
}

#[test]
fn nothing_is_overwritten_unless_it_is_said() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "precious").unwrap();
    let schema = batch(0, 1).schema();
    let error = TableWriter::create(&path, Kind::Csv, &schema, false).err().unwrap().to_string();
    assert!(error.contains("--force"), "{error}");
    drop(TableWriter::create(&path, Kind::Csv, &schema, true).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious", "one that is not finished changes nothing");
    TableWriter::create(&path, Kind::Csv, &schema, true).unwrap().finish().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"id,x,name\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let new = folder.path().join("b.csv");
    let writer = TableWriter::create(&new, Kind::Csv, &schema, false).unwrap();
    std::fs::write(&new, "came meanwhile").unwrap();
    assert!(writer.finish().is_err());
    assert_eq!(std::fs::read(&new).unwrap(), b"came meanwhile");
}

/// The bytes decide, whatever the name says; damaged files are errors.
#[test]
fn damaged_files_are_errors() {
    let folder = TempDir::new().unwrap();
    for (kind, name) in KINDS {
        let bytes = std::fs::read(written(&folder, name, kind)).unwrap();
        let path = folder.path().join(format!("damaged-{name}.csv"));
        let binary = matches!(kind, Kind::Parquet | Kind::Arrow);
        for at in (0..bytes.len()).step_by(bytes.len() / 50) {
            std::fs::write(&path, &bytes[..at]).unwrap();
            let options = ReadOptions { kind: Some(kind), ..ReadOptions::default() };
            let read = Table::open(&path, options).and_then(|table| {
                table.batches(&[0, 2], &[])?.try_fold(0, |rows, batch| Ok(rows + batch?.num_rows()))
            });
            assert!(!binary || read.is_err(), "{name} cut at {at} gave {read:?}");
        }
        if binary {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Table::open(&path, ReadOptions::default()).unwrap().kind(), kind);
        }
    }
}
