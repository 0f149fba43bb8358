//! What is wrong with a line of JSON, in words for who wrote it.

use serde_json::error::Category;

/// The fault, and where it is in its line: a parser that is given one line at a time calls each the first.
pub(super) fn fault(error: &serde_json::Error) -> (String, String) {
    let column = match error.column() {
        0 => String::new(),
        column => format!(" at column {column}"),
    };
    let what = plain(&error.to_string());
    match error.classify() {
        Category::Eof => ("this line is no whole JSON object: it ends too early".to_owned(), String::new()),
        Category::Syntax => (format!("this line is no JSON: {what}"), column),
        Category::Data | Category::Io => (what, column),
    }
}

/// A parser's words without the line that it counts.
pub(super) fn plain(text: &str) -> String {
    text.rsplit_once(" at line ").map_or(text, |(what, _)| what).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_by_its_column() {
        let told = |text: &str| {
            let (what, column) = fault(&serde_json::from_str::<Vec<u8>>(text).unwrap_err());
            what + &column
        };
        assert_eq!(told("[1, x]"), "this line is no JSON: expected value at column 5");
        assert_eq!(told("[1, "), "this line is no whole JSON object: it ends too early");
        assert_eq!(told("[1, \"a\"]"), "invalid type: string \"a\", expected u8 at column 7");
        assert_eq!(plain("content: missing at line 1 column 3"), "content: missing");
    }
}
