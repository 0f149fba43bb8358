//! What is known of documents without their texts: where they came from, their fields, the pages of a passage.

use std::collections::BTreeMap;

use lunapark_index::{Asked, FieldKind, Filter, Mark, Snapshot, Writer};
use serde_json::json;

use super::made::{Dice, batch, delete, document, memory, put, settings};

fn collection() -> std::sync::Arc<Snapshot> {
    let (store, dice) = (memory(), &mut Dice(7));
    let mut made = |id: &str, metadata: serde_json::Value| {
        let mut document = document(dice, id);
        document.metadata = metadata.as_object().unwrap().clone();
        document
    };
    let (a, gone) = (made("a", json!({ "year": 1960, "tags": ["jet", 3] })), made("gone", json!({ "old": true })));
    let mut b = made("b", json!({ "year": "1961", "open": false, "none": null }));
    b.parents.truncate(1);
    let (start, middle) = (b.parents[0].span.start, b.parents[0].span.end / 2);
    let page = |start, page| Mark { start, page: Some(page), ..Mark::default() };
    let heading = Mark { start: middle, heading: Some("Results".into()), level: 2, page: None };
    b.parents[0].marks = vec![page(start, 3), heading, page(middle + 1, 5)];
    let mut writer = Writer::open(store.clone(), "c", &settings(), "me").unwrap();
    writer.apply(&batch(0..3, vec![put(0, a), put(1, gone), put(2, b)])).unwrap();
    writer.apply(&batch(3..4, vec![delete(3, "gone")])).unwrap();
    lunapark_index::Reader::open(store, "c", 1 << 20).unwrap().snapshot()
}

#[test]
fn documents_are_listed_with_their_fields() {
    let snapshot = collection();
    let mut places = Vec::new();
    snapshot.each_place(|id, uri| places.push(format!("{id} {uri}"))).unwrap();
    places.sort();
    assert_eq!(places, ["a file:///a", "b file:///b"]);
    let fields = snapshot.fields().unwrap();
    let kinds = |name: &str| fields.get(name).cloned();
    let of = |kinds: &[(FieldKind, u64)]| Some(kinds.iter().copied().collect::<BTreeMap<_, _>>());
    assert_eq!(kinds("year"), of(&[(FieldKind::Text, 1), (FieldKind::Number, 1)]));
    assert_eq!(kinds("tags"), of(&[(FieldKind::Text, 1), (FieldKind::Number, 1)]));
    assert_eq!((kinds("open"), kinds("none")), (of(&[(FieldKind::Truth, 1)]), of(&[])));
    assert_eq!((kinds("title"), kinds("old")), (of(&[(FieldKind::Text, 2)]), None), "what is gone has no fields");
    for name in ["id", "title", "year", "tags", "open", "none", "old", "nowhere"] {
        assert_eq!(snapshot.kinds(name).unwrap(), kinds(name), "{name}");
    }
}

#[test]
fn a_filter_says_what_it_asks_for() {
    let asks = |filter: &str| Filter::parse(filter).unwrap().asks();
    let asked = |field: &str, with| Asked { field: field.to_owned(), with };
    assert_eq!(
        asks("(year > 1 OR NOT open) AND of.city LIKE 'B%' AND year IN ('a', 2) AND note IS NOT NULL AND b = NULL"),
        [
            asked("b", None),
            asked("note", None),
            asked("of", Some(FieldKind::Text)),
            asked("open", Some(FieldKind::Truth)),
            asked("year", Some(FieldKind::Text)),
            asked("year", Some(FieldKind::Number)),
        ]
    );
}

#[test]
fn the_last_page_of_a_span_is_told() {
    let snapshot = collection();
    let whole = snapshot.document("b").unwrap().unwrap().parents[0].span.clone();
    let last = |id: &str, passage: usize, end: u64| snapshot.last_page(id, passage, end).unwrap();
    assert_eq!((last("b", 0, whole.end), last("b", 0, whole.end / 2)), (Some(5), Some(3)));
    assert_eq!((last("b", 1, whole.end), last("nothing", 0, 1)), (None, None));
}
