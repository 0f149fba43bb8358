//! The environment: a variable for each setting, and what other programs put under our prefix.

use lunapark_topics::kafka::KafkaOptions;
use toml::{Table, Value};

use super::ConfigError;
use super::merge::{OPEN_SECTION, merge_open, unknown, unknown_property};

/// What all our variables begin with.
const PREFIX: &str = "LUNAPARK_";
/// Variables of the same prefix that are not settings: of the program itself, its scripts and builds.
const NOT_SETTINGS: [&str; 8] = [
    "LUNAPARK_CONFIG",
    "LUNAPARK_COMMIT",
    "LUNAPARK_CUDA",
    "LUNAPARK_INSTANCES",
    "LUNAPARK_KAFKA_HEAP",
    "LUNAPARK_KERNEL",
    "LUNAPARK_PYTHON",
    "LUNAPARK_SERVERS",
];
/// What those of the tests begin with.
const TESTS: [&str; 2] = ["LUNAPARK_TEST", "LUNAPARK_FUZZ"];
/// Short for `LUNAPARK_EMBEDDED_DATA`.
const DATA: &str = "LUNAPARK_DATA";

/// Puts environment variables over `into`. Whatever else begins as they do is a slip of the pen, and refused, but for what
/// Kubernetes says.
pub fn environment(into: &mut Table, vars: impl Iterator<Item = (String, String)>) -> Result<(), ConfigError> {
    let known = variables(into, PREFIX.trim_end_matches('_'));
    let others = |name: &str| NOT_SETTINGS.contains(&name) || TESTS.iter().any(|tests| name.starts_with(tests));
    for (name, text) in vars.filter(|(name, _)| name.starts_with(PREFIX) && !others(name)) {
        let asked = if name == DATA { "LUNAPARK_EMBEDDED_DATA" } else { &name };
        match known.iter().find(|(variable, _)| variable == asked) {
            Some((_, path)) => set_text(into, path, &text, &name)?,
            None if of_kubernetes(&name, &text) => {}
            None => set_open(into, &name, &text, &known)?,
        }
    }
    Ok(())
}

/// Kubernetes tells every pod of the Services in its namespace, in the form of Docker's links: of `lunapark-kafka` it says
/// `LUNAPARK_KAFKA_SERVICE_HOST`, `LUNAPARK_KAFKA_PORT=tcp://…`, `LUNAPARK_KAFKA_PORT_9092_TCP_ADDR`, ….
fn of_kubernetes(name: &str, text: &str) -> bool {
    let service = ["_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|end| name.ends_with(end));
    let address = name.ends_with("_PORT") && text.contains("://");
    let port = name.rsplit_once("_PORT_").is_some_and(|(_, port)| {
        let after = port.trim_start_matches(|c: char| c.is_ascii_digit());
        after.len() < port.len() && ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| after.starts_with(protocol))
    });
    service || address || port || name.contains("_SERVICE_PORT_")
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
    let names = || known.iter().map(|(variable, _)| variable.clone()).collect::<Vec<_>>();
    match (name.strip_prefix("LUNAPARK_KAFKA_").map(dotted), into.get_mut(OPEN_SECTION)) {
        (Some(property), Some(Value::Table(section))) if KafkaOptions::knows(&property) => {
            merge_open(section, &property, Value::String(text.to_owned()))
        }
        (Some(property), Some(Value::Table(section))) => Err(unknown_property(name, &property, section, variable_of)),
        _ => Err(unknown(name, &names())),
    }
}

/// The variable that sets a key of the section `kafka`.
fn variable_of(key: &str) -> String {
    format!("LUNAPARK_KAFKA_{}", key.to_uppercase().replace('.', "_"))
}

fn dotted(property: &str) -> String {
    property.to_lowercase().replace('_', ".")
}
