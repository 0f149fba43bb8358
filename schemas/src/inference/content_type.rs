//! Which format a message's headers announce.

use crate::headers::{CONTENT_TYPE, Headers, INFERENCE_HEADER_CONTENT_LENGTH};
use crate::outcome::{ErrorClass, Rejection};

use super::json::shorten;

/// JSON, requests and replies.
pub(super) const JSON: &str = "application/json";
/// Raw tensors behind a JSON part.
pub(super) const OCTET_STREAM: &str = "application/octet-stream";
/// Arrow IPC stream.
pub(super) const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

/// What the headers say of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// JSON of either protocol.
    Json,
    /// A JSON part of this many bytes, then raw tensors.
    Binary { json_length: usize },
    /// Arrow IPC stream.
    Arrow,
}

/// Reads the headers. The last header of a name counts, as in Kafka, and case does not.
pub(super) fn of(headers: Headers<'_>) -> Result<Announced, Rejection> {
    let (mut content_type, mut json_length) = (None, None);
    for (name, value) in headers {
        if name.eq_ignore_ascii_case(CONTENT_TYPE) {
            content_type = value;
        } else if name.eq_ignore_ascii_case(INFERENCE_HEADER_CONTENT_LENGTH) {
            json_length = value;
        }
    }
    let media = content_type.map_or(JSON.as_bytes(), media_type);
    match json_length {
        Some(length) if is(media, JSON) || is(media, OCTET_STREAM) => binary(length),
        None if is(media, JSON) => Ok(Announced::Json),
        None if is(media, OCTET_STREAM) => Err(Rejection::new(
            ErrorClass::Header,
            format!("{OCTET_STREAM} needs the header {INFERENCE_HEADER_CONTENT_LENGTH}: the length of the JSON part"),
        )),
        _ if is(media, ARROW_STREAM) => Ok(Announced::Arrow),
        _ => Err(unknown(media)),
    }
}

/// The type without its parameters: `application/json; charset=utf-8` is `application/json`.
fn media_type(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

fn is(media: &[u8], name: &str) -> bool {
    media.eq_ignore_ascii_case(name.as_bytes())
}

fn binary(length: &[u8]) -> Result<Announced, Rejection> {
    let parsed = std::str::from_utf8(length).ok().and_then(|text| text.trim().parse().ok());
    parsed.map(|json_length| Announced::Binary { json_length }).ok_or_else(|| {
        let text = shorten(length);
        let name = INFERENCE_HEADER_CONTENT_LENGTH;
        Rejection::new(ErrorClass::Header, format!("header {name}: `{text}` is not a number of bytes"))
    })
}

fn unknown(media: &[u8]) -> Rejection {
    let text = shorten(media);
    Rejection::new(
        ErrorClass::ContentType,
        format!("content type `{text}` is not supported; send {JSON}, {OCTET_STREAM} or {ARROW_STREAM}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::HeadersBuf;

    fn announced(headers: &[(&str, &str)]) -> Result<Announced, Rejection> {
        let mut buf = HeadersBuf::new();
        for (name, value) in headers {
            buf.push_str(name, value);
        }
        of(buf.view())
    }

    #[test]
    fn the_headers_decide_the_format() {
        let length = INFERENCE_HEADER_CONTENT_LENGTH;
        assert_eq!(announced(&[]), Ok(Announced::Json));
        assert_eq!(announced(&[("content-type", "Application/JSON; charset=utf-8")]), Ok(Announced::Json));
        assert_eq!(announced(&[("Content-Type", ARROW_STREAM)]), Ok(Announced::Arrow));
        assert_eq!(announced(&[("content-type", "text/csv"), ("content-type", JSON)]), Ok(Announced::Json));
        let binary = Ok(Announced::Binary { json_length: 12 });
        assert_eq!(announced(&[("content-type", OCTET_STREAM), (length, "12")]), binary);
        assert_eq!(announced(&[(length, "12")]), binary);
    }

    #[test]
    fn headers_that_say_nothing_known_are_refused() {
        let class = |headers: &[(&str, &str)]| announced(headers).map_err(|rejection| rejection.class);
        assert_eq!(class(&[("content-type", "text/csv")]), Err(ErrorClass::ContentType));
        assert_eq!(class(&[("content-type", "")]), Err(ErrorClass::ContentType));
        assert_eq!(class(&[("content-type", OCTET_STREAM)]), Err(ErrorClass::Header));
        assert_eq!(class(&[(INFERENCE_HEADER_CONTENT_LENGTH, "-1")]), Err(ErrorClass::Header));
        let message = announced(&[("content-type", "text/csv")]).unwrap_err().message;
        assert!(message.contains("`text/csv`") && message.contains(ARROW_STREAM), "{message}");
    }
}
