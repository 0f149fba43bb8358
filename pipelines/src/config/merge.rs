//! Merging: a user's document and environment over the defaults; unknown keys are refused with the nearest known one.

use lunapark_topics::kafka::KafkaOptions;
use toml::{Table, Value};

use super::{ConfigError, DEFAULT};

/// Variables of the same prefix that are not settings.
const NOT_SETTINGS: [&str; 3] = ["LUNAPARK_CONFIG", "LUNAPARK_SERVERS", "LUNAPARK_TEST"];
/// The section whose unknown keys belong to librdkafka.
const OPEN_SECTION: &str = "kafka";

/// The default document.
pub fn defaults() -> Result<Table, ConfigError> {
    DEFAULT.parse().map_err(|e| ConfigError(format!("default.toml: {e}")))
}

/// Puts the user's document over `into`.
pub fn user(into: &mut Table, text: &str) -> Result<(), ConfigError> {
    let table: Table = text.parse().map_err(|e| ConfigError(format!("not TOML: {e}")))?;
    for (key, value) in table {
        merge(into, &key, value, &key)?;
    }
    Ok(())
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

fn merge_open(section: &mut Table, key: &str, value: Value) -> Result<(), ConfigError> {
    match section.get_mut(key) {
        Some(slot) => replace(slot, value, &format!("{OPEN_SECTION}.{key}")),
        None if KafkaOptions::knows(key) => {
            section.insert(key.to_owned(), Value::String(plain(&value)));
            Ok(())
        }
        None => Err(unknown(&format!("{OPEN_SECTION}.{key}"), &siblings(section, "kafka."))),
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

/// Puts environment variables over `into`.
pub fn environment(into: &mut Table, vars: impl Iterator<Item = (String, String)>) -> Result<(), ConfigError> {
    let known = variables(into, "LUNAPARK");
    let ours = |name: &str| name.starts_with("LUNAPARK_") && !NOT_SETTINGS.iter().any(|n| name.starts_with(n));
    for (name, text) in vars.filter(|(name, _)| ours(name)) {
        let asked = if name == "LUNAPARK_DATA" { "LUNAPARK_EMBEDDED_DATA" } else { &name };
        match known.iter().find(|(variable, _)| variable == asked) {
            Some((_, path)) => set_text(into, path, &text, &name)?,
            None => set_open(into, &name, &text, &known)?,
        }
    }
    Ok(())
}

fn variables(table: &Table, prefix: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (key, value) in table {
        let name = format!("{prefix}_{}", key.to_uppercase());
        match value {
            Value::Table(section) => found.extend(variables(section, &name).into_iter().map(|(variable, mut path)| {
                path.insert(0, key.clone());
                (variable, path)
            })),
            Value::Array(_) => {}
            _ => found.push((name, vec![key.clone()])),
        }
    }
    found
}

fn set_text(into: &mut Table, path: &[String], text: &str, name: &str) -> Result<(), ConfigError> {
    let Some((last, sections)) = path.split_last() else { return Ok(()) };
    let mut table = into;
    for section in sections {
        let Some(Value::Table(inner)) = table.get_mut(section) else { return Ok(()) };
        table = inner;
    }
    let Some(slot) = table.get_mut(last) else { return Ok(()) };
    let refused = || ConfigError(format!("{name}={text}: a {} belongs there; the default is {slot}", slot.type_str()));
    let value = match slot {
        Value::Integer(_) => Value::Integer(text.parse().map_err(|_| refused())?),
        Value::Float(_) => Value::Float(text.parse().map_err(|_| refused())?),
        Value::Boolean(_) => Value::Boolean(text.parse().map_err(|_| refused())?),
        _ => Value::String(text.to_owned()),
    };
    *slot = value;
    Ok(())
}

/// `LUNAPARK_KAFKA_SASL_PASSWORD` is librdkafka's `sasl.password`.
fn set_open(into: &mut Table, name: &str, text: &str, known: &[(String, Vec<String>)]) -> Result<(), ConfigError> {
    match (name.strip_prefix("LUNAPARK_KAFKA_"), into.get_mut(OPEN_SECTION)) {
        (Some(property), Some(Value::Table(section))) if KafkaOptions::knows(&dotted(property)) => {
            merge_open(section, &dotted(property), Value::String(text.to_owned()))
        }
        _ => Err(unknown(name, &known.iter().map(|(variable, _)| variable.clone()).collect::<Vec<_>>())),
    }
}

fn dotted(property: &str) -> String {
    property.to_lowercase().replace('_', ".")
}

fn siblings(table: &Table, path: &str) -> Vec<String> {
    let prefix = path.rsplit_once('.').map(|(section, _)| format!("{section}.")).unwrap_or_default();
    table.keys().map(|key| format!("{prefix}{key}")).collect()
}

fn unknown(path: &str, known: &[String]) -> ConfigError {
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
