//! Every payload under `schemas/examples/training` is read; what is refused is refused in the words kept beside it.

use std::path::{Path, PathBuf};

use super::*;

fn payloads(start: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/training");
    let wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(start) && name.ends_with(".json")
    };
    let mut found: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(wanted).collect();
    found.sort();
    assert!(!found.is_empty(), "no {start}*.json");
    found
}

#[test]
fn good_requests_are_read_and_written_back_the_same() {
    for path in payloads("ok-request") {
        let request = TrainingRequest::from_json(&std::fs::read(&path).unwrap()).unwrap();
        let again = TrainingRequest::from_json(&serde_json::to_vec(&request).unwrap()).unwrap();
        assert_eq!(again, request, "{}", path.display());
    }
}

#[test]
fn bad_requests_are_refused_in_these_words() {
    for path in payloads("bad-request") {
        let error = TrainingRequest::from_json(&std::fs::read(&path).unwrap()).unwrap_err();
        let kind = if matches!(error, RequestError::Broken(_)) { "dead letter" } else { "failed" };
        let text = format!("{kind}\n{error}\n");
        let expected = path.with_extension("error");
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(&expected, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&expected).unwrap(), "{}", path.display());
    }
}

#[test]
fn statuses_are_read_and_written_back_the_same() {
    for path in payloads("ok-status") {
        let text = std::fs::read_to_string(&path).unwrap();
        let status: TrainingStatus = serde_json::from_str(&text).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_value(&status).unwrap(), value, "{}", path.display());
        assert_eq!(status.task_status.terminal(), !path.to_str().unwrap().contains("running"));
    }
}
