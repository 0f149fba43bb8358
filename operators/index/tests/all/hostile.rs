//! Objects with flipped and missing bytes, as a broken disk or a hostile hand leaves them.

use std::sync::Arc;
use std::time::Duration;

use lunapark_index::{
    Compaction, IndexError, Mode, Question, Reader, Recall, Search, Sweep, Writer, compact, sweep, verify,
};
use lunapark_stores::ArtifactStore;

use crate::made::{DIMENSION, Dice, batch, document, memory, put, settings};

fn some() -> Arc<ArtifactStore> {
    let (store, mut dice) = (memory(), Dice(8));
    let mut writer = Writer::open(Arc::clone(&store), "c", &settings(), "one").unwrap();
    for offset in 0..3 {
        let change = put(offset, document(&mut dice, &format!("d{offset}")));
        writer.apply(&batch(offset..offset + 1, vec![change])).unwrap();
    }
    store
}

/// Opens, searches and reads everything.
fn use_all(store: &Arc<ArtifactStore>) -> Result<usize, IndexError> {
    let snapshot = Reader::open(Arc::clone(store), "c", 1 << 20)?.snapshot();
    let question = Question { text: "wing flow".into(), vector: vec![0.5; DIMENSION] };
    let mut count = 0;
    for (mode, recall) in [
        (Mode::Dense, Recall::Exact),
        (Mode::Dense, Recall::AtLeast(0.5)),
        (Mode::Words, Recall::Auto),
        (Mode::Hybrid, Recall::Auto),
    ] {
        let found = snapshot.search(&Search { mode, recall, ..Search::default() }, std::slice::from_ref(&question))?;
        count += found[0].len();
    }
    snapshot.each_document(|_, _| count += 1)?;
    Ok(count)
}

/// The objects that the newest version needs.
fn objects(store: &ArtifactStore) -> Vec<(String, Vec<u8>)> {
    let mut objects = store.list_named("collections/c").unwrap();
    objects.retain(|object| object.name.ends_with(".segment") || object.name.ends_with(".json"));
    objects.retain(|object| !["0.json", "1.json", "2.json"].iter().any(|end| object.name.ends_with(end)));
    let bytes = |name: &str| store.get_named(name).unwrap().unwrap();
    objects.into_iter().map(|object| (object.name.clone(), bytes(&object.name))).collect()
}

#[test]
fn every_flipped_or_missing_byte_is_an_error_that_names_the_object() {
    let store = some();
    assert_eq!(objects(&store).len(), 4);
    flip(&store);
}

#[test]
fn every_flipped_or_missing_byte_of_lists_is_an_error_too() {
    let store = some();
    let listing = Compaction { lists_from: 1, ..Compaction::whole() };
    compact(&store, "c", &listing, "one").unwrap().unwrap();
    sweep(&store, "c", &Sweep { keep: Duration::ZERO, spare: Duration::ZERO }).unwrap();
    assert_eq!(objects(&store).len(), 2);
    flip(&store);
}

fn flip(store: &Arc<ArtifactStore>) {
    let objects = objects(store);
    let whole = use_all(store).unwrap();
    let mut dice = Dice(9);
    let mut padding = 0;
    for case in 0..1500 {
        let (name, bytes) = &objects[dice.below(objects.len())];
        let at = dice.below(bytes.len());
        let mut broken = bytes.clone();
        if case % 5 == 0 {
            broken.truncate(at)
        } else {
            broken[at] ^= 1 << dice.below(8)
        }
        store.put_named(name, &broken).unwrap();
        match use_all(store) {
            Err(error) => assert!(error.to_string().contains(name) || !name.ends_with("json"), "{name}: {error}"),
            Ok(count) => {
                assert_eq!(count, whole);
                padding += 1;
            }
        }
        store.put_named(name, bytes).unwrap();
    }
    assert_eq!(padding, 0, "every byte has a digest");
    assert!(verify(store, "c").unwrap().problems.is_empty());
}

#[test]
fn a_missing_segment_is_a_problem_of_its_own() {
    let store = some();
    let (name, bytes) = objects(&store).into_iter().find(|(name, _)| name.ends_with(".segment")).unwrap();
    store.delete_named(&name).unwrap();
    let error = use_all(&store).unwrap_err().to_string();
    assert!(error.contains(&name), "{error}");
    let verified = verify(&store, "c").unwrap();
    assert!(verified.problems.len() == 1 && verified.problems[0].contains(&name), "{:?}", verified.problems);
    assert_eq!(verified.counts, None, "nobody knows what was in it");
    store.put_named(&name, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(verify(&store, "c").unwrap().problems.len(), 1);
}

#[test]
fn manifests_of_any_bytes_are_refused() {
    let store = some();
    let name = "collections/c/manifests/00000000000000000004.json";
    let digest = |body: &str| lunapark_stores::digest_of(body.as_bytes());
    let (_, good) = objects(&store).into_iter().find(|(name, _)| name.ends_with("3.json")).unwrap();
    let body = String::from_utf8(good).unwrap();
    let body = body.split_once("\"manifest\":").unwrap().1.strip_suffix('}').unwrap().to_owned();
    let made = |body: &str| format!("{{\"sha256\":\"{}\",\"manifest\":{body}}}", digest(body));
    for bytes in [
        String::new(),
        "{}".into(),
        made("{}"),
        made(&body),
        made(&body.replace("\"number\":3", "\"number\":4,\"more\":1")),
        made(&body.replace("\"number\":3", "\"number\":4").replace("\"dimension\":20", "\"dimension\":0")),
        made(&body.replace("\"number\":3", "\"number\":4").replace("\"0\":3", "\"0\":9223372036854775807")),
        made(&body.replace("\"number\":3", "\"number\":4").replace("\"footer\":", "\"footer\":9")),
    ] {
        store.put_named(name, bytes.as_bytes()).unwrap();
        let error = use_all(&store).unwrap_err();
        assert!(matches!(&error, IndexError::Corrupt { object, .. } if object == name), "{bytes}: {error}");
    }
    store.put_named(name, made(&body.replace("\"number\":3", "\"number\":4")).as_bytes()).unwrap();
    use_all(&store).unwrap();
}
