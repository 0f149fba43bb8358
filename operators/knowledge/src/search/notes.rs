//! What is odd about a request: a question that is longer than the encoder reads; in its filter a name that no document
//! has, a text that is compared with a number, a field that is a text in some documents and a number in others.

use std::collections::BTreeMap;

use lunapark_index::{Asked, FieldKind, Filter, IndexError, Kinds, Snapshot};
use lunapark_schemas::search::SearchMode;

/// So many names are listed.
const NAMES: usize = 20;
/// A name is taken for a slip of the pen where it is this near to one that there is.
const NEAR: f64 = 0.8;
/// So many characters of a question say which one it is.
const BEGIN: usize = 40;

/// Says that a question has more tokens than the encoder reads.
pub(super) fn cut(question: &str, tokens: usize, most: usize, mode: SearchMode) -> String {
    let words = question.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut begin: String = words.chars().take(BEGIN).collect();
    if begin.len() < words.len() {
        begin.push('…');
    }
    let rest = match mode {
        SearchMode::Dense => "does not count",
        SearchMode::Hybrid | SearchMode::Words => "counts by its words alone",
    };
    format!(
        "the question `{begin}` has {tokens} tokens, of which the text encoder reads the first {most}: the rest {rest}"
    )
}

/// What is odd about a filter; empty where it can mean what it says, whatever it finds.
pub(super) fn notes(snapshot: &Snapshot, filter: &Filter) -> Result<Vec<String>, IndexError> {
    let (asks, mut fields) = (filter.asks(), BTreeMap::new());
    for Asked { field, .. } in &asks {
        match snapshot.kinds(field)? {
            Some(kinds) => drop(fields.insert(field.clone(), kinds)),
            // All names are needed to tell which one may be meant.
            None => return Ok(notes_on(snapshot.collection(), &snapshot.fields()?, &asks)),
        }
    }
    Ok(notes_on(snapshot.collection(), &fields, &asks))
}

fn notes_on(collection: &str, fields: &BTreeMap<String, Kinds>, asks: &[Asked]) -> Vec<String> {
    let note = |asked: &Asked| match fields.get(&asked.field) {
        None => Some(unknown(collection, fields, &asked.field)),
        Some(kinds) => wrong_kind(collection, kinds, asked).or_else(|| mixed(collection, kinds, asked, asks)),
    };
    let mut notes: Vec<String> = asks.iter().filter_map(note).collect();
    notes.dedup();
    notes
}

fn wrong_kind(collection: &str, kinds: &Kinds, asked: &Asked) -> Option<String> {
    let (field, with) = (&asked.field, asked.with.filter(|with| !kinds.contains_key(with))?);
    let mut is = kinds.keys().copied();
    let (first, more) = (is.next()?, is.next().is_some());
    let advice = match (first, with) {
        _ if more => "compare it with what it is",
        (FieldKind::Text, FieldKind::Number) => "write what it is compared with in quotes, '…'",
        (FieldKind::Text, _) => "compare it with a text, in quotes, '…'",
        (FieldKind::Number, _) => "compare it with a number, without quotes",
        _ => "write the field alone, or = TRUE",
    };
    let (is, with) = (kinds.keys().copied().map(named).collect::<Vec<_>>().join(" or "), named(with));
    Some(format!("`{field}` is {is} in {collection}, and the filter compares it with {with}: {advice}"))
}

/// Of a field with values of two kinds, a comparison passes over those of the other kind.
fn mixed(collection: &str, kinds: &Kinds, asked: &Asked, asks: &[Asked]) -> Option<String> {
    let (field, with) = (&asked.field, asked.with?);
    let compared = |kind: &FieldKind| asks.iter().any(|other| other.field == *field && other.with == Some(*kind));
    let others = kinds.keys().any(|kind| !compared(kind));
    let of = |(number, (kind, count)): (usize, (&FieldKind, &u64))| match (number, count) {
        (0, 1) => format!("{} in 1 document of {collection}", named(*kind)),
        (0, _) => format!("{} in {count} documents of {collection}", named(*kind)),
        _ => format!("{} in {count}", named(*kind)),
    };
    let is = kinds.iter().enumerate().map(of).collect::<Vec<_>>().join(" and ");
    let with = named(with);
    others.then(|| format!("`{field}` is {is}: what compares it with {with} passes over the others"))
}

fn named(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Text => "a text",
        FieldKind::Number => "a number",
        FieldKind::Truth => "true or false",
    }
}

fn unknown(collection: &str, fields: &BTreeMap<String, Kinds>, field: &str) -> String {
    format!("no document of {collection} has the field `{field}`{}", among(field, fields.keys().map(String::as_str)))
}

/// The end of a sentence that says that a name is none: which one may be meant, and which ones there are.
pub fn among<'a>(name: &str, there: impl IntoIterator<Item = &'a str>) -> String {
    let likeness = |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    let mut names: Vec<&str> = there.into_iter().collect();
    names.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    let meant = names.first().filter(|name| likeness(name) >= NEAR);
    let meant = meant.map_or(".".to_owned(), |name| format!("; did you mean `{name}`?"));
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let verb = if names.len() == 1 { "is" } else { "are" };
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{meant} There {verb} {}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(filter: &str) -> Vec<String> {
        let kinds = |kinds: &[FieldKind]| kinds.iter().map(|kind| (*kind, 2)).collect::<Kinds>();
        let fields: BTreeMap<String, Kinds> = [
            ("year", kinds(&[FieldKind::Text])),
            ("pages", kinds(&[FieldKind::Number])),
            ("open", kinds(&[FieldKind::Truth])),
            ("mixed", kinds(&[FieldKind::Text, FieldKind::Number])),
            ("empty", kinds(&[])),
        ]
        .map(|(name, kinds)| (name.to_owned(), kinds))
        .into();
        notes_on("papers", &fields, &Filter::parse(filter).unwrap().asks())
    }

    #[test]
    fn a_slip_of_the_pen_is_told() {
        for (filter, words) in [
            ("yaer = '1960'", &["no document of papers has the field `yaer`", "did you mean `year`?", "pages"][..]),
            ("NOT (zzz IS NULL)", &["`zzz`. There are"]),
            ("year >= 1960", &["`year` is a text", "with a number", "in quotes"]),
            ("year > '1' AND pages IN ('12')", &["`pages` is a number", "without quotes"]),
            ("pages LIKE '1%'", &["`pages` is a number", "compares it with a text"]),
            ("open = 'yes' OR mixed IN (1, 'a')", &["`open` is true or false", "= TRUE"]),
            ("year", &["`year` is a text", "with true or false"]),
            ("yaer IS NULL OR yaer = 3", &["no document of papers has the field `yaer`", "did you mean `year`?"]),
            (
                "mixed > 3",
                &["`mixed` is a text in 2 documents of papers and a number in 2", "with a number passes over"],
            ),
            ("mixed", &["`mixed` is a text or a number", "with true or false"]),
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
