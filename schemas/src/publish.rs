//! The published description of what travels: JSON Schemas of the payloads and an AsyncAPI document of the topics.
//!
//! They are made from the types that the code uses and are checked in, so that a change of the wire shows in review.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::catalog::CatalogRecord;
use crate::control::ControlRecord;
use crate::cuts::CutRecord;
use crate::documents::{self, IndexedRecord, IngestRecord};
use crate::headers::{self, dead};
use crate::inference::wire::{V1Reply, V1Request, V2Reply, V2Request};
use crate::labels::LabelRecord;
use crate::ledger::LedgerRecord;
use crate::metrics::MetricsRecord;
use crate::outcome::ErrorClass;
use crate::search::{DistanceReply, SearchReply, SearchRequest};
use crate::training::{TrainingRequest, TrainingStatus, TrialRecord};

const KSERVE_REQUEST: &str = "kserve-v1-request.json";
const KSERVE_REPLY: &str = "kserve-v1-reply.json";
const OPEN_INFERENCE_REQUEST: &str = "open-inference-request.json";
const OPEN_INFERENCE_REPLY: &str = "open-inference-reply.json";
const LEDGER: &str = "ledger-record.json";
const METRICS: &str = "metrics-record.json";
const CATALOG: &str = "catalog-record.json";
const CONTROL: &str = "control-record.json";
const TRAINING_REQUEST: &str = "training-request.json";
const TRAINING_STATUS: &str = "training-status.json";
const TRIAL: &str = "trial-record.json";
const CUT: &str = "cut-record.json";
const LABEL: &str = "label-record.json";
const INGEST: &str = "ingest-record.json";
const INDEXED: &str = "indexed-record.json";
const SEARCH_REQUEST: &str = "search-request.json";
const SEARCH_REPLY: &str = "search-reply.json";
const DISTANCE_REPLY: &str = "search-reply-ml-aas.json";
const ASYNCAPI: &str = "asyncapi.json";

/// File names and contents of all documents; they are checked in under `schemas/published`.
pub fn documents() -> Vec<(&'static str, String)> {
    let all = [
        (KSERVE_REQUEST, schema::<V1Request>()),
        (KSERVE_REPLY, schema::<V1Reply>()),
        (OPEN_INFERENCE_REQUEST, schema::<V2Request>()),
        (OPEN_INFERENCE_REPLY, schema::<V2Reply>()),
        (LEDGER, schema::<LedgerRecord>()),
        (METRICS, schema::<MetricsRecord>()),
        (CATALOG, schema::<CatalogRecord>()),
        (CONTROL, schema::<ControlRecord>()),
        (TRAINING_REQUEST, schema::<TrainingRequest>()),
        (TRAINING_STATUS, schema::<TrainingStatus>()),
        (TRIAL, schema::<TrialRecord>()),
        (CUT, schema::<CutRecord>()),
        (LABEL, schema::<LabelRecord>()),
        (INGEST, schema::<IngestRecord>()),
        (INDEXED, schema::<IndexedRecord>()),
        (SEARCH_REQUEST, schema::<SearchRequest>()),
        (SEARCH_REPLY, schema::<SearchReply>()),
        (DISTANCE_REPLY, schema::<DistanceReply>()),
        (ASYNCAPI, asyncapi()),
    ];
    all.into_iter().map(|(name, value)| (name, format!("{value:#}\n"))).collect()
}

/// Draft 07, which every AsyncAPI tool must understand.
fn schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<T>().to_value()
}

