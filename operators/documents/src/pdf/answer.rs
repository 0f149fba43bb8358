//! What the child process says: one line behind a mark, among whatever else a library may print.

use crate::{ExtractError, Pages};

/// The line's begin. A page's text cannot forge it: JSON writes no line ends.
const MARK: &str = "lunapark-pdf: ";

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Pages(Pages),
    Refused { reason: String, details: String },
}

/// The line for a result.
pub(super) fn line(result: Result<Pages, ExtractError>) -> String {
    let answer = match result {
        Ok(pages) => Answer::Pages(pages),
        Err(error) => Answer::Refused { reason: error.reason().to_owned(), details: error.details().to_owned() },
    };
    // Strings and lists always serialize; an empty line reads as no answer.
    let json = serde_json::to_string(&answer).unwrap_or_default();
    format!("\n{MARK}{json}\n")
}

/// The result in a child's output, if there is a whole one.
pub(super) fn parse(output: &str) -> Option<Result<Pages, ExtractError>> {
    let json =
        output.split_inclusive('\n').filter(|line| line.ends_with('\n')).find_map(|line| line.strip_prefix(MARK))?;
    Some(match serde_json::from_str(json).ok()? {
        Answer::Pages(pages) => Ok(pages),
        Answer::Refused { reason, details } => Err(ExtractError::of_reason(&reason, details)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_the_pipe() {
        let pages = Pages { title: Some("T".to_owned()), pages: vec![format!("a\n{MARK}{{}}\n"), String::new()] };
        let errors = [
            ExtractError::Encrypted,
            ExtractError::Empty,
            ExtractError::Scanned,
            ExtractError::Broken("b".to_owned()),
            ExtractError::TooLarge("t".to_owned()),
            ExtractError::Unsupported("u".to_owned()),
            ExtractError::Encoding("e".to_owned()),
        ];
        for result in std::iter::once(Ok(pages)).chain(errors.map(Err)) {
            let output = format!("a library's noise{}more", line(result.clone()));
            assert_eq!(parse(&output), Some(result));
        }
        assert_eq!(parse("noise"), None);
        assert_eq!(parse(line(Ok(Pages::default())).trim_end()), None);
    }
}
