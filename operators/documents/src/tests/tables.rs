//! Tables whose rows are documents.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::rows::{Row, TableFormat, rows};

fn expected() -> Vec<Row> {
    let row = |id: &str, content: &str, title: Option<&str>, metadata: Value| Row {
        id: Some(id.to_owned()),
        content: content.to_owned(),
        title: title.map(str::to_owned),
        metadata: metadata.as_object().cloned().expect("an object"),
    };
    vec![
        row("1", "The Higgs,\n\"observed\"", Some("Higgs"), json!({ "year": 2012, "place": "Città" })),
        row("2", "", None, json!({ "place": "007" })),
    ]
}

#[test]
fn json_in_both_forms_gives_the_rows() {
    let first =
        json!({ "id": 1, "text": "The Higgs,\n\"observed\"", "title": "Higgs", "year": 2012, "place": "Città" });
    let second = json!({ "id": "2", "text": null, "year": null, "place": "007" });
    let array = serde_json::to_vec_pretty(&json!([first, second])).expect("JSON");
    assert_eq!(rows(&array, TableFormat::Json, "text", Some("id")), Ok(expected()));
    let lines = format!("{first}\r\n{second}\n");
    assert_eq!(rows(lines.as_bytes(), TableFormat::Json, "text", Some("id")), Ok(expected()));
    let without = rows(lines.as_bytes(), TableFormat::Json, "text", None).expect("rows");
    assert_eq!((without[0].id.as_deref(), without[0].metadata["id"].clone()), (None, json!(1)));
}

#[test]
fn csv_gives_the_rows_with_numbers_told() {
    let csv = "\u{feff}id;text;title;year;place\r\n1;\"The Higgs,\n\"\"observed\"\"\";Higgs;2012;Città\r\n2;;;;007\r\n";
    assert_eq!(rows(csv.as_bytes(), TableFormat::Csv, "text", Some("id")), Ok(expected()));
}

#[test]
fn parquet_gives_the_rows() {
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("text", Arc::new(StringArray::from(vec![Some("The Higgs,\n\"observed\""), None]))),
        ("title", Arc::new(StringArray::from(vec![Some("Higgs"), None]))),
        ("year", Arc::new(Int64Array::from(vec![Some(2012), None]))),
        ("place", Arc::new(StringArray::from(vec!["Città", "007"]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    assert_eq!(rows(&file, TableFormat::Parquet, "text", Some("id")), Ok(expected()));
    for cut in (0..file.len()).step_by(7) {
        assert_eq!(rows(&file[..cut], TableFormat::Parquet, "text", None).unwrap_err().reason(), "broken");
    }
}

#[test]
fn what_is_wrong_with_a_table_is_told_by_row() {
    for (table, format, says) in [
        ("[{\"text\": \"a\"}, {\"body\": \"b\"}]", TableFormat::Json, "row 2: it has no column \"text\", but body"),
        ("{\"text\": \"a\"}\n{\"text\": 3}", TableFormat::Json, "row 2: its \"text\" is a number"),
        ("[{\"text\": \"a\"}, 3]", TableFormat::Json, "row 2: no JSON object"),
        ("[{\"text\": \"a\"}", TableFormat::Json, "row 2: no JSON object"),
        ("{\"text\": \"a\"}\n{\"te", TableFormat::Json, "row 2: no JSON object"),
        ("a,b\n1,2\n", TableFormat::Csv, "row 1: it has no column \"text\", but a, b"),
        ("PAR1", TableFormat::Parquet, "broken"),
    ] {
        let refused = rows(table.as_bytes(), format, "text", None).unwrap_err();
        assert!(refused.reason() == "broken" && refused.to_string().contains(says), "{refused}");
    }
    let refused = rows(b"{\"text\": \"a\", \"id\": 1.5}", TableFormat::Json, "text", Some("id")).unwrap_err();
    assert!(refused.to_string().contains("row 1: its id \"id\" is a number"), "{refused}");
    assert_eq!(rows(b"[]", TableFormat::Json, "text", None).unwrap_err().reason(), "empty");
    let deep = format!("[{{\"text\": {}", "[".repeat(100_000));
    assert_eq!(rows(deep.as_bytes(), TableFormat::Json, "text", None).unwrap_err().reason(), "broken");
}

#[test]
fn the_format_is_told_by_type_or_name() {
    assert_eq!(TableFormat::of(Some("application/json; charset=utf-8"), None), Some(TableFormat::Json));
    assert_eq!(TableFormat::of(None, Some("s3://b/x.JSONL")), Some(TableFormat::Json));
    assert_eq!(TableFormat::of(None, Some("x.tsv")), Some(TableFormat::Csv));
    assert_eq!(TableFormat::of(Some("application/octet-stream"), Some("x.parquet")), Some(TableFormat::Parquet));
    assert_eq!(TableFormat::of(Some("text/html"), Some("x.csv")), None);
}
