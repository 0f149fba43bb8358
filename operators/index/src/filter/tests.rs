use serde_json::json;

use super::evaluate::like;
use super::*;

fn matches(filter: &str) -> bool {
    let metadata = json!({
        "year": 2021, "author": "d'Este", "open": true, "tag": ["jet", "wing"], "note": null, "of": {"city": "Bari"}
    });
    let metadata = metadata.as_object().unwrap();
    let fields = Fields { metadata, id: "a/1", title: "On jets", uri: "file:///a" };
    Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}")).matches(&fields)
}

#[test]
fn expressions_mean_what_they_say() {
    for yes in [
        "year >= 2020 AND author = 'd''Este'",
        "year = 2021.0 and not year < 2021",
        "title LIKE '%jet%'",
        "tag IN ('wing', 'tail') AND tag = 'jet'",
        "note IS NULL AND missing IS NULL AND year IS NOT NULL",
        "open",
        "NOT open OR (year BETWEEN 2000 AND 2030 AND author NOT LIKE 'x%')",
        "of.city = 'Bari' AND \"of\".\"city\" <> 'Rome'",
        "id = 'a/1' AND uri != 'x'",
        "year > -1e3",
        "open = TRUE",
    ] {
        assert!(matches(yes), "{yes}");
    }
    for no in [
        "year > 2021",
        "missing = 1",
        "NOT (missing = 1)",
        "missing = 1 OR missing <> 1",
        "year = '2021'",
        "author",
        "tag NOT IN ('jet')",
        "of.street = 'x'",
        "year = NULL",
        "title LIKE 'jets'",
        "year = 2021 AND year = 1 OR year = 2",
    ] {
        assert!(!matches(no), "{no}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (filter, at) in [
        ("", 1),
        ("year >", 7),
        ("year > 2020 author", 13),
        ("(year > 1", 10),
        ("year # 1", 6),
        ("a = 'x", 5),
        ("1 = a", 1),
        ("a IS 3", 6),
        ("a NOT 3", 7),
        ("a = 1e999", 5),
        ("and = 1", 1),
    ] {
        match Filter::parse(filter) {
            Err(IndexError::Filter { at: found, .. }) => assert_eq!(found, at, "{filter}"),
            other => panic!("{filter}: {other:?}"),
        }
    }
}

#[test]
fn depth_and_length_are_bounded() {
    for filter in ["(".repeat(1000), "NOT ".repeat(1000), "a ".repeat(20_000), format!("a{}", " OR a".repeat(300))] {
        assert!(Filter::parse(&filter).is_err());
    }
    assert!(Filter::parse(&format!("{}a{}", "(".repeat(60), ")".repeat(60))).is_ok());
}

#[test]
fn like_is_like_sql_and_takes_no_exponential_time() {
    for (text, pattern, expected) in [
        ("abc", "abc", true),
        ("abc", "a%", true),
        ("abc", "%c", true),
        ("abc", "a_c", true),
        ("abc", "a_", false),
        ("", "%", true),
        ("", "_", false),
        ("aXbXc", "%X_", true),
        ("àé", "__", true),
    ] {
        assert_eq!(like(text, pattern), expected, "{text} {pattern}");
    }
    assert!(!like(&"a".repeat(5000), &format!("{}b", "%a".repeat(50))));
}
