//! Merging: a user's document over the defaults; unknown keys are refused with the nearest known one.

use lunapark_topics::kafka::KafkaOptions;
use toml::{Table, Value};

use super::{ConfigError, DEFAULT};

/// The section whose unknown keys belong to librdkafka.
pub(super) const OPEN_SECTION: &str = "kafka";

/// The default document.
pub fn defaults() -> Result<Table, ConfigError> {
    DEFAULT.parse().map_err(|e| ConfigError(format!("default.toml: {e}")))
}

/// Puts the user's document over `into`.
pub fn user(into: &mut Table, text: &str) -> Result<(), ConfigError> {
    let table: Table = text.parse().map_err(|error| not_toml(text, &error))?;
    for (key, value) in table {
        merge(into, &key, value, &key)?;
    }
    Ok(())
}

/// Where the text is no TOML. The line itself, which the parser would show, may hold a password.
fn not_toml(text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    ConfigError(format!("not TOML: {line}{}", error.message()))
}

fn merge(into: &mut Table, key: &str, value: Value, path: &str) -> Result<(), ConfigError> {
    let Some(default) = into.get_mut(key) else { return Err(unknown(path, &siblings(into, path))) };
    match (default, value) {
        (Value::Table(section), Value::Table(own)) if path == OPEN_SECTION => {
            for (key, value) in flat(own) {
                merge_open(section, &key, value)?;
            }
            Ok(())
        }
        (Value::Table(section), Value::Table(own)) => {
            own.into_iter().try_for_each(|(k, v)| merge(section, &k, v, &format!("{path}.{k}")))
        }
        (Value::Array(list), Value::Array(own)) => {
            let template = list.first().cloned();
            own.iter().try_for_each(|entry| check_entry(template.as_ref(), entry, path))?;
            *list = own;
            Ok(())
        }
        (slot, value) => replace(slot, value, path),
    }
}

pub(super) fn merge_open(section: &mut Table, key: &str, value: Value) -> Result<(), ConfigError> {
    match section.get_mut(key) {
        Some(slot) => replace(slot, value, &format!("{OPEN_SECTION}.{key}")),
        None if KafkaOptions::knows(key) => {
            section.insert(key.to_owned(), Value::String(plain(&value)));
            Ok(())
        }
        None => Err(unknown_property(&format!("{OPEN_SECTION}.{key}"), key, section, in_document)),
    }
}

/// `ssl.key.password = "x"` is a nested table in TOML; librdkafka wants the dotted name.
fn flat(table: Table) -> Vec<(String, Value)> {
    let nested = |(key, value): (String, Value)| match value {
        Value::Table(inner) => flat(inner).into_iter().map(|(k, v)| (format!("{key}.{k}"), v)).collect(),
        value => vec![(key, value)],
    };
    table.into_iter().flat_map(nested).collect()
}

fn check_entry(template: Option<&Value>, entry: &Value, path: &str) -> Result<(), ConfigError> {
    let (Some(Value::Table(known)), Value::Table(own)) = (template, entry) else {
        return Err(ConfigError(format!("`{path}` must be a list of tables: write [[{path}]]")));
    };
    match own.keys().find(|key| !known.contains_key(*key)) {
        None => Ok(()),
        Some(key) => Err(unknown(&format!("{path}.{key}"), &siblings(known, &format!("{path}.{key}")))),
    }
}

fn replace(slot: &mut Value, value: Value, path: &str) -> Result<(), ConfigError> {
    let value = match (&*slot, value) {
        (Value::Float(_), Value::Integer(i)) => Value::Float(i as f64),
        (_, value) => value,
    };
    if !slot.same_type(&value) {
        let (has, wants) = (value.type_str(), slot.type_str());
        return Err(ConfigError(format!("`{path}` is a {has} where a {wants} belongs; its default is {slot}")));
    }
    *slot = value;
    Ok(())
}

fn siblings(table: &Table, path: &str) -> Vec<String> {
    let prefix = path.rsplit_once('.').map(|(section, _)| format!("{section}.")).unwrap_or_default();
    table.keys().map(|key| format!("{prefix}{key}")).collect()
}

/// How a key of the section `kafka` is written in the document.
fn in_document(key: &str) -> String {
    if key.contains('.') { format!("{OPEN_SECTION}.\"{key}\"") } else { format!("{OPEN_SECTION}.{key}") }
}

/// A key of the section `kafka` that is neither ours nor librdkafka's.
pub(super) fn unknown_property(
    path: &str,
    key: &str,
    section: &Table,
    written: impl Fn(&str) -> String,
) -> ConfigError {
    let known = section.keys().map(String::as_str).chain(KafkaOptions::property_names().iter().copied());
    let nearest = known.map(|known| (strsim::damerau_levenshtein(key, known), known)).min();
    let hint = match nearest.filter(|(_, known)| near(key, known)) {
        Some((_, known)) => format!("did you mean `{}`?", written(known)),
        None => "its properties are listed in its CONFIGURATION.md; those of Kafka's Java clients differ".to_owned(),
    };
    ConfigError(format!("unknown key `{path}`: librdkafka has no property `{key}`; {hint}"))
}

/// Whether one may be a slip of the pen for the other: the longer, the more letters may differ.
pub(super) fn near(asked: &str, known: &str) -> bool {
    strsim::damerau_levenshtein(asked, known) <= (asked.len() / 3).clamp(1, 3)
}

pub(super) fn unknown(path: &str, known: &[String]) -> ConfigError {
    let nearest = known.iter().max_by(|a, b| strsim::jaro_winkler(path, a).total_cmp(&strsim::jaro_winkler(path, b)));
    let hint = nearest.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
    ConfigError(format!("unknown key `{path}`{hint} `lunapark config` prints all keys"))
}

/// A scalar as librdkafka wants it: text.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