fn asyncapi() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lunapark",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Topics of Lunapark. Each input message ends as exactly one of: \
                            result, filtered, or dead letter.",
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" }
        },
        "defaultContentType": "application/json",
        "channels": {
            "inferenceEvents": channel("inference.events", "Events to score, of any number of rows each.", &REQUESTS),
            "inferenceResults": channel("inference.results", "Scores, in the format of their event.", &REPLIES),
            "inferenceShadow": channel(
                "inference.shadow",
                "Scores of a shadow for a share of the events, as results are written; nobody acts on them.",
                &REPLIES,
            ),
            "inferenceEventsDead": channel(
                "inference.events.dead",
                "Events that cannot be scored, whole or in some rows: key, value and headers as they were, and why.",
                &DEAD_LETTERS,
            ),
            "ledger": channel("ledger", "What each transaction did, from which anyone can audit.", &["ledgerRecord"]),
            "trainingLedger": channel(
                "training.ledger",
                "What each transaction of training did; kept as long as its requests.",
                &["ledgerRecord"],
            ),
            "metrics": channel("metrics", "Counters and latencies of each instance.", &["metricsRecord"]),
            "models": channel("models", "The model catalog; compacted, the newest record of a key holds.", &["catalogRecord"]),
            "trainingRequests": channel("training.requests", "Models to train.", &["trainingRequest"]),
            "trainingStatus": channel(
                "training.status",
                "Where each training task stands; its last record is the answer to its request.",
                &["trainingStatus"],
            ),
            "trainingRequestsDead": channel("training.requests.dead", "What is no training request.", &DEAD_LETTERS),
            "trainingTrials": channel("training.trials", "Trials of searches, and what came of each.", &["trialRecord"]),
            "trainingTrialsDead": channel("training.trials.dead", "What is no trial.", &DEAD_LETTERS),
            "control": channel("control", "What running instances tell each other.", &["controlRecord"]),
            "modelCuts": channel("model.cuts", "From which offset on which model scores.", &["cutRecord"]),
            "labels": channel("labels", "What events turned out to be; keys are those of the events.", &["labelRecord"]),
            "documentsIngest": channel(
                "documents.ingest",
                "Documents for collections; the last record of an id holds.",
                &["ingestRecord", "ingestFile"],
            ),
            "documentsIndexed": channel("documents.indexed", "What became of each document.", &["indexedRecord"]),
            "documentsIngestDead": channel("documents.ingest.dead", "Documents that cannot be read.", &DEAD_LETTERS),
            "searchRequests": channel("search.requests", "Questions to a collection.", &["searchRequest"]),
            "searchResults": channel("search.results", "The passages that answer them.", &["searchReply", "distanceReply"]),
            "searchRequestsDead": channel("search.requests.dead", "What is no question.", &DEAD_LETTERS),
        },
        "operations": {
            "receiveEvents": operation("receive", "inferenceEvents"),
            "sendResults": operation("send", "inferenceResults"),
            "sendShadow": operation("send", "inferenceShadow"),
            "sendDeadLetters": operation("send", "inferenceEventsDead"),
            "sendLedger": operation("send", "ledger"),
            "sendTrainingLedger": operation("send", "trainingLedger"),
            "sendMetrics": operation("send", "metrics"),
            "sendModels": operation("send", "models"),
            "receiveTrainingRequests": operation("receive", "trainingRequests"),
            "sendTrainingStatus": operation("send", "trainingStatus"),
            "sendTrainingDeadLetters": operation("send", "trainingRequestsDead"),
            "sendTrials": operation("send", "trainingTrials"),
            "receiveTrials": operation("receive", "trainingTrials"),
            "sendTrialDeadLetters": operation("send", "trainingTrialsDead"),
            "receiveControl": operation("receive", "control"),
            "sendModelCuts": operation("send", "modelCuts"),
            "receiveLabels": operation("receive", "labels"),
            "receiveDocuments": operation("receive", "documentsIngest"),
            "sendIndexed": operation("send", "documentsIndexed"),
            "sendDocumentDeadLetters": operation("send", "documentsIngestDead"),
            "receiveSearches": operation("receive", "searchRequests"),
            "sendSearchResults": operation("send", "searchResults"),
            "sendSearchDeadLetters": operation("send", "searchRequestsDead"),
        },
        "components": { "messages": messages() }
    })
}

const REQUESTS: [&str; 4] = ["kserveV1Request", "openInferenceRequest", "openInferenceBinaryRequest", "arrowRequest"];
const REPLIES: [&str; 4] = ["kserveV1Reply", "openInferenceReply", "openInferenceBinaryReply", "arrowReply"];
const DEAD_LETTERS: [&str; 1] = ["deadLetter"];

