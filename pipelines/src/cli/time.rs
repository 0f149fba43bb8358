//! Times and durations as people write them: RFC 3339, `10m`, `7d`.

use std::time::Duration;

use crate::clock;

/// A message's time as RFC 3339 in UTC; `-` where the log has none.
pub fn shown(millis: i64) -> String {
    if millis < 0 { "-".into() } else { clock::rfc3339(millis) }
}

/// Reads a duration such as `500ms`, `30s`, `10m`, `12h`, `7d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        format!("`{text}` is no duration: write a number and a unit, for example 500ms, 30s, 10m, 12h, 7d")
    })
}

/// Reads a point in time: RFC 3339, or so long ago. Milliseconds since 1970.
pub fn parse_since(text: &str) -> Result<i64, String> {
    if let Some(millis) = clock::parse_rfc3339_millis(text) {
        return Ok(millis);
    }
    let ago = humantime::parse_duration(text).map_err(|_| {
        format!("`{text}` is no time: write for example 2026-11-21T10:00:00Z, or 10m for ten minutes ago")
    })?;
    Ok(clock::now_millis().saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)))
}

/// A duration, in units that a person takes in.
pub fn duration(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        assert_eq!([shown(1_795_255_200_500).as_str(), &shown(-1)], ["2026-11-21T10:00:00.500Z", "-"]);
        assert_eq!(parse_since("2026-11-21T12:30:00.5+02:30"), Ok(1_795_255_200_500));
        let ago = clock::now_millis() - parse_since("10m").unwrap();
        assert!((600_000..605_000).contains(&ago), "{ago}");
        assert!(parse_since("2026-02-29T00:00:00Z").is_err() && parse_since("").is_err());
    }

    #[test]
    fn durations_are_written_and_read() {
        for text in ["500ms", "30s", "10m", "12h", "7days"] {
            assert_eq!(duration(parse_duration(text).unwrap()), text);
        }
        for text in ["", "7", "d", "-1s", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
