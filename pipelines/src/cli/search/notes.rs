//! Why a filter finds nothing: a name that no document has, or a text that is compared with a number.

use std::collections::{BTreeMap, BTreeSet};

use lunapark_index::{Asked, FieldKind, Filter, Snapshot};

/// So many names are listed.
const NAMES: usize = 20;
/// A name is taken for a slip of the pen where it is this near to one that there is.
const NEAR: f64 = 0.8;

/// The fields of a collection, with the kinds of their values.
type Fields = BTreeMap<String, BTreeSet<FieldKind>>;

/// What is odd about a filter that finds nothing; empty where the collection just has no such document.
pub(super) fn notes(snapshot: &Snapshot, filter: &str) -> anyhow::Result<Vec<String>> {
    let asks = Filter::parse(filter)?.asks();
    let fields = snapshot.fields()?;
    Ok(asks.iter().filter_map(|asked| note(snapshot.collection(), &fields, asked)).collect())
}

fn note(collection: &str, fields: &Fields, asked: &Asked) -> Option<String> {
    let Asked { field, with } = asked;
    let Some(kinds) = fields.get(field) else { return Some(unknown(collection, fields, field)) };
    let with = with.filter(|with| !kinds.contains(with))?;
    let (is, advice) = match (kinds.first()?, with) {
        (FieldKind::Text, FieldKind::Number) => ("text", "write what it is compared with in quotes, '…'"),
        (FieldKind::Text, FieldKind::Truth) => ("text", "compare it with a text, in quotes, '…'"),
        (FieldKind::Number, _) => ("a number", "compare it with a number, without quotes"),
        _ => ("true or false", "write the field alone, or = TRUE"),
    };
    let other = match with {
        FieldKind::Text => "a text",
        FieldKind::Number => "a number",
        FieldKind::Truth => "true and false",
    };
    Some(format!("`{field}` is {is} in {collection}, and the filter compares it with {other}: {advice}"))
}

fn unknown(collection: &str, fields: &Fields, field: &str) -> String {
    let likeness = |name: &str| strsim::jaro_winkler(&field.to_lowercase(), &name.to_lowercase());
    let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
    names.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    let meant = names.first().filter(|name| likeness(name) >= NEAR);
    let meant = meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_else(|| ".".to_owned());
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("no document of {collection} has the field `{field}`{meant} There are {}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(filter: &str) -> Vec<String> {
        let kinds = |kinds: &[FieldKind]| kinds.iter().copied().collect::<BTreeSet<_>>();
        let fields: Fields = [
            ("year", kinds(&[FieldKind::Text])),
            ("pages", kinds(&[FieldKind::Number])),
            ("open", kinds(&[FieldKind::Truth])),
            ("mixed", kinds(&[FieldKind::Text, FieldKind::Number])),
            ("empty", kinds(&[])),
        ]
        .map(|(name, kinds)| (name.to_owned(), kinds))
        .into();
        let asks = Filter::parse(filter).unwrap().asks();
        asks.iter().filter_map(|asked| note("papers", &fields, asked)).collect()
    }

    #[test]
    fn a_slip_of_the_pen_is_told() {
        for (filter, words) in [
            ("yaer = '1960'", &["no document of papers has the field `yaer`", "did you mean `year`?", "pages"][..]),
            ("NOT (zzz IS NULL)", &["`zzz`. There are"]),
            ("year >= 1960", &["`year` is text", "with a number", "in quotes"]),
            ("year > '1' AND pages IN ('12')", &["`pages` is a number", "without quotes"]),
            ("pages LIKE '1%'", &["`pages` is a number", "compares it with a text"]),
            ("open = 'yes' OR mixed = 1", &["`open` is true or false", "= TRUE"]),
            ("year", &["`year` is text", "true and false"]),
        ] {
            let [note] = &noted(filter)[..] else { panic!("{filter}: {:?}", noted(filter)) };
            for word in words {
                assert!(note.contains(word), "{filter}: {note}");
            }
        }
        for fine in ["year > '1960'", "mixed = 'a' OR mixed = 1", "open AND pages = 3", "empty = 3 AND year IS NULL"] {
            assert_eq!(noted(fine), Vec::<String>::new(), "{fine}");
        }
    }
}