fn channel(address: &str, description: &str, messages: &[&str]) -> Value {
    let refer = |name: &&str| ((*name).to_owned(), json!({ "$ref": format!("#/components/messages/{name}") }));
    let messages: Map<String, Value> = messages.iter().map(refer).collect();
    json!({ "address": address, "description": description, "messages": messages })
}

fn operation(action: &str, channel: &str) -> Value {
    json!({ "action": action, "channel": { "$ref": format!("#/channels/{channel}") } })
}

fn messages() -> Value {
    const JSON: &str = "application/json";
    const BINARY: &str = "application/octet-stream";
    const ARROW: &str = "application/vnd.apache.arrow.stream";
    let raw = "JSON of this form without `data`, then the raw little-endian tensors that it announces.";
    let arrow_request = "Arrow IPC stream: a column per input (fixed-size list) or per field; a row per event.";
    let arrow_reply = "Arrow IPC stream: a column per output; `error` says why, where rows failed.";
    json!({
        "kserveV1Request": message(JSON, "KServe v1 request.", request_headers(&[]), file(KSERVE_REQUEST)),
        "openInferenceRequest":
            message(JSON, "Open Inference Protocol v2 request.", request_headers(&[]), file(OPEN_INFERENCE_REQUEST)),
        "openInferenceBinaryRequest": message(BINARY, raw, request_headers(&BINARY_HEADERS), bytes()),
        "arrowRequest": message(ARROW, arrow_request, request_headers(&[]), bytes()),
        "kserveV1Reply": message(JSON, "KServe v1 reply.", result_headers(&[]), file(KSERVE_REPLY)),
        "openInferenceReply":
            message(JSON, "Open Inference Protocol v2 reply.", result_headers(&[]), file(OPEN_INFERENCE_REPLY)),
        "openInferenceBinaryReply": message(BINARY, raw, result_headers(&BINARY_HEADERS), bytes()),
        "arrowReply": message(ARROW, arrow_reply, result_headers(&[]), bytes()),
        "deadLetter": message(JSON, "The event as it was; its content type is the event's.", dead_headers(), bytes()),
        "ledgerRecord": message(JSON, "One range of one input partition, or one redrive.", json!({}), file(LEDGER)),
        "metricsRecord": message(JSON, "One report of one instance.", json!({}), file(METRICS)),
        "catalogRecord":
            message(JSON, "A version of a model, or a number reserved for one.", json!({}), file(CATALOG)),
        "trainingRequest": message(JSON, "One training task.", json!({}), file(TRAINING_REQUEST)),
        "trialRecord": message(JSON, "A trial, or what came of it.", json!({}), file(TRIAL)),
        "trainingStatus":
            message(JSON, "Where a task stands.", result_headers(&[]), file(TRAINING_STATUS)),
        "controlRecord": message(JSON, "A word to every instance.", json!({}), file(CONTROL)),
        "cutRecord": message(JSON, "One switch of one partition.", json!({}), file(CUT)),
        "labelRecord": message(JSON, "What one event turned out to be.", json!({}), file(LABEL)),
        "ingestRecord": message(JSON, "One document, or its end.", json!({}), file(INGEST)),
        "ingestFile": message(BINARY, "One document: the file itself, of any content type.", file_headers(), bytes()),
        "indexedRecord": message(JSON, "What became of one document.", result_headers(&[]), file(INDEXED)),
        "searchRequest": message(JSON, "One or several questions.", json!({}), file(SEARCH_REQUEST)),
        "searchReply": message(JSON, "What was found.", result_headers(&[]), file(SEARCH_REPLY)),
        "distanceReply":
            message(JSON, "What was found, to `search_input`.", result_headers(&[]), file(DISTANCE_REPLY)),
    })
}

fn message(content_type: &str, summary: &str, headers: Value, payload: Value) -> Value {
    let mut message = json!({ "contentType": content_type, "summary": summary, "payload": payload });
    if headers != json!({}) {
        message["headers"] = json!({ "type": "object", "properties": headers });
    }
    message
}

fn file(name: &str) -> Value {
    json!({ "schemaFormat": "application/schema+json;version=draft-07", "schema": { "$ref": format!("./{name}") } })
}

