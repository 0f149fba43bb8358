//! Artifacts in a bucket of a real S3 server: the promises that the unit tests check of folders.

use lunapark_stores::{Address, ArtifactStore, S3Options, StoreError, digest_of};
use lunapark_tests::harness::variable;

use super::unique;

fn options() -> S3Options {
    S3Options {
        endpoint: variable("S3_ENDPOINT"),
        region: "us-east-1".into(),
        access_key_id: variable("AWS_ACCESS_KEY_ID"),
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY"),
    }
}

fn bucket() -> (String, ArtifactStore) {
    let url = format!("s3://{}/tests/{}", variable("S3_BUCKET"), unique());
    let store = ArtifactStore::open(&url, &options()).expect("a client");
    (url, store)
}

#[test]
fn artifacts_are_put_once_listed_compared_and_deleted() {
    let (url, store) = bucket();
    let first = store.put(b"a model").expect("a put");
    assert_eq!(store.put(b"a model").expect("a put"), first);
    let other = store.put(b"another").expect("a put");
    assert!(first.address.starts_with(&url) && first.address.ends_with(&first.digest), "{}", first.address);
    assert_eq!((first.digest.as_str(), store.get(&first.digest).unwrap()), (&*digest_of(b"a model"), b"a model".to_vec()));
    let address = Address::parse(&first.address, std::path::Path::new("")).expect("an address");
    assert_eq!(lunapark_stores::read(&address, &options()).expect("a read"), b"a model");
    let mut names: Vec<_> = store.list().expect("a list").into_iter().map(|found| (found.name, found.bytes)).collect();
    names.sort();
    let mut expected = vec![(first.digest.clone(), 7), (other.digest.clone(), 7)];
    expected.sort();
    assert_eq!(names, expected);
    assert!(store.modified(&first.digest).expect("an answer").is_some());
    store.delete(&first.digest).expect("a delete");
    store.delete(&first.digest).expect("a delete");
    assert_eq!(store.modified(&first.digest).expect("an answer"), None);
    assert!(matches!(store.get(&first.digest), Err(StoreError::Unreadable { .. })));
    assert_eq!(store.list().expect("a list").len(), 1);
}

#[test]
fn puts_at_once_are_one_artifact() {
    let (_, store) = bucket();
    let bytes = vec![7_u8; 1 << 20];
    let put = || store.put(&bytes).expect("a put").digest;
    let digests: Vec<_> = std::thread::scope(|scope| {
        let putters: Vec<_> = (0..4).map(|_| scope.spawn(put)).collect();
        putters.into_iter().map(|putter| putter.join().expect("a thread")).collect()
    });
    assert!(digests.iter().all(|digest| *digest == digest_of(&bytes)));
    assert_eq!(store.list().expect("a list").len(), 1);
    assert_eq!(store.get(&digests[0]).expect("a get"), bytes);
}

#[test]
fn named_objects_are_replaced_listed_and_removed() {
    let (_, store) = bucket();
    let name = "checkpoints/training.requests/0/17/latest";
    assert_eq!(store.get_named(name).expect("an answer"), None);
    store.put_named(name, b"one").expect("a put");
    store.put_named(name, b"two").expect("a put");
    assert_eq!(store.get_named(name).expect("an answer").as_deref(), Some(&b"two"[..]));
    let listed = store.list_named("checkpoints/training.requests").expect("a list");
    assert_eq!(listed.iter().map(|found| (found.name.as_str(), found.bytes)).collect::<Vec<_>>(), [(name, 3)]);
    store.delete_named(name).expect("a delete");
    store.delete_named(name).expect("a delete");
    assert_eq!(store.get_named(name).expect("an answer"), None);
}
