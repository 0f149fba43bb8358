//! Tables whose rows are documents.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::rows::{Columns, Row, TableFormat, each_row, extract_table};
use crate::{ExtractError, Kind, Limits};

fn rows(bytes: &[u8], format: TableFormat, content: &str, id: Option<&str>) -> Result<Vec<Row>, ExtractError> {
    rows_within(bytes, format, &Columns { content, id, title: None }, &Limits::default())
}

fn rows_within(
    bytes: &[u8],
    format: TableFormat,
    columns: &Columns<'_>,
    limits: &Limits,
) -> Result<Vec<Row>, ExtractError> {
    let mut rows = Vec::new();
    let count = each_row(bytes, format, columns, limits, |row| {
        rows.push(row);
        Ok::<(), ExtractError>(())
    })?;
    assert_eq!(count, rows.len() as u64);
    Ok(rows)
}

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

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).expect("a writer");
    writer.write(batch).expect("written");
    writer.close().expect("closed");
    file
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
    let file = parquet(&RecordBatch::try_from_iter(columns).expect("a batch"));
    assert_eq!(rows(&file, TableFormat::Parquet, "text", Some("id")), Ok(expected()));
    for cut in (0..file.len()).step_by(7) {
        assert_eq!(rows(&file[..cut], TableFormat::Parquet, "text", None).unwrap_err().reason(), "broken");
    }
}

#[test]
fn what_is_wrong_with_a_table_is_told_by_row() {
    for (table, format, says) in [
        ("{\"text\": \"a\"}\n{\"text\": 3}", TableFormat::Json, "row 2: its \"text\" is a number"),
        ("[{\"text\": \"a\"}, 3]", TableFormat::Json, "row 2: no JSON object"),
        ("[{\"text\": \"a\"}", TableFormat::Json, "row 2: no JSON object"),
        ("{\"text\": \"a\"}\n{\"te", TableFormat::Json, "row 2: no JSON object"),
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
fn a_column_that_is_not_there_is_named_with_those_that_are() {
    let columns = |content, id, title| Columns { content, id, title };
    let json = "[{\"text\": \"a\"}, {\"body\": \"b\"}]";
    for (table, format, columns, says) in [
        (json, TableFormat::Json, columns("text", None, None), "row 2 has no column \"text\" for the content"),
        (json, TableFormat::Json, columns("text", Some("doi"), None), "row 1 has no column \"doi\" for the id"),
        ("a,b\n1,2\n", TableFormat::Csv, columns("text", None, None), "for the content; its columns are a, b"),
        ("a,b\n1,2\n", TableFormat::Csv, columns("a", None, Some("name")), "no column \"name\" for the title"),
    ] {
        let refused = rows_within(table.as_bytes(), format, &columns, &Limits::default()).unwrap_err();
        assert!(refused.reason() == "column" && refused.to_string().contains(says), "{refused}");
    }
    let lacking = columns("text", None, Some("name"));
    assert!(rows_within(b"[{\"text\": \"a\"}]", TableFormat::Json, &lacking, &Limits::default()).is_ok());
}

#[test]
fn the_format_is_told_by_type_or_name() {
    assert_eq!(TableFormat::of(Some("application/json; charset=utf-8"), None), Some(TableFormat::Json));
    assert_eq!(TableFormat::of(None, Some("s3://b/x.JSONL")), Some(TableFormat::Json));
    assert_eq!(TableFormat::of(None, Some("x.tsv")), Some(TableFormat::Csv));
    assert_eq!(TableFormat::of(Some("application/octet-stream"), Some("x.parquet")), Some(TableFormat::Parquet));
    assert_eq!(TableFormat::of(Some("text/html"), Some("x.csv")), None);
}

#[test]
fn lists_in_a_table_are_left_out_and_columns_are_named() {
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a"), Some("b")]);
    let columns: [(&str, ArrayRef); 3] = [
        ("text", Arc::new(StringArray::from(vec!["one"]))),
        ("tags", Arc::new(tags.finish())),
        ("name", Arc::new(StringArray::from(vec!["First"]))),
    ];
    let file = parquet(&RecordBatch::try_from_iter(columns).expect("a batch"));
    let columns = Columns { content: "text", id: None, title: Some("name") };
    let found = rows_within(&file, TableFormat::Parquet, &columns, &Limits::default()).expect("rows");
    let row = Row { id: None, content: "one".into(), title: Some("First".into()), metadata: Default::default() };
    assert_eq!(found, std::slice::from_ref(&row));
    let json = br#"{"text": "one", "tags": ["a", "b"], "name": "First", "nothing": null}"#;
    assert_eq!(rows_within(json, TableFormat::Json, &columns, &Limits::default()), Ok(vec![row]));
}

#[test]
fn a_table_that_unfolds_to_more_than_it_may_is_refused() {
    let long = "a text that says the same again and again ".repeat(2000);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![long.as_str(); 400]));
    let file = parquet(&RecordBatch::try_from_iter([("text", texts)]).expect("a batch"));
    assert!(file.len() < 200_000, "a dictionary of one text: {}", file.len());
    let columns = Columns { content: "text", ..Columns::default() };
    let small = Limits { max_bytes: 1 << 20, ..Limits::default() };
    let mut taken = 0;
    let refused = each_row(&file, TableFormat::Parquet, &columns, &small, |row| {
        taken += row.content.len();
        Ok::<(), ExtractError>(())
    });
    assert_eq!(refused.unwrap_err().reason(), "too-large");
    assert!(taken <= 4 << 20, "{taken}");
    let tiny = Limits { max_bytes: 80_000, ..Limits::default() };
    let refused = rows_within(&file, TableFormat::Parquet, &columns, &tiny).unwrap_err();
    assert!(refused.to_string().contains("bytes of a page") || file.len() > 80_000, "{refused}");
    let row = Limits { max_text_bytes: 1000, ..Limits::default() };
    for (table, format) in [(&file[..], TableFormat::Parquet), (long_json(&long).as_bytes(), TableFormat::Json)] {
        let refused = rows_within(table, format, &columns, &row).unwrap_err();
        assert!(refused.to_string().contains("bytes of one row"), "{refused}");
    }
    let bytes = Limits { max_bytes: 100, ..Limits::default() };
    assert_eq!(rows_within(&file, TableFormat::Parquet, &columns, &bytes).unwrap_err().reason(), "too-large");
}