fn bytes() -> Value {
    json!({ "type": "string", "format": "binary" })
}

const BINARY_HEADERS: [(&str, &str); 1] =
    [(headers::INFERENCE_HEADER_CONTENT_LENGTH, "Length of the JSON part in bytes, decimal.")];

fn request_headers(more: &[(&str, &str)]) -> Value {
    let common = [
        (headers::CONTENT_TYPE, "Format of the payload; JSON where absent."),
        (headers::MODEL, "Which model: name or name/version; the pipeline's default where absent."),
        (headers::CE_ID, "CloudEvents id."),
        (headers::CE_EXPIRYTIME, "RFC 3339 time after which the event is filtered instead of scored."),
    ];
    properties(common.iter().chain(more))
}

fn result_headers(more: &[(&str, &str)]) -> Value {
    let common = [
        (headers::CONTENT_TYPE, "Format of the payload, the request's."),
        (headers::MODEL, "Which model scored: name/version#digest."),
        (headers::SOURCE, "Which message this answers: topic/partition/offset."),
    ];
    properties(common.iter().chain(more))
}

fn file_headers() -> Value {
    let all = [
        (documents::COLLECTION, "Collection; its presence says that the value is the file itself."),
        (documents::DOCUMENT, "Id of the document; without it the key is the id."),
        (documents::TITLE, "Title."),
        (documents::URI, "Where the file came from."),
        (documents::PAGE_CONTENT_COLUMN, "The column that holds the text, where the file is a table."),
        (headers::CONTENT_TYPE, "What the file is; found by looking where it is absent."),
    ];
    properties(all.iter())
}

fn dead_headers() -> Value {
    let texts = dead::ALL.map(|name| (name, dead_header(name)));
    let mut headers = properties(texts.iter().map(|(name, text)| (*name, *text)).collect::<Vec<_>>().iter());
    headers[dead::CLASS]["enum"] = ErrorClass::ALL.iter().map(|class| class.as_str()).collect();
    headers
}

fn dead_header(name: &str) -> &'static str {
    match name {
        dead::EXCEPTION => "Error type.",
        dead::MESSAGE => "What is wrong and what to do, one sentence.",
        dead::TOPIC => "Topic of the event.",
        dead::PARTITION => "Partition of the event.",
        dead::OFFSET => "Offset of the event.",
        dead::CLASS => "Machine-readable reason.",
        dead::OPERATOR => "Which operator rejected it.",
        dead::ATTEMPTS => "How often it was tried.",
        _ => "Which rows failed, as compact ranges, where only some did.",
    }
}

fn properties<'a>(headers: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Value {
    let property = |(name, text): &(&str, &str)| ((*name).to_owned(), json!({ "type": "string", "description": text }));
    Value::Object(headers.map(property).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_checked_in_documents_are_what_the_types_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("published");
        let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
        for (name, text) in documents() {
            if update {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(name), &text).unwrap();
            }
            let found = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert!(found == text, "{name} differs: run UPDATE_SCHEMAS=1 cargo test -p lunapark-schemas");
        }
        let expected: BTreeSet<_> = documents().into_iter().map(|(name, _)| name.to_owned()).collect();
        let entries = std::fs::read_dir(&folder).unwrap();
        let found: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(found, expected, "schemas/published has files that nothing writes, or lacks some");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let documents = documents();
        let asyncapi: Value = serde_json::from_str(&documents.last().unwrap().1).unwrap();
        let mut references = Vec::new();
        collect_references(&asyncapi, &mut references);
        assert!(references.len() > 20);
        for reference in references {
            match reference.strip_prefix("./") {
                Some(file) => assert!(documents.iter().any(|(name, _)| *name == file), "{reference}"),
                None => assert!(asyncapi.pointer(reference.trim_start_matches('#')).is_some(), "{reference}"),
            }
        }
    }

    fn collect_references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match value.as_str().filter(|_| name == "$ref") {
                        Some(reference) => found.push(reference.to_owned()),
                        None => collect_references(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| collect_references(value, found)),
            _ => {}
        }
    }
}
