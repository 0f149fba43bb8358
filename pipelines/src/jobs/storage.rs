//! What a request says of storages must be what its paths say.

use lunapark_schemas::training::TrainingRequest;
use lunapark_train::Refusal;

const LOCAL: &str = "local";
const S3: &str = "s3";
const TOPIC: &str = "topic";
const HUB: &str = "hugging_face_hub";

/// One place of a request.
struct Place<'a> {
    /// Its section of the request.
    section: &'a str,
    said: Option<&'a str>,
    path: Option<&'a str>,
    /// The storages there are, with what is done there.
    known: &'a [&'a str],
    what: &'a str,
}

/// Refuses a `storage_type` that nobody knows, or that the path beside it contradicts.
pub(super) fn check(request: &TrainingRequest) -> Result<(), Refusal> {
    let (model, dataset) = (&request.model, &request.dataset);
    let of_model = Place {
        section: "model",
        said: model.storage_type.as_deref(),
        path: model.path.as_deref(),
        known: &[LOCAL, S3, HUB],
        what: "models are read from",
    };
    let of_dataset = Place {
        section: "dataset",
        said: dataset.storage_type.as_deref(),
        path: Some(&dataset.path),
        known: &[LOCAL, S3, TOPIC],
        what: "data sets are read from",
    };
    of_model.check()?;
    of_dataset.check()?;
    let Some(save) = &request.model_save else { return Ok(()) };
    let of_save = Place {
        section: "model_save",
        said: save.storage_type.as_deref(),
        path: Some(&save.path),
        known: &[LOCAL, S3],
        what: "copies of models are written to",
    };
    of_save.check()
}

impl Place<'_> {
    fn check(&self) -> Result<(), Refusal> {
        let (section, Some(said)) = (self.section, self.said) else { return Ok(()) };
        if !self.known.contains(&said) {
            return Err(Refusal::request(format!(
                "`{section}.storage_type` is `{}`: {} {}",
                said.escape_debug(),
                self.what,
                listed(self.known)
            )));
        }
        match self.path {
            Some(path) if said == kind(path) || said == HUB && is_name(path) => Ok(()),
            Some(path) => Err(Refusal::request(format!(
                "`{section}.storage_type` is `{said}` and `{section}.path` `{}` is {}; make them agree, or leave the first \
                 out",
                path.escape_debug(),
                kind(path)
            ))),
            // Requests for models without a path say where such models lie; but one on the hub is one by its name.
            None if said == HUB => Err(Refusal::request(format!(
                "`{section}.storage_type` is `{said}` and `{section}.path` names none of its models; leave the first out"
            ))),
            None => Ok(()),
        }
    }
}

/// What a path is, by how it begins.
fn kind(path: &str) -> &'static str {
    let beginnings = [("topic://", TOPIC), ("s3://", S3), ("hf://", HUB)];
    beginnings.into_iter().find(|(start, _)| path.starts_with(start)).map_or(LOCAL, |(_, kind)| kind)
}

/// `OWNER/NAME`, as the hub's models are called.
fn is_name(path: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains([':', '/']);
    path.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name))
}

/// `a`, `b` and `c`.
fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(section: &str, said: &str, path: Value) -> Result<(), String> {
        let mut request = json!({
            "model": { "objective": "classification", "name": "m" },
            "dataset": { "path": "t.csv" },
            "model_save": { "path": "saved" }
        });
        (request[section]["storage_type"], request[section]["path"]) = (json!(said), path);
        check(&serde_json::from_value(request).unwrap()).map_err(|refusal| refusal.message)
    }

    #[test]
    fn what_agrees_is_taken() {
        for (section, said, path) in [
            ("dataset", "local", json!("file:///d/t.csv")),
            ("dataset", "s3", json!("s3://b/t.csv")),
            ("dataset", "topic", json!("topic://rows")),
            ("model_save", "local", json!("/models/m")),
            ("model_save", "s3", json!("s3://b/m")),
            ("model", "s3", Value::Null),
            ("model", "local", Value::Null),
            ("model", "local", json!("m/net.safetensors")),
            ("model", "hugging_face_hub", json!("hf://owner/name")),
            ("model", "hugging_face_hub", json!("owner/name")),
        ] {
            checked(section, said, path.clone()).unwrap_or_else(|error| panic!("{section} {said} {path}: {error}"));
        }
    }

    #[test]
    fn what_contradicts_its_path_is_refused() {
        let agree = "make them agree, or leave the first out";
        for (section, said, path, says) in [
            ("dataset", "s3", json!("t.csv"), agree),
            ("dataset", "local", json!("topic://rows"), agree),
            ("dataset", "hugging_face_hub", json!("t.csv"), "data sets are read from `local`, `s3` and `topic`"),
            ("model_save", "s3", json!("/models/m"), agree),
            ("model_save", "local", json!("s3://b/m"), agree),
            ("model_save", "hugging_face_hub", json!("m"), "copies of models are written to `local` and `s3`"),
            ("model", "s3", json!("/models/m"), agree),
            ("model", "local", json!("s3://b/m"), agree),
            ("model", "hugging_face_hub", json!("/models/m"), agree),
            ("model", "hugging_face_hub", Value::Null, "names none of its models"),
            ("model", "ftp", Value::Null, "models are read from `local`, `s3` and `hugging_face_hub`"),
        ] {
            let error = checked(section, said, path.clone()).unwrap_err();
            assert!(error.contains(says) && error.contains(&format!("`{section}.storage_type`")), "{error}");
        }
    }
}