fn long_json(text: &str) -> String {
    json!([{ "text": text }]).to_string()
}

#[test]
fn odd_bytes_in_a_parquet_file_never_harm() {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..200).map(|row| format!("text number {row}"))));
    let file = parquet(&RecordBatch::try_from_iter([("text", texts)]).expect("a batch"));
    let columns = Columns { content: "text", ..Columns::default() };
    let mut state = 1_u64;
    for case in 0..3000 {
        let mut odd = file.clone();
        for _ in 0..1 + case % 3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % odd.len();
            odd[at] = [0xff, 0x7f, 0, (state >> 17) as u8][case % 4];
        }
        let small = Limits { max_bytes: 1 << 20, ..Limits::default() };
        if let Ok(rows) = rows_within(&odd, TableFormat::Parquet, &columns, &small) {
            assert!(rows.len() <= 40_000, "{case}");
        }
    }
}

#[test]
fn a_table_as_one_document_says_in_which_row_a_place_is() {
    let csv = "title,text\nWings,Flutter of a wing.\n,\n,\"Heat of\na body.\"\n";
    let found = extract_table(csv.as_bytes(), TableFormat::Csv, "text", &Limits::default()).expect("a text");
    assert_eq!((found.kind, found.text.as_str()), (Kind::Table, "Flutter of a wing.\n\nHeat of\na body.\n\n"));
    let place = |part: &str| found.place(found.text.find(part).expect(part)).heading;
    assert_eq!(
        (place("Flutter"), place("wing."), place("Heat"), place("body")),
        (Some("Wings"), Some("Wings"), Some("row 3"), Some("row 3"))
    );
    let small = Limits { max_text_bytes: 30, ..Limits::default() };
    let refused = extract_table(csv.as_bytes(), TableFormat::Csv, "text", &small).unwrap_err();
    assert_eq!(refused.reason(), "too-large");
    let empty = extract_table(b"text\n  \n", TableFormat::Csv, "text", &Limits::default()).unwrap_err();
    assert_eq!(empty.reason(), "empty");
    let named = super::extract(&parquet_of("x"), "x.parquet").unwrap_err();
    assert!(named.to_string().contains("page_content_column"), "{named}");
}

fn parquet_of(text: &str) -> Vec<u8> {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
    parquet(&RecordBatch::try_from_iter([("text", texts)]).expect("a batch"))
}
